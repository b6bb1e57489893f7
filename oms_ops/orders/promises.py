"""When what waits will be there: from what is coming, else from the supplier's lead time.

A line's day is the one on which enough has arrived for it and for all that are served before it
(:mod:`oms_ops.orders.supply`).

An order's day is the latest of its waiting lines, and nobody knows it while one of them has none:
:func:`whole` says so in Python, :data:`WHOLE` in SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, pipelined, rowset
from oms_ops.notifications import outbox
from oms_ops.orders import deadlines, supply
from oms_ops.orders.locks import lock_waiting
from oms_ops.orders.supply import Supply, Waiting, WaitingLine
from oms_ops.rules import store
from oms_ops.rules.document import RoutingRules
from oms_ops.settings import settings

Pair = tuple[int, int]

T = TypeVar("T")

#: SQL of an order's day, over its waiting lines ``l``.
WHOLE = "CASE WHEN count(*) = count(l.promised_on) THEN max(l.promised_on) END"


def whole(days: Iterable[date | None]) -> date | None:
    """Return the day of an order whose waiting lines are promised for ``days``."""
    known = list(days)
    return max((day for day in known if day), default=None) if all(known) else None


@dataclass(frozen=True, slots=True)
class Promise:
    """The days of what is to wait; ``behind`` are the pairs for which younger orders wait already.

    Those have to make way: :func:`making_way`.
    """

    days: list[date | None]
    behind: set[Pair] = field(default_factory=set)


def promise(connection: Connection, rules: RoutingRules, wanted: Sequence[Waiting]) -> Promise:
    """Return the day for each of ``wanted``, in the turn that its order's moment gives it.

    Where what is coming is not enough, the day is today (the shop's) and the preferred supplier's
    lead time, or the last day of what is coming, if that is later; None where the SKU has no
    supplier. Of one moment, those that wait already are served first, then the earlier entry.
    """
    if not wanted:
        return Promise([])
    sku_ids = {each.sku_id for each in wanted}
    moments = {each.placed_at for each in wanted}
    (earliest, *others) = sorted(moments)
    if others:
        queue: Sequence[Waiting] = supply.lines(connection, sku_ids)
        late = {each.sku_id for each in queue if each.placed_at > earliest}
        supplies = supply.told(supply.asked(connection, sku_ids))
    else:
        with pipelined(connection):
            before = supply.asked_before(connection, sku_ids, as_time(connection, earliest))
            coming = supply.asked(connection, sku_ids)
        queue, late = supply.told_before(before)
        supplies = supply.told(coming)
    turns = sorted(
        [(each.placed_at, -1, each) for each in queue]
        + [(each.placed_at, index, each) for index, each in enumerate(wanted)],
        key=lambda turn: turn[:2],
    )
    days: list[date | None] = [None] * len(wanted)
    for sku_id, each_turn in _by_sku(turns, lambda turn: turn[2].sku_id).items():
        found = supplies[sku_id].days([turn[2] for turn in each_turn], rules)
        for (_, index, _), day in zip(each_turn, found, strict=True):
            if index >= 0:
                days[index] = day
    behind = {(each.home_id, each.sku_id) for each in wanted if each.sku_id in late}
    return Promise(days, behind)


def update(
    connection: Connection,
    actor: Actor,
    pairs: Iterable[Pair],
    *,
    order_ids: Iterable[int] = (),
    only_sooner: bool = False,
) -> int:
    """Bring the days of what waits for ``pairs`` (warehouse id, SKU id) up to date.

    Where orders that may be split wait for the SKU, those that wait elsewhere follow.
    What was promised last stays on an order when nothing of it waits any more. ``order_ids`` are
    orders that stopped waiting for something. ``only_sooner`` is for changes that cannot delay
    anybody: units given back. The customers of orders whose day changes are told. Returns how many
    lines' days changed.
    """
    wanted = set(pairs)
    lines = _waiting_lines(connection, wanted)
    touched = {line.order_id for line in lines if line.pair in wanted} | set(order_ids)
    changed = []
    if lines:
        rules = store.current(connection).rules.routing
        supplies = supply.told(supply.asked(connection, {sku_id for _, sku_id in wanted}))
        shared = {line.sku_id for line in lines if line.splits}
        for line, day in _days(lines, supplies, rules):
            sooner = day is not None and (line.promised_on is None or day < line.promised_on)
            # Who waits elsewhere, and has nothing that somebody could take, is not delayed.
            concerned = line.pair in wanted or (
                line.sku_id in shared
                and (line.splits or supplies[line.sku_id].comes_to(line.home_id))
            )
            if sooner or (day != line.promised_on and concerned and not only_sooner):
                changed.append((line, day))
    _change(connection, actor, changed, touched)
    return len(changed)


@contextmanager
def making_way(
    connection: Connection, actor: Actor, rules: RoutingRules, pairs: Collection[Pair]
) -> Iterator[None]:
    """Promise anew, at the end of the block, what an order that is written in it goes before.

    ``pairs`` are those of :class:`Promise`. Only whoever loses goods to the newcomer is concerned,
    and told.
    """
    if not pairs:
        yield
        return
    sku_ids = {sku_id for _, sku_id in pairs}
    lines = _waiting_lines(connection, pairs)
    supplies = supply.told(supply.asked(connection, sku_ids))
    before = {line.id: day for line, day in _days(lines, supplies, rules)}
    yield
    now = _days(supply.lines(connection, sku_ids), supplies, rules)
    changed = [
        (line, day)
        for line, day in now
        if day != before.get(line.id, day) and day != line.promised_on
    ]
    _change(connection, actor, changed, set())


def update_lead_times(connection: Connection, actor: Actor, sku_ids: Iterable[int]) -> int:
    """Do as :func:`update` for all that wait for SKUs whose supplier's lead time is another now."""
    rows = execute(
        connection,
        "SELECT DISTINCT o.warehouse_id, l.sku_id FROM order_lines AS l"
        " JOIN orders AS o ON o.id = l.order_id"
        f" WHERE l.backordered > 0 AND l.sku_id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(sku_ids)},
    )
    return update(connection, actor, [(row[0], row[1]) for row in rows.fetchall()])


def refresh(connection: Connection, actor: Actor) -> int:
    """Renew every promise that is overdue or was never given; return how many changed."""
    rows = execute(
        connection,
        "SELECT DISTINCT o.warehouse_id, l.sku_id FROM order_lines AS l"
        " JOIN orders AS o ON o.id = l.order_id WHERE l.backordered > 0"
        " AND (l.promised_on IS NULL OR l.promised_on < :today)",
        {"today": str(_today())},
    )
    return update(connection, actor, [(row[0], row[1]) for row in rows.fetchall()])


def _waiting_lines(connection: Connection, pairs: Collection[Pair]) -> list[WaitingLine]:
    """Lock the orders that wait for the SKUs of ``pairs``; return their lines in their turns."""
    if not pairs or not lock_waiting(connection, pairs):
        return []
    return supply.lines(connection, {sku_id for _, sku_id in pairs})


def _days(
    lines: Iterable[WaitingLine], supplies: Mapping[int, Supply], rules: RoutingRules
) -> list[tuple[WaitingLine, date | None]]:
    """Return each line that waits with its day."""
    return [
        found
        for sku_id, queue in _by_sku(lines, lambda line: line.sku_id).items()
        for found in zip(queue, supplies[sku_id].days(queue, rules), strict=True)
    ]


def _by_sku(each: Iterable[T], sku_of: Callable[[T], int]) -> dict[int, list[T]]:
    found: dict[int, list[T]] = {}
    for one in each:
        found.setdefault(sku_of(one), []).append(one)
    return found


def _change(
    connection: Connection,
    actor: Actor,
    changed: Sequence[tuple[WaitingLine, date | None]],
    touched: Collection[int],
) -> None:
    """Set the days of lines that ``changed``, and of their orders and those ``touched``."""
    order_ids = {line.order_id for line, _ in changed} | set(touched)
    if not order_ids:
        return
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    if changed:
        rows = [{"id": line.id, "promised_on": _text(day)} for line, day in changed]
        _change_lines(connection, rows, stamp)
    _change_orders(connection, order_ids, stamp)


def _change_lines(
    connection: Connection, changed: list[dict[str, Any]], stamp: dict[str, Any]
) -> None:
    columns = {"id": "bigint", "promised_on": "date"}
    execute(
        connection,
        "UPDATE order_lines AS l SET promised_on = r.promised_on, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
        {"rows": as_rows(changed), **stamp},
    )


def _change_orders(connection: Connection, touched: Iterable[int], stamp: dict[str, Any]) -> None:
    """Set the orders' days from their waiting lines, and tell those whose day changed."""
    rows = execute(
        connection,
        "SELECT o.id, o.number, c.email, o.promised_on, d.day FROM orders AS o"
        f" JOIN (SELECT l.order_id, {WHOLE} AS day FROM order_lines AS l"
        f"  WHERE l.order_id IN ({ids(connection, 'ids')}) AND l.backordered > 0"
        "  GROUP BY l.order_id) AS d ON d.order_id = o.id"
        " JOIN customers AS c ON c.id = o.customer_id ORDER BY o.id",
        {"ids": as_ids(sorted(touched))},
    ).fetchall()
    changed = [(*row[:3], _text(row[3]), _text(row[4])) for row in rows]
    changed = [row for row in changed if row[3] != row[4]]
    if not changed:
        return
    columns = {"id": "bigint", "promised_on": "date"}
    execute(
        connection,
        "UPDATE orders AS o SET promised_on = r.promised_on,"
        f" deliver_by = {deadlines.after_sql(connection, 'r.promised_on')},"
        " version = o.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE o.id = r.id",
        {"rows": as_rows({"id": row[0], "promised_on": row[4]} for row in changed), **stamp},
    )
    outbox.post_many(
        connection,
        "order.promise_changed",
        [
            (email, {"order": number, "promised_on": new, "was_promised_on": old})
            for _, number, email, old, new in changed
        ],
    )


def _today() -> date:
    return clock.now().astimezone(settings().zone).date()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
