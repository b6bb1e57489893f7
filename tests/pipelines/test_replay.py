"""The lake can be made anew, in part or whole, and after a restore it follows the database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import SYSTEM
from oms_ops.database import make_engine, reading, run, transaction
from oms_ops.feed import consumers, epoch, pruning
from oms_ops.feed.entities import ENTITIES
from oms_ops.feed.reader import START, Cursor
from oms_ops.orders.capture import capture
from pipelines.lib import continuity, cutting, idle, lake, landing, past, replay
from pipelines.lib.files import Busy
from tests.conftest import administer, copy_database
from tests.oms_ops.shop import CLERK, Shop, order
from tests.pipelines.test_landing import (
    add_customers,
    customers,
    in_flight,
    landed,
    log,
    rename,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "changes"


def sell(engine: Engine, number: int) -> None:
    for each in range(number):
        capture(engine, CLERK, order((f"SKU-{each % 4 + 1}", 1), allow_backorder=True))


def newest_rows(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the newest landed payload of every row that is not deleted."""
    files = [file.path for file in lake.landed(folder)]
    frame = (
        pl.scan_parquet(files)
        .sort("epoch", "seq")
        .unique(["entity", "entity_id"], keep="last")
        .filter(pl.col("op") != "D")
        .collect()
    )
    return {
        (row["entity"], row["entity_id"]): json.loads(row["payload"])
        for row in frame.iter_rows(named=True)
    }


def prune_all(engine: Engine) -> None:
    with clock.at(clock.now() + timedelta(days=30)):
        run(engine, lambda c: pruning.prune(c, SYSTEM, timedelta(days=7)))


def test_a_replay_from_any_point_gives_the_same_lake(database: Engine, folder: Path) -> None:
    Shop(database)
    landing.land(database, folder, batch=20)
    sell(database, 3)
    whole = landing.land(database, folder, batch=20).horizon
    before = pl.read_parquet(folder / "*.parquet").sort("epoch", "seq")
    places = [Cursor(*row) for row in before.select("epoch", "xid", "seq").sort(pl.all()).rows()]
    for number, since in enumerate([START, places[0], places[29], places[-2], places[-1]], 1):
        again = replay.replay(database, folder, since).horizon
        assert (again.cursor, again.totals) == (whole.cursor, whole.totals)
        assert pl.read_parquet(folder / "*.parquet").sort("epoch", "seq").equals(before)
        lake.verify_chain(lake.landed(folder))
        assert past.number(folder) == number


def test_a_damaged_file_is_replaced_by_a_replay(database: Engine, folder: Path) -> None:
    Shop(database)
    landing.land(database, folder, batch=10)
    damaged = lake.landed(folder)[2]
    damaged.path.write_bytes(b"not any more")
    replay.replay(database, folder, damaged.after)
    assert sorted(landed(folder)) == sorted(log(database))


def test_a_replay_below_what_was_pruned_is_refused(database: Engine, folder: Path) -> None:
    Shop(database)
    landing.land(database, folder)
    prune_all(database)
    with pytest.raises(continuity.Broken, match=r"pipelines\.lake rebuild"):
        replay.replay(database, folder, START)
    assert landed(folder)


def test_landing_goes_on_after_the_log_was_pruned(database: Engine, folder: Path) -> None:
    Shop(database)
    landing.land(database, folder)
    prune_all(database)
    assert log(database) == set()
    assert not idle.anything_waits(database, folder)
    sell(database, 1)
    new = log(database)
    assert landing.land(database, folder).rows == len(new)
    lake.verify_chain(lake.landed(folder))


def test_a_lake_that_ends_before_the_log_begins_is_not_continued(
    database: Engine, folder: Path
) -> None:
    """Nothing is skipped in silence: the changes between are gone from both."""
    Shop(database)
    landing.land(database, folder)
    prune_all(database)
    shutil.rmtree(folder)
    assert idle.anything_waits(database, folder)
    with pytest.raises(continuity.Broken, match=r"pipelines\.lake rebuild"):
        landing.land(database, folder)


