"""A snapshot appears whole, under a link that is swapped; readers are never disturbed."""

from __future__ import annotations

import os
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


def test_a_copy_that_fails_leaves_the_old_snapshot_current(warehouse: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    publishing.publish(warehouse, published, facts("a"), Journal("x"))
    with pytest.raises(duckdb.Error):
        publishing.publish(tmp_path / "missing.duckdb", published, facts("b"), Journal("x"))
    assert (published / "current.duckdb").resolve().name == "warehouse-a.duckdb"
    publishing.publish(warehouse, published, facts("c"), Journal("x"))
    assert list(published.glob(".*")) == []
