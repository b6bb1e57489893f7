"""Lines per second through the bulk path, in batches of a day."""

from __future__ import annotations

import time

from sqlalchemy.engine import Engine

from oms_ops.access.actor import SYSTEM
from oms_ops.database import run
from oms_ops.orders.bulk import capture_many
from tests.benchmarks import databases
from tests.benchmarks.report import NAMES, Aim, Figure, rate

#: Lines per second that a history load must reach on SQLite.
TARGET = 20_000


def measure(engine: Engine, *, lines: int, days: int) -> Figure:
    """Capture ``lines`` lines over ``days`` batches; making the frames is not counted."""
    took = 0.0
    written = 0
    for day in range(days):
        frames = databases.day_of_orders(day, lines // days)
        start = time.perf_counter()
        result = run(
            engine, lambda connection, frames=frames: capture_many(connection, SYSTEM, *frames)
        )
        took += time.perf_counter() - start
        written += result.lines
        if result.rejected:
            raise AssertionError(result.rejected[0])
    sqlite = engine.dialect.name == "sqlite"
    return Figure(
        "history",
        f"Bulk, {NAMES[engine.dialect.name]}, {written:,} lines in {days} batches",
        f"{rate(written / took)} lines/s",
        f"target {rate(TARGET)}" if sqlite else "",
        [written / took / TARGET] if sqlite else [],
        Aim(least=1.0) if sqlite else None,
    )