def test_a_lake_made_anew_has_every_row_as_the_database_has_it(
    database: Engine, folder: Path, tmp_path: Path
) -> None:
    Shop(database)
    sell(database, 5)
    with transaction(database) as connection:
        add_customers(connection, "ann", "dan")
    with transaction(database) as connection:
        connection.exec_driver_sql("DELETE FROM customers WHERE name = 'dan'")
    landing.land(database, folder)
    prune_all(database)
    sell(database, 2)
    with transaction(database) as connection:
        rename(connection, "ann", "anna")
    kept = landing.land(database, folder).horizon
    before = newest_rows(folder)

    again = replay.rebuild(database, tmp_path / "new" / "changes").horizon
    assert newest_rows(tmp_path / "new" / "changes") == before
    assert (again.cursor, again.totals) == (kept.cursor, kept.totals)
    assert len({entity for entity, _ in before}) > 5
    lake.verify_chain(lake.landed(tmp_path / "new" / "changes"))
    # It is a lake like any other: later changes follow.
    sell(database, 1)
    landing.land(database, tmp_path / "new" / "changes")
    landing.land(database, folder)
    assert newest_rows(tmp_path / "new" / "changes") == newest_rows(folder)


def test_a_lake_made_anew_has_the_secrets_of_nobody(database: Engine, folder: Path) -> None:
    Shop(database)
    sell(database, 1)
    landing.land(database, folder)
    prune_all(database)
    replay.rebuild(database, folder)
    orders = [row for (entity, _), row in newest_rows(folder).items() if entity == "orders"]
    assert orders
    assert all("tracking_token" not in row for row in orders)


def test_the_lake_that_was_there_is_kept_beside_the_new_one(database: Engine, folder: Path) -> None:
    Shop(database)
    landing.land(database, folder)
    names = {file.path.name for file in lake.landed(folder)}
    replay.rebuild(database, folder)
    assert {path.name for path in (folder.parent / "replaced-000001").iterdir()} == names


