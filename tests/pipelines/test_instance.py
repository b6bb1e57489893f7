"""Dagster's log of a run is cheap to write, and that ends with the run."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import dagster as dg
import psutil
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from pipelines import instance
from tests.conftest import administer, named


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


def _connections(runs: int) -> Counter[str]:
    """Run a job; return how often each file of its instance was opened."""
    found: Counter[str] = Counter()

    def note(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            found[Path(connection.execute("PRAGMA database_list").fetchone()[2]).name] += 1

    event.listen(Pool, "connect", note)
    try:
        with dg.DagsterInstance.get() as dagster:
            for _ in range(runs):
                assert idle.execute_in_process(instance=dagster).success
    finally:
        event.remove(Pool, "connect", note)
    return found


def _open_files(folder: Path) -> set[str]:
    """Return the databases below a folder that this process has open."""
    found = {Path(file.path) for file in psutil.Process().open_files()}
    return {path.name for path in found if path.suffix == ".db" and path.is_relative_to(folder)}


def test_a_run_opens_no_file_of_its_log_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back afterwards
    folder = instance.prepare()
    _connections(1)  # makes what an instance has but once
    runs = instance._FILES + 2
    with instance.quick_log():
        opened = _connections(runs)
        # Of many runs not each stays open, and what all of them write does.
        assert {"index.db", "runs.db"} < _open_files(folder)
        assert len(_open_files(folder)) <= instance._FILES
    assert len(opened) > runs
    # A second time where one statement is made while another is.
    assert max(opened.values()) <= 2
    assert _open_files(folder) == set()
    assert max(_connections(1).values()) > 5


def test_dagster_can_keep_its_store_in_postgresql(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    administer(postgres_server, "CREATE DATABASE dagster_store")
    url = named(postgres_server, "dagster_store")
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back afterwards
    monkeypatch.setenv(instance.STORE, url)
    with pytest.raises(SystemExit, match="psycopg2"):
        instance.prepare()
    url = url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv(instance.STORE, url)
    folder = instance.prepare()
    try:
        with instance.quick_log(), dg.DagsterInstance.get() as dagster:
            assert idle.execute_in_process(instance=dagster).success
            (run,) = dagster.get_runs()
            assert dagster.all_logs(run.run_id)
        assert not list(folder.rglob("*.db"))
        # Whoever reads the settings learns no password.
        assert url not in (folder / "dagster.yaml").read_text(encoding="utf-8")
    finally:
        administer(postgres_server, "DROP DATABASE dagster_store WITH (FORCE)")
