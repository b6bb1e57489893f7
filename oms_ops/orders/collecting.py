"""Where orders and gateways meet: what is asked of gateways, what they answer, what follows.

A parcel that leaves reserves what it is worth; :func:`perform` carries reserved operations out;
what gateways tell by themselves is folded in by :func:`hear`. After every news of a payment its
order is looked at again: too much is given back, what nobody wants any more is let go of, and what
was earned before the authorisation was heard of is collected.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import SYSTEM, Actor
from oms_ops.database import as_ids, execute, ids, run
from oms_ops.orders import return_refunds, tenders
from oms_ops.orders.amounts import owed_sql
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import calling, ledger, messages, operations, settling
from oms_ops.payments.calling import Lost
from oms_ops.payments.gateways.interface import Outcome
from oms_ops.payments.operations import Claimed
from oms_ops.payments.standing import standing
from oms_ops.rules import store

_log = logging.getLogger(__name__)

#: Calls in flight at once: a gateway answers in tenths of a second.
_CALLS = 8


def collect(connection: Connection, actor: Actor, order_ids: Iterable[int]) -> list[int]:
    """Reserve the capture of what orders have earned by what has left; return the operations.

    The orders are locked. Nothing is reserved beyond what is authorised; the rest stays due.
    """
    wanted = _at_gateways(connection, order_ids)
    if not wanted or store.current(connection).rules.payments.capture != "shipment":
        return []
    earned = _earned(connection, wanted)
    parts = []
    for order_id, held in standing(connection, wanted).items():
        due = earned.get(order_id, 0) - held.collected
        if due <= 0:
            continue
        payments = ledger.lock(connection, [t.payment_id for t in held.tenders])
        for payment_id, payment in sorted(payments.items()):
            room = operations.capturable(payment)
            if room > 0 and due > 0:
                part = room if operations.captures_once(payment) else min(due, room)
                due -= part
                parts.append((payment_id, part))
    return operations.capture(connection, actor, parts)


def _at_gateways(connection: Connection, order_ids: Iterable[int]) -> list[int]:
    """Return those of the orders that a gateway holds money for."""
    rows = execute(
        connection,
        f"SELECT DISTINCT order_id FROM payments WHERE order_id IN ({ids(connection, 'ids')})"
        " AND authorised_minor > captured_minor + capturing_minor",
        {"ids": as_ids(order_ids)},
    )
    return sorted(row[0] for row in rows.fetchall())


def _earned(connection: Connection, order_ids: Collection[int]) -> dict[int, int]:
    """Return per order the minor units of what has left, tax and all.

    What the order costs beyond its lines (shipping, its rounding) is earned with the first parcel,
    so that the last one brings it to exactly what is owed.
    """
    included = "o.tax_included"
    shipped = f"CAST(sum({owed_sql('l', 'l.shipped', included)}) AS bigint)"
    lines = f"CAST(sum({owed_sql('l', 'l.quantity', included)}) AS bigint)"
    rows = execute(
        connection,
        f"SELECT o.id, {shipped} + o.total_minor - {lines} - coalesce((SELECT"
        "  CAST(sum(r.forgiven_minor) AS bigint) FROM returns AS r WHERE r.order_id = o.id), 0)"
        " FROM orders AS o"
        " JOIN order_lines AS l ON l.order_id = o.id"
        f" WHERE o.id IN ({ids(connection, 'ids')}) AND o.status <> 'cancelled'"
        " GROUP BY o.id, o.total_minor, o.tax_included HAVING sum(l.shipped) > 0",
        {"ids": as_ids(order_ids)},
    )
    return dict(rows.fetchall())


def perform(engine: Engine, *, payment_ids: Sequence[int] | None = None, batch: int = 64) -> int:
    """Carry out the operations that are due, of some payments or of all; return how many settled.

    No call is made inside a transaction. An operation whose answer is lost stays reserved and is
    taken up again when its lease is over.
    """
    settled = 0
    with ThreadPoolExecutor(_CALLS) as calls:
        while claimed := run(
            engine, partial(operations.claim, limit=batch, payment_ids=payment_ids)
        ):
            for each, outcome in zip(claimed, calls.map(calling.ask, claimed), strict=True):
                settled += run(engine, partial(_settle, claimed=each, outcome=outcome))
    return settled


def _settle(connection: Connection, claimed: Claimed, outcome: Outcome | Lost) -> int:
    if isinstance(outcome, Lost):
        _log.warning("%s of payment %d: %s", claimed.call.kind, claimed.payment_id, outcome.problem)
        operations.postpone(connection, claimed.id, outcome.problem)
        return 0
    lock_orders(connection, [claimed.order_id])
    if not settling.settle(connection, claimed.gateway, claimed.id, outcome):
        return 0
    # What was declined is not asked again at once, or for ever: the next news of the order does it,
    # or a person (:mod:`oms_ops.orders.remedies`).
    if outcome.state != "declined":
        follow(connection, [claimed.order_id])
    else:
        return_refunds.follow(connection, SYSTEM, [claimed.order_id])
    return 1


def follow(connection: Connection, order_ids: Sequence[int]) -> None:
    """Do what follows from news of the payments of orders, whose rows are locked."""
    return_refunds.follow(connection, SYSTEM, order_ids)
    tenders.settle(connection, SYSTEM, order_ids)
    collect(connection, SYSTEM, order_ids)
    rows = execute(
        connection,
        f"SELECT id FROM payments WHERE order_id IN ({ids(connection, 'ids')})"
        " AND authorised_minor > captured_minor",
        {"ids": as_ids(order_ids)},
    )
    operations.release(connection, SYSTEM, [row[0] for row in rows.fetchall()])


def hear(engine: Engine, *, batch: int = 200) -> int:
    """Fold what gateways have told into the ledger; return how many messages were looked at."""
    heard = 0
    while claimed := run(engine, partial(messages.claim, limit=batch)):
        for message in claimed:
            run(engine, partial(_fold, message=message))
        heard += len(claimed)
    return heard


def _fold(connection: Connection, message: messages.Claimed) -> None:
    found = messages.match(connection, message)
    if found is not None:
        lock_orders(connection, [found.order_id])
    is_news = messages.fold(connection, message, found)
    if found is None:
        return
    if is_news:
        follow(connection, [found.order_id])
    else:
        # It may have told that a refund failed.
        return_refunds.follow(connection, SYSTEM, [found.order_id])
