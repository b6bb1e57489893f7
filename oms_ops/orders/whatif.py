"""What if the rules were others: replay a period's orders under both and compare. Read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_READ, RULES_READ, Actor
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import past, sites
from oms_ops.orders.past import Period
from oms_ops.orders.replay import Fate, Past, Replay, Sums, sums
from oms_ops.rules import store
from oms_ops.rules.document import Rules
from oms_ops.settings import settings

#: Orders that a comparison lists of those that change.
SAMPLE = 20


def what_if(
    connection: Connection,
    actor: Actor,
    changes: Any,
    *,
    month: str | None = None,
    days: int | None = None,
    may_split: bool | None = None,
    where: str = "",
) -> dict[str, Any]:
    """Compare the rules in force with ``changes`` over a period's orders, as JSON-ready data.

    ``changes`` is a document of rules; what it does not name stays as it is in force, inside its
    sections too (of ``routing``, say), while a list replaces the whole list. The period is
    a ``month`` of the shop (``2026-10``), the last ``days`` until now, or the last whole month.
    Both sides are priced by the changed rules' costs. ``may_split`` supposes that every order may
    (or may not) be split. ``where`` is the field that the changes were sent as.

    Raises:
        ValidationFailed: the rules or the period have bad fields.
        Conflict: there is no active warehouse.
    """
    actor.require(ORDERS_READ)
    actor.require(RULES_READ)
    current = store.current(connection).rules
    changed = _changed(current, changes, where)
    period = _period(month, days)
    places = sites.active(connection)
    if not places:
        raise Conflict(sites.NONE)
    happened = past.read(connection, places, period, may_split=may_split)
    before = Replay(happened, current).run()
    after = Replay(happened, changed).run()
    differing = [
        (old, new)
        for old, new in zip(before.fates.values(), after.fates.values(), strict=True)
        if (old.routed, old.refused) != (new.routed, new.refused)
    ]
    return {
        "from": period.start.isoformat(),
        "until": period.end.isoformat(),
        "currency": changed.base_currency,
        "before": _shown(sums(before, happened, changed)),
        "after": _shown(sums(after, happened, changed)),
        "orders_changed": len(differing),
        "sample": [_difference(happened, old, new) for old, new in differing[:SAMPLE]],
    }


def _changed(current: Rules, changes: Any, where: str) -> Rules:
    if not isinstance(changes, Mapping):
        fault = FieldError("rules", "not_an_object", "a document of rules")
        raise ValidationFailed("The rules have bad fields.", [fault])
    return store.parse(_merged(current.model_dump(mode="json"), changes), where)


def _merged(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``known`` with ``changes``; sections are merged entry by entry."""
    merged = dict(known)
    for name, value in changes.items():
        old = known.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(old, value)
        else:
            merged[name] = value
    return merged


def _period(month: str | None, days: int | None) -> Period:
    zone = settings().zone
    if days is not None:
        if month is not None or not 1 <= days <= 3660:
            message = "from 1 to 3660, and without a month"
            fault = FieldError("days", "out_of_range", message)
            raise ValidationFailed("The period has bad fields.", [fault])
        now = clock.now()
        return Period(sites.midnight(now - timedelta(days=days)), now)
    if month is None:
        today = clock.now().astimezone(zone).date()
        first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    else:
        first = _first_day(month)
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return Period(*(datetime.combine(day, time.min, zone) for day in (first, following)))


def _first_day(month: str) -> date:
    try:
        return datetime.strptime(month, "%Y-%m").date()  # noqa: DTZ007 - a day, not a moment
    except ValueError:
        fault = FieldError("month", "not_a_month", "a year and a month, as 2026-10")
        raise ValidationFailed("The period has bad fields.", [fault]) from None


def _shown(total: Sums) -> dict[str, Any]:
    shown = asdict(total)
    cost = shown.pop("cost_e4")
    # Cents, half up: what a person compares.
    return {**shown, "cost": f"{(cost + 50) // 10_000}.{(cost + 50) // 100 % 100:02d}"}


def _difference(happened: Past, old: Fate, new: Fate) -> dict[str, Any]:
    codes = {site.id: site.code for site in happened.sites}

    def side(fate: Fate) -> dict[str, Any]:
        return {
            "rule": "refused" if fate.refused else fate.routing.reason["rule"],
            "shipped": {codes[w]: units for w, units in sorted(fate.routed.items())},
            "backordered": fate.backordered,
        }

    return {"number": old.order.number, "before": side(old), "after": side(new)}
