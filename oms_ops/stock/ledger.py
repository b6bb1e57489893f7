"""The one place that changes stock: post moves, and the levels they add up to, together.

Every function works on a set: one statement for one line or for a day of them. The level rows are
locked in one order (by id), so that two callers with overlapping SKUs queue up instead of
deadlocking, and each guard is part of the UPDATE itself, so that nothing is decided on a row that
somebody else may still change.

A warehouse's stock on hand is what lies on its floor (the ``storage`` location) and in its bins.
Goods come in and go out over the floor; :func:`oms_ops.stock.places.move` does everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_rows, execute, rowset
from oms_ops.errors import FieldError, OutOfStock
from oms_ops.stock import levels
from oms_ops.stock.levels import Quantity, stamp_of, total
from oms_ops.stock.places import PlaceMove, floor, move

__all__ = [
    "Move", "PlaceMove", "Quantity", "allocate", "allocate_from", "floor", "move", "receive",
    "release", "ship", "take_out",
]  # fmt: skip

#: What an allocation needs: the units are on hand and promised to nobody else.
ALLOCATION_GUARD = "AND l.on_hand - l.allocated >= d.quantity"
ALLOCATION = "allocated = l.allocated + d.quantity"


@dataclass(frozen=True, slots=True)
class Move:
    """Units between a warehouse's floor and the world around it.

    ``counterpart`` is the kind of the other location (supplier, customer, adjustment, scrap).
    ``unit_cost_minor`` is the cost of a unit where it is known. ``inbound`` moves raise the level.
    """

    warehouse_id: int
    sku_id: int
    quantity: int
    counterpart: str
    inbound: bool
    reason: str
    reference: str | None = None
    unit_cost_minor: int | None = None


def guard(keep: int | str = 0) -> str:
    """Return :data:`ALLOCATION_GUARD` for a claim that leaves ``keep`` units (SQL) to others."""
    return f"{ALLOCATION_GUARD} + {keep}" if ALLOCATION_GUARD else ""


def allocate(
    connection: Connection, actor: Actor, wanted: Iterable[Quantity], *, keep: int = 0
) -> bool:
    """Promise ``wanted`` to orders; return False, with nothing promised, when any pair is short.

    ``keep`` units of each pair are left, the reserve of the channel.
    On False the caller rolls back (on PostgreSQL the pairs that had enough are already updated).
    """
    totals = total(wanted)
    if not totals:
        return True
    updated = levels.update(
        connection, actor, totals, ALLOCATION, guard(keep),
        drops=True,
    )  # fmt: skip
    return updated == len(totals)


def allocate_from(connection: Connection, wanted: str, stamp: dict[str, Any]) -> int:
    """Promise what the query ``wanted`` (warehouse_id, sku_id, quantity; a row a pair) selects.

    Returns how many pairs had enough; the caller rolls back unless all had. ``stamp`` binds
    ``:actor`` and ``:now``.
    """
    return levels.update_from(
        connection, wanted, ALLOCATION, ALLOCATION_GUARD, stamp,
        drops=True,
    )  # fmt: skip


def release(connection: Connection, actor: Actor, promised: Iterable[Quantity]) -> None:
    """Take back a promise: the units become available again."""
    levels.update(connection, actor, total(promised), "allocated = l.allocated - d.quantity", "")


def ship(
    connection: Connection, actor: Actor, lines: Sequence[Quantity], references: Sequence[str]
) -> None:
    """Move allocated units out to customers; ``references`` names each line's shipment.

    Raises:
        Conflict: goods that should leave still lie in bins; picking brings them to the floor.
    """
    levels.update(
        connection,
        actor,
        total(lines),
        "on_hand = l.on_hand - d.quantity, allocated = l.allocated - d.quantity",
        "",
    )
    levels.refuse_empty_floor(connection, [(q.warehouse_id, q.sku_id) for q in lines])
    _insert_moves(
        connection,
        actor,
        [
            Move(q.warehouse_id, q.sku_id, q.quantity, "customer", False, "shipment", reference)
            for q, reference in zip(lines, references, strict=True)
        ],
    )


def receive(connection: Connection, actor: Actor, moves: Sequence[Move]) -> None:
    """Post inbound moves and raise the levels, creating those that do not exist yet."""
    if any(not move.inbound for move in moves):
        raise ValueError("receive takes inbound moves only")
    if not moves:
        return
    levels.add(
        connection,
        actor,
        [(Quantity(m.warehouse_id, m.sku_id, m.quantity), m.unit_cost_minor) for m in moves],
    )
    _insert_moves(connection, actor, moves)


def take_out(connection: Connection, actor: Actor, moves: Sequence[Move]) -> None:
    """Post outbound moves from the floor of units that nobody was promised (adjustments, scrap).

    Raises:
        OutOfStock: a pair has fewer available units than are to leave.
        Conflict: goods that should leave still lie in bins.
    """
    if any(move.inbound for move in moves):
        raise ValueError("take_out takes outbound moves only")
    totals = total(Quantity(m.warehouse_id, m.sku_id, m.quantity) for m in moves)
    updated = levels.update(
        connection, actor, totals, "on_hand = l.on_hand - d.quantity", ALLOCATION_GUARD,
        drops=True,
    )  # fmt: skip
    if updated != len(totals):
        raise OutOfStock(
            "Not enough available stock to take out.",
            [FieldError("quantity", "not_available", "more than is available (not allocated)")],
        )
    levels.refuse_empty_floor(connection, [(m.warehouse_id, m.sku_id) for m in moves])
    _insert_moves(connection, actor, moves)


_MOVE = {
    "warehouse_id": "bigint",
    "sku_id": "bigint",
    "quantity": "bigint",
    "counterpart": "text",
    "inbound": "bigint",
    "reason": "text",
    "reference": "text",
    "unit_cost_minor": "bigint",
}


def _insert_moves(connection: Connection, actor: Actor, moves: Sequence[Move]) -> None:
    rows = (
        {
            "warehouse_id": m.warehouse_id,
            "sku_id": m.sku_id,
            "quantity": m.quantity,
            "counterpart": m.counterpart,
            "inbound": int(m.inbound),
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
        " SELECT m.sku_id, CASE WHEN m.inbound = 1 THEN o.id ELSE s.id END,"
        " CASE WHEN m.inbound = 1 THEN s.id ELSE o.id END, m.quantity, m.reason,"
        " m.reference, m.unit_cost_minor, :now, :actor"
        f" FROM ({rowset(connection, 'rows', _MOVE)}) AS m"
        " JOIN locations AS s ON s.warehouse_id = m.warehouse_id AND s.kind = 'storage'"
        " JOIN locations AS o ON o.kind = m.counterpart AND o.warehouse_id IS NULL",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )
