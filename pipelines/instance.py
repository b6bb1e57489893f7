"""The Dagster instance below ``OMS_HOME``: its settings, its log, and runs that were cut short."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool

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

    A run logs some six hundred events, and Dagster makes, opens and closes a handful of connections
    for each: every commit is then an fsync, every close, being the last, a checkpoint with two
    more, and no engine knows of a statement how it was compiled. Here each file has one engine,
    whose connections stay open, and a commit waits for no disk. The log stays whole if the process
    dies; a power cut may cost its last lines, and no figure of the shop.
    """
    if _quick.locked():
        yield
        return
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage

    storages: tuple[Any, ...] = (sqlite_event_log, sqlite_run_storage)
    make = storages[0].create_engine
    made: dict[str, Any] = {}
    making = threading.Lock()

    def engine(url: str, **options: Any) -> Engine:
        with making:
            if url not in made:
                kept = make(url, **{**options, "poolclass": QueuePool})
                event.listen(kept, "connect", _relax)
                # Dagster is done with it after each statement; the next one is to find it open.
                kept.dispose = _later
                made[url] = kept
                if len(made) > _FILES:
                    _close(made.pop(next(iter(made))))
            found: Engine = made.pop(url)
            made[url] = found  # the last that is closed
            return found

    with _quick:
        for storage in storages:
            storage.create_engine = engine
        try:
            yield
        finally:
            for storage in storages:
                storage.create_engine = make
            for kept in made.values():
                _close(kept)


_quick = threading.Lock()

#: How many files are kept open: the index, the runs, this run's own, and of other runs as they are
#: looked at, a few at a time.
_FILES = 8


def _close(kept: Any) -> None:
    del kept.dispose
    kept.dispose()


def _relax(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def _later() -> None:
    """Dispose of nothing yet."""


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
