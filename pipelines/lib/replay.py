"""Makes the lake, or its end, anew: from the log, or from the rows of the database as they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.feed import consumers, pruning, rows
from oms_ops.feed.entities import ENTITIES
from oms_ops.feed.reader import START, Cursor, newest
from pipelines.lib import lake, past
from pipelines.lib.continuity import Broken
from pipelines.lib.cutting import cut
from pipelines.lib.failpoints import reach
from pipelines.lib.files import Busy, sync_file
from pipelines.lib.landing import Landing, land
from pipelines.lib.parquet import ROW_GROUP, SCHEMA

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects


def replay(engine: Engine, folder: Path, since: Cursor, remote: Objects | None = None) -> Landing:
    """Land again every change after ``since``, as the log has it.

    Raises:
        Broken: the log does not go back that far.
        Busy: another process is landing and does not come to an end.
    """
    with reading(engine) as connection:
        pruned = pruning.pruned_upto(connection)
    if since < pruned:
        raise Broken(
            f"The change log begins after {pruned}: replay from there or later, or make the lake"
            " anew from the database: python -m pipelines.lake rebuild"
        )
    with lake.landing(folder, remote):
        past.renew(folder, f"replayed from {since}", remote)
        cut(folder, since, remote)
    return land(engine, folder, remote=remote)


def rebuild(
    engine: Engine, folder: Path, remote: Objects | None = None, *, wait_seconds: float = 60.0
) -> Landing:
    """Make the lake anew: the rows that the log has no change of as they are, then all of the log.

    Such rows stand in epoch 0, before every change. The lake that was there goes to a folder beside
    it. Raises Busy where a transaction that stays open hides what it changed for ``wait_seconds``.
    """
    with lake.landing(folder, remote):
        # From now on nothing is pruned that the new lake will need.
        run(engine, lambda connection: consumers.note(connection, consumers.LAKE, START))
        aside = folder / ".rebuild.tmp"
        count = _write_rows(engine, aside, wait_seconds)
        past.renew(folder, "made anew from the database", remote)
        cut(folder, START, remote, keep=folder.parent / f"replaced-{past.number(folder):06d}")
        reach("rebuild.emptied")
        if count:
            upto = Cursor(0, 0, count)
            lake.write(folder, START, upto, lambda path: _move(aside, path), remote)
        else:
            aside.unlink()
    return land(engine, folder, remote=remote)


def _move(aside: Path, path: Path) -> None:
    aside.replace(path)


def _write_rows(engine: Engine, path: Path, wait_seconds: float) -> int:
    """Write the rows that the log does not know to ``path``; return how many."""
    deadline = time.monotonic() + wait_seconds
    while True:
        with reading(engine) as connection:
            if not rows.undecided(connection, newest(connection)):
                return _write_snapshot(connection, path)
        if time.monotonic() >= deadline:
            raise Busy("a transaction stays open, and hides what others changed behind it")
        time.sleep(0.2)


def _write_snapshot(connection: Connection, path: Path) -> int:
    import pyarrow.parquet as pq

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
    count = 0
    moment = pl.lit(clock.now()).dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    with pq.ParquetWriter(path, _as_landed(moment).to_arrow().schema, compression="zstd") as out:
        for entity, piece in _pieces(connection):
            frame = pl.DataFrame(
                [(0, 0, count + number, entity, row[0], "I", *row[1:], "")
                 for number, row in enumerate(piece, 1)],
                schema=SCHEMA, orient="row",
            )  # fmt: skip
            count += frame.height
            out.write_table(_as_landed(moment, frame).to_arrow(), row_group_size=ROW_GROUP)
    sync_file(path)
    return count


def _pieces(connection: Connection) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    for entity in sorted(ENTITIES):
        for piece in rows.unlogged(connection, entity):
            yield entity, piece


def _as_landed(moment: pl.Expr, frame: pl.DataFrame | None = None) -> pl.DataFrame:
    empty = pl.DataFrame(schema=SCHEMA)
    return (empty if frame is None else frame).with_columns(moment.alias("occurred_at"))
