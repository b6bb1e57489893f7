"""Where orders and gateways meet: what is asked of gateways, what they answer, what follows.

A parcel that leaves reserves what it is worth; :func:`perform` carries reserved operations out;
what gateways tell by themselves is folded in by :func:`hear`. After every news of a payment its
order is looked at again: too much is given back, what nobody wants any more is let go of, and what
was earned before the authorisation was heard of is collected.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import SYSTEM, Actor
from oms_ops.database import as_ids, execute, ids, run, unavailable
from oms_ops.orders import claims, outstanding, return_refunds, tenders
from oms_ops.orders.amounts import earned_sql
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import calling, folding, ledger, matching, messages, operations, settling
from oms_ops.payments import commands as payments
from oms_ops.payments.calling import Lost
from oms_ops.payments.gateways.interface import Outcome
from oms_ops.payments.gateways.registry import GATEWAYS, captures_in_parts
from oms_ops.payments.operations import OPEN, Claimed
from oms_ops.payments.standing import standing
from oms_ops.rules import store

_log = logging.getLogger(__name__)

#: Calls in flight at once: a gateway answers in tenths of a second.
_CALLS = 8
#: Messages that are folded in one transaction: it holds the rows of their orders.
_FOLDED = 32

T = TypeVar("T")
R = TypeVar("R")


def collect(connection: Connection, actor: Actor, order_ids: Iterable[int]) -> list[int]:
    """Reserve the capture of what orders have earned by what has left; return the operations.

    The orders are locked. Nothing is reserved beyond what is authorised; the rest stays due. What a
    customer's bank took back of one payment is not collected from another one by itself.
    """
    wanted = _at_gateways(connection, order_ids)
    if not wanted or store.current(connection).rules.payments.capture != "shipment":
        return []
    earned = _earned(connection, wanted)
    cost = tenders.owed(connection, wanted)
    parts = []
    for order_id, held in standing(connection, wanted).items():
        due = earned.get(order_id, 0) - held.collected
        if due <= 0:
            continue
        payments = ledger.lock(connection, [t.payment_id for t in held.tenders])
        capturable = sum(max(0, operations.capturable(each)) for each in payments.values())
        due -= held.disputed(cost[order_id], capturable)
        # What was added after a charge back is there to be collected in its stead.
        for payment_id, payment in sorted(payments.items(), reverse=held.charged_back > 0):
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
    """Return per order the minor units of what has left."""
    query = earned_sql(f"IN ({ids(connection, 'ids')})")
    return dict(execute(connection, query, {"ids": as_ids(order_ids)}).fetchall())


def perform(engine: Engine, *, payment_ids: Sequence[int] | None = None, batch: int = 64) -> int:
    """Carry out the operations that are due, of some payments or of all; return how many settled.

    No call is made inside a transaction. An operation whose answer is lost stays reserved and is
    taken up again when its lease is over. The answers that are there at once are settled together.
    """
    settled = 0
    with ThreadPoolExecutor(_CALLS) as calls:
        while claimed := run(
            engine, partial(operations.claim, limit=batch, payment_ids=payment_ids)
        ):
            asked = {calls.submit(calling.ask, each): each for each in claimed}
            while asked:
                done, _ = wait(asked, return_when=FIRST_COMPLETED)
                answers = [(asked.pop(call), call.result()) for call in done]
                settled += sum(_together(engine, _settle, answers, _not_settled))
    return settled


def _settle(connection: Connection, answers: Sequence[tuple[Claimed, Outcome | Lost]]) -> int:
    # The orders first, as everywhere: whoever holds one may be about to settle the same operation.
    lock_orders(connection, {each.order_id for each, _ in answers})
    settled: list[tuple[int, str]] = []
    for each, outcome in sorted(answers, key=lambda one: one[0].id):
        if isinstance(outcome, Lost):
            what = (each.call.kind, each.payment_id, outcome.problem)
            _log.warning("%s of payment %d: %s", *what)
            operations.postpone(connection, each.id, outcome.problem)
        elif settling.settle(connection, each.gateway, each.id, outcome, is_due=outstanding.is_due):
            settled.append((each.order_id, outcome.state))
    # What was declined is not asked again at once, or for ever: the next news of the order does it,
    # or a person (:mod:`oms_ops.orders.remedies`).
    news = {order_id for order_id, state in settled if state != "declined"}
    _follow_all(connection, news, {order_id for order_id, _ in settled} - news)
    return len(settled)


def _not_settled(
    connection: Connection, answers: Sequence[tuple[Claimed, Outcome | Lost]], problem: str
) -> None:
    for each, _ in answers:
        operations.postpone(connection, each.id, problem)


def _follow_all(connection: Connection, news: set[int], others: set[int]) -> None:
    """Do what follows for orders with news, and for the refunds of others; all are locked."""
    if news:
        follow(connection, sorted(news))
    if others:
        let_go(connection, sorted(others))
        claims.attribute(connection, SYSTEM, sorted(others))
        return_refunds.follow(connection, SYSTEM, sorted(others))


def _together(
    engine: Engine,
    work: Callable[[Connection, Sequence[T]], R],
    all_of_them: Sequence[T],
    give_up: Callable[[Connection, Sequence[T], str], None],
) -> list[R]:
    """Do work in one transaction; where that fails, one by one, so that one keeps no other back.

    What fails alone too is put aside by ``give_up`` and tried again when its lease is over.
    """
    try:
        return [run(engine, lambda connection: work(connection, all_of_them))]
    except Exception as error:
        if unavailable(error):
            raise
        if len(all_of_them) > 1:
            parts = (all_of_them[place : place + 1] for place in range(len(all_of_them)))
            return [done for part in parts for done in _together(engine, work, part, give_up)]
        _log.exception("%s could not be taken in", all_of_them[0])
        problem = f"{type(error).__name__} when it was taken in"
        run(engine, lambda connection: give_up(connection, all_of_them, problem))
        return []


def follow(connection: Connection, order_ids: Sequence[int]) -> None:
    """Do what follows from news of the payments of orders, whose rows are locked."""
    let_go(connection, order_ids)
    tenders.settle(connection, SYSTEM, order_ids, news=True)
    return_refunds.follow(connection, SYSTEM, order_ids)
    collect(connection, SYSTEM, order_ids)
    rows = execute(
        connection,
        f"SELECT id FROM payments WHERE order_id IN ({ids(connection, 'ids')})"
        " AND authorised_minor > captured_minor",
        {"ids": as_ids(order_ids)},
    )
    operations.release(connection, SYSTEM, [row[0] for row in rows.fetchall()])


def let_go(connection: Connection, order_ids: Sequence[int]) -> None:
    """Expect no more of payments that were captured where a gateway captures once: it let go."""
    rows = execute(
        connection,
        f"SELECT p.id, p.gateway, {OPEN} FROM payments AS p"
        f" WHERE p.order_id IN ({ids(connection, 'ids')}) AND p.captured_minor > 0"
        f" AND p.capturing_minor = 0 AND {OPEN} > 0",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    for payment_id, gateway, rest in rows:
        if gateway in GATEWAYS and not captures_in_parts(gateway):
            payments.give_up(connection, replace(SYSTEM, name=gateway), [(payment_id, rest)])


def hear(engine: Engine, *, batch: int = 200) -> int:
    """Fold what gateways have told into the ledger; return how many messages were looked at.

    One that cannot be folded is kept, seen by people, and tried again; it keeps no other back.
    """
    heard = 0
    while claimed := run(engine, partial(messages.claim, limit=batch)):
        for place in range(0, len(claimed), _FOLDED):
            part = claimed[place : place + _FOLDED]
            unknown = [m for some in _together(engine, _fold, part, _not_folded) for m in some]
            # The payment of one may be known by now, from another.
            for message in unknown if len(unknown) < len(part) else ():
                _together(engine, _fold, [message], _not_folded)
        heard += len(claimed)
    return heard


def _fold(connection: Connection, heard: Sequence[messages.Claimed]) -> list[messages.Claimed]:
    """Fold messages together; return those whose payment is not known."""
    found = [(message, matching.match(connection, message)) for message in heard]
    known = [(message, match) for message, match in found if match is not None]
    lock_orders(connection, {match.order_id for _, match in known})
    open_ids = messages.still_open(connection, [message.id for message, _ in known])
    known = [(message, match) for message, match in known if message.id in open_ids]
    news = {
        match.order_id
        for message, match in known
        if folding.fold(connection, message, match, outstanding.is_due)
    }
    # One that is no news may have told that a refund failed.
    _follow_all(connection, news, {match.order_id for _, match in known} - news)
    return [message for message, match in found if match is None]


def _not_folded(connection: Connection, heard: Sequence[messages.Claimed], problem: str) -> None:
    for message in heard:
        messages.keep(connection, message, problem)
