"""Approve a cycle count: post what was found or is missing, and settle it with the orders.

What is found fills backorders. What is missing may be promised: the promises made last are taken
back first, and those orders get the units elsewhere or wait for them. Goods that are being picked,
or that a basket holds, keep their promise; where they are what is missing, nothing is posted yet:
a short pick settles the former, time the latter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_APPROVE, Actor
from oms_ops.database import Retry, as_rows, rowset
from oms_ops.errors import Conflict, Forbidden
from oms_ops.orders import backorders, reroute
from oms_ops.orders.locks import lock_orders, lock_waiting
from oms_ops.orders.reroute import Shortage
from oms_ops.orders.shipments import UNPICKED
from oms_ops.stock import counts, floor
from oms_ops.stock.counts import Head
from oms_ops.stock.names import Names, world
from oms_ops.stock.plans import Plan

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}


def approve(connection: Connection, actor: Actor, number: str) -> int:
    """Post a count's variances; return the units that backorders got.

    Raises:
        NotFound: there is no such count.
        Forbidden: the actor counted a line of it; somebody else approves.
        Conflict: it is not counted, or decided already; what is missing is being picked or is held.
        OutOfStock: a place holds less by now than is missing there: count it again.
    """
    actor.require(STOCK_APPROVE)
    head = counts.locked(connection, number, ("counted",), "be approved")
    lines = counts.lines(connection, head.id)
    if actor.name in {line["counted_by"] for line in lines}:
        raise Forbidden(f"{actor.name} counted {head.number}: somebody else approves it.")
    plan = _plan(connection, head, lines)
    if plan.rising:
        lock_waiting(connection, plan.rising)
    if plan.falling:
        _take_back(connection, actor, head, plan.falling)
    plan.post(connection, actor, limited=False)
    counts.decide(connection, actor, head, "approved")
    return backorders.fill(connection, actor, plan.rising) if plan.rising else 0


def _plan(connection: Connection, head: Head, lines: Sequence[Mapping[str, Any]]) -> Plan:
    outside = world(connection)["adjustment"]
    names = Names(connection, "The count")
    places = names.places(
        [("location", line["location"]) for line in lines],
        head.warehouse_id,
        ("bin", "storage", "quarantine"),
    )
    names.check()
    plan = Plan()
    for index, line in enumerate(lines):
        place, variance = places[line["location"]], line["variance"]
        if variance:
            source, target = (outside, place) if variance > 0 else (place, outside)
            plan.add(f"lines[{index}]", line["sku"], line["sku_id"], source, target,
                     abs(variance), "count", head.number)  # fmt: skip
    return plan


def _take_back(
    connection: Connection, actor: Actor, head: Head, falling: Mapping[tuple[int, int], int]
) -> None:
    """Take promises back until what is missing of each pair is promised to nobody.

    Orders are locked before levels; whoever is promised units in between makes it start again.
    """
    candidates = _promised(connection, _short(connection, falling))
    known = set(lock_orders(connection, {row["order_id"] for row in candidates}))
    left = _short(connection, falling, lock=True)
    takes = []
    for row in _promised(connection, left):
        pair = (row["warehouse_id"], row["sku_id"])
        units = min(row["quantity"], left[pair])
        if units > 0 and row["order_id"] not in known:
            raise Retry("units were promised meanwhile")
        if units > 0:
            left[pair] -= units
            takes.append(Shortage(row["id"], units))
    if any(left.values()):
        raise Conflict(
            f"{head.number}: what is missing is being picked or is held by baskets;"
            " finish those first."
        )
    reroute.reallocate(connection, actor, takes, reason=f"missing in {head.number}")


def _short(
    connection: Connection, falling: Mapping[tuple[int, int], int], *, lock: bool = False
) -> dict[tuple[int, int], int]:
    """Return by how many units each pair misses more than is promised to nobody."""
    held = floor.holdings(connection, falling, lock=lock)
    short = {p: units - (held[p].available if p in held else 0) for p, units in falling.items()}
    return {pair: units for pair, units in short.items() if units > 0}


def _promised(connection: Connection, pairs: Mapping[tuple[int, int], int]) -> list[dict[str, Any]]:
    """Return the shipment lines that promise units and are not picked, the newest order first."""
    if not pairs:
        return []
    rows = connection.execute(
        sa.text(
            "SELECT sl.id, s.order_id, s.warehouse_id, sl.sku_id, sl.quantity"
            f" FROM ({rowset(connection, 'pairs', _PAIR)}) AS r"
            " JOIN order_lines AS l ON l.sku_id = r.sku_id AND l.allocated > 0"
            " JOIN shipment_lines AS sl ON sl.order_line_id = l.id"
            " JOIN shipments AS s ON s.id = sl.shipment_id AND s.warehouse_id = r.warehouse_id"
            f" AND {UNPICKED} JOIN orders AS o ON o.id = s.order_id"
            " ORDER BY o.placed_at DESC, sl.id DESC"
        ),
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(pairs))},
    ).mappings()
    return [dict(row) for row in rows]
