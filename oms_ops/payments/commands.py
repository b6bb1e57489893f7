"""Changes to the payment ledger: create, capture, void, each of a set of payments.

What is settled by hand (a bank transfer seen on the statement, cash in the till) is an event as
soon as somebody records it, and no call is in flight. What a gateway holds is asked of it through
:mod:`oms_ops.payments.operations`. The guards are in the UPDATEs and in the table's CHECKs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, for_update, ids, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.payments import operations
from oms_ops.payments.gateways.registry import GATEWAYS, MANUAL
from oms_ops.payments.refunds import RefundRequest, refund, refundable
from oms_ops.payments.tables import PAYMENT_METHODS

__all__ = [
    "RefundRequest", "capture", "create", "expect", "get", "give_up", "reduce", "refund",
    "refundable", "void",
]  # fmt: skip

#: How the references of what a person recorded of a payment herself begin.
RENOUNCED = "manual"


def create(
    connection: Connection,
    actor: Actor,
    order_id: int,
    method: str,
    currency: str,
    amount: int,
    *,
    gateway: str = MANUAL,
    balance_id: int | None = None,
    due_on: date | None = None,
) -> int:
    """Record how ``amount`` minor units of an order are going to be paid; return the payment id."""
    cursor = _insert(
        connection, actor, order_id, method, currency, amount, gateway, balance_id, due_on
    )
    return int(cursor.fetchone()[0])


def expect(
    connection: Connection, actor: Actor, order_id: int, method: str, currency: str, amount: int
) -> None:
    """Do as :func:`create`, without waiting for the id: a pipeline need not stop for it."""
    _insert(connection, actor, order_id, method, currency, amount, MANUAL, None, None)


def _insert(
    connection: Connection,
    actor: Actor,
    order_id: int,
    method: str,
    currency: str,
    amount: int,
    gateway: str,
    balance_id: int | None,
    due_on: date | None,
) -> Any:
    if method not in PAYMENT_METHODS:
        raise ValidationFailed(
            "The payment has bad fields.",
            [FieldError("method", "unknown_method", f"one of {', '.join(PAYMENT_METHODS)}")],
        )
    return execute(
        connection,
        "INSERT INTO payments (order_id, gateway, method, currency, amount_minor, balance_id,"
        " due_on, created_at, changed_by, changed_at)"
        " VALUES (:order_id, :gateway, :method, :currency, :amount, :balance_id, :due_on, :now,"
        " :actor, :now) RETURNING id",
        {
            "order_id": order_id,
            "gateway": gateway,
            "method": method,
            "currency": currency,
            "amount": amount,
            "balance_id": balance_id,
            "due_on": due_on.isoformat() if due_on else None,
            **_stamp(connection, actor),
        },
    )


def capture(
    connection: Connection, actor: Actor, payment_ids: Sequence[int], amount: int | None = None
) -> list[int]:
    """Collect what is open of each payment, or ``amount`` minor units of one.

    What is settled by hand counts at once. Of what a gateway holds, the capture is reserved, and
    the operations are returned: they are carried out after the transaction.

    Raises:
        Conflict: a payment is already captured or voided, less of it is open than ``amount``, or
            its gateway holds less; nothing is then changed.
    """
    actor.require(PAYMENTS_WRITE)
    if not payment_ids:
        return []
    columns = "id, gateway, currency, amount_minor, captured_minor, capturing_minor, voided_minor"
    rows = execute(
        connection,
        f"SELECT {columns} FROM payments WHERE id IN ({ids(connection, 'ids')})"
        f" ORDER BY id {for_update(connection)}",
        {"ids": as_ids(payment_ids)},
    ).fetchall()
    payments = [dict(zip(columns.split(", "), row, strict=True)) for row in rows]
    if len(payments) != len(set(payment_ids)):
        raise Conflict("A payment does not exist.")
    for payment in payments:
        if objection := _objection(payment, amount):
            raise objection
    parts = [(p["id"], amount or operations.open_amount(p), p["gateway"]) for p in payments]
    _capture_by_hand(connection, actor, [part[:2] for part in parts if part[2] not in GATEWAYS])
    asked = [part[:2] for part in parts if part[2] in GATEWAYS]
    return operations.capture(connection, actor, asked) if asked else []


def _objection(payment: dict[str, Any], amount: int | None) -> Conflict | None:
    """Return why ``amount`` minor units, or all that is open, are not to be captured."""
    rest, name = operations.open_amount(payment), f"payment {payment['id']}"
    if rest <= 0:
        message = "nothing is open: it is already captured or voided"
        fault = FieldError("amount", "beyond_open", message)
        return Conflict(f"Of {name}, {message}.", [fault])
    still = to_text(rest, payment["currency"])
    if amount is not None and not 0 < amount <= rest:
        fault = FieldError("amount", "beyond_open", f"{still} is open")
        return Conflict(f"Of {name}, {still} is open.", [fault])
    if amount is None and payment["captured_minor"] and payment["gateway"] not in GATEWAYS:
        # The same told twice would count as the rest.
        message = f"say how much of the open {still} has arrived"
        fault = FieldError("amount", "required", message)
        return Conflict(f"A part of {name} was captured: {message}.", [fault])
    return None


def _capture_by_hand(
    connection: Connection, actor: Actor, parts: Sequence[tuple[int, int]]
) -> None:
    """Record captures of payments that are locked and have as much open."""
    if not parts:
        return
    columns = {"payment_id": "bigint", "amount": "bigint"}
    source = f"({rowset(connection, 'rows', columns)}) AS r"
    parameters = {
        "rows": as_rows({"payment_id": i, "amount": amount} for i, amount in parts),
        **_stamp(connection, actor),
    }
    execute(
        connection,
        "UPDATE payments AS p SET captured_minor = p.captured_minor + r.amount,"
        " version = p.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM {source} WHERE p.id = r.payment_id",
        parameters,
    )
    execute(
        connection,
        "INSERT INTO payment_events"
        " (payment_id, kind, amount_minor, currency, gateway_reference, occurred_at, changed_by)"
        " SELECT p.id, 'captured', r.amount, p.currency,"
        " 'manual-' || p.id || '-' || p.version, :now, :actor"
        f" FROM {source} JOIN payments AS p ON p.id = r.payment_id",
        parameters,
    )


def void(connection: Connection, actor: Actor, payment_ids: Sequence[int]) -> None:
    """Record that nothing more of each payment will be collected; what was captured stays.

    Raises:
        Conflict: a payment is already captured whole or voided; nothing is then changed.
    """
    actor.require(PAYMENTS_WRITE)
    rows = connection.execute(
        sa.text(
            f"SELECT p.id, {operations.OPEN} AS rest FROM payments AS p"
            f" WHERE p.id IN ({ids(connection, 'ids')}) AND {operations.OPEN} > 0"
            f" ORDER BY p.id {for_update(connection)}"
        ),
        {"ids": as_ids(payment_ids)},
    ).all()
    if len(rows) != len(set(payment_ids)):
        raise Conflict("A payment is already captured or voided: nothing of it is open.")
    give_up(connection, actor, [(row.id, row.rest) for row in rows], named=RENOUNCED)


def reduce(connection: Connection, actor: Actor, parts: Sequence[tuple[int, int]]) -> None:
    """Record that a part (payment id, minor units; each payment once) will not be collected.

    Raises:
        Conflict: less of a payment is still open; nothing is then changed.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    give_up(connection, actor, parts)


