"""Moves between any two places: into bins and out of them, quarantine, transit, adjustments.

The levels of the warehouses are locked first, then the contents of the places, each by id. So a
putaway and a shipment of the same SKU meet at its level, and the floor never goes below nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, execute, for_update, ids, rowset
from oms_ops.errors import FieldError, NotFound, OutOfStock
from oms_ops.stock import levels
from oms_ops.stock.levels import Quantity, stamp_of
from oms_ops.stock.tables import LEVELLED_KINDS, ON_HAND_KINDS


@dataclass(frozen=True, slots=True)
class PlaceMove:
    """``quantity`` units of a SKU from one location (id) to another, of whatever kinds."""

    from_location_id: int
    to_location_id: int
    sku_id: int
    quantity: int
    reason: str
    reference: str | None = None
    unit_cost_minor: int | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    id: int
    code: str
    kind: str
    warehouse_id: int | None


class NotInPlace(OutOfStock):
    """Bins or quarantines hold less than is to leave: ``short`` has (location id, SKU id)."""

    def __init__(
        self, message: str, errors: Sequence[FieldError], short: set[tuple[int, int]]
    ) -> None:
        """Keep which."""
        super().__init__(message, errors)
        self.short = short


def move(connection: Connection, actor: Actor, moves: Sequence[PlaceMove]) -> None:
    """Post moves, and change every level and content that they touch.

    Promised units do not leave a warehouse: their promise is to be taken back before, in the same
    transaction (:mod:`oms_ops.orders.reroute`).

    Raises:
        NotFound: a location does not exist.
        OutOfStock: a place holds less than is to leave it, or what would leave is promised.
        Conflict: goods that should leave the floor lie in bins.
    """
    if not moves:
        return
    places = _places(connection, {p for m in moves for p in (m.from_location_id, m.to_location_id)})
    warehouses: dict[tuple[int, int], int] = {}
    contents: dict[tuple[int, int], int] = {}
    for m in moves:
        for place, units in (
            (places[m.from_location_id], -m.quantity),
            (places[m.to_location_id], m.quantity),
        ):
            if place.kind in ON_HAND_KINDS and place.warehouse_id is not None:
                pair = (place.warehouse_id, m.sku_id)
                warehouses[pair] = warehouses.get(pair, 0) + units
            if place.kind in LEVELLED_KINDS:
                content = (place.id, m.sku_id)
                contents[content] = contents.get(content, 0) + units
    _change_levels(connection, actor, warehouses, _costs(moves, places))
    _change_contents(connection, actor, contents, places)
    levels.refuse_empty_floor(connection, warehouses)
    _insert(connection, actor, moves)


def floor(connection: Connection, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the units on the floor of each pair (warehouse id, SKU id): on hand less its bins."""
    columns = {"warehouse_id": "bigint", "sku_id": "bigint"}
    rows = execute(
        connection,
        "SELECT v.warehouse_id, v.sku_id, v.on_hand - coalesce(("
        "SELECT sum(c.quantity) FROM location_levels AS c"
        " JOIN locations AS p ON p.id = c.location_id AND p.kind = 'bin'"
        " WHERE c.sku_id = v.sku_id AND p.warehouse_id = v.warehouse_id), 0)"
        f" FROM ({rowset(connection, 'pairs', columns)}) AS r JOIN stock_levels AS v"
        " ON v.sku_id = r.sku_id AND v.warehouse_id = r.warehouse_id",
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(set(pairs)))},
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}


def _places(connection: Connection, wanted: set[int]) -> dict[int, _Place]:
    rows = execute(
        connection,
        "SELECT id, code, kind, warehouse_id FROM locations"
        f" WHERE id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(wanted)},
    )
    places = {row[0]: _Place(*row) for row in rows}
    if missing := sorted(wanted - set(places)):
        raise NotFound(f"There is no location {missing[0]}.")
    return places


def _costs(
    moves: Sequence[PlaceMove], places: dict[int, _Place]
) -> dict[tuple[int, int], tuple[int, int]]:
    """Return (units, value in minor units) of what enters each warehouse at a known cost."""
    costs: dict[tuple[int, int], tuple[int, int]] = {}
    for m in moves:
        to, source = places[m.to_location_id], places[m.from_location_id]
        enters = to.kind in ON_HAND_KINDS and source.warehouse_id != to.warehouse_id
        if enters and to.warehouse_id is not None and m.unit_cost_minor is not None:
            units, value = costs.get((to.warehouse_id, m.sku_id), (0, 0))
            costs[to.warehouse_id, m.sku_id] = (
                units + m.quantity,
                value + m.quantity * m.unit_cost_minor,
            )
    return costs


