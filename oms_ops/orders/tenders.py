"""How an order is going to be paid: never for more than it costs."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands as payments


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
        sa.text(
            "SELECT number, status, currency, total_minor - (SELECT coalesce(CAST("
            "sum(amount_minor - voided_minor) AS bigint), 0) FROM payments WHERE order_id = o.id)"
            " AS rest FROM orders AS o WHERE id = :id"
        ),
        {"id": order_id},
    ).one()
    if order.status == "cancelled":
        raise Conflict(f"{order.number} is cancelled: nothing is to be paid.")
    if order.rest <= 0:
        raise Conflict(f"The payments of {order.number} cover its total already.")
    if amount is not None and amount > order.rest:
        rest = to_text(order.rest, order.currency)
        raise ValidationFailed(
            "The payment has bad fields.",
            [FieldError("amount", "too_large", f"{rest} {order.currency} is still open")],
        )
    part = order.rest if amount is None else amount
    return payments.create(connection, actor, order_id, method, order.currency, part)
