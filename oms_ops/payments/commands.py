"""Changes to the payment ledger through the manual gateway: create, capture, void, refund.

The manual gateway settles outside the system (a bank transfer seen on the statement, cash in the
till), so recording the event is the whole act and no call is in flight. Every function works on a
set; the guards are in the UPDATEs and in the table's CHECKs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, RETURNS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, for_update, ids, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.payments.tables import PAYMENT_METHODS

#: The reasons of refunds that lower what an order costs.
ORDER_CANCELLED = "order cancelled"
UNITS_CANCELLED = "units cancelled"


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """``amount_minor`` to give back from one payment, for one return if there is one."""

    payment_id: int
    amount_minor: int
    reason: str
    return_id: int | None = None


def create(
    connection: Connection, actor: Actor, order_id: int, method: str, currency: str, amount: int
) -> int:
    """Record how ``amount`` minor units of an order are going to be paid; return the payment id."""
    return int(_insert(connection, actor, order_id, method, currency, amount).fetchone()[0])


def expect(
    connection: Connection, actor: Actor, order_id: int, method: str, currency: str, amount: int
) -> None:
    """Do as :func:`create`, without waiting for the id: a pipeline need not stop for it."""
    _insert(connection, actor, order_id, method, currency, amount)


def _insert(
    connection: Connection, actor: Actor, order_id: int, method: str, currency: str, amount: int
) -> Any:
    if method not in PAYMENT_METHODS:
        raise ValidationFailed(
            "The payment has bad fields.",
            [FieldError("method", "unknown_method", f"one of {', '.join(PAYMENT_METHODS)}")],
        )
    return execute(
        connection,
        "INSERT INTO payments (order_id, gateway, method, currency, amount_minor,"
        " captured_minor, refunded_minor, voided_minor, created_at, changed_by, changed_at)"
        " VALUES (:order_id, 'manual', :method, :currency, :amount, 0, 0, 0, :now, :actor, :now)"
        " RETURNING id",
        {
            "order_id": order_id,
            "method": method,
            "currency": currency,
            "amount": amount,
            **_stamp(connection, actor),
        },
    )


def capture(connection: Connection, actor: Actor, payment_ids: Sequence[int]) -> None:
    """Record that all of each payment that was not voided has arrived.

    Raises:
        Conflict: a payment is already captured or voided; nothing is then changed.
    """
    actor.require(PAYMENTS_WRITE)
    if not payment_ids:
        return
    stamp = _stamp(connection, actor)
    done = connection.execute(
        sa.text(
            "UPDATE payments SET captured_minor = amount_minor - voided_minor,"
            " version = version + 1, changed_by = :actor, changed_at = :now"
            f" WHERE id IN ({ids(connection, 'ids')})"
            " AND captured_minor = 0 AND voided_minor < amount_minor"
        ),
        {"ids": as_ids(payment_ids), **stamp},
    ).rowcount
    if done != len(set(payment_ids)):
        raise Conflict("A payment is already captured or voided, or does not exist.")
    connection.execute(
        sa.text(
            "INSERT INTO payment_events"
            " (payment_id, kind, amount_minor, currency, gateway_reference, occurred_at,"
            " changed_by)"
            " SELECT id, 'captured', captured_minor, currency, 'manual-' || id, :now, :actor"
            f" FROM payments WHERE id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(payment_ids), **stamp},
    )


def void(connection: Connection, actor: Actor, payment_ids: Sequence[int]) -> None:
    """Record that nothing more of each payment will be collected.

    Raises:
        Conflict: a payment is already captured or voided; nothing is then changed.
    """
    actor.require(PAYMENTS_WRITE)
    rows = connection.execute(
        sa.text(
            "SELECT id, amount_minor - voided_minor AS rest FROM payments"
            f" WHERE id IN ({ids(connection, 'ids')}) AND captured_minor = 0"
            f" AND voided_minor < amount_minor ORDER BY id {for_update(connection)}"
        ),
        {"ids": as_ids(payment_ids)},
    ).all()
    if len(rows) != len(set(payment_ids)):
        raise Conflict("A payment is already captured or voided, or does not exist.")
    reduce(connection, actor, [(row.id, row.rest) for row in rows])


def reduce(connection: Connection, actor: Actor, parts: Sequence[tuple[int, int]]) -> None:
    """Record that a part (payment id, minor units; each payment once) will not be collected.

    Raises:
        Conflict: less of a payment is still open; nothing is then changed.
    """
    actor.require(PAYMENTS_WRITE)
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
            f" FROM {source} WHERE p.id = r.payment_id"
            " AND p.amount_minor - p.captured_minor - p.voided_minor >= r.amount"
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
            " 'manual-' || p.id || '-' || p.version, :now, :actor"
            f" FROM {source} JOIN payments AS p ON p.id = r.payment_id"
        ),
        parameters,
    )


def refund(connection: Connection, actor: Actor, requests: Sequence[RefundRequest]) -> None:
    """Give money back; refunds never exceed captures, under any concurrency.

    Raises:
        Conflict: a payment has less left to refund than asked; nothing is then changed.
        Forbidden: the role may neither write payments nor returns.
    """
    if not requests:
        return
    if any(r.return_id is None for r in requests):
        actor.require(PAYMENTS_WRITE)
    else:
        actor.require(RETURNS_WRITE)
    stamp = _stamp(connection, actor)
    totals: dict[int, int] = {}
    for request in requests:
        totals[request.payment_id] = totals.get(request.payment_id, 0) + request.amount_minor
    columns = {"payment_id": "bigint", "amount": "bigint"}
    updated = connection.execute(
        sa.text(
            "UPDATE payments AS p SET refunded_minor = p.refunded_minor + r.amount,"
            " version = p.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " WHERE p.id = r.payment_id AND p.captured_minor - p.refunded_minor >= r.amount"
        ),
        {
            "rows": as_rows({"payment_id": k, "amount": v} for k, v in sorted(totals.items())),
            **stamp,
        },
    ).rowcount
    if updated != len(totals):
        raise Conflict("A payment has less left to refund than asked.")
    _insert_refunds(connection, requests, stamp)


def _insert_refunds(
    connection: Connection, requests: Iterable[RefundRequest], stamp: dict[str, Any]
) -> None:
    columns = {
        "payment_id": "bigint",
        "amount": "bigint",
        "reason": "text",
        "return_id": "bigint",
    }
    rows = as_rows(
        {
            "payment_id": r.payment_id,
            "amount": r.amount_minor,
            "reason": r.reason,
            "return_id": r.return_id,
        }
        for r in requests
    )
    stored = connection.execute(
        sa.text(
            "INSERT INTO refunds (payment_id, order_id, return_id, status, reason, currency,"
            " amount_minor, requested_at, refunded_at, version, changed_by, changed_at)"
            " SELECT p.id, p.order_id, r.return_id, 'settled', r.reason, p.currency, r.amount,"
            " :now, :now, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " JOIN payments AS p ON p.id = r.payment_id RETURNING id"
        ),
        {"rows": rows, **stamp},
    )
    connection.execute(
        sa.text(
            "INSERT INTO payment_events"
            " (payment_id, kind, amount_minor, currency, gateway_reference, occurred_at,"
            " changed_by)"
            " SELECT payment_id, 'refunded', amount_minor, currency, 'refund-' || id, :now, :actor"
            f" FROM refunds WHERE id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(stored.scalars()), **stamp},
    )


def refundable(
    connection: Connection, order_ids: Sequence[int]
) -> dict[int, list[tuple[int, int]]]:
    """Return per order its payments (id, minor units left to refund), the largest rest first."""
    rows = connection.execute(
        sa.text(
            "SELECT order_id, id, captured_minor - refunded_minor AS rest FROM payments"
            f" WHERE order_id IN ({ids(connection, 'ids')}) AND captured_minor > refunded_minor"
            " ORDER BY order_id, rest DESC, id"
        ),
        {"ids": as_ids(order_ids)},
    )
    result: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        result.setdefault(row.order_id, []).append((row.id, row.rest))
    return result


@dataclass(frozen=True, slots=True)
class Tender:
    """What stands on a payment, in minor units: still to be collected, and still refundable."""

    payment_id: int
    open: int
    refundable: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The payments of an order, the oldest first, and what they hold for it in minor units.

    ``collected`` is what was captured less what was given back because units were cancelled; other
    refunds, for returns or as goodwill, do not lower what the order costs.
    """

    tenders: list[Tender]
    collected: int

    @property
    def open(self) -> int:
        """What is still to be collected."""
        return sum(tender.open for tender in self.tenders)


