"""What piled up lands through DuckDB's scanners as it would through the log's own statement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy.engine import Engine, make_url

from oms_ops.database import make_engine, transaction
from oms_ops.feed.reader import COLUMNS
from pipelines.lib import backlog, lake, landing
from pipelines.lib.parquet import ROW_GROUP
from tests.pipelines.test_landing import add_customers, in_flight, landed, log, rename


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "changes"


def test_a_large_backlog_lands_through_the_scanners_just_the_same(
    database: Engine, tmp_path: Path
) -> None:
    with transaction(database) as connection:
        add_customers(connection, *(f"c{number}" for number in range(40)), "d'ann \"\n\u00e9")
    with transaction(database) as connection:
        rename(connection, "c7", "\U0001f600")
        connection.exec_driver_sql("DELETE FROM customers WHERE name = 'c8'")
        # A moment that is none, which the screening then sets aside.
        nothing = "'soon'" if database.dialect.name == "sqlite" else "'infinity'"
        connection.exec_driver_sql(f"UPDATE change_log SET occurred_at = {nothing} WHERE seq = 9")
        connection.exec_driver_sql("UPDATE change_log SET changed_by = NULL WHERE seq = 10")
    scanned = landing.land(database, tmp_path / "scanned", batch=25, least=5)
    plain = landing.land(database, tmp_path / "plain", batch=25)
    assert len(scanned.files) == 2
    assert [file.path.name for file in scanned.files] == [file.path.name for file in plain.files]
    assert (scanned.rows, scanned.horizon.cursor) == (plain.rows, plain.horizon.cursor)
    assert scanned.horizon.totals == plain.horizon.totals
    for one, other in zip(scanned.files, plain.files, strict=True):
        assert pl.read_parquet(one.path).equals(pl.read_parquet(other.path))
    assert pl.read_parquet(tmp_path / "plain" / "*.parquet")["occurred_at"].null_count() == 1


def test_the_scanners_leave_what_is_in_flight(postgres_url: str, folder: Path) -> None:
    engine = make_engine(postgres_url)
    landing.land(engine, folder)
    with transaction(engine) as connection:
        add_customers(connection, *(f"c{number}" for number in range(5)))
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            add_customers(fast, *(f"f{number}" for number in range(5)))
        held = landing.land(engine, folder, batch=2, least=1)
        assert (held.rows, held.waiting) == (5, 5)
    landing.land(engine, folder, batch=2, least=1)
    assert sorted(landed(folder)) == sorted(log(engine))
    lake.verify_chain(lake.landed(folder))
    engine.dispose()


def test_a_scan_that_fails_leaves_a_lake_to_go_on_with(
    database: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(database) as connection:
        add_customers(connection, *(f"c{number}" for number in range(9)))
    whole, wrong = backlog.between_sql, iter([False])

    def damaged(*place: Any) -> str:
        return "SELECT nothing" if next(wrong, True) else whole(*place)

    monkeypatch.setattr(backlog, "between_sql", damaged)
    with pytest.raises(RuntimeError, match=r"(?s)scan of the change log failed.*nothing"):
        landing.land(database, folder, batch=3, least=1)
    monkeypatch.undo()
    assert len(landed(folder)) == 3
    landing.land(database, folder, batch=3, least=1)
    assert sorted(landed(folder)) == sorted(log(database))
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize("end", [[None], []], ids=["told", "being told"])
def test_a_scan_ends_with_the_landing_that_wants_it(
    sqlite_url: str, tmp_path: Path, end: list[None]
) -> None:
    """Else it would write on to files that the next landing has begun again."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    columns = ", ".join(f"i AS {name}" for name in COLUMNS)
    place = make_url(sqlite_url).database
    said = [
        {"kind": "sqlite", "place": place, "columns": COLUMNS, "row_group": ROW_GROUP},
        [f"{endless} SELECT {columns} FROM n", str(tmp_path / "file")],
        *end,
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "pipelines.lib.scan"], stdin=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    try:
        for line in said:
            print(json.dumps(line), file=child.stdin, flush=True)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=2)
        child.stdin.close()
        assert child.wait(timeout=10) == 1
    finally:
        child.kill()
