"""Stop an order before it is picked, and let it go on."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, ids
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_orders, lock_orders_and_waiting
from oms_ops.orders.queries import number_of


def hold(connection: Connection, actor: Actor, order_ids: Sequence[int], reason: str) -> None:
    """Put open orders on hold: they keep their stock and nothing of them is picked or shipped.

    Raises:
        ValidationFailed: no reason is given.
        Conflict: an order is not open; each is named with its status.
    """
    actor.require(ORDERS_WRITE)
    if not reason.strip():
        raise ValidationFailed(
            "The hold has bad fields.", [FieldError("reason", "required", "say why")]
        )
    _change(connection, actor, order_ids, "open", "on_hold", reason)


def release(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Let held orders go on; lines that wait get what came in meanwhile.

    Raises:
        Conflict: an order is not on hold; each is named with its status.
    """
    _change(connection, actor, order_ids, "on_hold", "open", None)
    waiting = connection.execute(
        sa.text(
            "SELECT DISTINCT v.warehouse_id, v.sku_id FROM orders AS o"
            " JOIN order_lines AS l ON l.order_id = o.id AND l.backordered > 0"
            " JOIN stock_levels AS v ON v.sku_id = l.sku_id AND v.on_hand > v.allocated"
            " AND (v.warehouse_id = o.warehouse_id OR o.allow_split)"
            f" WHERE o.id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(order_ids)},
    )
    backorders.fill(connection, actor, [(row.warehouse_id, row.sku_id) for row in waiting])


def _change(
    connection: Connection,
    actor: Actor,
    order_ids: Sequence[int],
    needs: str,
    leaves: str,
    reason: str | None,
) -> None:
    actor.require(ORDERS_WRITE)
    # What a released order waits for may be there, for others before it, too.
    lock = lock_orders if leaves == "on_hold" else lock_orders_and_waiting
    statuses = lock(connection, order_ids)
    faults = [
        FieldError("number", "wrong_status", f"{number_of(order_id, 'SO')} is {found}, not {needs}")
        for order_id in order_ids
        if (found := statuses.get(order_id, "not there")) != needs
    ]
    if faults:
        raise Conflict(f"{'; '.join(fault.message for fault in faults)}.", faults)
    connection.execute(
        sa.text(
            "UPDATE orders SET status = :leaves, hold_reason = :reason, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" WHERE id IN ({ids(connection, 'ids')})"
        ),
        {
            "ids": as_ids(order_ids),
            "leaves": leaves,
            "reason": reason,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