def standing(connection: Connection, order_ids: Iterable[int]) -> dict[int, Standing]:
    """Lock the payments of orders and return how each order stands."""
    rows = connection.execute(
        sa.text(
            "SELECT p.order_id, p.id, p.captured_minor,"
            " p.amount_minor - p.captured_minor - p.voided_minor AS open,"
            " p.captured_minor - p.refunded_minor AS refundable,"
            " (SELECT coalesce(CAST(sum(r.amount_minor) AS bigint), 0) FROM refunds AS r"
            "  WHERE r.payment_id = p.id AND r.return_id IS NULL"
            "  AND r.reason IN (:order_cancelled, :units_cancelled)) AS given_back"
            f" FROM payments AS p WHERE p.order_id IN ({ids(connection, 'ids')})"
            f" ORDER BY p.id {for_update(connection)}"
        ),
        {
            "ids": as_ids(order_ids),
            "order_cancelled": ORDER_CANCELLED,
            "units_cancelled": UNITS_CANCELLED,
        },
    ).all()
    tenders: dict[int, list[Tender]] = {}
    collected: dict[int, int] = {}
    for row in rows:
        tenders.setdefault(row.order_id, []).append(Tender(row.id, row.open, row.refundable))
        held = row.captured_minor - row.given_back
        collected[row.order_id] = collected.get(row.order_id, 0) + held
    return {order_id: Standing(found, collected[order_id]) for order_id, found in tenders.items()}


def settle_cancelled(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Void what was not captured and refund what was, for orders that are cancelled whole."""
    found = [t for each in standing(connection, order_ids).values() for t in each.tenders]
    reduce(connection, actor, [(t.payment_id, t.open) for t in found if t.open])
    back = [RefundRequest(t.payment_id, t.refundable, ORDER_CANCELLED) for t in found]
    refund(connection, actor, [request for request in back if request.amount_minor])


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
