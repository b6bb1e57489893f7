"""The day by which an order is to be with its customer, by the shop's rules.

It is another day than ``promised_on``, on which goods that wait should come in: so many days
(handling and transit) after that, or after the day of the order where nothing waits. What delays
the goods moves it along; it is what deliveries are measured against. Days are the shop's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.rules.document import Rules, place_names
from oms_ops.settings import settings


def delivery_days(rules: Rules, channel: str, country: str, region: str | None) -> int | None:
    """Return the days from stock to the customer's door, None where no rule says."""
    places = place_names(country, region)
    for rule in rules.delivery:
        fits = not rule.places or any(place in rule.places for place in places)
        if fits and (not rule.channels or channel in rule.channels):
            return rule.handling_days + rule.transit_days
    return None


def deliver_by(
    days: int | None, placed_at: datetime, promised_on: date | None, *, unknown: bool = False
) -> date | None:
    """Return the day of an order; None without a rule, or where it is ``unknown`` when goods come.

    ``promised_on`` is the day of the last goods that wait, None where nothing does.
    """
    if days is None or unknown:
        return None
    begins = promised_on or placed_at.astimezone(settings().zone).date()
    return begins + timedelta(days=days)


def after_sql(connection: Connection, day: str) -> str:
    """Return SQL for the day of an order ``o`` whose goods come on ``day`` (SQL of a date)."""
    if connection.dialect.name == "sqlite":
        return f"date({day}, o.delivery_days || ' days')"
    return f"{day} + CAST(o.delivery_days AS integer)"


def amended(
    connection: Connection,
    rules: Rules,
    head: Mapping[str, Any],
    stamp: Mapping[str, Any],
    *,
    moves: bool,
    grows: bool,
) -> None:
    """Bring the day of an amended order up to date, whose columns are in ``head``.

    One that ``moves`` takes the days of where it goes now; units that were added today (``grows``)
    take no less than others that are ordered today.
    """
    row = execute(
        connection,
        "SELECT delivery_days, deliver_by FROM orders WHERE id = :id",
        {"id": head["id"]},
    ).fetchone()
    was = days = row[0]
    before = day = date.fromisoformat(str(row[1])) if row[1] else None
    if moves:
        place = (head["channel"], head["ship_country"], head["ship_region"])
        days = delivery_days(rules, *place)
        if day is not None:
            day = None if days is None else day + timedelta(days=days - was)
    if grows and day is not None and days is not None:
        day = max(day, deliver_by(days, clock.now(), None) or day)
    if (days, day) != (was, before):
        execute(
            connection,
            "UPDATE orders SET delivery_days = :days, deliver_by = :day, version = version + 1,"
            " changed_by = :actor, changed_at = :now WHERE id = :id",
            {**stamp, "days": days, "day": day and str(day), "id": head["id"]},
        )


def stop_waiting(connection: Connection, actor: Actor, order_ids: Iterable[int]) -> None:
    """Forget the promises of orders whose waiting units are all cancelled: the rest can leave.

    An order of which something came in as it was promised keeps its days. One that does not wait
    any more is to be there no later than what is ordered today. The orders' rows are locked.
    """
    rows = execute(
        connection,
        "SELECT o.id, o.delivery_days, o.deliver_by FROM orders AS o"
        f" WHERE o.id IN ({ids(connection, 'ids')}) AND o.status IN ('open', 'on_hold')"
        " AND NOT EXISTS (SELECT 1 FROM order_lines AS l WHERE l.order_id = o.id AND"
        "  (l.backordered > 0 OR (l.promised_on IS NOT NULL AND l.cancelled < l.quantity)))",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    changed = []
    for order_id, days, before in rows:
        day = deliver_by(days, clock.now(), None)
        if day is not None and before is not None:
            day = min(day, date.fromisoformat(str(before)))
        changed.append({"id": order_id, "day": str(day) if day else None})
    if changed:
        execute(
            connection,
            "UPDATE orders AS o SET promised_on = NULL, deliver_by = r.day,"
            " version = o.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', {'id': 'bigint', 'day': 'date'})}) AS r"
            " WHERE o.id = r.id",
            {
                "rows": as_rows(changed),
                "actor": actor.name,
                "now": as_time(connection, clock.now()),
            },
        )
