"""Payments as callers see them: sums, what happened, what is asked of gateways, what went back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_READ, PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, execute, ids, read_time
from oms_ops.errors import NotFound
from oms_ops.money import to_text
from oms_ops.payments.operations import open_amount

_SUMS = ("amount", "authorised", "captured", "refunded", "credited", "voided", "charged_back")


def of_order(connection: Connection, actor: Actor, order_id: int) -> list[dict[str, Any]]:
    """Return the payments of an order, the oldest first.

    Raises:
        Forbidden: the actor may not read orders.
    """
    actor.require(ORDERS_READ)
    rows = execute(
        connection, "SELECT id FROM payments WHERE order_id = :id ORDER BY id", {"id": order_id}
    )
    return _shown(connection, actor, [row[0] for row in rows.fetchall()])


def one(connection: Connection, actor: Actor, payment_id: int) -> dict[str, Any]:
    """Return one payment; what its customer has to do is shown to those who may take payments.

    Raises:
        NotFound: there is no such payment.
    """
    found = _shown(connection, actor, [payment_id])
    if not found:
        raise NotFound(f"There is no payment {payment_id}.")
    return found[0]


def _shown(connection: Connection, actor: Actor, payment_ids: list[int]) -> list[dict[str, Any]]:
    events = _grouped(connection, "payment_events", payment_ids)
    operations = _grouped(connection, "payment_operations", payment_ids)
    refunds = _grouped(connection, "refunds", payment_ids)
    return [
        _payment(
            row,
            events.get(row["id"], []),
            operations.get(row["id"], []),
            refunds.get(row["id"], []),
            may_act=actor.permits(PAYMENTS_WRITE),
        )
        for row in _rows(connection, "payments", "id", payment_ids)
    ]


def _payment(
    row: dict[str, Any],
    events: list[dict[str, Any]],
    operations: list[dict[str, Any]],
    refunds: list[dict[str, Any]],
    *,
    may_act: bool,
) -> dict[str, Any]:
    currency = row["currency"]

    def money(minor: int) -> str:
        return to_text(minor, currency)

    waiting = [each["action"] for each in operations if each["status"] == "waiting"]
    action = waiting[-1] if waiting and may_act else None
    return {
        **{name: row[name] for name in ("id", "gateway", "method", "currency")},
        **{name: money(row[f"{name}_minor"]) for name in _SUMS},
        "open": money(open_amount(row)),
        "due_on": str(row["due_on"]) if row["due_on"] else None,
        "action": json.loads(action) if isinstance(action, str) else action,
        "events": [
            {
                "kind": each["kind"],
                "amount": money(each["amount_minor"]),
                "reference": each["gateway_reference"],
                "at": _iso(each["occurred_at"]),
                "by": each["changed_by"],
            }
            for each in events
        ],
        "operations": [
            {
                **{name: each[name] for name in ("id", "kind", "status", "attempts", "code")},
                "amount": money(each["amount_minor"]),
                "problem": each["problem"],
                "requested_at": _iso(each["requested_at"]),
                "settled_at": _iso(each["settled_at"]),
            }
            for each in operations
        ],
        "refunds": [
            {
                **{name: each[name] for name in ("id", "status", "destination", "reason")},
                "amount": money(each["amount_minor"]),
                "requested_at": _iso(each["requested_at"]),
                "refunded_at": _iso(each["refunded_at"]),
            }
            for each in refunds
        ],
    }


def _grouped(
    connection: Connection, table: str, payment_ids: list[int]
) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(connection, table, "payment_id", payment_ids):
        found.setdefault(row["payment_id"], []).append(row)
    return found


def _rows(
    connection: Connection, table: str, column: str, payment_ids: Iterable[int]
) -> list[dict[str, Any]]:
    cursor = execute(
        connection,
        f"SELECT * FROM {table} WHERE {column} IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(payment_ids)},
    )
    names = [each[0] for each in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return moment.isoformat() if moment else None
