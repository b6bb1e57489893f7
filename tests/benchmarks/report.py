"""What a run prints and keeps: figures beside what they are measured against, and the machine."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.clients import Measured

#: How people write the databases.
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class Aim:
    """What a ratio is to reach, or not to exceed."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        return f">= {self.least}" if self.least is not None else f"<= {self.most}"

    def met(self, ratio: float) -> bool:
        """Tell whether it is met, to the digits that are printed."""
        shown = round(ratio, 2)
        return shown >= self.least if self.least is not None else shown <= (self.most or 0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing, what it stands beside, and their ratio in each round."""

    section: str
    case: str
    ours: str
    beside: str = ""
    ratios: Sequence[float] = ()
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The median round's ratio."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def is_missed(self) -> bool:
        """Whether it has an aim and does not meet it."""
        return self.aim is not None and self.ratio is not None and not self.aim.met(self.ratio)


def rate(value: float) -> str:
    """Return a rate for people to read: three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(seconds: float, digits: int = 1) -> str:
    """Return a duration in milliseconds."""
    return f"{seconds * 1000:.{digits}f}"


def clients(count: int) -> str:
    """Return how many clients there are."""
    return f"{count} client{'s' if count > 1 else ''}"


def latencies(measured: Measured) -> str:
    """Return the median round's quantiles in milliseconds, for the note of a figure."""
    p50, p99 = (milliseconds(measured.quantile(share)) for share in (0.5, 0.99))
    return f"p50 {p50} p99 {p99}"


def compared(
    section: str, case: str, ours: Measured, name: str, other: Measured, aim: Aim | None
) -> Figure:
    """Return the figure of two sides that ran in turns: orders per second and latencies."""
    return Figure(
        section,
        case,
        f"{rate(ours.rate)}/s",
        f"{name} {rate(other.rate)}/s",
        ours.ratios(other),
        aim,
        f"{latencies(ours)} ms, {name} {latencies(other)} ms",
    )


_HEAD = ("Case", "Ours", "Beside", "Ratio", "Rounds", "Aim", "Met", "Note")


def _row(figure: Figure) -> tuple[str, ...]:
    ratio, aim = figure.ratio, figure.aim
    rounds = figure.ratios if len(figure.ratios) > 1 else ()
    return (
        figure.case,
        figure.ours,
        figure.beside,
        "" if ratio is None else f"{ratio:.2f}",
        f"{min(rounds):.2f}-{max(rounds):.2f}" if rounds else "",
        "" if aim is None else str(aim),
        "" if aim is None or ratio is None else "NO" if figure.is_missed else "yes",
        figure.note,
    )


def table(figures: Iterable[Figure]) -> str:
    """Return a Markdown table that also reads well as plain text."""
    rows = [_HEAD, *map(_row, figures)]
    used = [column for column in range(len(_HEAD)) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    lines = ["| " + " | ".join(row[column].ljust(widths[column]) for column in used) + " |"
             for row in rows]  # fmt: skip
    lines.insert(1, "|" + "|".join("-" * (widths[column] + 2) for column in used) + "|")
    return "\n".join(lines)


def machine(postgresql: str) -> str:
    """Describe what the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()}"
        f" {platform.release().split('-')[0]}; Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, PostgreSQL {postgresql or 'not used'},"
        f" SQLAlchemy {version('sqlalchemy')}, psycopg {version('psycopg')},"
        f" DuckDB {version('duckdb')}"
    )