def _change_levels(
    connection: Connection,
    actor: Actor,
    warehouses: dict[tuple[int, int], int],
    costs: dict[tuple[int, int], tuple[int, int]],
) -> None:
    lock_levels(connection, warehouses)
    leaving = levels.total(
        Quantity(w, s, -units) for (w, s), units in warehouses.items() if units < 0
    )
    left = levels.update(
        connection, actor, leaving, "on_hand = l.on_hand - d.quantity",
        "AND l.on_hand - l.allocated >= d.quantity", drops=True,
    )  # fmt: skip
    if left != len(leaving):
        raise OutOfStock(
            "Not enough available stock to move out.",
            [FieldError("quantity", "not_available", "more than is available (not allocated)")],
        )
    entering = []
    for (warehouse_id, sku_id), units in sorted(warehouses.items()):
        if units > 0:
            known, value = costs.get((warehouse_id, sku_id), (0, 0))
            cost = (2 * value + known) // (2 * known) if known else None
            entering.append((Quantity(warehouse_id, sku_id, units), cost))
    if entering:
        levels.add(connection, actor, entering)


def lock_levels(connection: Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Lock the levels of every warehouse that is touched, changed or not: its floor may be."""
    clause = for_update(connection)
    if not clause:
        return
    columns = {"warehouse_id": "bigint", "sku_id": "bigint"}
    execute(
        connection,
        f"SELECT v.id FROM stock_levels AS v JOIN ({rowset(connection, 'pairs', columns)}) AS r"
        " ON r.sku_id = v.sku_id AND r.warehouse_id = v.warehouse_id"
        f" ORDER BY v.id {clause} OF v",
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(set(pairs)))},
    ).fetchall()


_CONTENT = {"location_id": "bigint", "sku_id": "bigint", "quantity": "bigint"}


def _change_contents(
    connection: Connection,
    actor: Actor,
    contents: dict[tuple[int, int], int],
    places: dict[int, _Place],
) -> None:
    stamp = stamp_of(connection, actor)
    leaving = _rows({key: -units for key, units in contents.items() if units < 0})
    entering = _rows({key: units for key, units in contents.items() if units > 0})
    clause = for_update(connection)
    if leaving:
        taken = execute(
            connection,
            "UPDATE location_levels AS c SET quantity = c.quantity - d.quantity,"
            " version = c.version + 1, changed_by = :actor, changed_at = :now"
            " FROM (SELECT x.id AS level_id, r.quantity FROM location_levels AS x"
            f" JOIN ({rowset(connection, 'rows', _CONTENT)}) AS r"
            " ON r.sku_id = x.sku_id AND r.location_id = x.location_id"
            f" ORDER BY x.id {clause and clause + ' OF x'}) AS d"
            " WHERE c.id = d.level_id AND c.quantity >= d.quantity RETURNING location_id, sku_id",
            {"rows": as_rows(leaving), **stamp},
        ).fetchall()
        short = {(row["location_id"], row["sku_id"]) for row in leaving} - {
            (row[0], row[1]) for row in taken
        }
        if short:
            names = ", ".join(sorted({places[location_id].code for location_id, _ in short}))
            raise NotInPlace(
                f"There is less in {names} than is to leave it.",
                [
                    FieldError("quantity", "not_in_place", f"{code} holds less")
                    for code in sorted({places[location_id].code for location_id, _ in short})
                ],
                short,
            )
    if entering:
        execute(
            connection,
            "INSERT INTO location_levels (location_id, sku_id, quantity, version, changed_by,"
            " changed_at) SELECT d.location_id, d.sku_id, d.quantity, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', _CONTENT)}) AS d WHERE true"
            " ORDER BY d.sku_id, d.location_id"
            " ON CONFLICT (sku_id, location_id) DO UPDATE SET"
            " quantity = location_levels.quantity + excluded.quantity,"
            " version = location_levels.version + 1,"
            " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
            {"rows": as_rows(entering), **stamp},
        )


def _rows(contents: dict[tuple[int, int], int]) -> list[dict[str, Any]]:
    return [
        {"location_id": location_id, "sku_id": sku_id, "quantity": units}
        for (location_id, sku_id), units in sorted(contents.items(), key=lambda c: c[0][::-1])
    ]


_MOVE = {
    "from_id": "bigint",
    "to_id": "bigint",
    "sku_id": "bigint",
    "quantity": "bigint",
    "reason": "text",
    "reference": "text",
    "unit_cost_minor": "bigint",
}


def _insert(connection: Connection, actor: Actor, moves: Sequence[PlaceMove]) -> None:
    rows = (
        {
            "from_id": m.from_location_id,
            "to_id": m.to_location_id,
            "sku_id": m.sku_id,
            "quantity": m.quantity,
            "reason": m.reason,
            "reference": m.reference,
            "unit_cost_minor": m.unit_cost_minor,
        }
        for m in moves
    )
    execute(
        connection,
        "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
        " reference, unit_cost_minor, occurred_at, changed_by)"
        " SELECT sku_id, from_id, to_id, quantity, reason, reference, unit_cost_minor, :now, :actor"
        f" FROM ({rowset(connection, 'rows', _MOVE)}) AS m",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )
