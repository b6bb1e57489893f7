"""The Dagster instance below ``OMS_HOME``: its settings, its log, and runs that were cut short."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from oms_ops.settings import settings
from pipelines.lib.files import replace_text

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: The variable that holds the URL of a PostgreSQL database for Dagster's own store; without, it is
#: SQLite files in the instance's folder. The settings name the variable: the password stays out.
STORE = "OMS_DAGSTER_DATABASE_URL"
_DRIVER = "postgresql+psycopg2://"
_STORAGE = f"""
storage:
  postgres:
    postgres_url:
      env: {STORE}
"""
#: Marks runs that live in a command's own process, and names that process.
PROCESS = "oms/process"


def prepare() -> Path:
    """Create ``$OMS_HOME/dagster`` with its settings, and make it this process's instance."""
    folder = settings().home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (Path(__file__).parent / "dagster.yaml").read_text(encoding="utf-8")
    if url := os.environ.get(STORE):
        if not url.startswith(_DRIVER):
            raise SystemExit(f"{STORE} has to begin with {_DRIVER}, for that is Dagster's driver")
        wanted += _STORAGE
    path = folder / "dagster.yaml"
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        replace_text(path, wanted)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


@contextmanager
def quick_log() -> Iterator[None]:
    """Make Dagster's event log cheap to write for the length of the block.

    A run logs some three hundred events, and Dagster opens and closes a connection for each: every
    commit is then an fsync, and every close, being the last, a checkpoint with two more. Here one
    connection a file stays open, and a commit waits for no disk. The log stays whole if the process
    dies; a power cut may cost its last lines, and no figure of the shop.

    Dagster makes an engine for each, too, which knows of no statement how it was compiled: a third
    of a small run's time. Here it gets the same one again for the same file.
    """
    folder = os.environ.get("DAGSTER_HOME")
    if folder is None or _quick.locked():
        yield
        return
    kept: dict[str, sqlite3.Connection] = {}

    def relax(connection: Any, _: Any) -> None:
        if _file(connection, folder):
            connection.execute("PRAGMA synchronous = NORMAL")

    def keep_one(connection: Any, _: Any) -> None:
        path = _file(connection, folder)
        if path and path not in kept:
            kept[path] = connections.enter_context(
                closing(sqlite3.connect(path, timeout=30, check_same_thread=False))
            )
            # A connection counts from its first read on.
            kept[path].execute("SELECT count(*) FROM sqlite_master").fetchone()

    with _quick, _same_engines(), ExitStack() as connections:
        event.listen(Pool, "connect", relax)
        event.listen(Pool, "close", keep_one)
        try:
            yield
        finally:
            event.remove(Pool, "connect", relax)
            event.remove(Pool, "close", keep_one)


_quick = threading.Lock()


@contextmanager
def _same_engines() -> Iterator[None]:
    """Let Dagster's storages have one engine for each file for the length of the block."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage

    storages: tuple[Any, ...] = (sqlite_event_log, sqlite_run_storage)
    make = storages[0].create_engine
    made: dict[str, Engine] = {}

    def engine(url: str, **options: Any) -> Engine:
        return made.get(url) or made.setdefault(url, make(url, **options))

    for storage in storages:
        storage.create_engine = engine
    try:
        yield
    finally:
        for storage in storages:
            storage.create_engine = make


def _file(connection: Any, folder: str) -> str | None:
    """Return the file of an SQLite connection if it lies in ``folder``."""
    if not isinstance(connection, sqlite3.Connection):
        return None
    path: str = connection.execute("PRAGMA database_list").fetchone()[2]
    return path if path.startswith(f"{folder}/") else None


def close_abandoned(instance: DagsterInstance) -> int:
    """Mark runs as failed whose process is gone; return how many there were.

    The daemon watches over runs that it started itself, not over those of a killed command.
    """
    from dagster import DagsterRunStatus, RunsFilter

    under_way = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
    closed = 0
    for run in instance.get_runs(under_way):
        process = run.tags.get(PROCESS)
        if process is not None and not Path("/proc", process).exists():
            instance.report_run_failed(run, f"Process {process} ended without closing the run.")
            closed += 1
    return closed
