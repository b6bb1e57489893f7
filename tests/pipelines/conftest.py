from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.lib import counting
from tests.conftest import administer, copy_database, named
from tests.pipelines.world import World, open_shop

_numbers = itertools.count()

#: Puts a world back to where it was published first.
Restore = Callable[[], None]

_made: list[tuple[World, Restore]] = []


@pytest.fixture(scope="session")
def sqlite_world(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[World, Restore]:
    """Return a shop on SQLite that was published once; the tests of faults use the same one."""
    if not _made:
        home = tmp_path_factory.mktemp("world") / "home"
        home.mkdir()
        shutil.copyfile(sqlite_template, home / "oms.db")
        world = open_shop(home, f"sqlite:///{home / 'oms.db'}")
        world.publish()
        _made.append((world, keep(home)))
    return _made[0]


@pytest.fixture(scope="session")
def postgres_world(
    postgres_server: str, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[World, Restore]:
    """Return a shop on PostgreSQL that was published once."""
    name = f"world_{next(_numbers)}"
    copy_database(postgres_server, postgres_template, name)
    world = open_shop(tmp_path_factory.mktemp("world") / "home", named(postgres_server, name))
    world.publish()
    copy_database(postgres_server, name, f"{name}_kept")
    restore_home = keep(world.home)

    def restore() -> None:
        restore_home()
        administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")
        copy_database(postgres_server, f"{name}_kept", name)

    return world, restore


def keep(home: Path, name: str = "kept") -> Restore:
    """Copy a folder aside, as ``name``; return what puts it back in its place.

    In its place, because dbt parses everything again when a path of its profile changes.
    """
    kept = home.with_name(name)
    shutil.copytree(home, kept, symlinks=True)

    def restore() -> None:
        shutil.rmtree(home)
        shutil.copytree(kept, home, symlinks=True)

    return restore


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def _world(request: pytest.FixtureRequest) -> tuple[World, Restore]:
    found: tuple[World, Restore] = request.getfixturevalue(f"{request.param}_world")
    return found


@pytest.fixture
def published(_world: tuple[World, Restore]) -> World:
    """Return a shop that was published once, on SQLite and on PostgreSQL: to look at only."""
    return _world[0]


@pytest.fixture
def world(_world: tuple[World, Restore]) -> Iterator[World]:
    """Return a shop that was published once, to go on with; it is put back afterwards."""
    yield _world[0]
    _world[1]()


@pytest.fixture
def shop_on_sqlite(sqlite_world: tuple[World, Restore]) -> Iterator[World]:
    """Return a published shop to go on with, on SQLite only."""
    yield sqlite_world[0]
    sqlite_world[1]()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two ids in a part, and sum none that was not touched."""
    monkeypatch.setattr(counting, "PART", 2)
    monkeypatch.setattr(counting, "FEW", 0)
