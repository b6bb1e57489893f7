"""Dagster's log of a run is cheap to write, and that ends with the run."""

from __future__ import annotations

from collections import defaultdict

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from pipelines import instance
from tests.conftest import administer, named


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


def _engines() -> dict[str, set[int]]:
    """Run a job; return the engines through which each file of its instance was reached."""
    found: dict[str, set[int]] = defaultdict(set)
    kept: list[Engine] = []

    def note(connection: Connection) -> None:
        found[str(connection.engine.url)].add(id(connection.engine))
        kept.append(connection.engine)  # or another may get its id

    with dg.DagsterInstance.get() as dagster:
        event.listen(Engine, "engine_connect", note)
        try:
            assert idle.execute_in_process(instance=dagster).success
        finally:
            event.remove(Engine, "engine_connect", note)
    return {url: engines for url, engines in found.items() if "/history/" in url}


def test_a_run_writes_each_file_of_its_log_through_one_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back afterwards
    instance.prepare()
    with instance.quick_log():
        quick = _engines()
    assert len(quick) >= 2
    assert {len(engines) for engines in quick.values()} == {1}
    assert max(len(engines) for engines in _engines().values()) > 1


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
