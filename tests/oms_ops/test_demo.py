"""The demo's history: true to its source to the cent, the same on every machine, resumable."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from oms_ops import clock
from oms_ops.database import make_engine, reading
from oms_ops.demo import load as loading
from oms_ops.demo import source
from oms_ops.demo.assumptions import between, chance
from oms_ops.reconcile import reconcile

pytestmark = pytest.mark.skipif(not source.available(), reason="the extra 'demo' is not installed")

TODAY = datetime(2026, 11, 23, 15, tzinfo=UTC)


def raw() -> pl.DataFrame:
    """Return the package's lines as they are."""
    return pl.read_parquet(source._folder() / "transactions.parquet")


def test_the_full_load_keeps_every_line_and_every_cent() -> None:
    history = source.read(full=True, today=TODAY.date(), timezone="America/New_York")
    assert len(history.lines) == 1_469_307
    net = (history.lines["unit_price_minor"] * history.lines["quantity"]).sum() - history.lines[
        "discount_minor"
    ].sum()
    assert net == (raw()["sales_value"] * 100).round(0).cast(pl.Int64).sum()
    assert history.lines["discount_minor"].min() >= 0
    assert history.lines["quantity"].min() == 1


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 200])
def test_the_default_slice_ends_yesterday_on_any_weekday(ahead: int) -> None:
    today = TODAY.date() + timedelta(days=ahead)
    history = source.read(full=False, today=today, timezone="America/New_York")
    assert history.last == today - timedelta(days=1)
    assert (history.last - history.first).days + 1 == source.WEEKS * 7
    assert len(history.lines) >= 100_000


def test_weekdays_and_hours_stay() -> None:
    history = source.read(full=True, today=TODAY.date(), timezone="America/New_York")
    before = raw()["transaction_timestamp"].sort()
    after = history.lines["placed_at"].sort().dt.replace_time_zone(None)
    assert ((after - before).dt.total_days().unique() % 7).to_list() == [0]


def test_chances_are_even_and_do_not_depend_on_the_machine() -> None:
    assert round(chance("cancel", 1), 6) == 0.199328
    rolls = [between("late by", f"PO-{10_000_000 + i}", 1, 7) for i in range(7_000)]
    assert all(850 < rolls.count(days) < 1_150 for days in range(1, 8))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the slice small: ten days would do, a slice is whole weeks."""
    monkeypatch.setattr(source, "WEEKS", 2)
    monkeypatch.setattr(source, "ASSORTMENT", 60)


def dump(path: Path) -> dict[str, list[Any]]:
    """Return every business row, without what is random by design."""
    engine = make_engine(f"sqlite:///{path}")
    rows: dict[str, list[Any]] = {}
    with reading(engine) as connection:
        for table in sa.inspect(connection).get_table_names():
            if table in ("change_log", "alembic_version", "locations"):
                continue
            found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1")).mappings()
            rows[table] = [{k: v for k, v in row.items() if k != "tracking_token"} for row in found]
    engine.dispose()
    return rows


@pytest.mark.parametrize(
    ("zone", "full", "later"),
    [("America/New_York", False, 3), ("Europe/Berlin", True, 1), ("UTC", True, 45)],
)
def test_a_resumed_load_keeps_its_calendar(zone: str, full: bool, later: int) -> None:
    began = source.read(full=full, today=TODAY.date(), timezone=zone)
    resumed = source.read(
        full=full, today=TODAY.date() + timedelta(days=later), timezone=zone, first=began.first
    )
    assert (resumed.first, resumed.last) == (began.first, began.last)
    assert resumed.lines["placed_at"].equals(began.lines["placed_at"])


@pytest.mark.usefixtures("small")
def test_a_load_that_was_cut_off_goes_on_as_if_it_had_not(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
    for path in (whole, cut):
        shutil.copyfile(sqlite_template, path)
    with clock.at(TODAY):
        engine = make_engine(f"sqlite:///{whole}")
        done = loading.load(engine)
        assert (done.days, done.rejected) == (14, 0)
        assert loading.load(engine).days == 0
        assert [finding for finding in reconcile(engine) if finding.count] == []

    class Cut(Exception):
        pass

    def cut_off(day: int, _: int) -> None:
        if day == 6:
            raise Cut

    engine = make_engine(f"sqlite:///{cut}")
    with clock.at(TODAY), pytest.raises(Cut):
        loading.load(engine, progress=cut_off)
    # Resumed on another day: the calendar of the first load holds.
    with clock.at(TODAY + timedelta(days=2)):
        assert loading.load(engine).days == 8
    assert dump(cut) == dump(whole)


@pytest.mark.usefixtures("small")
def test_there_is_life_in_it(database: sa.Engine) -> None:
    with clock.at(TODAY):
        loading.load(database)
    with reading(database) as connection:

        def statuses(table: str) -> set[str]:
            rows = connection.execute(sa.text(f"SELECT DISTINCT status FROM {table}"))
            return set(rows.scalars())

        assert statuses("orders") >= {"open", "closed", "cancelled"}
        assert statuses("shipments") >= {"allocated", "picked", "packed", "shipped", "delivered"}
        assert statuses("purchase_orders") >= {"sent", "closed"}
        assert statuses("tickets") >= {"waiting", "solved", "closed"}
        for table in ("feedback", "tickets WHERE rating IS NOT NULL"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")), table
        # History tells nobody.
        told = sa.text("SELECT count(*) FROM outbox_messages WHERE kind LIKE 'ticket%'")
        assert connection.scalar(told) == 0
        last = connection.scalar(sa.text("SELECT max(placed_at) FROM orders"))
        zone = "America/New_York"
    moment = datetime.fromisoformat(last) if isinstance(last, str) else last
    from zoneinfo import ZoneInfo

    assert moment.astimezone(ZoneInfo(zone)).date() == date(2026, 11, 22)
    assert [finding for finding in reconcile(database) if finding.count] == []
