"""Merges small files of the lake, and drops states that are older than the shop keeps them.

A landing writes a file, so that after a year of quarter hours there are 35,000 of them, which cost
a reader more than what is in them. Merging changes nothing of what the lake says.

Only files are touched that a whole build of the warehouse has gone through: it knows the others by
their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from oms_ops.feed.reader import Cursor
from pipelines.lib import lake, quarantine
from pipelines.lib.failpoints import reach
from pipelines.lib.files import sync_file, sync_folder
from pipelines.lib.lake import LakeFile
from pipelines.lib.parquet import PLACE, write_sorted

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

#: Changes in a merged file, at most; one of half of it is large enough.
LARGE = 1_000_000

#: So many small files in a row are worth the merging.
FAN_IN = 16


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was done: files before and after, and superseded states dropped."""

    before: int
    after: int
    dropped: int


def compact(
    folder: Path,
    upto: Cursor,
    remote: Objects | None = None,
    *,
    keep_since: datetime | None = None,
    large: int = LARGE,
    fan_in: int = FAN_IN,
) -> Compaction:
    """Merge small files that end at ``upto`` or before it.

    With ``keep_since``, states that a newer one had superseded before that moment are dropped: the
    lake then still has every row as it was at that moment, and all its changes since.
    """
    with lake.landing(folder, remote):
        for leftover in lake.leftovers(folder):
            lake.remove(leftover, remote)
        files = [file for file in lake.landed(folder) if file.upto <= upto]
        before = len(files)
        for group in list(_groups(files, large, fan_in)):
            _merge(folder, group, remote)
        files = [file for file in lake.landed(folder) if file.upto <= upto]
        dropped = _forget(files, keep_since, remote) if keep_since else 0
    return Compaction(before, len(files), dropped)


def _groups(files: Sequence[LakeFile], large: int, fan_in: int) -> Iterator[list[LakeFile]]:
    """Yield runs of neighbours that are small, and not large together."""
    group: list[LakeFile] = []
    rows = 0
    for file in files:
        size = pl.scan_parquet(file.path).select(pl.len()).collect().item()
        if group and (size * 2 > large or rows + size > large):
            if len(group) >= fan_in:
                yield group
            group, rows = [], 0
        if size * 2 <= large:
            group.append(file)
            rows += size
    if len(group) >= fan_in:
        yield group


def _merge(folder: Path, group: Sequence[LakeFile], remote: Objects | None) -> None:
    # Whole rows: of two changes with one number, which are in quarantine, both stay.
    frame = pl.read_parquet([file.path for file in group]).unique()
    lake.write(
        folder, group[0].after, group[-1].upto, lambda path: write_sorted(frame, path), remote
    )
    reach("compaction.before_removal")
    for file in group:
        lake.remove(file, remote)


def _forget(files: Sequence[LakeFile], since: datetime, remote: Objects | None) -> int:
    """Drop what was superseded before ``since``; return how many states."""
    if not files:
        return 0
    key = ("entity", "entity_id")
    aside = quarantine.frame(files[0].path.parent)
    old = pl.col("occurred_at") < since
    newest = (
        pl.scan_parquet([file.path for file in files])
        .filter(old)
        # What the warehouse is made without supersedes nothing.
        .join(aside.lazy(), on=["epoch", "seq"], how="anti")
        .group_by(key)
        .agg(pl.col("epoch", "seq").sort_by("epoch", "seq").last().name.prefix("newest_"))
        .collect()
    )
    dropped = 0
    for file in files:
        whole = pl.read_parquet(file.path)
        superseded = (pl.col("epoch") != pl.col("newest_epoch")) | (
            pl.col("seq") != pl.col("newest_seq")
        )
        kept = (
            whole.join(newest, on=key, how="left")
            .filter(~(old & superseded.fill_null(value=False)))
            .drop("newest_epoch", "newest_seq")
        )
        # The place that the name says must stay: the next landing begins behind it.
        last = whole.sort(PLACE).tail(1)
        held = whole.join(aside, on=["epoch", "seq"], how="semi")
        kept = pl.concat([kept, held, last]).unique()
        if kept.height < whole.height:
            dropped += whole.height - kept.height
            _rewrite(file.path, kept, remote)
    return dropped


def _rewrite(path: Path, frame: pl.DataFrame, remote: Objects | None) -> None:
    aside = path.with_name(f".{path.stem}.tmp")
    write_sorted(frame, aside)
    sync_file(aside)
    if remote is not None:
        remote.put(aside, path.name)
    aside.replace(path)
    sync_folder(path.parent)
