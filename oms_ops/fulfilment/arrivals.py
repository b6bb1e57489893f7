"""Stock that becomes available fills backorders in the same transaction.

The stock knows no orders, so what joins both is here: the waiting orders are locked first, then the
units are posted, then they go to whoever waits longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import SYSTEM, Actor
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_waiting
from oms_ops.stock import adjustments, baskets, quarantine, transfer_receipts, transfers
from oms_ops.stock.adjustments import Adjustment
from oms_ops.stock.baskets import Held
from oms_ops.stock.names import Line
from oms_ops.stock.plans import Plan
from oms_ops.stock.transfer_receipts import Arrived


def post(connection: Connection, actor: Actor, plan: Plan) -> int:
    """Post a plan's moves and fill backorders with what it brings; return the units they got."""
    rising = plan.rising
    if rising:
        lock_waiting(connection, rising)
    plan.post(connection, actor)
    return backorders.fill(connection, actor, rising) if rising else 0


def adjust(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    lines: Sequence[Adjustment],
    reason: str,
    note: str = "",
    what: str = "The adjustment",
) -> int:
    """Adjust stock as :func:`oms_ops.stock.adjustments.plan` says; return units backorders got."""
    plan = adjustments.plan(connection, actor, warehouse, lines, reason, note, what)
    return post(connection, actor, plan)


def dispose(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    lines: Sequence[Line],
    decision: str,
    note: str = "",
) -> int:
    """Release, scrap or send back quarantined goods; return the units that backorders got."""
    return post(
        connection,
        actor,
        quarantine.plan_decision(connection, actor, warehouse, lines, decision, note),
    )


def receive_transfer(
    connection: Connection, actor: Actor, number: str, arrived: Sequence[Arrived], note: str = ""
) -> int:
    """Receive (a part of) a transfer; return the units that backorders got.

    The promises to those that wait on follow: what is lost or damaged may delay them.
    """
    pairs = transfers.arriving(connection, actor, number)
    plan = transfer_receipts.plan_receipt(connection, actor, number, arrived, note)
    lock_waiting(connection, pairs)
    plan.post(connection, actor)
    return backorders.fill(connection, actor, pairs, from_supply=True)


def hold_basket(
    connection: Connection,
    actor: Actor,
    basket: str,
    lines: Sequence[Line],
    minutes: int | None = None,
    *,
    warehouse: str | None = None,
    channel: str = "web",
) -> dict[str, Any]:
    """Hold as :func:`oms_ops.stock.baskets.hold` does; what the basket lets go fills backorders."""
    before = baskets.of_basket(connection, actor, basket)
    pairs = {(h.warehouse_id, h.sku_id) for h in before}
    if pairs:
        lock_waiting(connection, pairs)
    answer = baskets.hold(
        connection, actor, basket, lines, minutes, warehouse=warehouse, channel=channel
    )
    if pairs:
        backorders.fill(connection, actor, pairs)
    return answer


def release_basket(connection: Connection, actor: Actor, basket: str) -> int:
    """Let go of all that a basket holds; return the units."""
    return _drop(connection, actor, baskets.of_basket(connection, actor, basket))


def expire_baskets(connection: Connection, now: datetime, *, limit: int = 500) -> int:
    """Let go of a batch of holds that expired by ``now``; return how many (0: none are left)."""
    held = baskets.due(connection, now, limit)
    _drop(connection, SYSTEM, held)
    return len(held)


def _drop(connection: Connection, actor: Actor, held: Sequence[Held]) -> int:
    pairs = {(h.warehouse_id, h.sku_id) for h in held}
    if pairs:
        lock_waiting(connection, pairs)
        baskets.drop(connection, actor, held)
        backorders.fill(connection, actor, pairs)
    return sum(h.quantity for h in held)