def test_nothing_is_pruned_that_a_lake_being_made_anew_needs(
    database: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shop(database)
    landing.land(database, folder)
    seen: list[consumers.Consumer] = []

    def look(*_: Any) -> int:
        with reading(database) as connection:
            seen.extend(consumers.listing(connection))
        return 0

    monkeypatch.setattr(replay, "_write_snapshot", look)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    replay.rebuild(database, folder)
    assert [reader.cursor for reader in seen] == [START]


def test_a_row_whose_landed_state_nobody_knows_is_waited_for(
    postgres_url: str, folder: Path
) -> None:
    """Changed behind an open transaction, its only state in the log is ahead of the lake."""
    engine = make_engine(postgres_url)
    with transaction(engine) as connection:
        add_customers(connection, "ann")
    landing.land(engine, folder)
    prune_all(engine)
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            rename(fast, "ann", "anna")
        with pytest.raises(Busy, match="stays open"):
            replay.rebuild(engine, folder, wait_seconds=0)
        assert customers(folder) == ["ann"]
    replay.rebuild(engine, folder)
    assert customers(folder) == ["anna", "slow"]
    engine.dispose()


def test_totals_hold_where_the_log_of_a_changed_row_was_pruned(
    postgres_url: str, folder: Path
) -> None:
    engine = make_engine(postgres_url)
    shop = Shop(engine)
    shop.stock("SKU-1", 50)
    sell(engine, 2)
    whole = landing.land(engine, folder).horizon
    prune_all(engine)
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            fast.exec_driver_sql("UPDATE orders SET gross_minor = 7, total_minor = 7")
        assert landing.land(engine, folder).horizon.totals == whole.totals
    done = landing.land(engine, folder).horizon
    assert done.totals["order_totals"] == 14 != whole.totals["order_totals"]
    engine.dispose()


class Backup:
    """A database that can be set back to how it was."""

    def __init__(self, database: Engine, tmp_path: Path, server: str) -> None:
        self.engine, self.server = database, server
        self.path = tmp_path / "backup"
        self.name = str(database.url.database)

    def take(self) -> None:
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copyfile(self.name, self.path)
            return
        self.engine.dispose()
        copy_database(self.server, self.name, f"{self.name}_backup")

    def restore(self) -> None:
        self.engine.dispose()
        if self.engine.dialect.name == "sqlite":
            for ending in ("", "-wal", "-shm"):
                Path(self.name + ending).unlink(missing_ok=True)
            shutil.copyfile(self.path, self.name)
            return
        administer(self.server, f"DROP DATABASE {self.name} WITH (FORCE)")
        administer(self.server, f"ALTER DATABASE {self.name}_backup RENAME TO {self.name}")


@pytest.fixture
def backup(database: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Backup]:
    server = ""
    if database.dialect.name == "postgresql":
        server = request.getfixturevalue("postgres_server")
    yield Backup(database, tmp_path, server)


def test_after_a_restore_the_lake_follows_the_database(
    database: Engine, folder: Path, backup: Backup
) -> None:
    Shop(database)
    sell(database, 3)
    landing.land(database, folder, batch=25)
    sell(database, 1)
    backup.take()
    sell(database, 2)
    with transaction(database) as connection:
        add_customers(connection, "undone")
    ahead = landing.land(database, folder, batch=25).horizon
    backup.restore()
    # Without a new epoch nothing lands, however little or much is new.
    assert idle.anything_waits(database, folder)
    with pytest.raises(continuity.Broken, match="oms feed new-epoch"):
        landing.land(database, folder)
    sell(database, 40)
    with pytest.raises(continuity.Broken, match="oms feed new-epoch"):
        landing.land(database, folder)

    run(database, lambda connection: epoch.begin(connection, SYSTEM))
    sell(database, 2)
    done = landing.land(database, folder, batch=25).horizon
    assert done.cursor.epoch == 2 > ahead.cursor.epoch
    assert sorted(landed(folder)) == sorted(log(database))
    assert "undone" not in customers(folder)
    with reading(database) as connection:
        rows = {
            (entity, key)
            for entity in ENTITIES
            for key in connection.exec_driver_sql(f"SELECT id FROM {entity}").scalars()
        }
    known = newest_rows(folder)
    # Locations of the world are laid before there are triggers.
    assert rows >= set(known)
    assert {entity for entity, _ in rows - set(known)} <= {"locations"}
    lake.verify_chain(lake.landed(folder))
    assert past.number(folder) == 1
    assert list(folder.parent.glob("undone-000002/*.parquet"))
    # Whatever is looked at once is not looked at again: the lake is in the new epoch.
    sell(database, 1)
    landing.land(database, folder)
    assert past.number(folder) == 1


def test_a_new_epoch_that_undid_nothing_takes_nothing_from_the_lake(
    database: Engine, folder: Path
) -> None:
    Shop(database)
    landing.land(database, folder)
    run(database, lambda connection: epoch.begin(connection, SYSTEM))
    sell(database, 1)
    landing.land(database, folder)
    assert sorted(landed(folder)) == sorted(log(database))
    assert past.number(folder) == 0


def _cut_short(module: Any, point: str, work: Callable[[], object]) -> None:
    """Run ``work`` until it reaches ``point``, and no further."""

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "reach", die)
        work()


def test_a_replay_that_was_cut_short_is_done_by_the_next_landing(
    database: Engine, folder: Path
) -> None:
    Shop(database)
    landing.land(database, folder, batch=10)
    before = pl.read_parquet(folder / "*.parquet").sort("epoch", "seq")
    middle = Cursor(*before.select("epoch", "xid", "seq").sort(pl.all()).row(14))
    _cut_short(cutting, "cut.before_removal", lambda: replay.replay(database, folder, middle))
    assert len(lake.leftovers(folder)) == 1
    landing.land(database, folder)
    lake.verify_chain(lake.landed(folder))
    files = [file.path for file in lake.landed(folder)]
    assert pl.read_parquet(files).sort("epoch", "seq").equals(before)
    # Whatever was built from the old files is built again.
    assert past.number(folder) == 1


def test_a_rebuild_that_was_cut_short_lands_nothing_until_it_is_done(
    database: Engine, folder: Path
) -> None:
    Shop(database)
    landing.land(database, folder)
    prune_all(database)
    sell(database, 1)
    _cut_short(replay, "rebuild.emptied", lambda: replay.rebuild(database, folder))
    with pytest.raises(continuity.Broken, match=r"pipelines\.lake rebuild"):
        landing.land(database, folder)
    replay.rebuild(database, folder)
    assert len(newest_rows(folder)) > len(log(database))
    assert list(folder.glob(".*.tmp")) == []
