"""How an order is going to be paid: never for more than it costs."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, ids
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import UNITS_CANCELLED, RefundRequest, Standing

_NOTHING = Standing([], 0)


def add(
    connection: Connection, actor: Actor, order_id: int, method: str, amount: int | None = None
) -> int:
    """Record a payment of ``amount`` minor units, or of all that is still open; return its id.

    Raises:
        Conflict: the order is cancelled, or its payments cover it already.
        ValidationFailed: the amount is more than is still open, or the method is unknown.
    """
    actor.require(PAYMENTS_WRITE)
    lock_orders(connection, [order_id])
    order = connection.execute(
        sa.text("SELECT number, status, currency FROM orders WHERE id = :id"), {"id": order_id}
    ).one()
    if order.status == "cancelled":
        raise Conflict(f"{order.number} is cancelled: nothing is to be paid.")
    rest = uncovered(connection, order_id)
    if rest <= 0:
        raise Conflict(f"The payments of {order.number} cover its total already.")
    if amount is not None and amount > rest:
        message = f"{to_text(rest, order.currency)} {order.currency} is still open"
        raise ValidationFailed(
            "The payment has bad fields.", [FieldError("amount", "too_large", message)]
        )
    part = rest if amount is None else amount
    return payments.create(connection, actor, order_id, method, order.currency, part)


def uncovered(connection: Connection, order_id: int) -> int:
    """Return the minor units of an order that no payment covers; negative when they are too many.

    The caller holds the order's row; its payments are locked here.
    """
    standing = payments.standing(connection, [order_id]).get(order_id, _NOTHING)
    return _owed(connection, [order_id])[order_id] - standing.collected - standing.open


def settle(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Refund what was captured beyond what orders still cost, and expect no more than the rest.

    For orders of which units were cancelled; their rows are locked. Refunds come from the payment
    with most left to refund, and the newest payment is reduced first.
    """
    owed = _owed(connection, order_ids)
    back: list[RefundRequest] = []
    given_up: list[tuple[int, int]] = []
    for order_id, standing in payments.standing(connection, order_ids).items():
        due = max(0, standing.collected - owed[order_id])
        # Beyond what is collected for good, only the rest of the cost is still expected.
        surplus = max(0, standing.open - max(0, owed[order_id] - standing.collected))
        for tender in sorted(standing.tenders, key=lambda t: (-t.refundable, t.payment_id)):
            if part := min(due, tender.refundable):
                due -= part
                back.append(RefundRequest(tender.payment_id, part, UNITS_CANCELLED))
        for tender in reversed(standing.tenders):
            if part := min(surplus, tender.open):
                surplus -= part
                given_up.append((tender.payment_id, part))
    payments.reduce(connection, actor, given_up)
    payments.refund(connection, actor, back)


def _owed(connection: Connection, order_ids: Sequence[int]) -> dict[int, int]:
    rows = connection.execute(
        sa.text(
            "SELECT id, total_minor - cancelled_minor AS owed FROM orders"
            f" WHERE id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {row.id: row.owed for row in rows}
