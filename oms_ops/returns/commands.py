"""Take goods back: receive them, restock or scrap them, refund them, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import RETURNS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, ids, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_orders, lock_waiting
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.returns.tables import DISPOSITIONS
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """``quantity`` units of an order line; ``restock`` puts them back, ``scrap`` does not.

    ``refund_minor`` is the refund that was agreed where it is not the units' part of the price.
    """

    order_line_id: int
    quantity: int
    disposition: str = "restock"
    refund_minor: int | None = None


@dataclass(frozen=True, slots=True)
class ReturnRequest:
    """What one customer sends back of one order, and why."""

    order_id: int
    lines: tuple[ReturnedLine, ...]
    reason: str


def receive(connection: Connection, actor: Actor, requests: Sequence[ReturnRequest]) -> list[str]:
    """Receive returned goods and refund them to the order's payments; return the RMA numbers.

    The refund of a line is its net price times the units, rounded so that the refunds of all its
    units sum to the net price exactly, or what was agreed. Nothing is refunded that was not
    captured.

    Raises:
        ValidationFailed: a line does not belong to its order, or its disposition is unknown.
        Conflict: more comes back than was shipped, or the captured money does not cover the refund.
    """
    actor.require(RETURNS_WRITE)
    if not requests:
        return []
    # Two returns of one line are refunded one after the other: the second sees the first.
    lock_orders(connection, [request.order_id for request in requests])
    sold = _sold(connection, requests)
    _check(requests, sold)
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    stored = _insert_returns(connection, requests, sold, stamp)
    _insert_lines(connection, requests, stored, sold, stamp)
    _add_returned(connection, requests, stamp)
    _refund(connection, actor, requests, stored, sold)
    _move(connection, actor, requests, stored, sold)
    return [stored[r.order_id]["number"] for r in requests]


def _sold(connection: Connection, requests: Sequence[ReturnRequest]) -> dict[int, Any]:
    wanted = as_ids(line.order_line_id for request in requests for line in request.lines)
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.order_id, l.sku_id, l.quantity, l.net_minor, l.shipped, l.returned,"
            " l.unit_cost_minor, o.warehouse_id FROM order_lines AS l"
            f" JOIN orders AS o ON o.id = l.order_id WHERE l.id IN ({ids(connection, 'ids')})"
        ),
        {"ids": wanted},
    )
    return {row.id: row for row in rows}


def _check(requests: Sequence[ReturnRequest], sold: dict[int, Any]) -> None:
    errors = []
    if len({request.order_id for request in requests}) != len(requests):
        raise ValidationFailed("One return per order at a time.")
    for request in requests:
        if not request.lines:
            errors.append(FieldError("lines", "required", "a return has at least one line"))
        seen: set[int] = set()
        for index, line in enumerate(request.lines):
            row = sold.get(line.order_line_id)
            where = f"lines[{index}]"
            if row is None or row.order_id != request.order_id or line.order_line_id in seen:
                errors.append(
                    FieldError(f"{where}.order_line_id", "unknown_line", "no such line to return")
                )
            seen.add(line.order_line_id)
            if line.quantity <= 0:
                errors.append(FieldError(f"{where}.quantity", "not_positive", "at least 1"))
            if line.refund_minor is not None and line.refund_minor < 0:
                errors.append(FieldError(f"{where}.refund", "out_of_range", "is negative"))
            if line.disposition not in DISPOSITIONS:
                errors.append(
                    FieldError(f"{where}.disposition", "unknown", f"one of {DISPOSITIONS}")
                )
    if errors:
        raise ValidationFailed("The return has bad fields.", errors)


def refund_of(net_minor: int, quantity: int, returned_before: int, units: int) -> int:
    """Return the minor units to refund for ``units`` of a line of ``quantity``.

    The difference of two running totals: however the returns are cut, they sum to the net price.
    """
    return (
        net_minor * (returned_before + units) // quantity - net_minor * returned_before // quantity
    )


def _insert_returns(
    connection: Connection,
    requests: Sequence[ReturnRequest],
    sold: dict[int, Any],
    stamp: dict[str, Any],
) -> dict[int, Any]:
    columns = {"order_id": "bigint", "warehouse_id": "bigint", "reason": "text"}
    rows = connection.execute(
        sa.text(
            "INSERT INTO returns (order_id, warehouse_id, status, reason, requested_at,"
            " received_at, version, changed_by, changed_at)"
            " SELECT order_id, warehouse_id, 'refunded', reason, :now, :now, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " RETURNING order_id, warehouse_id, id, number"
        ),
        {
            "rows": as_rows(
                {
                    "order_id": r.order_id,
                    "warehouse_id": sold[r.lines[0].order_line_id].warehouse_id,
                    "reason": r.reason,
                }
                for r in requests
            ),
            **stamp,
        },
    ).mappings()
    return {row["order_id"]: row for row in rows}


def _insert_lines(
    connection: Connection,
    requests: Sequence[ReturnRequest],
    stored: dict[int, Any],
    sold: dict[int, Any],
    stamp: dict[str, Any],
) -> None:
    columns = {
        "return_id": "bigint",
        "order_line_id": "bigint",
        "sku_id": "bigint",
        "quantity": "bigint",
        "refund": "bigint",
        "disposition": "text",
    }
    rows = as_rows(
        {
            "return_id": stored[request.order_id]["id"],
            "order_line_id": line.order_line_id,
            "sku_id": sold[line.order_line_id].sku_id,
            "quantity": line.quantity,
            "refund": _line_refund(line, sold),
            "disposition": line.disposition,
        }
        for request in requests
        for line in request.lines
    )
    connection.execute(
        sa.text(
            "INSERT INTO return_lines (return_id, order_line_id, sku_id, quantity, refund_minor,"
            " disposition, version, changed_by, changed_at)"
            " SELECT return_id, order_line_id, sku_id, quantity, refund, disposition, 1, :actor,"
            f" :now FROM ({rowset(connection, 'rows', columns)}) AS r"
        ),
        {"rows": rows, **stamp},
    )


def _line_refund(line: ReturnedLine, sold: dict[int, Any]) -> int:
    if line.refund_minor is not None:
        return line.refund_minor
    row = sold[line.order_line_id]
    return refund_of(row.net_minor, row.quantity, row.returned, line.quantity)


def _add_returned(
    connection: Connection, requests: Sequence[ReturnRequest], stamp: dict[str, Any]
) -> None:
    columns = {"id": "bigint", "units": "bigint"}
    rows = [
        {"id": line.order_line_id, "units": line.quantity}
        for request in requests
        for line in request.lines
    ]
    updated = connection.execute(
        sa.text(
            "UPDATE order_lines AS l SET returned = l.returned + r.units,"
            " version = l.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " WHERE l.id = r.id AND l.shipped - l.returned >= r.units"
        ),
        {"rows": as_rows(rows), **stamp},
    ).rowcount
    if updated != len(rows):
        raise Conflict("More comes back than was shipped and not returned yet.")


def _refund(
    connection: Connection,
    actor: Actor,
    requests: Sequence[ReturnRequest],
    stored: dict[int, Any],
    sold: dict[int, Any],
) -> None:
    sources = payments.refundable(connection, [r.order_id for r in requests])
    refunds = []
    for request in requests:
        due = sum(_line_refund(line, sold) for line in request.lines)
        for payment_id, rest in sources.get(request.order_id, []):
            part = min(due, rest)
            if part > 0:
                due -= part
                refunds.append(
                    RefundRequest(payment_id, part, request.reason, stored[request.order_id]["id"])
                )
        if due > 0:
            raise Conflict("The captured money does not cover the refund of this return.")
    payments.refund(connection, actor, refunds)


def _move(
    connection: Connection,
    actor: Actor,
    requests: Sequence[ReturnRequest],
    stored: dict[int, Any],
    sold: dict[int, Any],
) -> None:
    """Book every unit in from the customer, then scrapped ones out again."""
    back, scrapped = [], []
    for request in requests:
        entry = stored[request.order_id]
        for line in request.lines:
            row = sold[line.order_line_id]
            fields = (entry["warehouse_id"], row.sku_id, line.quantity)
            detail = (entry["number"], row.unit_cost_minor)
            back.append(Move(*fields, "customer", True, "return", *detail))
            if line.disposition == "scrap":
                scrapped.append(Move(*fields, "scrap", False, "scrap", *detail))
    pairs = {(move.warehouse_id, move.sku_id) for move in back}
    lock_waiting(connection, pairs)
    ledger.receive(connection, actor, back)
    if scrapped:
        ledger.take_out(connection, actor, scrapped)
    backorders.fill(connection, actor, pairs)
