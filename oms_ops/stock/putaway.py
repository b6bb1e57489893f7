"""Where the goods on a floor should go: to bins that hold the SKU already, then to empty ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.stock.floor import BINNED, JOIN_STAGED, WITH_STAGED
from oms_ops.stock.names import Names


@dataclass(slots=True)
class Bin:
    """A bin in the pickers' walk: its free units (None: no limit) and the SKUs in it."""

    code: str
    free: int | None = None
    skus: set[int] = field(default_factory=set)

    def take(self, sku_id: int, units: int) -> int:
        """Put in as many of ``units`` as there is room for; return how many."""
        taken = units if self.free is None else min(units, self.free)
        if taken > 0:
            self.skus.add(sku_id)
            if self.free is not None:
                self.free -= taken
        return taken


def plan(wanted: Sequence[tuple[int, int]], walk: Sequence[Bin]) -> list[tuple[int, str, int]]:
    """Return (SKU id, bin, units) for ``wanted`` (SKU id, units); ``walk`` is in walk order.

    Bins that hold the SKU come first, then empty ones; a SKU is split over bins when one is full.
    What finds no room is in none of the results. ``walk`` is used up.
    """
    placed: list[tuple[int, str, int]] = []
    homes: dict[int, list[Bin]] = {}
    for place in walk:
        for sku_id in place.skus:
            homes.setdefault(sku_id, []).append(place)
    empty = iter([place for place in walk if not place.skus and place.free != 0])
    for sku_id, units in wanted:
        left = units
        for place in homes.get(sku_id, ()):
            left -= _put(placed, place, sku_id, left)
        while left > 0 and (opened := next(empty, None)) is not None:
            homes.setdefault(sku_id, []).append(opened)
            left -= _put(placed, opened, sku_id, left)
    return placed


def _put(placed: list[tuple[int, str, int]], place: Bin, sku_id: int, units: int) -> int:
    taken = place.take(sku_id, units) if units > 0 else 0
    if taken > 0:
        placed.append((sku_id, place.code, taken))
    return taken


def suggestions(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    *,
    sku: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of the SKUs on a warehouse's floor, each with bins to put its units in.

    The pages are of one plan for the whole floor: no two of them fill one bin. ``sku`` asks for one
    alone, as if it were the next to be put away. Goods that were picked stay out of it.
    ``unplaced`` units find no room in any bin.
    """
    actor.require(STOCK_READ)
    names = Names(connection, "The question")
    warehouse_id = names.warehouse("warehouse", warehouse)
    if sku is not None:
        names.skus([("sku", sku)])
    names.check()
    found = connection.execute(
        sa.text(
            f"{WITH_STAGED}SELECT sku_id, code, name, units FROM ("
            f"SELECT x.sku_id, k.code, k.name, x.on_hand - {BINNED} - coalesce(g.units, 0) AS"
            f" units FROM stock_levels AS x JOIN skus AS k ON k.id = x.sku_id{JOIN_STAGED}"
            " WHERE x.warehouse_id = :warehouse AND x.on_hand > 0"
            " AND (CAST(:sku AS text) IS NULL OR k.code = :sku)) AS f"
            " WHERE units > 0 ORDER BY sku_id"
        ),
        {"warehouse": warehouse_id, "sku": sku},
    ).all()
    start = bisect_right(found, after, key=lambda row: row.sku_id)
    page = found[start : start + limit]
    placed: dict[int, list[dict[str, Any]]] = {}
    # Those of the pages before take their bins first.
    wanted = [(row.sku_id, int(row.units)) for row in found[: start + limit]]
    for sku_id, code, units in plan(wanted, _walk(connection, warehouse_id)) if page else ():
        placed.setdefault(sku_id, []).append({"bin": code, "quantity": units})
    shown = []
    for row in page:
        bins = placed.get(row.sku_id, [])
        left = int(row.units) - sum(b["quantity"] for b in bins)
        shown.append(
            {"sku": row.code, "name": row.name, "quantity": int(row.units), "bins": bins,
             "unplaced": left}
        )  # fmt: skip
    return shown, page[-1].sku_id if len(found) > start + limit else None


def _walk(connection: Connection, warehouse_id: int) -> list[Bin]:
    """Return the active bins in the order of the pickers' walk."""
    rows = connection.execute(
        sa.text(
            "SELECT p.code, p.capacity_units, c.sku_id, c.quantity FROM locations AS p"
            " LEFT JOIN location_levels AS c ON c.location_id = p.id AND c.quantity > 0"
            " WHERE p.warehouse_id = :warehouse AND p.kind = 'bin' AND p.is_active"
            " ORDER BY coalesce(p.pick_sequence, 2147483647), p.code"
        ),
        {"warehouse": warehouse_id},
    )
    walk: dict[str, Bin] = {}
    for row in rows:
        place = walk.setdefault(row.code, Bin(row.code, row.capacity_units))
        if row.sku_id is not None:
            place.skus.add(row.sku_id)
            if place.free is not None:
                place.free = max(0, place.free - row.quantity)
    return list(walk.values())
