"""Wall time of whole pipeline runs: the first, one without news, one after new orders."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from oms_ops.access.actor import SYSTEM
from oms_ops.database import make_engine, reading
from oms_ops.orders.capture import capture
from oms_ops.setup import init
from tests.benchmarks import databases
from tests.benchmarks.report import Figure

_ROOT = Path(__file__).parents[2]


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
            _process(home, "oms_ops", "demo", "load")
            history = "demo history"
        else:
            engine = make_engine(f"sqlite:///{home / 'oms.db'}")
            init(engine)
            databases.fill_catalogue(engine)
            databases.fill(engine, 3, 300)
            engine.dispose()
            history = "small history"
        yield home, history


def _run(home: Path) -> float:
    start = time.perf_counter()
    _process(home, "pipelines.run")
    return time.perf_counter() - start


def _process(home: Path, *module: str) -> None:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
    done = subprocess.run(
        [sys.executable, "-m", *module],
        check=False,
        cwd=_ROOT,
        env={**settings, "OMS_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(module)}: {(done.stdout + done.stderr)[-2000:]}")


def _orders(home: Path, count: int) -> None:
    """Capture orders of what is on the shelves, one by one, as a shop does."""
    engine = make_engine(f"sqlite:///{home / 'oms.db'}")
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