def give_up(
    connection: Connection,
    actor: Actor,
    parts: Sequence[tuple[int, int]],
    *,
    named: str = "reduced",
) -> None:
    """Do as :func:`reduce` where it follows from what the actor was permitted already.

    What a gateway holds and nobody wants any more, it is asked to let go of. ``named`` begins the
    references of what is recorded: RENOUNCED where a person decided it of the payment itself.
    """
    if not parts:
        return
    columns = {"payment_id": "bigint", "amount": "bigint"}
    source = f"({rowset(connection, 'rows', columns)}) AS r"
    parameters = {
        "rows": as_rows({"payment_id": i, "amount": amount} for i, amount in parts),
        **_stamp(connection, actor),
    }
    done = connection.execute(
        sa.text(
            "UPDATE payments AS p SET voided_minor = p.voided_minor + r.amount,"
            " version = p.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM {source} WHERE p.id = r.payment_id AND {operations.OPEN} >= r.amount"
        ),
        parameters,
    ).rowcount
    if done != len(parts):
        raise Conflict("A payment has less left to collect than is to be given up.")
    connection.execute(
        sa.text(
            "INSERT INTO payment_events"
            " (payment_id, kind, amount_minor, currency, gateway_reference, occurred_at,"
            " changed_by)"
            " SELECT p.id, 'voided', r.amount, p.currency,"
            f" '{named}-' || p.id || '-' || p.version, :now, :actor"
            f" FROM {source} JOIN payments AS p ON p.id = r.payment_id"
        ),
        parameters,
    )
    operations.release(connection, actor, [payment_id for payment_id, _ in parts])


def get(connection: Connection, payment_id: int) -> dict[str, Any]:
    """Return one payment as its columns.

    Raises:
        NotFound: there is no such payment.
    """
    row = (
        connection.execute(sa.text("SELECT * FROM payments WHERE id = :id"), {"id": payment_id})
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return dict(row)


def _stamp(connection: Connection, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.name, "now": as_time(connection, clock.now())}
