"""A bad change is set aside with its reason, the others go on, and it comes back when mended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from oms_ops.database import reading, transaction
from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines import lake as command
from pipelines.lib import alerts, compaction, lake, past, quarantine
from pipelines.lib.parquet import SCHEMA, with_moments
from tests.pipelines.world import World
from tests.proofs import only_at_length

WARNING = "lake/changes: landed_changes"


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts of the alerts that are sent."""
    sent: list[str] = []
    monkeypatch.setattr(alerts, "send", lambda subject, body: sent.append(f"{subject}: {body}"))
    return sent


def log(world: World, entity: str, row: int, payload: str, version: int = 2) -> int:
    """Write to the change log what no trigger would have; return its number."""
    engine = world.engine()
    with transaction(engine) as connection:
        done = connection.exec_driver_sql(
            "INSERT INTO change_log (epoch, entity, entity_id, op, version, payload, changed_by,"
            f" occurred_at) VALUES (1, '{entity}', {row}, 'U', {version}, ?, 'gremlin',"
            " '2026-11-01T10:00:00.000000Z') RETURNING seq",
            (payload,),
        )
        seq = int(done.scalar_one())
    engine.dispose()
    return seq


def mend(world: World, seq: int, payload: str) -> None:
    """Correct a change in the log itself."""
    engine = world.engine()
    with transaction(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE change_log SET payload = ? WHERE seq = ?", (payload, seq)
        )
    engine.dispose()


def newest(world: World, entity: str, row: int) -> tuple[int, str]:
    """Return number and payload of the newest change of a row."""
    engine = world.engine()
    with reading(engine) as connection:
        found = connection.exec_driver_sql(
            "SELECT seq, payload FROM change_log WHERE entity = ? AND entity_id = ?"
            " ORDER BY seq DESC LIMIT 1",
            (entity, row),
        ).one()
    engine.dispose()
    return int(found[0]), str(found[1])


def lake_command(world: World, *arguments: str) -> int:
    with world.settings():
        return command.main(list(arguments))


def names(world: World) -> list[str]:
    rows = world.query("SELECT sku_name FROM marts.dim_skus WHERE sku_id <= 2 ORDER BY sku_id")
    return [name for (name,) in rows]


@only_at_length
def test_a_bad_change_is_set_aside_and_comes_back_when_it_is_mended_or_released(
    shop_on_sqlite: World, mails: list[str]
) -> None:
    world = shop_on_sqlite
    before = names(world)
    first, second = (json.loads(newest(world, "skus", row)[1]) for row in (1, 2))
    world.sell(2)
    broken = log(world, "skus", 1, "{not json")
    odd = log(world, "skus", 2, json.dumps(second | {"name": "Odd"}), version=0)
    gremlin = log(world, "gremlins", 7, "{}")
    world.sell(1)
    world.publish()
    # The lake is still a copy of the log, and all the others are published.
    assert world.landed() == world.log()
    assert world.query("SELECT count(*) FROM marts.fct_orders") == [(23,)]
    assert world.query("SELECT bool_and(is_reconciled) FROM marts.reconciliation") == [(True,)]
    assert names(world) == before
    aside = world.query(
        "SELECT seq, entity, entity_id, reason, file FROM meta.quarantine ORDER BY seq"
    )
    assert [row[:-1] for row in aside] == [
        (broken, "skus", 1, "payload is no JSON object"),
        (odd, "skus", 2, "version below 1"),
        (gremlin, "gremlins", 7, "unknown table"),
    ]
    assert all((world.home / "lake" / "changes" / row[-1]).exists() for row in aside)
    assert world.query(
        "SELECT severity, detail LIKE '3 in quarantine (1 payload is no JSON object, 1 unknown%'"
        " FROM meta.check_results WHERE NOT passed"
    ) == [("WARN", True)]
    assert world.status["warnings"] == [WARNING]
    assert len(mails) == 1
    assert f"1:{broken} (U skus 1), payload is no JSON object" in mails[0]

    # It still warns, and nobody gets the same mail again.
    world.sell(1)
    world.publish()
    assert "unchanged" in world.publish()
    assert world.status["warnings"] == [WARNING]
    assert len(mails) == 1

    # One is mended in the log and landed again, one is let in as it is, one is of no use.
    mend(world, broken, json.dumps(first | {"name": "Renamed"}))
    assert lake_command(world, "replay", "--from", f"1:0:{broken - 1}") == 0
    assert lake_command(world, "quarantine", "release", f"1:{odd}") == 0
    assert lake_command(world, "quarantine", "drop", f"1:{gremlin}") == 0
    world.publish()
    assert names(world) == ["Renamed", "Odd"]
    assert world.status["warnings"] == []
    assert world.query("SELECT seq, decision FROM meta.quarantine ORDER BY seq") == [
        (odd, "released"),
        (gremlin, "dropped"),
    ]
    # An increment after it, and the whole lake at once, are alike.
    world.sell(1)
    world.publish()
    ours = world.marts()
    world.publish("--full-refresh")
    assert world.marts() == ours


