"""Only what is old and every reader has leaves the log; a new epoch shuts the old one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from oms_ops import clock
from oms_ops.cli import app
from oms_ops.database import make_engine, reading, run, transaction
from oms_ops.errors import Conflict, Forbidden
from oms_ops.feed import consumers, epoch, pruning
from oms_ops.feed.reader import START, Cursor, newest, read
from tests.oms_ops.shop import ADMIN, CLERK, Shop

WEEK = timedelta(days=7)


def _log(engine: Engine) -> list[Cursor]:
    with reading(engine) as connection:
        return [Cursor(*row[:3]) for row in read(connection, START, 1_000_000)]


def _note(engine: Engine, name: str, cursor: Cursor) -> None:
    run(engine, lambda connection: consumers.note(connection, name, cursor))


def _prune(engine: Engine, limit: int = pruning.BATCH) -> int:
    return run(engine, lambda c: pruning.prune(c, ADMIN, WEEK, limit=limit))


def test_what_the_slowest_reader_has_not_taken_stays(shop: Shop) -> None:
    whole = _log(shop.engine)
    _note(shop.engine, "lake", whole[-1])
    _note(shop.engine, "search", whole[4])
    assert _prune(shop.engine) == 0  # it is all of today
    with clock.at(clock.now() + 2 * WEEK):
        assert _prune(shop.engine) == 5
        assert _prune(shop.engine) == 0
    assert _log(shop.engine) == whole[5:]
    with reading(shop.engine) as connection:
        assert pruning.pruned_upto(connection) == whole[4]


def test_pruning_goes_on_in_small_transactions(shop: Shop) -> None:
    whole = _log(shop.engine)
    _note(shop.engine, "lake", whole[-1])
    with clock.at(clock.now() + 2 * WEEK):
        assert [_prune(shop.engine, 10), _prune(shop.engine, 10)] == [10, 10]
    assert _log(shop.engine) == whole[20:]


def test_a_log_that_nobody_reads_is_not_pruned(shop: Shop) -> None:
    with clock.at(clock.now() + 2 * WEEK), pytest.raises(Conflict, match="Nobody reads"):
        _prune(shop.engine)


def test_pruning_and_epochs_are_for_who_looks_after_the_feed(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: pruning.prune(c, CLERK, WEEK))
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: epoch.begin(c, CLERK))


def test_a_new_epoch_says_who_began_it_and_when(shop: Shop) -> None:
    assert run(shop.engine, lambda c: epoch.begin(c, ADMIN)) == 2
    [row] = shop.rows("SELECT epoch, changed_by, changed_at FROM feed_state")
    assert row[:2] == (2, ADMIN.name)
    assert row[2] is not None


def test_a_writer_who_waits_for_a_new_epoch_is_in_it(postgres_url: str) -> None:
    """No change of the old epoch may commit behind the first of the new: readers are past it."""
    engine = make_engine(postgres_url)
    Shop(engine)
    began = threading.Event()

    def rename() -> None:
        with transaction(engine) as connection:
            began.set()
            connection.execute(sa.text("UPDATE suppliers SET name = 'Late'"))

    writer = threading.Thread(target=rename)
    with transaction(engine) as connection:
        epoch.begin(connection, ADMIN)
        writer.start()
        began.wait()
        while not connection.exec_driver_sql(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'change_log'::regclass"
        ).scalar():
            pass
    writer.join()
    assert _log(engine)[-1].epoch == 2
    engine.dispose()


def test_the_horizon_does_not_hold_changes_of_an_earlier_epoch(postgres_url: str) -> None:
    """Restored into another server, the log has numbers of transactions that it never began."""
    engine = make_engine(postgres_url)
    Shop(engine)
    with transaction(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE change_log SET xid = (xid::text::bigint + 1000000000)::text::xid8"
        )
    assert _log(engine) == []
    run(engine, lambda c: epoch.begin(c, ADMIN))
    run(engine, lambda c: c.execute(sa.text("UPDATE suppliers SET name = 'New'")))
    log = _log(engine)
    with reading(engine) as connection:
        assert newest(connection) == log[-1]
    assert {cursor.epoch for cursor in log[:-1]} == {1}
    assert log[-1].epoch == 2
    engine.dispose()


def test_the_command_line_shows_readers_and_forgets_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oms_ops.cli._engine", lambda: shop.engine)
    whole = _log(shop.engine)
    _note(shop.engine, "search", whole[-3])
    oms = CliRunner()
    shown = oms.invoke(app, ["feed", "status"]).output
    assert f"search: at {whole[-3]}, 2 changes behind" in shown
    assert "epoch 2" in oms.invoke(app, ["feed", "new-epoch"]).output
    assert "0 changes deleted" in oms.invoke(app, ["feed", "prune", "--keep-days", "7"]).output
    assert "forgotten" in oms.invoke(app, ["feed", "forget", "search"]).output
    assert oms.invoke(app, ["feed", "forget", "search"]).exit_code != 0
