"""What engineers type to look after the lake, and what looks by itself: files, failed runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from oms_ops import clock
from oms_ops.database import make_engine, reading
from oms_ops.settings import settings
from pipelines import ingest, lake, sensors
from pipelines.lib import alerts, status
from pipelines.lib.files import exclusive
from pipelines.lib.landing import land
from tests.oms_ops.shop import Shop
from tests.pipelines.world import World


@pytest.fixture
def world(tmp_path: Path, sqlite_template: Path) -> Iterator[World]:
    """Return a stocked shop of which some has landed; the code under test works in it."""
    shutil.copyfile(sqlite_template, tmp_path / "oms.db")
    made = World(tmp_path, f"sqlite:///{tmp_path / 'oms.db'}")
    engine = made.engine()
    Shop(engine).stock("SKU-1", 5)
    land(engine, tmp_path / "lake" / "changes")
    engine.dispose()
    with made.settings():
        yield made


def test_status_says_where_the_lake_ends_and_finds_a_hole(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lake.main(["status"]) == 0
    epoch, seq = world.log()[-1]
    told = capsys.readouterr().out
    assert "1 files" in told
    assert f"up to {epoch}:" in told
    assert told.rstrip().endswith(f":{seq}")
    world.sell(1)
    engine = world.engine()
    land(engine, world.home / "lake" / "changes")
    engine.dispose()
    first, _ = sorted((world.home / "lake" / "changes").glob("*.parquet"))
    first.unlink()
    assert lake.main(["status"]) == 1
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", [["rebuild"], ["replay"]])
def test_the_lake_is_made_again_as_the_log_has_it(
    world: World, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    world.sell(2)
    assert lake.main(command) == 0
    told = capsys.readouterr().out
    assert "changes landed" in told
    assert "builds the warehouse anew" in told
    assert {row for row in world.landed() if row[0]} <= set(world.log())
    assert world.landed()


def test_a_place_that_is_none_is_refused_in_a_sentence(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.landed()
    assert lake.main(["replay", "--from", "yesterday"]) == 1
    assert "yesterday" in capsys.readouterr().err
    assert world.landed() == before


def test_whoever_comes_second_waits_and_then_says_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with exclusive(world.home / "pipeline.lock", wait_seconds=0):
        assert lake.main(["--wait", "0", "tend"]) == 1
    assert capsys.readouterr().err
    assert lake.main(["tend"]) == 0
    assert "changes pruned" in capsys.readouterr().out


def test_without_a_database_it_is_said_what_to_do(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.home / "oms.db").unlink()
    assert lake.main(["rebuild"]) == 1
    assert "oms init" in capsys.readouterr().err
    assert not (world.home / "oms.db").exists()


def test_nothing_is_decided_that_is_not_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lake.main(["quarantine", "list"]) == 0
    assert "nothing is in quarantine" in capsys.readouterr().out
    assert lake.main(["quarantine", "release"]) == 1
    assert "EPOCH:SEQ" in capsys.readouterr().err
    assert lake.main(["quarantine", "drop", "1:x"]) == 1


def test_the_same_files_ask_once_and_ask_again_when_they_are_written_anew(world: World) -> None:
    def asked() -> str | None:
        found = ingest.dropped_files(dg.build_sensor_context())
        return found.run_key if isinstance(found, dg.RunRequest) else None

    assert asked() is None
    place = settings().dropped / "stock-counts"
    place.mkdir(parents=True)
    (place / "unfinished.part").write_text("warehouse")
    assert asked() is None
    counts = place / "today.csv"
    counts.write_text("warehouse,location,sku,units\nATL,ATL-STORAGE,SKU-1,7\n")
    first = asked()
    assert first
    assert asked() == first
    counts.write_text("warehouse,location,sku,units\nATL,ATL-STORAGE,SKU-1,8\n")
    assert asked() not in (None, first)


def test_the_job_takes_what_waits_and_nothing_is_left_to_ask_for(world: World) -> None:
    place = settings().dropped / "stock-counts"
    place.mkdir(parents=True)
    (place / "today.csv").write_text(
        "warehouse,location,sku,units\nATL,ATL-STORAGE,SKU-1,7\nATL,ATL-STORAGE,NONE,1\n"
    )
    assert ingest.ingest.execute_in_process().success
    engine = make_engine(world.url)
    with reading(engine) as connection:
        taken = connection.exec_driver_sql(
            "SELECT r.fate FROM import_rows AS r ORDER BY r.row_no"
        ).fetchall()
    engine.dispose()
    assert [row[0] for row in taken] == ["record", "rejected"]
    assert isinstance(ingest.dropped_files(dg.build_sensor_context()), dg.SkipReason)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what people are told, by mail or otherwise."""
    found: list[str] = []
    monkeypatch.setattr(alerts, "tell", lambda _log, subject, body: found.append(subject + body))
    return found


@contextmanager
def failed_run() -> Iterator[dg.RunFailureSensorContext]:
    """Let a run fail; give what the sensor gets of it."""

    @dg.op
    def fails() -> None:
        raise RuntimeError("no more")

    @dg.job
    def failing() -> None:
        fails()

    with dg.DagsterInstance.ephemeral() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        yield dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()


@pytest.mark.parametrize("told_later", [False, True])
@pytest.mark.usefixtures("world")
def test_a_run_that_could_not_tell_of_itself_is_told_of(
    sent: list[str], monkeypatch: pytest.MonkeyPatch, *, told_later: bool
) -> None:
    """A killed process says nothing; the sensor does, unless a later run has said how it stands."""
    with failed_run() as context:
        if told_later:
            status.failed(settings().published, "later", clock.now() + timedelta(hours=1), "other")
        # As of a process that was killed: no step could say that it failed.
        monkeypatch.setattr(type(context), "get_step_failure_events", lambda _: [])
        sensors.failed_runs(context)
    run_id = context.dagster_run.run_id
    told = json.loads((settings().published / "status.json").read_text())
    assert told["state"] == "failed"
    assert told["run_id"] == ("later" if told_later else run_id)
    assert len(sent) == 1
    assert run_id in sent[0]


@pytest.mark.usefixtures("world")
def test_a_run_that_told_of_itself_is_not_told_of_twice(sent: list[str]) -> None:
    with failed_run() as context:
        sensors.failed_runs(context)
    assert sent == []
    assert not (settings().published / "status.json").exists()
