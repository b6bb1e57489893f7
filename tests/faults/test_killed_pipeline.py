"""A run that is killed loses nothing and repeats nothing: the next one mends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from sqlalchemy.engine import Engine

from oms_ops.database import reading
from pipelines.lib import lake, landing
from tests.oms_ops.shop import Shop
from tests.pipelines.conftest import keep
from tests.pipelines.world import ROOT, World
from tests.proofs import only_at_length

#: Lands once, in a process that can be killed.
LAND = """
import sys
from pathlib import Path
from oms_ops.database import make_engine
from pipelines.lib import landing
landing.land(make_engine(sys.argv[1]), Path(sys.argv[2]), batch=20, least=int(sys.argv[3]))
"""


def _identities(folder: Path) -> list[tuple[int, int]]:
    return sorted(pl.read_parquet(folder / "*.parquet").select("epoch", "seq").rows())


@pytest.mark.parametrize("least", [landing.BACKLOG, 1])
@pytest.mark.parametrize("point", ["landing.before_rename", "landing.after_rename"])
def test_a_landing_killed_around_its_rename_lands_every_change_once(
    database: Engine, tmp_path: Path, point: str, least: int
) -> None:
    """Read from the log, or by the scanners, which may be some files ahead."""
    folder = tmp_path / "lake"
    shop = Shop(database)
    for number in range(1, 5):
        shop.stock(f"SKU-{number}", 10)
    url = database.url.render_as_string(hide_password=False)
    killed = subprocess.run(
        [sys.executable, "-c", LAND, url, str(folder), str(least)],
        env={**os.environ, "OMS_FAILPOINT": point},
        cwd=ROOT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    files = list(folder.glob("*.parquet"))
    assert len(files) == (0 if point == "landing.before_rename" else 1)
    if least > 1:
        assert len(list(folder.glob(".*.tmp"))) == (1 if point == "landing.before_rename" else 0)

    landing.land(database, folder, batch=20, least=least)
    with reading(database) as connection:
        rows = connection.exec_driver_sql("SELECT epoch, seq FROM change_log")
        changes = sorted(tuple(row) for row in rows)
    assert len(changes) > 20
    assert _identities(folder) == changes
    assert list(folder.glob(".*.tmp")) == []
    lake.verify_chain(lake.landed(folder))


#: Where a run can be killed, besides before and after each of its stages.
BETWEEN = (
    "landing.before_rename",
    "landing.after_rename",
    *(f"warehouse: {tenths} of 10 built" for tenths in range(11)),
    "publish.before_swap",
    "publish.after_swap",
    "status: begins",
    "status: ends",
)


@only_at_length
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_at_any_step_the_next_run_ends_as_an_undisturbed_one(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, restore = request.getfixturevalue(f"{kind}_world")
    monkeypatch.setenv("OMS_TIMEZONE", _where_the_day_begins())
    try:
        _kill_everywhere(world)
    finally:
        restore()


def _where_the_day_begins() -> str:
    """Return a time zone whose midnight was just now: marts of two days would differ."""
    hour = datetime.now(UTC).hour
    # Its sign is not that of the offset.
    return f"Etc/GMT{hour if hour <= 12 else hour - 24:+}"


def _kill_everywhere(world: World) -> None:
    # Built in that zone, so that the runs below are increments.
    world.publish()
    world.sell(10)
    again = keep(world.home, "sold")
    world.publish()
    undisturbed = world.marts()
    stages = [stage for (stage,) in world.query("SELECT stage FROM meta.stage_timings")]
    assert len(stages) >= 7
    points = [f"{stage}: {end}" for stage in (*stages, "publish") for end in ("begins", "ends")]
    for point in (*points, *BETWEEN):
        again()
        before = world.snapshot
        world.is_killed_at(point)
        # Readers have a whole snapshot at any moment: the one of before, or the new one.
        assert world.query("SELECT count(*) > 0 FROM marts.fct_orders") == [(True,)]
        swapped = point in ("publish.after_swap", "publish: ends") or point.startswith("status")
        assert (world.snapshot != before) == swapped, point
        world.publish()
        assert world.landed() == world.log(), point
        assert world.marts() == undisturbed, point
        assert world.status["state"] in ("published", "unchanged"), point
        assert leftovers(world) == [], point
    print(f"{len(points) + len(BETWEEN)} points")


def leftovers(world: World) -> list[Path]:
    """Return the half-written files of killed runs that are still there."""
    return [*world.home.glob("lake/**/.*.tmp"), *world.home.glob("published/.*.tmp")]


def test_a_run_after_a_killed_one_equals_an_undisturbed_run(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    world.sell(10)
    again = keep(world.home, "sold")
    world.publish()
    undisturbed = world.marts()
    again()

    good = world.snapshot
    content = good.read_bytes()
    world.is_killed_at("warehouse: 5 of 10 built")
    # Readers still have the whole snapshot of before.
    assert world.snapshot == good
    assert good.read_bytes() == content

    world.publish()
    assert world.landed() == world.log()
    assert world.marts() == undisturbed
    assert world.status["state"] == "published"
    with world.settings(), DagsterInstance.get() as instance:
        # The killed run does not stay open: the next one closes it.
        ends = Counter(run.status for run in instance.get_runs())
    assert ends == {DagsterRunStatus.SUCCESS: 2, DagsterRunStatus.FAILURE: 1}
    assert leftovers(world) == []
