"""A shop with its whole pipeline in a folder of its own, to run for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.database import make_engine, reading
from oms_ops.orders.capture import capture
from oms_ops.settings import settings
from pipelines import run
from pipelines.lib import landing
from tests.oms_ops.shop import CLERK, Shop, order

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class World:
    """An ``OMS_HOME`` and the URL of its database."""

    home: Path
    url: str

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run the pipeline in this process; return the exit code and what it printed."""
        with self.settings(), redirect_stdout(StringIO()) as printed:
            code = run.main(list(arguments))
        return code, printed.getvalue()

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Make this world the one that the code under test works in."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMS_HOME", str(self.home))
            patch.setenv("OMS_DATABASE_URL", self.url)
            patch.setenv("DAGSTER_HOME", str(self.home / "dagster"))
            settings.cache_clear()
            yield
        settings.cache_clear()

    def run_in_child(
        self, failpoint: str = "", *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m pipelines.run`` to its end, whatever that is.

        The time zone is the one of this process: a test may have set it.
        """
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("OMS_") or name == "OMS_TIMEZONE"
            },
            "OMS_HOME": str(self.home),
            "OMS_DATABASE_URL": self.url,
            "OMS_FAILPOINT": failpoint,
        }
        return subprocess.run(
            [sys.executable, "-m", "pipelines.run", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def publish(self, *arguments: str) -> str:
        """Run the pipeline, which must succeed; return what it said."""
        code, printed = self.run(*arguments)
        assert code == 0, printed
        return printed

    def is_killed_at(self, failpoint: str) -> None:
        """Run the pipeline until it dies by SIGKILL at ``failpoint``."""
        done = self.run_in_child(failpoint)
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr

    @property
    def status(self) -> dict[str, Any]:
        """What ``status.json`` says."""
        content = (self.home / "published" / "status.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(content)
        return found

    @property
    def snapshot(self) -> Path:
        """The file that readers open."""
        return (self.home / "published" / "current.duckdb").resolve(strict=True)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the published snapshot."""
        with duckdb.connect(self.snapshot, read_only=True) as connection:
            return connection.execute(statement).fetchall()

    def landed(self) -> list[tuple[int, int]]:
        """Return the identity of every landed change, repeats included, in order."""
        files = f"{self.home}/lake/changes/*.parquet"
        return duckdb.sql(f"SELECT epoch, seq FROM '{files}' ORDER BY ALL").fetchall()

    def engine(self) -> Engine:
        """Return an engine on the operational database."""
        return make_engine(self.url)

    def log(self) -> list[tuple[int, int]]:
        """Return the identity of every committed change, in order."""
        engine = self.engine()
        with reading(engine) as connection:
            rows = connection.exec_driver_sql("SELECT epoch, seq FROM change_log ORDER BY 1, 2")
            found = [tuple(row) for row in rows]
        engine.dispose()
        return found

    def sell(self, orders: int, first: int = 0) -> None:
        """Capture orders, some of them for more than there is."""
        engine = self.engine()
        for number in range(first, first + orders):
            sku = f"SKU-{number % 4 + 1}"
            capture(engine, CLERK, order((sku, number % 3 + 1), allow_backorder=True))
        engine.dispose()

    def marts(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the content of every mart, without what names the run that made it."""
        found = {}
        tables = self.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"
        )
        for (table,) in sorted(tables):
            hidden = "EXCLUDE (list_id, as_of)" if table == "reorder_lines" else ""
            found[table] = self.query(
                f"SELECT CAST(COLUMNS(* {hidden}) AS VARCHAR) FROM marts.{table} ORDER BY ALL"
            )
        return found


def open_shop(home: Path, url: str) -> World:
    """Lay a small shop's foundation, stock it, and sell for ten days until yesterday: 20 orders.

    The foundation has landed; the orders land in a file of their own.
    """
    home.mkdir(parents=True, exist_ok=True)
    world = World(home, url)
    engine = make_engine(url)
    now = clock.now()
    with clock.at(now - timedelta(days=11)):
        shop = Shop(engine)
        for number in range(1, 5):
            shop.stock(f"SKU-{number}", 5 * number)
    landing.land(engine, home / "lake" / "changes")
    engine.dispose()
    for days in range(10, 0, -1):
        with clock.at(now - timedelta(days=days)):
            world.sell(2, first=2 * days)
    return world
