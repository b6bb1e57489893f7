"""Stop an order before it is picked, and let it go on."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, ids
from oms_ops.errors import Conflict


def hold(connection: Connection, actor: Actor, order_ids: Sequence[int], reason: str) -> None:
    """Put open orders on hold: they keep their stock and nothing of them is picked or shipped."""
    _change(connection, actor, order_ids, "open", "on_hold", reason)


def release(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Let held orders go on."""
    _change(connection, actor, order_ids, "on_hold", "open", None)


def _change(
    connection: Connection,
    actor: Actor,
    order_ids: Sequence[int],
    needs: str,
    leaves: str,
    reason: str | None,
) -> None:
    actor.require(ORDERS_WRITE)
    changed = connection.execute(
        sa.text(
            "UPDATE orders SET status = :leaves, hold_reason = :reason, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" WHERE id IN ({ids(connection, 'ids')}) AND status = :needs"
        ),
        {
            "ids": as_ids(order_ids),
            "needs": needs,
            "leaves": leaves,
            "reason": reason,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    ).rowcount
    if changed != len(set(order_ids)):
        raise Conflict(f"An order is not {needs.replace('_', ' ')}.")
