"""A landing that others kept from the database for a moment is tried again, and nothing else is."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from pipelines.defs.capture import assets
from pipelines.lib import landing
from tests.pipelines.world import World

LOCKED = sa.exc.OperationalError("", {}, sqlite3.OperationalError("database is locked"))
BROKEN = sa.exc.OperationalError("", {}, sqlite3.OperationalError("no such table: change_log"))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return the errors that the next landings end with, each with one."""
    errors: list[Exception] = []
    land = landing.land

    def fail_first(*arguments: Any, **options: Any) -> landing.Landing:
        if errors:
            raise errors.pop(0)
        return land(*arguments, **options)

    monkeypatch.setattr(landing, "land", fail_first)
    monkeypatch.setattr(assets, "PAUSE_SECONDS", 0)
    return errors


def test_a_locked_database_is_asked_again_and_a_broken_one_is_not(
    shop_on_sqlite: World, failing: list[Exception]
) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    world.sell(1)
    # The third attempt finds something that time does not heal: there is no fourth.
    failing += [LOCKED, LOCKED, BROKEN, LOCKED]
    assert world.run()[0] == 1
    assert failing == [LOCKED]
    assert "no such table" in world.status["message"]
    with world.settings(), DagsterInstance.get() as instance:
        tags = instance.get_runs(limit=1)[0].tags
    assert tags["oms/asked_by"] == "command line"
    assert tags["oms/code"] == world.status["basis"]["code"]

    failing[:] = [LOCKED] * (assets.ATTEMPTS + 1)
    assert world.run()[0] == 1
    assert failing == []
    assert "locked" in world.status["message"]
    assert world.snapshot == good
