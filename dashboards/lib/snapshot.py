"""Reads the published snapshot: one read-only DuckDB file that never changes once it is there.

Every cache is keyed by the file's real path, so a newly published snapshot needs no invalidation
and an old page keeps its own picture until its next rerun. Rows are aggregated in DuckDB; what
reaches Python is what the page draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import streamlit as st

from oms_ops.settings import settings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published snapshot and the facts about it that every page shows."""

    path: str
    run_id: str
    list_id: str
    published_at: datetime
    as_of: datetime
    list_as_of: datetime
    business_date: date
    cursor: str
    currency: str
    timezone: str
    first_day: date

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def last_full_day(self) -> date:
        """The newest shop day that was over when the snapshot was made: periods end there."""
        published_on = self.published_at.astimezone(self.zone).date()
        return min(self.business_date, published_on - timedelta(days=1))

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Return the rows of ``sql`` for drawing; decimals become floats."""
        return _frame(self.path, sql, tuple(parameters))

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the one row of ``sql``; decimals stay exact."""
        return _one(self.path, sql, tuple(parameters))

    def csv(self, sql: str, parameters: Sequence[Any], labels: dict[str, str]) -> bytes:
        """Return every row of ``sql`` as CSV with exact decimals and ``labels`` as headers."""
        return as_csv(_cursor(self.path).execute(sql, list(parameters)).to_arrow_table(), labels)


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the last pipeline run ended, whether or not it published."""

    state: str = "unknown"
    run_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""
    failed_checks: list[str] = field(default_factory=list)


def current() -> Snapshot | None:
    """Return the newest good snapshot, or None when nothing has been published yet."""
    link = settings().published / "current.duckdb"
    if not link.exists():
        return None
    import duckdb

    try:
        return _describe(str(link.resolve()))
    except duckdb.Error as error:
        st.error(
            f"The published snapshot `{link.resolve().name}` cannot be read: {error}. Run the"
            " pipeline once more (`make pipeline`) to publish another."
        )
        st.stop()


def last_run() -> LastRun:
    """Return the end of the last run from ``status.json``; unknown when there is none."""
    try:
        read = json.loads((settings().published / "status.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return LastRun()
    return LastRun(
        state=str(read.get("state", "unknown")),
        run_id=str(read.get("run_id") or ""),
        started_at=_moment(read.get("started_at")),
        finished_at=_moment(read.get("finished_at")),
        message=str(read.get("message") or ""),
        failed_checks=[str(name) for name in read.get("failed_checks") or []],
    )


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@st.cache_resource(max_entries=3, show_spinner=False)
def _connection(path: str) -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(path, read_only=True)


def _cursor(path: str) -> duckdb.DuckDBPyConnection:
    # Sessions run in threads; a DuckDB connection serves one at a time, its cursors do not.
    return _connection(path).cursor()


@st.cache_data(max_entries=3, show_spinner=False)
def _describe(path: str) -> Snapshot:
    # Times are read as microseconds: a timestamptz would need pytz on its way to Python.
    row = _one(
        path,
        "SELECT run_id, list_id, epoch_us(published_at) AS published_at, epoch_us(as_of) AS as_of,"
        # The list knows the stock up to the run's own look, later than the newest change.
        " coalesce((SELECT epoch_us(max(as_of)) FROM marts.reorder_lines), epoch_us(as_of))"
        " AS list_as_of, business_date, cursor, currency, timezone,"
        " coalesce((SELECT min(day) FROM marts.sales_daily), business_date) AS first_day"
        " FROM meta.snapshot",
        (),
    )
    for name in ("published_at", "as_of", "list_as_of"):
        row[name] = _EPOCH + timedelta(microseconds=row[name])
    return Snapshot(path=str(Path(path)), **row)


@st.cache_data(max_entries=400, show_spinner=False)
def _frame(path: str, sql: str, parameters: tuple[Any, ...]) -> pd.DataFrame:
    return _cursor(path).execute(sql, list(parameters)).df()


@st.cache_data(max_entries=400, show_spinner=False)
def _one(path: str, sql: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
    answer = _cursor(path).execute(sql, list(parameters))
    names = [column[0] for column in answer.description or ()]
    row = answer.fetchone()
    if row is None:
        raise LookupError("the query found no row")
    return dict(zip(names, row, strict=True))


def as_csv(table: pa.Table, labels: dict[str, str]) -> bytes:
    """Return ``table`` as CSV; text that a spreadsheet would run as a formula gets a quote mark."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    for index, column in enumerate(table.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            safe = pc.replace_substring_regex(table[index], r"^([=+\-@\t\r])", r"'\1")
            table = table.set_column(index, column.name, safe)
    table = table.rename_columns([labels.get(name, name) for name in table.column_names])
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def shown() -> tuple[Snapshot, LastRun]:
    """Return the snapshot and last run that this run of the script shows, chosen in ``app.py``."""
    return st.session_state["snapshot"], st.session_state["last_run"]
