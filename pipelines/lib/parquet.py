"""What a file of the lake looks like inside: columns, order, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from oms_ops.feed.reader import Cursor

#: Rows in a row group: so few that a reader of one entity skips the others' payloads, and that a
#: writer holds little: payloads lie in its memory several times.
ROW_GROUP = 25_000

#: The columns as they come from the database; ``occurred_at`` becomes a moment.
SCHEMA = {
    "epoch": pl.Int32,
    "xid": pl.Int64,
    "seq": pl.Int64,
    "entity": pl.String,
    "entity_id": pl.Int64,
    "op": pl.String,
    "version": pl.Int32,
    "payload": pl.String,
    "changed_by": pl.String,
    "occurred_at": pl.String,
}

#: The columns that are a change's place in the feed.
PLACE = ("epoch", "xid", "seq")


def with_moments(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn ``occurred_at`` from the feed's text into a moment, None where it tells none."""
    moment = pl.col("occurred_at").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False
    )
    return frame.with_columns(moment.dt.replace_time_zone("UTC"))


def as_cursor(row: Mapping[str, Any]) -> Cursor:
    """Return the place of a change that was selected as a mapping."""
    return Cursor(row["epoch"], row["xid"], row["seq"])


def last_place(frame: pl.DataFrame) -> Cursor:
    """Return the place of the last change of a frame that has some."""
    return as_cursor(frame.select(PLACE).sort(PLACE).row(-1, named=True))


def write_sorted(frame: pl.DataFrame, path: Path) -> None:
    """Write changes as a file of the lake: an entity's together, each in commit order."""
    frame.sort("entity", *PLACE).write_parquet(path, compression="zstd", row_group_size=ROW_GROUP)
