"""Merging files changes nothing of what the lake says, whenever it is cut short."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.database import make_engine, transaction
from oms_ops.feed.reader import Cursor
from pipelines.lib import compaction, lake, landing, rebuilding
from pipelines.lib.compaction import compact
from tests.oms_ops.shop import Shop
from tests.pipelines.test_landing import add_customers, landed, log, rename
from tests.pipelines.test_replay import newest_rows
from tests.pipelines.world import World


@pytest.fixture
def engine(sqlite_url: str) -> Engine:
    return make_engine(sqlite_url)


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> Path:
    """Return a lake of many small files."""
    path = tmp_path / "changes"
    Shop(engine)
    landing.land(engine, path, batch=2)
    return path


def _content(folder: Path) -> pl.DataFrame:
    return pl.read_parquet([file.path for file in lake.landed(folder)]).sort("epoch", "seq")


def test_small_files_become_one_with_the_same_changes(engine: Engine, folder: Path) -> None:
    before, cursor = _content(folder), lake.cursor(folder)
    done = compact(folder, cursor, fan_in=2)
    assert (done.before, done.after) == (len(log(engine)) // 2 + len(log(engine)) % 2, 1)
    assert _content(folder).equals(before)
    assert lake.cursor(folder) == cursor
    lake.verify_chain(lake.landed(folder))
    with transaction(engine) as connection:
        add_customers(connection, "ann")
    assert landing.land(engine, folder).rows == 1
    assert sorted(landed(folder)) == sorted(log(engine))


def test_files_that_no_build_has_gone_through_stay(folder: Path) -> None:
    files = lake.landed(folder)
    done = compact(folder, files[-3].upto, fan_in=2)
    assert done.after == 1
    assert [file.path for file in lake.landed(folder)][1:] == [file.path for file in files[-2:]]


def test_files_stay_below_their_size_and_large_ones_are_left(folder: Path) -> None:
    before = _content(folder)
    compact(folder, lake.cursor(folder), large=8, fan_in=2)
    sizes = [pl.read_parquet(file.path).height for file in lake.landed(folder)]
    assert max(sizes) == 8
    assert _content(folder).equals(before)
    names = [file.path.name for file in lake.landed(folder)]
    compact(folder, lake.cursor(folder), large=8, fan_in=2)
    assert [file.path.name for file in lake.landed(folder)] == names


def test_a_merge_that_was_cut_short_repeats_and_loses_nothing(engine: Engine, folder: Path) -> None:
    before, cursor = _content(folder), lake.cursor(folder)

    def die(name: str) -> None:
        if name == "compaction.before_removal":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compaction, "reach", die)
        compact(folder, cursor, fan_in=2)
    # The merged file and its parts are both there: readers take the one, the next merge the others.
    assert len(lake.leftovers(folder)) > 5
    assert _content(folder).equals(before)
    lake.verify_chain(lake.landed(folder))
    with transaction(engine) as connection:
        add_customers(connection, "ann")
    landing.land(engine, folder)
    compact(folder, cursor)
    assert lake.leftovers(folder) == []
    assert sorted(landed(folder)) == sorted(log(engine))


def test_superseded_states_are_dropped_when_they_are_old_enough(
    engine: Engine, folder: Path
) -> None:
    with transaction(engine) as connection:
        add_customers(connection, "ann")
    for new in ("b", "c", "d"):
        with transaction(engine) as connection:
            rename(connection, "ann" if new == "b" else chr(ord(new) - 1), new)
    cursor = landing.land(engine, folder, batch=3).horizon.cursor
    rows = newest_rows(folder)
    recent = compact(folder, cursor, keep_since=clock.now() - timedelta(days=1))
    assert recent.dropped == 0
    dropped = compact(folder, cursor, keep_since=clock.now() + timedelta(days=1)).dropped
    # Of the four states of one row; the last change of a file stays, for the place in its name.
    assert dropped == 2
    assert newest_rows(folder) == rows
    assert lake.cursor(folder) == cursor
    lake.verify_chain(lake.landed(folder))


def test_increments_after_a_merge_equal_a_rebuild(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    folder = world.home / "lake" / "changes"
    with world.settings():
        files = lake.landed(folder)
        assert len(files) == 2
        warehouse = world.home / "warehouse" / "warehouse.duckdb"
        reached = rebuilding.processed_upto(warehouse)
        assert reached is not None
        assert reached.path.name == files[-1].path.name
        compact(folder, reached.upto, fan_in=2)
        assert len(lake.landed(folder)) == 1
        assert rebuilding.reason(warehouse, folder, clock.now().date()) is None
    world.sell(3)
    world.publish()
    increments = world.marts()
    assert world.landed() == world.log()
    assert "tests of all rows" in world.publish("--full-refresh")
    assert world.marts() == increments


def test_a_warehouse_older_than_a_merged_file_is_built_anew(shop_on_sqlite: World) -> None:
    """A warehouse that was put back from a backup would take the merged file for a known one."""
    world = shop_on_sqlite
    folder = world.home / "lake" / "changes"
    world.sell(2)
    engine = world.engine()
    with world.settings():
        landing.land(engine, folder)
        compact(folder, lake.cursor(folder), fan_in=2)
        warehouse = world.home / "warehouse" / "warehouse.duckdb"
        why = rebuilding.reason(warehouse, folder, clock.now().date())
    engine.dispose()
    assert why == "it is older than the merged files of the lake"
    world.publish()
    assert world.query("SELECT count(*) FROM marts.fct_orders") == [(22,)]
    assert lake.cursor(folder) > Cursor()
