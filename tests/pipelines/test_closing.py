"""Days that are over are written as files, one by one or many at once, and again the same."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines import closing
from pipelines.defs.common import DAILY_CLOSE
from pipelines.lib import closing as files
from tests.pipelines.world import World


def days(world: World) -> list[date]:
    """Return the days on which the shop sold, the first of them first."""
    rows = world.query("SELECT DISTINCT day FROM marts.orders_daily WHERE orders > 0 ORDER BY day")
    return [day for (day,) in rows]


def folder(world: World, day: date) -> Path:
    return world.home / "published" / "daily" / day.isoformat()


def closed(world: World, day: date) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(world, day) / "close.json").read_text("utf-8"))
    return found


def test_days_are_closed_in_one_run_and_are_what_the_marts_say(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    first, last = days(world)[0], days(world)[-1]
    with world.settings():
        assert closing.main([first.isoformat(), last.isoformat()]) == 0
        with dg.DagsterInstance.get() as instance:
            partitions = instance.get_materialized_partitions(dg.AssetKey(DAILY_CLOSE))
            assert len(instance.get_runs()) == 2  # the snapshot's, and this one
    known = {(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)}
    assert partitions == known
    for day in days(world):
        with (folder(world, day) / "orders_daily.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        [(orders, sales)] = world.query(
            f"SELECT sum(orders), sum(net_sales) FROM marts.orders_daily WHERE day = '{day}'"
        )
        assert sum(int(row["orders"]) for row in rows) == orders
        assert f"{sum(float(row['net_sales']) for row in rows):.2f}" == f"{sales:.2f}"
        told = closed(world, day)
        assert set(told["files"]) == set(files.MARTS)
        assert told["snapshot"] == world.snapshot.name
        assert told["restated"] == []


def test_a_day_that_is_closed_again_says_what_is_not_the_same(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    day = days(world)[0]
    with world.settings():
        assert closing.main([day.isoformat()]) == 0
        assert closing.main([day.isoformat()]) == 0
        assert closed(world, day)["restated"] == []
        payments = folder(world, day) / "payments_daily.csv"
        before = payments.read_text()
        told = folder(world, day) / "close.json"
        changed = closed(world, day)
        changed["files"]["payments_daily"]["sha256"] = "what it was before"
        told.write_text(json.dumps(changed))
        assert closing.main([day.isoformat()]) == 0
    assert closed(world, day)["restated"] == ["payments_daily"]
    assert payments.read_text() == before


def test_a_day_that_the_snapshot_does_not_have_whole_is_refused(
    shop_on_sqlite: World, tmp_path: Path
) -> None:
    world = shop_on_sqlite
    [(today,)] = world.query("SELECT business_date FROM meta.snapshot")
    with pytest.raises(files.NotOver, match=f"the newest snapshot is of {today}"):
        files.close(world.home / "published", today)
    assert not folder(world, today).exists()
    with pytest.raises(files.NotOver, match="nothing was published"):
        files.close(tmp_path, today)


@pytest.mark.parametrize(
    "asked", [["2019-12-31"], ["2999-01-01"], ["2026-01-02", "2026-01-01"]], ids=str
)
def test_days_that_cannot_be_closed_are_refused_by_name(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert closing.main(asked) == 2
    assert asked[-1] in capsys.readouterr().err