def test_a_change_that_the_figures_need_blocks_until_it_is_mended(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    world.sell(1)
    engine = world.engine()
    with reading(engine) as connection:
        row = connection.exec_driver_sql("SELECT max(id) FROM orders").scalar_one()
    engine.dispose()
    seq, payload = newest(world, "orders", row)
    mend(world, seq, "lost")
    assert world.run()[0] == 1
    assert world.status["failed_checks"] == ["marts/reconciliation: to_the_cent"]
    assert world.snapshot == good
    mend(world, seq, payload)
    assert lake_command(world, "replay", "--from", f"1:0:{seq - 1}") == 0
    world.publish()
    assert world.status["warnings"] == []
    assert world.query("SELECT count(*) FROM marts.fct_orders") == [(21,)]


GOOD = {
    "epoch": 1, "xid": 0, "seq": 1, "entity": "skus", "entity_id": 5, "op": "U", "version": 1,
    "payload": "{}", "changed_by": "ann", "occurred_at": "2026-01-01T00:00:00.000000Z",
}  # fmt: skip


def write(folder: Path, *changes: dict[str, object], after: int = 0) -> Path:
    """Write a file of the lake with changes; return it."""
    folder.mkdir(exist_ok=True)
    rows = [GOOD | change for change in changes]
    upto = max(int(str(row["seq"])) for row in rows)
    path = folder / lake.file_name(Cursor(1, 0, after) if after else Cursor(), Cursor(1, 0, upto))
    with_moments(pl.DataFrame(rows, schema=SCHEMA)).write_parquet(path)
    return path


BAD = {"seq": 2, "payload": "lost"}


def test_the_past_is_new_only_where_the_warehouse_would_be_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, {}, BAD, {"seq": 3})
    sorted_once = quarantine.sort(tmp_path, [path], Cursor())
    assert (sorted_once.entered, sorted_once.returned) == (1, 0)
    assert past.number(tmp_path) == 0
    # Looked at again, alone or with a new batch, it is no news and stays.
    again = quarantine.sort(tmp_path, [path], Cursor())
    assert (again.entered, again.returned, again.held) == (0, 0, sorted_once.held)
    later = write(tmp_path, {"seq": 4}, after=3)
    assert len(quarantine.sort(tmp_path, [later], Cursor(1, 0, 3)).held) == 1
    assert past.number(tmp_path) == 0

    quarantine.decide(tmp_path, [(1, 2)], "dropped", "ann")
    assert past.number(tmp_path) == 0
    assert quarantine.sort(tmp_path, [], Cursor()).held == ()
    quarantine.decide(tmp_path, [(1, 2)], "released", "ann")
    assert past.number(tmp_path) == 1
    assert quarantine.sort(tmp_path, [path], Cursor()).held == ()

    write(tmp_path, {}, {"seq": 2}, {"seq": 3})
    assert quarantine.sort(tmp_path, [], Cursor()).entries == ()
    assert past.number(tmp_path) == 1


