"""What people see of payments: each tender with its sums, events, operations and refunds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_READ, PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, ids, read_time
from oms_ops.errors import NotFound
from oms_ops.money import to_text
from oms_ops.payments.operations import OPEN

_SUMS = (
    "amount", "authorised", "captured", "capturing", "refunded", "refunding", "credited", "voided",
    "charged_back",
)  # fmt: skip


def permit(actor: Actor) -> None:
    """Raise Forbidden unless the actor may see payments; who may write them may."""
    if not actor.permits(PAYMENTS_WRITE):
        actor.require(PAYMENTS_READ)


def of_order(connection: Connection, actor: Actor, order_id: int) -> list[dict[str, Any]]:
    """Return the payments of an order, the oldest first.

    Raises:
        Forbidden: the role may not see payments.
    """
    return _payments(connection, actor, "p.order_id = :id", order_id)


def of_payment(connection: Connection, actor: Actor, payment_id: int) -> dict[str, Any]:
    """Return one payment.

    Raises:
        NotFound: there is no such payment.
        Forbidden: the role may not see payments.
    """
    found = _payments(connection, actor, "p.id = :id", payment_id)
    if not found:
        raise NotFound(f"There is no payment {payment_id}.")
    return found[0]


def _payments(
    connection: Connection, actor: Actor, condition: str, value: int
) -> list[dict[str, Any]]:
    permit(actor)
    rows = connection.execute(
        sa.text(
            f"SELECT p.*, {OPEN} AS open_minor, o.number, b.number AS balance"
            " FROM payments AS p JOIN orders AS o ON o.id = p.order_id"
            " LEFT JOIN balances AS b ON b.id = p.balance_id"
            f" WHERE {condition} ORDER BY p.id"
        ),
        {"id": value},
    ).mappings()
    result = {row["id"]: _payment(dict(row)) for row in rows}
    for name, parts in (
        ("events", _events(connection, result)),
        ("operations", _operations(connection, actor, result)),
        ("refunds", _refunds(connection, result)),
    ):
        for payment_id, payment in result.items():
            payment[name] = parts.get(payment_id, [])
    return list(result.values())


def _payment(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "order": row["number"],
        "method": row["method"],
        "gateway": row["gateway"],
        "currency": row["currency"],
        **{name: to_text(row[f"{name}_minor"], row["currency"]) for name in (*_SUMS, "open")},
        "gateway_reference": row["gateway_reference"],
        "balance": row["balance"],
        "due_on": str(row["due_on"]) if row["due_on"] else None,
        "created_at": _iso(row["created_at"]),
    }


def _rows(
    connection: Connection, statement: str, payments: dict[int, dict[str, Any]]
) -> Sequence[Any]:
    within = f"IN ({ids(connection, 'ids')})"
    query = sa.text(statement.format(within=within))
    return connection.execute(query, {"ids": as_ids(payments)}).all()


def _events(
    connection: Connection, payments: dict[int, dict[str, Any]]
) -> dict[int, list[dict[str, Any]]]:
    result: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(
        connection,
        "SELECT * FROM payment_events WHERE payment_id {within} ORDER BY occurred_at, id",
        payments,
    ):
        result.setdefault(row.payment_id, []).append(
            {
                "kind": row.kind,
                "amount": to_text(row.amount_minor, row.currency),
                "gateway_reference": row.gateway_reference,
                "at": _iso(row.occurred_at),
                "by": row.changed_by,
            }
        )
    return result


def _operations(
    connection: Connection, actor: Actor, payments: dict[int, dict[str, Any]]
) -> dict[int, list[dict[str, Any]]]:
    may_act = actor.permits(PAYMENTS_WRITE)
    result: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(
        connection,
        "SELECT * FROM payment_operations WHERE payment_id {within} ORDER BY id",
        payments,
    ):
        operation = {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "amount": to_text(row.amount_minor, row.currency),
            "told": None if row.told_minor is None else to_text(row.told_minor, row.currency),
            "refund": row.refund_id,
            "attempts": row.attempts,
            "code": row.code,
            "problem": row.problem,
            "gateway_reference": row.gateway_reference,
            "requested_at": _iso(row.requested_at),
            "next_attempt_at": _iso(row.next_attempt_at) if row.settled_at is None else None,
            "settled_at": _iso(row.settled_at),
            "by": row.changed_by,
        }
        if may_act:
            # It opens the payment to whoever has it: the customer's browser, by way of the shop.
            operation["action"] = _json(row.action)
        result.setdefault(row.payment_id, []).append(operation)
    return result


def _refunds(
    connection: Connection, payments: dict[int, dict[str, Any]]
) -> dict[int, list[dict[str, Any]]]:
    result: dict[int, list[dict[str, Any]]] = {}
    by_id: dict[int, dict[str, Any]] = {}
    for row in _rows(
        connection,
        "SELECT r.*, t.number AS rma FROM refunds AS r LEFT JOIN returns AS t ON t.id = r.return_id"
        " WHERE r.payment_id {within} ORDER BY r.id",
        payments,
    ):
        by_id[row.id] = {
            "id": row.id,
            "status": row.status,
            "amount": to_text(row.amount_minor, row.currency),
            "destination": row.destination,
            "reason": row.reason,
            "return": row.rma,
            "items": [],
            "requested_at": _iso(row.requested_at),
            "refunded_at": _iso(row.refunded_at),
            "by": row.changed_by,
        }
        result.setdefault(row.payment_id, []).append(by_id[row.id])
    for row in _rows(
        connection,
        "SELECT x.*, r.currency, l.line_no FROM refund_items AS x"
        " JOIN refunds AS r ON r.id = x.refund_id"
        " LEFT JOIN order_lines AS l ON l.id = x.order_line_id"
        " WHERE r.payment_id {within} ORDER BY x.id",
        payments,
    ):
        by_id[row.refund_id]["items"].append(
            {
                "kind": row.kind,
                "line_no": row.line_no,
                "quantity": row.quantity,
                "amount": to_text(row.amount_minor, row.currency),
            }
        )
    return result


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return moment.isoformat() if moment else None
