"""Brings committed changes from the operational database to the lake, each exactly once.

Increments are read by the feed's indexed statement in one read transaction. A large backlog on
SQLite (a first load) is read by DuckDB's scanner instead, which takes a quarter of the time; on
PostgreSQL the statement itself is the cost, and the scanner gains nothing (measured on a million
changes: 9 seconds either way).

The last batch and the operational totals come from the same snapshot, so that the totals belong to
exactly the cursor that the lake has reached (:mod:`pipelines.lib.counting`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.feed import consumers
from oms_ops.feed.reader import Cursor, after_sql, changes_sql, lag
from pipelines.lib import continuity, counting, lake
from pipelines.lib.files import replace_text
from pipelines.lib.lake import LakeFile
from pipelines.lib.parquet import SCHEMA, as_cursor, with_moments, write_sorted

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

#: Changes in one file, at most: about 20 MB of Parquet and 1 GB of memory while it is written.
BATCH = 1_000_000

#: From this many waiting changes on, the scanner is faster than the indexed statement.
BACKLOG = 100_000


@dataclass(frozen=True, slots=True)
class Horizon:
    """Where the lake stands, and what the operational ledger sums to at exactly that place.

    ``read_at`` is the moment of the snapshot: whatever was committed before it and is not in flight
    has landed. ``newest_change_at`` is the moment of the newest landed change, None without any.
    """

    cursor: Cursor
    read_at: datetime
    newest_change_at: datetime | None
    totals: dict[str, int]

    def save(self, folder: Path) -> None:
        """Keep the horizon beside the lake's files."""
        newest = self.newest_change_at
        content = {
            "cursor": str(self.cursor),
            "read_at": self.read_at.isoformat(),
            "newest_change_at": newest.isoformat() if newest else None,
            "totals": self.totals,
        }
        replace_text(folder / "horizon.json", json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Horizon:
        """Return the horizon that the last landing saved."""
        content = json.loads((folder / "horizon.json").read_text(encoding="utf-8"))
        newest = content["newest_change_at"]
        return cls(
            Cursor.parse(content["cursor"]),
            datetime.fromisoformat(content["read_at"]),
            datetime.fromisoformat(newest) if newest else None,
            content["totals"],
        )


@dataclass(frozen=True, slots=True)
class Landing:
    """What one landing brought: its files, their rows and bytes, and the changes left in flight."""

    files: tuple[LakeFile, ...]
    rows: int
    bytes: int
    horizon: Horizon
    waiting: int
    waiting_seconds: float


def land(
    engine: Engine,
    folder: Path,
    *,
    batch: int = BATCH,
    backlog: int = BACKLOG,
    remote: Objects | None = None,
) -> Landing:
    """Land every committed change after the lake's cursor, ``batch`` changes a file.

    After a restore it first takes out of the lake what the restore undid.

    Raises:
        Busy: another process is landing and does not come to an end.
        Broken: the log does not continue what has landed; the message says what to do.
    """
    with lake.landing(folder, remote):
        before = continuity.follow(engine, folder, remote)
        files: list[LakeFile] = []
        rows = 0
        if engine.dialect.name == "sqlite":
            for file, count in _land_backlog(engine, folder, batch, backlog, remote):
                files.append(file)
                rows += count
        with reading(engine) as connection:
            cursor = lake.cursor(folder)
            while (frame := _read(connection, cursor, batch)).height:
                file = _write(folder, cursor, frame, remote)
                files.append(file)
                rows += frame.height
                cursor = file.upto
            read_at = clock.now()
            left = lag(connection, cursor, read_at)
            counted = counting.count(
                connection, folder, before, cursor, lambda wanted: newest_states(folder, wanted)
            )
        counted.save(folder)
        horizon = Horizon(cursor, read_at, _newest_change(folder), counted.totals())
        horizon.save(folder)
        if before != cursor:
            run(engine, lambda connection: consumers.note(connection, consumers.LAKE, cursor))
    size = sum(file.path.stat().st_size for file in files)
    return Landing(tuple(files), rows, size, horizon, left.rows, left.seconds)


def _read(connection: Connection, cursor: Cursor, limit: int) -> pl.DataFrame:
    """Read one batch in commit order, in pieces so that Python holds few rows at a time."""
    query = changes_sql(connection.dialect.name, cursor, limit)
    # Of the statement alone: through a cursor PostgreSQL would plan the totals for their first row.
    result = connection.exec_driver_sql(query, execution_options={"stream_results": True})
    pieces = [
        pl.DataFrame([tuple(row) for row in rows], schema=SCHEMA, orient="row")
        for rows in result.partitions(50_000)
    ]
    frame = pl.concat(pieces) if pieces else pl.DataFrame(schema=SCHEMA)
    return with_moments(frame)


def _write(folder: Path, after: Cursor, frame: pl.DataFrame, remote: Objects | None) -> LakeFile:
    upto = as_cursor(frame.row(frame.height - 1, named=True))
    return lake.write(folder, after, upto, lambda path: write_sorted(frame, path), remote)


def newest_states(folder: Path, wanted: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return the newest landed state of some rows (entity, id): ``entity``, ``op``, ``payload``."""
    files = [file.path for file in lake.landed(folder)]
    if not files or not wanted:
        return []
    keys = pl.LazyFrame(list(wanted), schema=["entity", "entity_id"], orient="row")
    found = (
        pl.scan_parquet(files)
        .join(keys, on=["entity", "entity_id"], how="semi")
        .sort("epoch", "seq")
        .unique(["entity", "entity_id"], keep="last", maintain_order=True)
        .select("entity", "op", "payload")
    )
    return found.collect().to_dicts()


def _newest_change(folder: Path) -> datetime | None:
    files = lake.landed(folder)
    if not files:
        return None
    newest = pl.scan_parquet(files[-1].path).select(pl.col("occurred_at").max()).collect().item()
    return newest if isinstance(newest, datetime) else None


def _land_backlog(
    engine: Engine, folder: Path, batch: int, backlog: int, remote: Objects | None
) -> list[tuple[LakeFile, int]]:
    """Land full batches by DuckDB's scanner while more than ``backlog`` changes wait.

    The log is append-only and its numbers are handed out under the writers' lock, so the rows up to
    a number that is committed never change, and no snapshot is needed across batches.
    """
    done: list[tuple[LakeFile, int]] = []
    while True:
        cursor = lake.cursor(folder)
        found = _range(engine, cursor, batch, backlog)
        if found is None:
            return done
        first, upto = found
        counts: list[int] = []
        file = lake.write(
            folder,
            cursor,
            upto,
            lambda path, first=first, last=upto.seq, counts=counts: counts.append(  # type: ignore[misc]
                _scan_in_child(str(engine.url.database), first, last, path)
            ),
            remote,
        )
        done.append((file, counts[0]))


def _range(engine: Engine, cursor: Cursor, batch: int, backlog: int) -> tuple[int, Cursor] | None:
    """Return the first waiting number and the last place of a batch, None without a backlog."""
    after = after_sql("sqlite", cursor)
    with reading(engine) as connection:
        waiting = connection.exec_driver_sql(
            f"SELECT min(c.seq) AS first, max(c.seq) AS last FROM change_log AS c WHERE {after}"
        ).one()
        if waiting.first is None or waiting.last - waiting.first < backlog:
            return None
        first: int = waiting.first
        # In one database the number grows with the epoch: a range of numbers is one of places.
        end = connection.exec_driver_sql(
            "SELECT c.epoch, c.seq FROM change_log AS c"
            f" WHERE c.seq < {first + batch} ORDER BY c.seq DESC LIMIT 1"
        ).one()
    return first, Cursor(end.epoch, 0, end.seq)


def _scan_in_child(database: str, first: int, last: int, path: Path) -> int:
    """Copy a range of changes in a process of its own; return the number of rows.

    DuckDB brings its own SQLite library, and SQLite's file locks belong to the process: the second
    library's close would drop the locks of connections that this process has open on the file.
    """
    task = json.dumps([database, first, last, str(path)])
    done = subprocess.run(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", "pipelines.lib.sqlite_scan", task],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode != 0:
        raise RuntimeError(f"the scan of {database} failed: {done.stderr.strip()[-2000:]}")
    return int(done.stdout)
