"""The one place that changes stock: post moves, and the levels they add up to, together.

Every function works on a set: one statement for one line or for a day of them. The level rows are
locked in one order (by id), so that two callers with overlapping SKUs queue up instead of
deadlocking, and each guard is part of the UPDATE itself, so that nothing is decided on a row that
somebody else may still change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_rows, as_time, execute, for_update, rowset
from oms_ops.errors import FieldError, OutOfStock

#: What an allocation needs: the units are on hand and promised to nobody else.
ALLOCATION_GUARD = "AND l.on_hand - l.allocated >= d.quantity"

_PAIRS = {"warehouse_id": "bigint", "sku_id": "bigint", "quantity": "bigint"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """``quantity`` units (positive) of a SKU in a warehouse."""

    warehouse_id: int
    sku_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Move:
    """Units between a warehouse's storage and the world around it.

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


def allocate(connection: Connection, actor: Actor, wanted: Iterable[Quantity]) -> bool:
    """Promise ``wanted`` to orders; return False, with nothing promised, when any pair is short.

    On False the caller rolls back (on PostgreSQL the pairs that had enough are already updated).
    """
    totals = _total(wanted)
    if not totals:
        return True
    updated = _update_levels(
        connection, actor, totals, "allocated = l.allocated + d.quantity", ALLOCATION_GUARD
    )
    return updated == len(totals)


def release(connection: Connection, actor: Actor, promised: Iterable[Quantity]) -> None:
    """Take back a promise: the units become available again."""
    _update_levels(connection, actor, _total(promised), "allocated = l.allocated - d.quantity", "")


def ship(
    connection: Connection, actor: Actor, lines: Sequence[Quantity], references: Sequence[str]
) -> None:
    """Move allocated units out to customers; ``references`` names each line's shipment."""
    _update_levels(
        connection,
        actor,
        _total(lines),
        "on_hand = l.on_hand - d.quantity, allocated = l.allocated - d.quantity",
        "",
    )
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
    totals = _total(Quantity(m.warehouse_id, m.sku_id, m.quantity) for m in moves)
    connection.execute(
        sa.text(
            "INSERT INTO stock_levels"
            " (warehouse_id, sku_id, on_hand, allocated, version, changed_by, changed_at)"
            " SELECT d.warehouse_id, d.sku_id, d.quantity, 0, 1, :actor, :now"
            # WHERE keeps SQLite's parser from reading ON CONFLICT as a join condition.
            f" FROM ({rowset(connection, 'rows', _PAIRS)}) AS d WHERE true"
            " ORDER BY d.sku_id, d.warehouse_id"
            " ON CONFLICT (sku_id, warehouse_id) DO UPDATE SET"
            " on_hand = stock_levels.on_hand + excluded.on_hand,"
            " version = stock_levels.version + 1,"
            " changed_by = excluded.changed_by, changed_at = excluded.changed_at"
        ),
        {"rows": as_rows(totals), **_stamp(connection, actor)},
    )
    _insert_moves(connection, actor, moves)


def take_out(connection: Connection, actor: Actor, moves: Sequence[Move]) -> None:
    """Post outbound moves of units that nobody was promised (adjustments, scrap).

    Raises:
        OutOfStock: a pair has fewer available units than are to leave.
    """
    if any(move.inbound for move in moves):
        raise ValueError("take_out takes outbound moves only")
    totals = _total(Quantity(m.warehouse_id, m.sku_id, m.quantity) for m in moves)
    updated = _update_levels(
        connection, actor, totals, "on_hand = l.on_hand - d.quantity", ALLOCATION_GUARD
    )
    if updated != len(totals):
        raise OutOfStock(
            "Not enough available stock to take out.",
            [FieldError("quantity", "not_available", "more than is available (not allocated)")],
        )
    _insert_moves(connection, actor, moves)


def _total(quantities: Iterable[Quantity]) -> list[dict[str, Any]]:
    """One row a pair: a SKU on several lines is one claim on one level."""
    totals: dict[tuple[int, int], int] = {}
    for q in quantities:
        key = (q.sku_id, q.warehouse_id)
        totals[key] = totals.get(key, 0) + q.quantity
    return [
        {"warehouse_id": warehouse_id, "sku_id": sku_id, "quantity": quantity}
        for (sku_id, warehouse_id), quantity in sorted(totals.items())
    ]


def _stamp(connection: Connection, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.name, "now": as_time(connection, clock.now())}


def allocate_from(connection: Connection, wanted: str, stamp: dict[str, Any]) -> int:
    """Promise what the query ``wanted`` (warehouse_id, sku_id, quantity; a row a pair) selects.

    Returns how many pairs had enough; the caller rolls back unless all had. ``stamp`` binds
    ``:actor`` and ``:now``.
    """
    return _change(
        connection, wanted, "allocated = l.allocated + d.quantity", ALLOCATION_GUARD, stamp
    )


def _update_levels(
    connection: Connection, actor: Actor, totals: list[dict[str, Any]], change: str, guard: str
) -> int:
    """Change the levels of ``totals`` that pass the guard; return how many did."""
    if not totals:
        return 0
    parameters = {"rows": as_rows(totals), **_stamp(connection, actor)}
    wanted = rowset(connection, "rows", _PAIRS, count=len(totals))
    return _change(connection, wanted, change, guard, parameters)


def _change(
    connection: Connection, wanted: str, change: str, guard: str, parameters: dict[str, Any]
) -> int:
    # The inner query locks the rows in the order of their ids: UPDATE ... FROM alone would lock
    # them in whatever order its plan visits.
    changed = execute(
        connection,
        f"UPDATE stock_levels AS l SET {change}, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        " FROM (SELECT s.id, r.quantity FROM stock_levels AS s"
        f" JOIN ({wanted}) AS r"
        " ON r.sku_id = s.sku_id AND r.warehouse_id = s.warehouse_id"
        f" ORDER BY s.id {_lock_of(connection)}) AS d"
        # Rows, unlike a row count, can be waited for inside a pipeline.
        f" WHERE l.id = d.id {guard} RETURNING 1",
        parameters,
    )
    return len(changed.fetchall())


def _lock_of(connection: Connection) -> str:
    clause = for_update(connection)
    return f"{clause} OF s" if clause else ""


def _insert_moves(connection: Connection, actor: Actor, moves: Sequence[Move]) -> None:
    columns = {
        "warehouse_id": "bigint",
        "sku_id": "bigint",
        "quantity": "bigint",
        "counterpart": "text",
        "inbound": "bigint",
        "reason": "text",
        "reference": "text",
        "unit_cost_minor": "bigint",
    }
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
    connection.execute(
        sa.text(
            "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
            " reference, unit_cost_minor, occurred_at, changed_by)"
            " SELECT m.sku_id, CASE WHEN m.inbound = 1 THEN o.id ELSE s.id END,"
            " CASE WHEN m.inbound = 1 THEN s.id ELSE o.id END, m.quantity, m.reason,"
            " m.reference, m.unit_cost_minor, :now, :actor"
            f" FROM ({rowset(connection, 'rows', columns)}) AS m"
            " JOIN locations AS s ON s.warehouse_id = m.warehouse_id AND s.kind = 'storage'"
            " JOIN locations AS o ON o.kind = m.counterpart AND o.warehouse_id IS NULL"
        ),
        {"rows": as_rows(rows), **_stamp(connection, actor)},
    )
