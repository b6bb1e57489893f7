"""When what waits will be there: from what is coming, else from the supplier's lead time.

What open purchase orders and transfers still bring to a warehouse goes to those who wait there, the
oldest order first. A line's day is the one on which enough has arrived for it and for all before
it. A transfer without a day promises nothing.

An order's day is the latest of its waiting lines, and nobody knows it while one of them has none:
:func:`whole` says so in Python, :data:`WHOLE` in SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, for_update, ids, rowset
from oms_ops.notifications import outbox
from oms_ops.orders import deadlines
from oms_ops.settings import settings

Pair = tuple[int, int]

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}

#: Days that something late is expected to stay away longer, at most: a supplier who is silent for a
#: year is not a year away, and a slip in a date is not a promise for the next decade.
MOST_DELAY = 30

#: SQL of an order's day, over its waiting lines ``l``.
WHOLE = "CASE WHEN count(*) = count(l.promised_on) THEN max(l.promised_on) END"


def whole(days: Iterable[date | None]) -> date | None:
    """Return the day of an order whose waiting lines are promised for ``days``."""
    known = list(days)
    return max((day for day in known if day), default=None) if all(known) else None


def promise(connection: Connection, waiting: Sequence[tuple[int, int, int]]) -> list[date | None]:
    """Return the day for each of ``waiting`` (warehouse id, SKU id, units), after all that wait.

    Where what is coming is not enough, the day is today (the shop's) and the preferred supplier's
    lead time, or the last day of what is coming, if that is later; None where the SKU has no
    supplier. The earlier entry is served first.
    """
    if not waiting:
        return []
    supplies = _supplies(connection, {(w, s) for w, s, _ in waiting})
    needed = {pair: supply.waiting for pair, supply in supplies.items()}
    days = []
    for warehouse_id, sku_id, units in waiting:
        pair = (warehouse_id, sku_id)
        needed[pair] += units
        days.append(supplies[pair].day(needed[pair]))
    return days


def update(
    connection: Connection,
    actor: Actor,
    pairs: Iterable[Pair],
    *,
    order_ids: Iterable[int] = (),
    only_sooner: bool = False,
) -> int:
    """Bring the days of what waits for ``pairs`` (warehouse id, SKU id) up to date.

    What was promised last stays on an order when nothing of it waits any more. ``order_ids`` are
    orders that stopped waiting for something. ``only_sooner`` is for changes that cannot delay
    anybody: units given back. The customers of orders whose day changes are told. Returns how many
    lines' days changed.
    """
    wanted = sorted(set(pairs))
    lines = _waiting_lines(connection, wanted) if wanted else []
    touched = {line.order_id for line in lines} | set(order_ids)
    if not touched:
        return 0
    supplies = _supplies(connection, wanted) if lines else {}
    needed: dict[Pair, int] = defaultdict(int)
    changed = []
    for line in lines:
        needed[line.pair] += line.units
        day = supplies[line.pair].day(needed[line.pair])
        sooner = day is not None and (line.promised_on is None or day < line.promised_on)
        if sooner or (day != line.promised_on and not only_sooner):
            changed.append({"id": line.id, "promised_on": str(day) if day else None})
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    if changed:
        _change_lines(connection, changed, stamp)
    _change_orders(connection, touched, stamp)
    return len(changed)


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


@dataclass(slots=True)
class _Supply:
    """What comes to one warehouse of one SKU, (day, units), and how many units wait for it."""

    waiting: int
    fallback: date | None
    due: list[tuple[date, int]]

    def day(self, needed: int) -> date | None:
        """Return the day on which ``needed`` units have come.

        Who needs more than is coming waits for goods still to be ordered, and behind all that is
        coming: it fills older orders first. So no day is earlier than one further up the queue.
        """
        coming = sorted(self.due)
        for day, units in coming:
            needed -= units
            if needed <= 0:
                return day
        if self.fallback is None or not coming:
            return self.fallback
        return max(self.fallback, coming[-1][0])


@dataclass(frozen=True, slots=True)
class _Line:
    id: int
    order_id: int
    pair: Pair
    units: int
    promised_on: date | None


#: What comes when, by pair: open purchase orders, and what is in transit.
_COMING = """
SELECT warehouse_id, sku_id, due, CAST(sum(units) AS bigint) AS units FROM (
    SELECT o.warehouse_id, l.sku_id, coalesce(l.confirmed_on, o.expected_on) AS due,
        l.quantity - l.received AS units
    FROM pairs AS p JOIN purchase_order_lines AS l ON l.sku_id = p.sku_id
    JOIN purchase_orders AS o ON o.id = l.purchase_order_id AND o.warehouse_id = p.warehouse_id
    WHERE o.status IN ('sent', 'confirmed', 'partly_received') AND l.received < l.quantity
    UNION ALL
    SELECT t.to_warehouse_id, l.sku_id, t.expected_on, l.sent - l.received - l.lost
    FROM pairs AS p JOIN transfer_lines AS l ON l.sku_id = p.sku_id
    AND l.sent > l.received + l.lost
    JOIN transfers AS t ON t.id = l.transfer_id AND t.to_warehouse_id = p.warehouse_id
    WHERE t.expected_on IS NOT NULL
) AS coming GROUP BY warehouse_id, sku_id, due
"""


def _supplies(connection: Connection, pairs: Iterable[Pair]) -> dict[Pair, _Supply]:
    """Read, in one statement, who waits for each pair, its lead time and what is coming."""
    wanted = sorted(set(pairs))
    rows = execute(
        connection,
        f"WITH pairs AS ({rowset(connection, 'pairs', _PAIR)})"
        " SELECT p.warehouse_id, p.sku_id,"
        " (SELECT coalesce(sum(l.backordered), 0) FROM order_lines AS l"
        "  JOIN orders AS o ON o.id = l.order_id AND o.warehouse_id = p.warehouse_id"
        "  WHERE l.sku_id = p.sku_id AND l.backordered > 0),"
        " (SELECT min(s.lead_time_days) FROM supplier_terms AS t"
        "  JOIN suppliers AS s ON s.id = t.supplier_id"
        "  WHERE t.sku_id = p.sku_id AND t.is_preferred), b.due, b.units FROM pairs AS p"
        f" LEFT JOIN ({_COMING}) AS b"
        " ON b.warehouse_id = p.warehouse_id AND b.sku_id = p.sku_id ORDER BY 1, 2, 5",
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in wanted)},
    )
    today = _today()
    supplies: dict[Pair, _Supply] = {}
    for warehouse_id, sku_id, waiting, lead_time, due, units in rows:
        fallback = None if lead_time is None else today + timedelta(days=lead_time)
        supply = supplies.setdefault((warehouse_id, sku_id), _Supply(int(waiting), fallback, []))
        if due is not None:
            supply.due.append((_expected(_date(due), today), int(units)))
    return supplies


def _expected(due: date, today: date) -> date:
    """Return when goods that were due are expected.

    What is late may stay away as long again, up to :data:`MOST_DELAY` days: so a customer hears of
    it now and then, not every day.
    """
    return due if due >= today else today + min(today - due, timedelta(days=MOST_DELAY))


def _waiting_lines(connection: Connection, pairs: Sequence[Pair]) -> list[_Line]:
    """Lock the orders that wait for ``pairs``; return their waiting lines, the oldest first."""
    wanted = {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in pairs)}
    source = (
        f"FROM ({rowset(connection, 'pairs', _PAIR)}) AS p"
        " JOIN order_lines AS l ON l.sku_id = p.sku_id AND l.backordered > 0"
        " JOIN orders AS o ON o.id = l.order_id AND o.warehouse_id = p.warehouse_id"
    )
    if clause := for_update(connection):
        execute(
            connection,
            f"SELECT id FROM orders WHERE id IN (SELECT o.id {source}) ORDER BY id {clause}",
            wanted,
        ).fetchall()
    rows = execute(
        connection,
        "SELECT l.id, l.order_id, o.warehouse_id, l.sku_id, l.backordered, l.promised_on"
        f" {source} ORDER BY o.placed_at, l.id",
        wanted,
    )
    return [
        _Line(row[0], row[1], (row[2], row[3]), row[4], _date(row[5]) if row[5] else None)
        for row in rows
    ]


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


def _date(value: Any) -> date:
    """Return a date that textual SQL selected: SQLite keeps it as text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
