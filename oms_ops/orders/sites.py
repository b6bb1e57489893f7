"""The two ends of a shipment as routing knows them: warehouses that may ship, and destinations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import RULES_READ, Actor
from oms_ops.database import as_time, execute
from oms_ops.rules import store
from oms_ops.rules.document import RoutingRules
from oms_ops.settings import settings

#: Why nothing can be routed.
NONE = "There is no active warehouse."


class Site(NamedTuple):
    """A warehouse that may ship; ``open_today`` counts its shipments of today.

    ``open_today`` is known where a rule limits the day's shipments, 0 elsewhere.
    """

    id: int
    code: str
    region: str
    country: str
    rank: int
    latitude: float | None = None
    longitude: float | None = None
    open_today: int = 0


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an order goes; ``country`` is a code of two letters, ``region`` as addresses have it.

    Coordinates are degrees; without them the centre of the region or country stands for it.
    """

    country: str
    region: str | None
    latitude: float | None = None
    longitude: float | None = None


def overview(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return the active warehouses: place, the rule of each, and its shipments of today."""
    actor.require(RULES_READ)
    rules = store.current(connection).rules.routing
    today = open_today(connection)
    return [
        {
            "warehouse": site.code,
            "country": site.country,
            "region": site.region,
            "rank": site.rank,
            "latitude": site.latitude,
            "longitude": site.longitude,
            "shipments_today": today.get(site.id, 0),
            "rule": rule.model_dump(mode="json")
            if (rule := rules.warehouses.get(site.code))
            else None,
        }
        for site in active(connection)
    ]


def read(connection: Connection, rules: RoutingRules) -> list[Site]:
    """Return the active warehouses, with the day's shipments where ``rules`` look at them."""
    return with_open_today(connection, active(connection), rules)


def active(connection: Connection) -> list[Site]:
    """Return the active warehouses without the day's shipments."""
    rows = execute(
        connection,
        "SELECT id, code, region, country, rank, latitude, longitude FROM warehouses"
        " WHERE is_active ORDER BY id",
        {},
    )
    return [Site(*row) for row in rows]


def with_open_today(
    connection: Connection, sites: Sequence[Site], rules: RoutingRules
) -> list[Site]:
    """Return ``sites`` with their shipments of today, counted only if ``rules`` look at them."""
    if not rules.limits_days:
        return list(sites)
    counts = _counts(connection)
    return [site._replace(open_today=counts[site.id]) for site in sites]


#: Seconds for which a count of the day's shipments is trusted: it grows with the day, and a
#: warehouse that is a second's orders over its capacity packs them all the same.
_TRUSTED = 1.0


@dataclass(slots=True)
class _Today:
    begins: datetime
    ends: datetime
    until: float
    shipments: Counter[int]


_today: WeakKeyDictionary[Engine, _Today] = WeakKeyDictionary()


def _counts(connection: Connection) -> Counter[int]:
    known, now = _today.get(connection.engine), clock.now()
    if known is None or not known.begins <= now < known.ends or known.until < time.monotonic():
        # Midnights are the shop's own: the sum is of its wall clock, whatever its offset.
        begins = midnight(now)
        until = time.monotonic() + _TRUSTED
        known = _Today(begins, begins + timedelta(days=1), until, Counter(open_today(connection)))
        _today[connection.engine] = known
    return known.shipments


def opened(engine: Engine, warehouse_ids: Iterable[int]) -> None:
    """Note shipments that this process has just committed, until the day is counted again."""
    if (known := _today.get(engine)) is not None:
        known.shipments.update(warehouse_ids)


def open_today(connection: Connection) -> Mapping[int, int]:
    """Return per warehouse id the shipments allocated since the shop's midnight."""
    rows = execute(
        connection,
        "SELECT warehouse_id, count(*) FROM shipments"
        " WHERE warehouse_id IN (SELECT id FROM warehouses) AND allocated_at >= :midnight"
        " AND status <> 'cancelled' GROUP BY warehouse_id",
        {"midnight": as_time(connection, midnight(clock.now()))},
    )
    return {row[0]: row[1] for row in rows}


def midnight(moment: datetime) -> datetime:
    """Return the start of the shop's day that ``moment`` is in."""
    local = moment.astimezone(settings().zone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0)
