"""What a run prints and keeps: a table of figures, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.clients import Measured

#: How people write the databases.
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing beside its yardstick; ``ratio`` is how it compares (text to print)."""

    section: str
    case: str
    ours: str
    yardstick: str = ""
    ratio: str = ""
    note: str = ""


def rate(value: float) -> str:
    """Return a rate for people to read: three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(seconds: float, digits: int = 1) -> str:
    """Return a duration in milliseconds."""
    return f"{seconds * 1000:.{digits}f}"


def spread(measured: Measured) -> str:
    """Return the latencies and the slowest and fastest round, for the note of a figure."""
    p50, p99 = (milliseconds(measured.quantile(share)) for share in (0.5, 0.99))
    return f"p50 {p50} p99 {p99} ms, {rate(min(measured.rates))}-{rate(max(measured.rates))}/s"


_HEAD = ("Section", "Case", "Ours", "Yardstick", "Ratio", "Note")


def table(figures: Iterable[Figure]) -> str:
    """Return a Markdown table that also reads well as plain text."""
    rows = [_HEAD, *((f.section, f.case, f.ours, f.yardstick, f.ratio, f.note) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
             for row in rows]  # fmt: skip
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine(postgresql: str) -> str:
    """Describe what the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()}"
        f" {platform.release().split('-')[0]}; Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, PostgreSQL {postgresql or 'not used'},"
        f" SQLAlchemy {version('sqlalchemy')}, psycopg {version('psycopg')},"
        f" DuckDB {version('duckdb')}. Load average at the end: {load:.1f}."
    )


_INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. The ratio is what to look at: both sides of it run in turns
in the same run on the same machine, and the figure is the median of the rounds. Absolute rates
depend on the machine and on what else it does.

- *Capture*: orders of three lines under one shop rule of every kind (price lists with breaks,
  taxes, shipping charges, cash rounding, channel reserve, holds, all routing criteria, low-stock
  thresholds), with idempotency key, payment and outbox message, uniform over 1,000 SKUs or all
  wanting one (hot), on preloaded and analysed tables over fresh connections. *hand* is the same
  order written with the bare driver, statement by statement: the same tables, rows, triggers and
  durability, its numbers known beforehand: no validation, pricing, routing and retries. *call* is
  that in one function of the server: the limit. SQLite, in the process itself, has no calls to
  save. The aim is 1.0 of hand, 0.5 of call, and a hot SKU at 0.7 of uniform. Clients are
  processes with an engine each: threads would share Python's lock and measure that instead.
- *HTTP*: the same orders through `oms serve` over kept connections, clients and server on the
  same cores; the aim is a p99 under 25 ms at 8 clients, who order as fast as they are answered.
- *Scale*: one capture with a thousand to a million orders in the database, in turns; the aim is
  flat.
- *Bulk*: 100,000 lines in batches of a day; the yardstick is the target of 20,000 lines/s.
- *Ingest*: change log to Parquet; the yardstick is DuckDB's own scanner copying the same rows,
  which sorts nothing, checks nothing and may lose what is in flight.
- *Pipeline*: `python -m pipelines.run` as a whole process, imports included.
"""


def write(path: Path, figures: Iterable[Figure], postgresql: str, seconds: float) -> None:
    """Keep the figures as a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    text = (
        f"{_INTRODUCTION}\n{table(figures)}\n\nMeasured on {day} in {seconds:.0f} s on:"
        f" {machine(postgresql)}\n"
    )
    path.write_text(text, encoding="utf-8")
