"""Brings committed changes from the operational database to the lake, each exactly once.

Increments are read by the feed's indexed statement, a large backlog (a first load) by DuckDB's
scanners (:mod:`pipelines.lib.backlog`).

What is to be read and the operational totals come from the same snapshot, so that the totals belong
to exactly the cursor that the lake reaches (:mod:`pipelines.lib.counting`).
"""

from __future__ import annotations

import json
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
from oms_ops.feed.reader import Cursor, changes_sql, lag
from pipelines.lib import backlog, continuity, counting, lake
from pipelines.lib.files import replace_text
from pipelines.lib.lake import LakeFile
from pipelines.lib.parquet import SCHEMA, as_cursor, with_moments, write_sorted

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

#: Changes in one file, at most: two megabytes of Parquet, and 200 MB of memory while it is sorted.
BATCH = 100_000

#: With more waiting changes than this the scanners are faster than the indexed statement.
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
    least: int = BACKLOG,
    remote: Objects | None = None,
) -> Landing:
    """Land every committed change after the lake's cursor, ``batch`` changes a file at most.

    The scanners read where more than ``least`` changes wait.

    After a restore it first takes out of the lake what the restore undid.

    Raises:
        Busy: another process is landing and does not come to an end.
        Broken: the log does not continue what has landed; the message says what to do.
    """
    with lake.landing(folder, remote):
        before = continuity.follow(engine, folder, remote)
        # The snapshot has all that was committed by now.
        read_at = clock.now()
        with reading(engine) as connection:
            landed, cursor, counted = _take(connection, folder, before, batch, least, remote)
            left = lag(connection, cursor, read_at)
        counted.save(folder)
        horizon = Horizon(cursor, read_at, _newest_change(folder), counted.totals())
        horizon.save(folder)
        if before != cursor:
            run(engine, lambda connection: consumers.note(connection, consumers.LAKE, cursor))
    size = sum(file.path.stat().st_size for file, _ in landed)
    rows = sum(rows for _, rows in landed)
    return Landing(tuple(file for file, _ in landed), rows, size, horizon, left.rows, left.seconds)


def _take(
    connection: Connection,
    folder: Path,
    before: Cursor,
    batch: int,
    least: int,
    remote: Objects | None,
) -> tuple[list[tuple[LakeFile, int]], Cursor, counting.Count]:
    """Write all that can be read after ``before``; return its files and rows, its end, the sums."""

    def count(cursor: Cursor) -> counting.Count:
        return counting.count(
            connection, folder, before, cursor, lambda wanted: newest_states(folder, wanted)
        )

    landed: list[tuple[LakeFile, int]] = []
    if backlog.waits(connection, before, least):
        ranges = backlog.ranges(connection, before, batch)
        with backlog.copied(connection.engine, folder, ranges) as (wanted, copied):
            cursor = wanted[-1][1]
            counted = count(cursor)
            for one in wanted:
                rows: list[int] = []

                def wait(_: Path, rows: list[int] = rows) -> None:
                    rows.append(next(copied))

                landed.append((lake.write(folder, *one, wait, remote), rows[0]))
        return landed, cursor, counted
    cursor = before
    while (frame := _read(connection, cursor, batch)).height:
        file = _write(folder, cursor, frame, remote)
        landed.append((file, frame.height))
        cursor = file.upto
    return landed, cursor, count(cursor)


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
