"""Takes the end off the lake, so that landing goes on from an earlier place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oms_ops.feed.reader import Cursor
from pipelines.lib import lake
from pipelines.lib.failpoints import reach
from pipelines.lib.parquet import PLACE, last_place, write_sorted

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects


def cut(
    folder: Path, upto: Cursor, remote: Objects | None = None, *, keep: Path | None = None
) -> int:
    """Remove the changes after ``upto``; return how many files this touched.

    The newest files go first: after a crash the lake is still without a hole, and a second cut does
    the rest. What is removed goes to the folder ``keep`` where one is named, whole files of it.
    """
    touched = 0
    for file in reversed(lake.landed(folder)):
        if file.upto <= upto:
            break
        if file.after < upto:
            _shorten(file, upto, remote)
            reach("cut.before_removal")
        lake.remove(file, remote, keep=keep)
        touched += 1
    return touched


def _shorten(file: lake.LakeFile, upto: Cursor, remote: Objects | None) -> None:
    """Write what a file holds up to ``upto`` beside it; nobody reads that until the file goes."""
    frame = pl.read_parquet(file.path).filter(not_after(upto))
    if frame.height:
        last = last_place(frame)
        lake.write(
            file.path.parent, file.after, last, lambda path: write_sorted(frame, path), remote
        )


def not_after(cursor: Cursor) -> pl.Expr:
    """Return the condition that a change lies at ``cursor`` or before it."""
    epoch, xid, seq = (pl.col(name) for name in PLACE)
    return (epoch < cursor.epoch) | (
        (epoch == cursor.epoch) & ((xid < cursor.xid) | ((xid == cursor.xid) & (seq <= cursor.seq)))
    )
