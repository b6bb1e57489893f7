"""Cancel whole orders before anything of them is picked."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, ids
from oms_ops.errors import Conflict
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_orders, lock_waiting
from oms_ops.payments import commands as payments
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity


def cancel(connection: Connection, actor: Actor, order_ids: Sequence[int], reason: str) -> None:
    """Cancel orders with all consequences: allocations released, payments voided or refunded.

    Raises:
        Conflict: an order is cancelled or closed already, or partly picked; none is then cancelled.
    """
    actor.require(ORDERS_WRITE)
    if not order_ids:
        return
    parameters = {
        "ids": as_ids(order_ids),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
    }
    chosen = f"IN ({ids(connection, 'ids')})"
    stamp = "version = version + 1, changed_by = :actor, changed_at = :now"
    # From here on nobody picks, fills or pays anything of these orders.
    lock_orders(connection, order_ids)
    connection.execute(
        sa.text(
            f"UPDATE shipments SET status = 'cancelled', {stamp}"
            f" WHERE order_id {chosen} AND status = 'allocated'"
        ),
        parameters,
    )
    cancelled = connection.execute(
        sa.text(
            "UPDATE orders SET status = 'cancelled', cancelled_at = :now,"
            " cancelled_minor = total_minor,"
            f" hold_reason = :reason, {stamp}"
            f" WHERE id {chosen} AND status IN ('open', 'on_hold') AND NOT EXISTS ("
            "SELECT 1 FROM shipments AS s WHERE s.order_id = orders.id AND s.status <> 'cancelled')"
        ),
        {**parameters, "reason": reason},
    ).rowcount
    if cancelled != len(set(order_ids)):
        raise Conflict("An order is already cancelled, closed or being picked.")
    promised = connection.execute(
        sa.text(
            "SELECT s.warehouse_id, sl.sku_id, sl.quantity FROM shipment_lines AS sl"
            " JOIN shipments AS s ON s.id = sl.shipment_id"
            " JOIN order_lines AS l ON l.id = sl.order_line_id"
            f" WHERE s.order_id {chosen} AND l.allocated > 0"
        ),
        parameters,
    ).all()
    connection.execute(
        sa.text(
            "UPDATE order_lines SET cancelled = quantity - shipped, allocated = 0,"
            " cancelled_minor = net_minor + CASE WHEN (SELECT o.tax_included FROM orders AS o"
            " WHERE o.id = order_lines.order_id) THEN 0 ELSE tax_minor END,"
            f" backordered = 0, {stamp} WHERE order_id {chosen}"
        ),
        parameters,
    )
    payments.settle_cancelled(connection, actor, order_ids)
    pairs = {(row.warehouse_id, row.sku_id) for row in promised}
    lock_waiting(connection, pairs)
    ledger.release(
        connection,
        actor,
        [Quantity(row.warehouse_id, row.sku_id, row.quantity) for row in promised],
    )
    # What was promised to these orders goes to whoever waits longest, not to the next buyer.
    backorders.fill(connection, actor, pairs)
