"""Reads the change log after a cursor: every committed change, in commit order, none twice.

On PostgreSQL rows become visible out of ``seq`` order, because a transaction draws its numbers
before it commits. The statement therefore takes, in one snapshot, only rows of transactions older
than every one still running (``xid < pg_snapshot_xmin``) and orders them by ``(epoch, xid, seq)``:
whatever commits later has a greater xid than the cursor. SQLite has one writer at a time, so
``seq`` itself is commit order there and ``xid`` is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: Columns of a change, in the order of :func:`changes_sql`.
COLUMNS = (
    "epoch",
    "xid",
    "seq",
    "entity",
    "entity_id",
    "op",
    "version",
    "payload",
    "changed_by",
    "occurred_at",
)


@dataclass(frozen=True, order=True, slots=True)
class Cursor:
    """The place of the last change taken; the next read begins just after it."""

    epoch: int = 0
    xid: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a cursor is behind: changes that wait, and the age of the oldest, in seconds."""

    rows: int
    seconds: float


def changes_sql(dialect: str, cursor: Cursor, limit: int) -> str:
    """Return one statement for at most ``limit`` changes after ``cursor``, in commit order.

    Columns are :data:`COLUMNS`; ``payload`` is JSON text and ``occurred_at`` ISO text in UTC on
    both databases. The cursor's three integers are the only values in the text.
    """
    after = f"({int(cursor.epoch)}, {{xid}}, {int(cursor.seq)})"
    if dialect == "sqlite":
        # The primary key serves the common case; another epoch restarts the numbers.
        return (
            "SELECT epoch, 0 AS xid, seq, entity, entity_id, op, version, payload, changed_by,"  # noqa: S608
            f" occurred_at FROM change_log WHERE epoch = {int(cursor.epoch)} AND"
            f" seq > {int(cursor.seq)} OR epoch > {int(cursor.epoch)}"
            f" ORDER BY epoch, seq LIMIT {int(limit)}"
        )
    after = after.format(xid=f"'{int(cursor.xid)}'::xid8")
    return (
        "SELECT c.epoch, c.xid::text::bigint AS xid, c.seq, c.entity, c.entity_id, c.op,"  # noqa: S608
        " c.version, c.payload::text AS payload, c.changed_by,"
        " to_char(c.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        " AS occurred_at FROM change_log AS c"
        f" WHERE (c.epoch, c.xid, c.seq) > {after}"
        " AND c.xid < pg_snapshot_xmin(pg_current_snapshot())"
        f" ORDER BY c.epoch, c.xid, c.seq LIMIT {int(limit)}"
    )


def read(connection: Connection, cursor: Cursor, limit: int) -> list[tuple[Any, ...]]:
    """Return at most ``limit`` changes after ``cursor`` as tuples of :data:`COLUMNS`."""
    rows = connection.exec_driver_sql(changes_sql(connection.dialect.name, cursor, limit))
    return [tuple(row) for row in rows]


def lag(connection: Connection, cursor: Cursor, now: datetime) -> Lag:
    """Return how far ``cursor`` is behind the newest committed change, in-flight ones excluded.

    A transaction that stays open holds the horizon back: the lag in seconds then grows.
    """
    after = "(c.epoch, c.seq) > (:epoch, :seq)"
    if connection.dialect.name != "sqlite":
        after = "(c.epoch, c.xid, c.seq) > (:epoch, CAST(:xid AS xid8), :seq)"
    rows, oldest = connection.execute(
        sa.text(f"SELECT count(*), min(c.occurred_at) FROM change_log AS c WHERE {after}"),  # noqa: S608
        {"epoch": cursor.epoch, "seq": cursor.seq, "xid": str(cursor.xid)}
        if connection.dialect.name != "sqlite"
        else {"epoch": cursor.epoch, "seq": cursor.seq},
    ).one()
    if oldest is None:
        return Lag(0, 0.0)
    moment = datetime.fromisoformat(oldest) if isinstance(oldest, str) else oldest
    return Lag(int(rows), max(0.0, (now - moment).total_seconds()))