def test_a_mended_change_makes_the_past_new(tmp_path: Path) -> None:
    quarantine.sort(tmp_path, [write(tmp_path, {}, BAD, {"seq": 3})], Cursor())
    write(tmp_path, {}, {"seq": 2}, {"seq": 3})
    assert quarantine.sort(tmp_path, [], Cursor()).returned == 1
    assert past.number(tmp_path) == 1


def test_what_was_built_from_and_is_bad_makes_the_past_new(tmp_path: Path) -> None:
    path = write(tmp_path, {}, BAD)
    quarantine.sort(tmp_path, [path], Cursor(1, 0, 2))
    assert past.number(tmp_path) == 1


def test_of_two_changes_with_one_number_neither_is_believed(tmp_path: Path) -> None:
    path = write(tmp_path, {"payload": '{"a": 1}'}, {"payload": '{"a": 2}'}, {"seq": 2})
    [entry] = quarantine.sort(tmp_path, [path], Cursor()).held
    assert (entry.seq, entry.reason) == (1, "two changes with one number")


def test_upkeep_keeps_what_is_set_aside_and_what_stands_for_it(tmp_path: Path) -> None:
    twice = ({"seq": 3, "entity_id": 9}, {"seq": 3, "entity_id": 10})
    files = [write(tmp_path, {}), write(tmp_path, BAD, *twice, after=1)]
    quarantine.sort(tmp_path, files, Cursor())
    before = pl.read_parquet(files).sort("seq", "entity_id")
    done = compaction.compact(
        tmp_path, Cursor(1, 0, 3), fan_in=2, keep_since=datetime.now(UTC) - timedelta(days=1)
    )
    assert (done.after, done.dropped) == (1, 0)
    after = pl.read_parquet([file.path for file in lake.landed(tmp_path)])
    assert after.sort("seq", "entity_id").equals(before)
    # Both are found in the merged file.
    assert len(quarantine.sort(tmp_path, [], Cursor()).held) == 2


def test_a_person_sees_what_is_set_aside_and_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMS_HOME", str(tmp_path))
    settings.cache_clear()
    folder = tmp_path / "lake" / "changes"
    folder.parent.mkdir()
    assert command.main(["quarantine", "list"]) == 0
    assert capsys.readouterr().out == "nothing is in quarantine\n"
    path = write(folder, {}, BAD, {"seq": 3, "version": 0})
    quarantine.sort(folder, [path], Cursor())
    assert command.main(["quarantine", "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"1:2 (U skus 5), payload is no JSON object, in {path.name}, since 2")
    assert second.startswith("1:3 (U skus 5), version below 1, in ")

    assert command.main(["quarantine", "drop", "1:2"]) == 0
    assert command.main(["quarantine", "release", "--all"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in told] == ["dropped: 1:2", "released: 1:3"]
    assert [entry.decision for entry in quarantine.load(folder)] == ["dropped", "released"]
    assert all(entry.decided_by for entry in quarantine.load(folder))
    for wrong in (["release", "1:1"], ["drop"], ["drop", "first"]):
        assert command.main(["quarantine", *wrong]) == 1
    refused = capsys.readouterr().err.splitlines()
    assert refused[0] == "not in quarantine: 1:1"
    assert "--all" in refused[1]
    assert refused[2].startswith("first names no change")
    settings.cache_clear()


def test_a_moment_that_is_none_lands_and_is_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path, {}, {"seq": 2, "occurred_at": "yesterday"})
    [entry] = quarantine.sort(tmp_path, [path], Cursor()).held
    assert (entry.seq, entry.reason) == (2, "no moment")
