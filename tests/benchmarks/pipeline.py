"""Wall time of whole pipeline runs: the first, one without news, one after new orders."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from oms_ops.access.actor import SYSTEM
from oms_ops.database import make_engine, reading
from oms_ops.orders.capture import capture
from oms_ops.setup import init
from tests.benchmarks import databases
from tests.benchmarks.processes import process
from tests.benchmarks.report import Figure


def measure(*, demo: bool, new_orders: int) -> list[Figure]:
    """Run on the demo's history, or without it on a small made-up one."""
    with _shop(demo) as (home, history):
        runs = [("first run", _run(home)), ("no change", _run(home))]
        _orders(home, new_orders)
        runs.append((f"after {new_orders} new orders", _run(home)))
    first = runs[0][1]
    return [
        Figure("pipeline", f"SQLite, {history}: {case}", f"{took:.1f} s",
               "" if case == "first run" else "first run",
               [] if case == "first run" else [took / first])
        for case, took in runs
    ]  # fmt: skip


@contextmanager
def _shop(demo: bool) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="oms-bench-home-") as name:
        home = Path(name)
        if demo:
            process(home, _url(home), "oms_ops", "demo", "load")
            history = "demo history"
        else:
            engine = make_engine(_url(home))
            init(engine)
            databases.fill_catalogue(engine)
            databases.fill(engine, 3, 300)
            engine.dispose()
            history = "small history"
        yield home, history


def _run(home: Path) -> float:
    return process(home, _url(home), "pipelines.run").seconds


def _url(home: Path) -> str:
    return f"sqlite:///{home / 'oms.db'}"


def _orders(home: Path, count: int) -> None:
    """Capture orders of what is on the shelves, one by one, as a shop does."""
    engine = make_engine(_url(home))
    with reading(engine) as connection:
        codes = list(
            connection.scalars(
                sa.text(
                    "SELECT DISTINCT s.code FROM skus AS s"
                    " JOIN stock_levels AS l ON l.sku_id = s.id"
                    " WHERE s.is_active AND l.on_hand > l.allocated"
                )
            )
        )
    draw = random.Random(0)
    for _ in range(count):
        order = databases.submission(draw)
        order["lines"] = [{"sku": code, "quantity": 1} for code in draw.sample(codes, 3)]
        capture(engine, SYSTEM, {**order, "allow_backorder": True})
    engine.dispose()
