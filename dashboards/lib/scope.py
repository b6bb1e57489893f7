"""The scope of a page: period and filters, held in the URL so that a view can be shared.

The keys of the widgets are the names in the URL and the same on every page: a scope chosen on one
page goes along to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import streamlit as st

from dashboards.lib import formats
from dashboards.lib.snapshot import Snapshot

#: Named periods and their days; they end on the last full day. None stands for all days.
PERIODS: dict[str, int | None] = {"7 days": 7, "28 days": 28, "13 weeks": 91, "All days": None}
CUSTOM = "Custom"
DEFAULT_PERIOD = "28 days"
_WIDTH = 165


@dataclass(frozen=True, slots=True)
class Period:
    """Days from ``start`` to ``end``, both in; ``before`` is the equal period before, if whole."""

    start: date
    end: date
    before: tuple[date, date] | None = None

    @property
    def days(self) -> int:
        """The number of days in the period."""
        return (self.end - self.start).days + 1

    def text(self) -> str:
        """Return the period and what it is compared with, in words."""
        said = f"{formats.span(self.start, self.end)} ({formats.plural(self.days, 'day')})"
        if self.before:
            return f"{said}, compared with {formats.span(*self.before)}"
        return f"{said}; no earlier period of that length to compare with"


@dataclass(frozen=True, slots=True)
class Scope:
    """A period and the values to keep; None keeps everything."""

    period: Period
    department: str | None = None
    category: str | None = None
    warehouse: str | None = None
    channel: str | None = None

    def where(
        self,
        day: str | None = "day",
        *,
        fields: Sequence[str] = ("department", "category", "warehouse", "channel"),
        period: tuple[date, date] | None = None,
    ) -> tuple[str, list[Any]]:
        """Return a SQL condition on a ``day`` column and ``fields``, and its parameters.

        ``period`` replaces the scope's own days; ``day=None`` leaves the days out.
        """
        parts: list[str] = ["true"]
        values: list[Any] = []
        if day is not None:
            parts.append(f"{day} BETWEEN ? AND ?")
            values.extend(period or (self.period.start, self.period.end))
        for field in fields:
            value = getattr(self, field)
            if value is not None:
                parts.append(f"{field} = ?")
                values.append(value)
        return " AND ".join(parts), values

    def text(self) -> str:
        """Return the scope in words, for the line under the filters."""
        chosen = (self.department, self.category, self.warehouse, self.channel)
        return " · ".join([self.period.text(), *(value for value in chosen if value)])


def resolve(snapshot: Snapshot, name: str, dates: Sequence[date] = ()) -> Period:
    """Return the days of a named period, or of ``dates`` when the name is ``Custom``."""
    last = snapshot.last_full_day
    if name == CUSTOM and len(dates) == 2:
        start, end = dates
    elif (days := PERIODS.get(name, PERIODS[DEFAULT_PERIOD])) is not None:
        start, end = last - timedelta(days=days - 1), last
    else:
        start, end = snapshot.first_day, snapshot.business_date
    start = max(start, snapshot.first_day)
    length = (end - start).days + 1
    before = (start - timedelta(days=length), start - timedelta(days=1))
    whole = before[0] >= snapshot.first_day
    return Period(start, end, before if whole else None)


def choose(snapshot: Snapshot, *fields: str) -> Scope:
    """Draw the widgets of ``fields`` (``period``, ``department``, ...) and return what they say."""
    chosen: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        period = _period(snapshot) if "period" in fields else resolve(snapshot, DEFAULT_PERIOD)
        for field in fields:
            if field != "period":
                chosen[field] = pick(field, options(snapshot, field, chosen.get("department")))
    return Scope(period, **chosen)


def pick(
    field: str, values: Sequence[str], label: str | None = None, placeholder: str = "All"
) -> str | None:
    """Draw one filter whose value lives in the URL as ``field``; None means all."""
    label = label or field.capitalize()
    # A value that the list no longer holds (another department was chosen) is dropped.
    if st.session_state.get(field) not in (None, *values):
        st.session_state[field] = None
    return st.selectbox(
        label, values, index=None, key=field, bind="query-params", width=_WIDTH,
        placeholder=placeholder, filter_mode="contains",
    )  # fmt: skip


def _period(snapshot: Snapshot) -> Period:
    name = st.selectbox(
        "Period", [*PERIODS, CUSTOM], index=list(PERIODS).index(DEFAULT_PERIOD), key="period",
        bind="query-params", width=_WIDTH,
        help="Periods end on the last full day; 'All days' includes the business date so far.",
    )  # fmt: skip
    dates: Any = ()
    if name == CUSTOM:
        default = resolve(snapshot, DEFAULT_PERIOD)
        dates = st.date_input(
            "Days", (default.start, default.end), min_value=snapshot.first_day,
            max_value=snapshot.business_date, key="days", bind="query-params", width=220,
            format="DD/MM/YYYY",
        )  # fmt: skip
    return resolve(snapshot, name, dates)


def options(snapshot: Snapshot, field: str, department: str | None = None) -> list[str]:
    """Return the values that a filter offers."""
    if field == "category":
        rows = snapshot.frame(
            "SELECT DISTINCT category AS value FROM marts.sales_daily"
            " WHERE ? IS NULL OR department = ? ORDER BY 1",
            [department, department],
        )
    else:
        table = {"department": "sales_daily", "channel": "sales_daily",
                 "warehouse": "dim_warehouses"}[field]  # fmt: skip
        rows = snapshot.frame(f"SELECT DISTINCT {field} AS value FROM marts.{table} ORDER BY 1")
    return [str(value) for value in rows["value"]]
