"""Holds the lake against the log before anything lands: is the one still the start of the other?

It is not where the log was pruned past the lake, where the database was restored, or where it is
another one. After a restore a new epoch says so (``oms feed new-epoch``): then what the restore
undid is taken out of the lake, and landing goes on from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import reading
from oms_ops.feed import epoch, pruning
from oms_ops.feed.reader import START, Cursor, columns_sql
from pipelines.lib import lake, past
from pipelines.lib.cutting import cut, not_after
from pipelines.lib.parquet import PLACE, SCHEMA, as_cursor, with_moments

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

#: What makes a change the same in the lake and in the log: a restored database gives its numbers
#: again, and perhaps to a change of the same row.
_SAME = (*PLACE, "entity", "entity_id", "op", "version", "occurred_at")


class Broken(RuntimeError):
    """The log does not continue what has landed."""


def follow(engine: Engine, folder: Path, remote: Objects | None = None) -> Cursor:
    """Make sure that the log goes on where the lake ends; return that place.

    Raises:
        Broken: it does not, and no new epoch says why.
    """
    at = lake.cursor(folder)
    with reading(engine) as connection:
        pruned, newest = pruning.pruned_upto(connection), epoch.current(connection)
        if at < pruned and not _is_rebuilt(at):
            raise Broken(
                f"The change log begins after {pruned}, and the lake ends at {at}: what lies"
                " between is gone. Make the lake anew from the database:"
                " python -m pipelines.lake rebuild"
            )
        if at == START or _is_rebuilt(at):
            return at
        if newest > at.epoch:
            kept = _last_kept(connection, folder, pruned)
        elif at > pruned and not _knows(connection, folder, at):
            raise Broken(
                f"The lake ends at {at}, a change that the database does not have: it was"
                " restored, or is another one. After a restore, begin a new epoch:"
                " oms feed new-epoch"
            )
        else:
            return at
    if kept is None:
        return at
    past.renew(folder, f"a restore undid what came after {kept}", remote)
    cut(folder, kept, remote, keep=folder.parent / f"undone-{newest:06d}")
    return lake.cursor(folder)


def _is_rebuilt(at: Cursor) -> bool:
    """Tell whether the lake ends with rows as they were, which lie before every change."""
    return at.epoch == 0 and at != START


def _knows(connection: Connection, folder: Path, at: Cursor) -> bool:
    """Tell whether the log has the lake's last change."""
    last = lake.landed(folder)[-1].path
    here = pl.scan_parquet(last).filter(pl.col("seq") == at.seq, pl.col("epoch") == at.epoch)
    there = _log(connection, f"WHERE c.epoch = {at.epoch} AND c.seq = {at.seq}")
    return here.select(_SAME).collect().equals(there)


def _log(connection: Connection, where: str = "") -> pl.DataFrame:
    """Return what identifies the changes in the log."""
    columns = columns_sql(connection.dialect.name, _SAME)
    result = connection.exec_driver_sql(
        f"SELECT {columns} FROM change_log AS c {where}", execution_options={"stream_results": True}
    )
    kinds = {name: SCHEMA[name] for name in _SAME}
    pieces = [
        pl.DataFrame([tuple(row) for row in rows], schema=kinds, orient="row")
        for rows in result.partitions(50_000)
    ]
    return with_moments(pl.concat([pl.DataFrame(schema=kinds), *pieces]))


def _last_kept(connection: Connection, folder: Path, pruned: Cursor) -> Cursor | None:
    """Return the last place in the lake before the first change that the log has not; None: none.

    Only the part of the lake that the log can still know is looked at.
    """
    files = [file.path for file in lake.landed(folder) if file.upto > pruned]
    if not files:
        return None
    here = pl.scan_parquet(files).filter(pl.col("epoch") > 0).select(_SAME)
    undone = (
        here.filter(~not_after(pruned))
        .join(_log(connection).lazy(), on=_SAME, how="anti", nulls_equal=True)
        .select(PLACE)
        .sort(PLACE)
        .head(1)
        .collect()
    )
    if undone.is_empty():
        return None
    first = as_cursor(undone.row(0, named=True))
    kept = here.filter(not_after(first)).select(PLACE).sort(PLACE).tail(2).collect()
    if kept.height == 2:
        return as_cursor(kept.row(0, named=True))
    return max(lake.parsed(files[0]).after, pruned)
