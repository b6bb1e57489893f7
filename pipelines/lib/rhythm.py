"""Whether yesterday and the silence since the newest order are as the shop's weeks let expect.

A day is held against the same weekday of the weeks before: the median, and the median absolute
deviation from it (MAD), which a single odd day hardly moves. "Far" is a modified z-score beyond 3.5
(Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993). Silence is held against the longest
gap between orders around the same hour of the same weekday, the worst of the weeks left aside.

Both only warn: a shop may have a day like no other. Neither judges before it knows enough weeks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import sqrt
from statistics import median
from zoneinfo import ZoneInfo

import duckdb

#: Weeks that are looked at, and how many of them there must be before anything is judged.
WEEKS, ENOUGH = 8, 5

#: From this modified z-score on a day is odd; 1.4826 MAD estimate a standard deviation.
FAR, NORMAL = 3.5, 1.4826

#: A deviation smaller than this share of the median is none, however even the weeks were.
LEAST_SPREAD = 0.1

#: Orders this long before and after an hour make its rhythm, and silence of a quarter is none.
AROUND, SHORT = timedelta(hours=1), timedelta(minutes=15)

#: Silence is odd from so many times the longest gap on.
LONGER = 1.5

MEASURES = ("orders", "units", "net_sales")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a measure was, and between what it should have been."""

    measure: str
    seen: float
    usual: float
    low: float
    high: float

    @property
    def is_usual(self) -> bool:
        """Whether it was within its bounds."""
        return self.low <= self.seen <= self.high

    def __str__(self) -> str:
        """Return both for people."""
        return (
            f"{self.measure.replace('_', ' ')} {self.seen:,.0f}, usually {self.usual:,.0f}"
            f" ({self.low:,.0f} to {self.high:,.0f})"
        )


def day(
    warehouse: duckdb.DuckDBPyConnection, last: date, weeks: int = WEEKS
) -> tuple[list[Reading], int]:
    """Return the readings of the day ``last`` and how many weeks they rest on; none if too few."""
    days = [last - timedelta(weeks=week) for week in range(weeks + 1)]
    sums = ", ".join(f"CAST(sum({measure}) AS DOUBLE)" for measure in MEASURES)
    rows = warehouse.execute(
        f"SELECT day, {sums} FROM marts.orders_daily WHERE list_contains(?, day) GROUP BY day",
        [days],
    ).fetchall()
    [(first,)] = warehouse.execute("SELECT min(ordered_on) FROM marts.fct_orders").fetchall()
    # A day on which nothing was sold has no row, and is a day like any other.
    found = {row[0]: row[1:] for row in rows}
    nothing = (0.0,) * len(MEASURES)
    known = [found.get(d, nothing) for d in days[1:] if first is not None and d >= first]
    if len(known) < ENOUGH:
        return [], len(known)
    orders = median(values[0] for values in known)
    # What comes one by one varies by the root of its number.
    floor = max(LEAST_SPREAD, 1 / sqrt(max(orders, 1)))
    seen = found.get(last, nothing)
    readings = [
        _reading(measure, seen[at], [values[at] for values in known], floor)
        for at, measure in enumerate(MEASURES)
    ]
    return readings, len(known)


def _reading(measure: str, seen: float, known: Sequence[float], floor: float) -> Reading:
    usual = median(known)
    deviation = NORMAL * median(abs(value - usual) for value in known)
    reach = FAR * max(deviation, floor * abs(usual), 1)
    low = usual - reach
    return Reading(measure, seen, usual, low if usual < 0 else max(low, 0), usual + reach)


@dataclass(frozen=True, slots=True)
class Silence:
    """How long ago the newest order came, and how long that may be at this hour."""

    age: timedelta
    usual: timedelta
    limit: timedelta
    weeks: int

    @property
    def is_usual(self) -> bool:
        """Whether it is no longer than may be."""
        return self.age <= self.limit

    def __str__(self) -> str:
        """Return it for people."""
        return (
            f"newest order {_span(self.age)} ago, at this hour usually at most"
            f" {_span(self.usual)} between two ({_span(self.limit)} before it is odd)"
        )


def orders(warehouse: duckdb.DuckDBPyConnection, until: datetime) -> list[float]:
    """Return the moments (seconds since 1970) of the orders that the rhythm at ``until`` is of."""
    since = until - timedelta(weeks=WEEKS + 1)
    rows = warehouse.execute(
        "SELECT epoch(placed_at) AS moment FROM marts.fct_orders"
        " WHERE placed_at BETWEEN to_timestamp(?) AND to_timestamp(?) ORDER BY moment",
        [since.timestamp(), until.timestamp()],
    ).fetchnumpy()
    moments: list[float] = rows["moment"].tolist()
    return moments


def silence(moments: Sequence[float], at: datetime, zone: ZoneInfo) -> Silence | None:
    """Return the silence at ``at`` after the last of ``moments``; None as long as little is known.

    ``moments`` are in order; what is later than ``at`` must not be among them.
    """
    if not moments:
        return None
    local = at.astimezone(zone)
    # The same time by the clock on the wall, also where the clock was changed since.
    gaps = [_longest_gap(moments, local - timedelta(weeks=week)) for week in range(1, WEEKS + 1)]
    known = sorted(gap for gap in gaps if gap is not None)
    if len(known) < ENOUGH:
        return None
    limit = max(LONGER * known[-2], SHORT.total_seconds())
    age = timedelta(seconds=at.timestamp() - moments[-1])
    return Silence(age, timedelta(seconds=median(known)), timedelta(seconds=limit), len(known))


def odd_from(moments: Sequence[float], at: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first hour after ``at``, within a week, when silence since then would be odd."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for later in range(1, 7 * 24 + 1):
        moment = hour + timedelta(hours=later)
        found = silence(moments, moment, zone)
        if found is not None and not found.is_usual:
            return moment
    return None


def _longest_gap(moments: Sequence[float], at: datetime) -> float | None:
    """Return the longest time between two orders around ``at``; None before the second order."""
    begin = bisect_right(moments, (at - AROUND).timestamp()) - 1
    end = bisect_left(moments, (at + AROUND).timestamp())
    if begin < 0 or end >= len(moments):
        return None
    return max(after - before for before, after in pairwise(moments[begin : end + 1]))


def _span(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"
