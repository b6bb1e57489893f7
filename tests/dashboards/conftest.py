"""A published snapshot for every test, and the page under test run in-process by AppTest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy.engine import Engine
from streamlit.testing.v1 import AppTest

from oms_ops.database import make_engine
from oms_ops.settings import settings
from tests.dashboards import operations, snapshot
from tests.dashboards.shop import Shop, trade

APP = Path(__file__).parents[2] / "dashboards" / "app.py"
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def simulated() -> Shop:
    """Return two months of trade that ended yesterday; read-only."""
    return trade(snapshot.yesterday())


@pytest.fixture(scope="session")
def snapshot_template(simulated: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a snapshot file to copy."""
    return snapshot.publish(tmp_path_factory.mktemp("template"), shop=simulated)


@pytest.fixture
def home(snapshot_template: Path) -> Path:
    """Return the test's OMS_HOME with the snapshot published in it."""
    folder = Path(os.environ["OMS_HOME"]) / "published"
    folder.mkdir(parents=True)
    shutil.copy(snapshot_template, folder)
    (folder / "current.duckdb").symlink_to(snapshot_template.name)
    snapshot.status(
        folder.parent, "published", run_id=snapshot.RUN_ID, snapshot=snapshot_template.name
    )
    return folder.parent


@pytest.fixture(scope="session")
def database_template(
    sqlite_template: Path, simulated: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return an operational database with the simulated shop's catalogue, to copy."""
    path = tmp_path_factory.mktemp("operations") / "oms.db"
    shutil.copy(sqlite_template, path)
    engine = make_engine(f"sqlite:///{path}")
    operations.lay(engine, simulated)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def database(home: Path, database_template: Path) -> Engine:
    """Return the operational database of the test's shop; the snapshot knows all of it."""
    shutil.copy(database_template, home / "oms.db")
    engine = make_engine(settings().url)
    with duckdb.connect(str((home / "published" / "current.duckdb").resolve())) as con:
        con.execute("UPDATE meta.snapshot SET cursor = ?", [operations.cursor(engine)])
    return engine


@pytest.fixture
def as_buyer(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Run the dashboards with a merchandiser's key; return the operational database."""
    monkeypatch.setenv("OMS_API_KEY", operations.key(database, "merchandiser", "mary"))
    return database


@pytest.fixture
def open_page(home: Path) -> Open:
    """Return a function that opens a page by its file's name and the values in its URL."""

    def opened(name: str = "overview", **values: Any) -> AppTest:
        page = AppTest.from_file(APP, default_timeout=60)
        if name != "overview":
            page.switch_page(f"app_pages/{name}.py")
        for key, value in values.items():
            page.query_params[key] = value
        page.run()
        assert not page.exception, page.exception[0].value
        return page

    return opened


def metrics(page: AppTest) -> dict[str, str]:
    """Return the page's cards: label to value."""
    return {card.label: card.value for card in page.metric}


def ask(home: Path, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of a question asked of the published snapshot directly."""
    path = str((home / "published" / "current.duckdb").resolve())
    with duckdb.connect(path, read_only=True) as con:
        return con.execute(sql, parameters or []).fetchall()


def change(home: Path, sql: str) -> None:
    """Change the published snapshot, before a page opens it."""
    path = str((home / "published" / "current.duckdb").resolve())
    with duckdb.connect(path) as con:
        con.execute(sql)
