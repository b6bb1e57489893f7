"""A snapshot appears whole, under a link that is swapped; readers are never disturbed."""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from pipelines.lib import publishing
from pipelines.lib.journal import Check, Journal, Stage
from pipelines.lib.quarantine import Entry

MOMENT = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)


def facts(run_id: str) -> publishing.Facts:
    return publishing.Facts(
        run_id, MOMENT, MOMENT, date(2026, 11, 22), "1:0:7", "USD", "America/New_York"
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA marts")
        connection.execute("CREATE TABLE marts.sales AS SELECT 1.50::DECIMAL(18, 2) AS net_sales")
        connection.execute("CREATE VIEW marts.twice AS SELECT 2 * net_sales AS n FROM marts.sales")
        connection.execute("CREATE SCHEMA staging")
        connection.execute("CREATE TABLE staging.secret AS SELECT 1 AS x")
    return path


def test_marts_are_copied_and_nothing_else(warehouse: Path, tmp_path: Path) -> None:
    journal = Journal("a")
    journal.checks.append(Check("adds_up", "marts/sales", "ERROR", passed=True, detail="fine"))
    journal.stages.append(Stage("capture", 1.5, 10, 10, 100))
    aside = Entry(1, 0, 7, "a.parquet", None, None, "U", "unknown table", MOMENT.isoformat())
    journal.quarantine = (aside,)
    made = publishing.publish(warehouse, tmp_path / "published", facts("a"), journal)
    assert made.rows == 2
    with duckdb.connect(tmp_path / "published" / "current.duckdb", read_only=True) as snapshot:
        tables = snapshot.execute(
            "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
        ).fetchall()
        assert tables == [
            ("marts", "sales"),
            ("marts", "twice"),
            ("meta", "check_results"),
            ("meta", "quarantine"),
            ("meta", "snapshot"),
            ("meta", "stage_timings"),
        ]
        assert snapshot.execute("SELECT * FROM meta.check_results").fetchall() == [
            ("adds_up", "marts/sales", "ERROR", True, "fine")
        ]
        assert snapshot.execute("SELECT * FROM meta.stage_timings").fetchall() == [
            ("capture", 1.5, 10, 10, 100)
        ]
        assert snapshot.execute(
            "SELECT epoch, seq, reason, decision, file FROM meta.quarantine"
        ).fetchall() == [(1, 7, "unknown table", "held", "a.parquet")]
        assert snapshot.execute(
            "SELECT list_id, CAST(as_of AS VARCHAR) LIKE '2026-11-22%', cursor FROM meta.snapshot"
        ).fetchall() == [("a", True, "1:0:7")]


def test_a_reader_goes_on_with_the_snapshot_it_opened(warehouse: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    publishing.publish(warehouse, published, facts("a"), Journal("x"))
    link = published / "current.duckdb"
    with duckdb.connect(link.resolve(), read_only=True) as reader:
        with duckdb.connect(warehouse) as connection:
            connection.execute("INSERT INTO marts.sales VALUES (2)")
        publishing.publish(warehouse, published, facts("b"), Journal("x"))
        assert reader.execute("SELECT count(*) FROM marts.sales").fetchall() == [(1,)]
    with duckdb.connect(link.resolve(), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM marts.sales").fetchall() == [(2,)]


def test_the_last_five_snapshots_are_kept(warehouse: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    for number, run in enumerate("abcdefg"):
        made = publishing.publish(warehouse, published, facts(run), Journal("x"))
        os.utime(made.path, ns=(number, number))
    names = sorted(path.name for path in published.glob("warehouse-*"))
    assert names == [f"warehouse-{run}.duckdb" for run in "cdefg"]
    assert (published / "current.duckdb").resolve().name == "warehouse-g.duckdb"


#: The build that a warehouse of the tests has gone through, by its number.
BUILD = "00000000-0000-0000-0000-00000000000"


def build(warehouse: Path, number: int, *, touched: str = "", is_full: bool = False) -> None:
    """Note a build after the one before it, which brings the touched days anew, as ``number``."""
    with duckdb.connect(warehouse) as connection:
        connection.execute(
            "CREATE SCHEMA IF NOT EXISTS intermediate;"
            "CREATE TABLE IF NOT EXISTS intermediate.builds"
            " (id UUID, before UUID, is_full BOOLEAN, begun_at TIMESTAMPTZ);"
            "CREATE TABLE IF NOT EXISTS marts.days (day VARCHAR, build INTEGER)"
        )
        connection.execute(
            "INSERT INTO intermediate.builds VALUES (?, ?, ?, make_timestamptz(?))",
            [f"{BUILD}{number}", f"{BUILD}{number - 1}", is_full, number],
        )
        connection.execute("CREATE OR REPLACE TABLE intermediate.touched (day VARCHAR)")
        for day in touched:
            connection.execute("INSERT INTO intermediate.touched VALUES (?)", [day])
        connection.execute(
            "DELETE FROM marts.days WHERE day IN (FROM intermediate.touched);"
            f"INSERT INTO marts.days SELECT day, {number} FROM intermediate.touched"
        )


def shown(published: Path) -> list[tuple[str, int]]:
    with duckdb.connect(published / "current.duckdb", read_only=True) as snapshot:
        found: list[tuple[str, int]] = snapshot.sql("FROM marts.days ORDER BY day").fetchall()
        return found


def publish_days(warehouse: Path, published: Path, run: str, **changes: date) -> None:
    told = dataclasses.replace(facts(run), **changes)
    keys = {"days": ("day", "touched")}
    publishing.publish(warehouse, published, told, Journal("x"), keys)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the snapshots that were copied as they were."""
    names: list[str] = []
    copy = shutil.copyfile

    def noted(source: Path, target: Path) -> Path:
        names.append(source.name)
        return copy(source, target)

    monkeypatch.setattr(publishing, "copyfile", noted)
    return names


def test_a_copy_of_the_last_snapshot_gets_what_the_build_touched(
    warehouse: Path, tmp_path: Path, copies: list[str]
) -> None:
    published = tmp_path / "published"
    build(warehouse, 1, touched="abc")
    publish_days(warehouse, published, "a")
    build(warehouse, 2, touched="bd")
    with duckdb.connect(warehouse) as connection:
        # A day that is over and has nothing any more.
        connection.execute("INSERT INTO intermediate.touched VALUES ('c')")
        connection.execute("DELETE FROM marts.days WHERE day = 'c'")
        connection.execute("UPDATE marts.sales SET net_sales = 7")
        connection.execute("DROP VIEW marts.twice")
    publish_days(warehouse, published, "b")
    assert copies == ["warehouse-a.duckdb"]
    assert shown(published) == [("a", 1), ("b", 2), ("d", 2)]
    with duckdb.connect(published / "current.duckdb", read_only=True) as snapshot:
        assert str(snapshot.sql("SELECT net_sales FROM marts.sales").fetchall()[0][0]) == "7.00"
        assert snapshot.sql("SELECT run_id FROM meta.snapshot").fetchall() == [("b",)]
        marts = snapshot.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'marts'")
        assert sorted(marts.fetchall()) == [("days",), ("sales",)]


def test_a_snapshot_that_has_not_seen_all_builds_is_made_whole(
    warehouse: Path, tmp_path: Path, copies: list[str]
) -> None:
    published = tmp_path / "published"
    build(warehouse, 1, touched="abc")
    publish_days(warehouse, published, "a")
    build(warehouse, 2, touched="a")  # and a check failed: nothing was published
    build(warehouse, 3, touched="b")
    publish_days(warehouse, published, "b")
    assert copies == []
    assert shown(published) == [("a", 2), ("b", 3), ("c", 1)]
    build(warehouse, 4, touched="c", is_full=True)
    publish_days(warehouse, published, "c")
    assert copies == []
    build(warehouse, 5, touched="c")
    publish_days(warehouse, published, "d", business_date=date(2026, 11, 23))
    assert copies == []
    assert shown(published) == [("a", 2), ("b", 3), ("c", 5)]


def test_a_mart_that_was_made_anew_is_copied_whole(
    warehouse: Path, tmp_path: Path, copies: list[str]
) -> None:
    published = tmp_path / "published"
    build(warehouse, 1, touched="abc")
    publish_days(warehouse, published, "a")
    build(warehouse, 2, touched="a")
    with duckdb.connect(warehouse) as connection:
        connection.execute("INSERT INTO marts.days VALUES ('z', 9)")
    publish_days(warehouse, published, "b")
    assert shown(published)[-1] == ("z", 9)
    build(warehouse, 3, touched="a")
    with duckdb.connect(warehouse) as connection:
        connection.execute("ALTER TABLE marts.days ADD COLUMN other INTEGER DEFAULT 4")
    publish_days(warehouse, published, "c")
    assert len(copies) == 2
    with duckdb.connect(published / "current.duckdb", read_only=True) as snapshot:
        assert snapshot.sql("SELECT sum(other) FROM marts.days").fetchall() == [(16,)]


def test_after_a_snapshot_of_an_older_release_a_whole_one_is_made(
    warehouse: Path, tmp_path: Path, copies: list[str]
) -> None:
    published = tmp_path / "published"
    build(warehouse, 1, touched="a")
    publish_days(warehouse, published, "a")
    with duckdb.connect((published / "current.duckdb").resolve()) as connection:
        connection.execute("ALTER TABLE meta.snapshot DROP COLUMN build")
    build(warehouse, 2, touched="b")
    publish_days(warehouse, published, "b")
    assert (copies, shown(published)) == ([], [("a", 1), ("b", 2)])


def test_a_copy_that_fails_leaves_the_old_snapshot_current(warehouse: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    publishing.publish(warehouse, published, facts("a"), Journal("x"))
    with pytest.raises(duckdb.Error):
        publishing.publish(tmp_path / "missing.duckdb", published, facts("b"), Journal("x"))
    assert (published / "current.duckdb").resolve().name == "warehouse-a.duckdb"
    publishing.publish(warehouse, published, facts("c"), Journal("x"))
    assert list(published.glob(".*")) == []
