"""Reads the change log after a cursor: every committed change, in commit order, none twice.

On PostgreSQL rows become visible out of ``seq`` order, because a transaction draws its numbers
before it commits. The statement therefore takes, in one snapshot, only rows of transactions older
than every one still running (``xid < pg_snapshot_xmin``) and orders them by ``(epoch, xid, seq)``:
whatever commits later has a greater xid than the cursor. Of earlier epochs nobody writes any more,
and a database that was restored into another server counts its transactions from a lower number:
there the horizon does not apply. SQLite has one writer at a time, so ``seq`` itself is commit order
and ``xid`` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import read_time

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

    def __str__(self) -> str:
        """Return ``epoch:xid:seq``, the form in which a cursor is kept."""
        return f"{self.epoch}:{self.xid}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that ``str`` made; raise ValueError where it is none."""
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"{text} is no place in the feed: write epoch:xid:seq")
        return cls(*(int(part) for part in parts))


#: Before the first change.
START = Cursor()


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
    return (
        f"SELECT {columns_sql(dialect)} FROM change_log AS c"
        f" WHERE {after_sql(dialect, cursor)} AND {_READABLE[dialect]}"
        f" ORDER BY {_ORDER[dialect]} LIMIT {int(limit)}"
    )


def between_sql(dialect: str, after: Cursor, upto: Cursor) -> str:
    """Return one statement for the changes after a place up to another that could be read once.

    Columns are :data:`COLUMNS` as the database keeps them, in no order. Whatever could be read at
    all never changes: the statement gives the same in every later snapshot.
    """
    if dialect == "sqlite":
        names = {"xid": "0"}
        # In one file a range of numbers is one of places.
        until = f"c.seq <= {int(upto.seq)}"
    else:
        names = _AS_KEPT
        if (after.epoch, after.xid) == (upto.epoch, upto.xid):
            # Of one large transaction, as imports are: its number by way of text takes a while.
            names = {**names, "xid": f"{int(upto.xid)}::bigint"}
        # Not as NOT after: then the index would be read to its end.
        until = f"(c.epoch, c.xid, c.seq) <= {_place(upto)}"
    columns = ", ".join(f"{names.get(name, f'c.{name}')} AS {name}" for name in COLUMNS)
    return f"SELECT {columns} FROM change_log AS c WHERE {after_sql(dialect, after)} AND {until}"


def ahead(connection: Connection, cursor: Cursor, changes: int) -> Cursor:
    """Return the place about so many readable changes after ``cursor``, at most; the newest."""
    dialect = connection.dialect.name
    after = f"FROM change_log AS c WHERE {after_sql(dialect, cursor)}"
    if dialect == "sqlite":
        # By the numbers, of which some may be missing: to count the rows all would be read.
        first = f"(SELECT c.seq {after} ORDER BY c.seq LIMIT 1)"
        query = (
            "SELECT c.epoch, 0, c.seq FROM change_log AS c"
            f" WHERE c.seq < {first} + {int(changes)} ORDER BY c.seq DESC LIMIT 1"
        )
    else:
        query = (
            f"SELECT c.epoch, c.xid::text::bigint, c.seq {after} AND {_READABLE[dialect]}"
            f" ORDER BY {_ORDER[dialect]} OFFSET {int(changes) - 1} LIMIT 1"
        )
    found = connection.exec_driver_sql(query).first()
    return newest(connection) if found is None else Cursor(found[0], found[1], found[2])


#: Of SQLite everything that is committed; in one file seq grows across epochs, too.
_READABLE = {
    "sqlite": "true",
    "postgresql": "(c.xid < pg_snapshot_xmin(pg_current_snapshot())"
    " OR c.epoch < (SELECT epoch FROM feed_state))",
}
_ORDER = {"sqlite": "c.seq", "postgresql": "c.epoch, c.xid, c.seq"}


def columns_sql(dialect: str, names: Sequence[str] = COLUMNS) -> str:
    """Return the SELECT list for some :data:`COLUMNS` of ``change_log AS c``."""
    special = {"xid": "0"} if dialect == "sqlite" else _POSTGRESQL
    return ", ".join(f"{special.get(name, f'c.{name}')} AS {name}" for name in names)


_POSTGRESQL = {
    "xid": "c.xid::text::bigint",
    "payload": "c.payload::text",
    "occurred_at": "to_char(c.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
}
_AS_KEPT = {
    "xid": "c.xid::text::bigint",
    "op": "c.op::text",
    "occurred_at": "CASE WHEN isfinite(c.occurred_at) THEN c.occurred_at END",
}


def after_sql(dialect: str, cursor: Cursor, alias: str = "c") -> str:
    """Return the condition that a change lies after ``cursor``, committed or in flight."""
    epoch, seq = int(cursor.epoch), int(cursor.seq)
    if dialect == "sqlite":
        # The first term lets the primary key serve the range; a new epoch is read from its start.
        return (
            f"{alias}.seq > CASE WHEN (SELECT epoch FROM feed_state) = {epoch}"
            f" THEN {seq} ELSE 0 END"
            f" AND ({alias}.epoch, {alias}.seq) > ({epoch}, {seq})"
        )
    return f"({alias}.epoch, {alias}.xid, {alias}.seq) > {_place(cursor)}"


def _place(cursor: Cursor) -> str:
    """Return a place as a row of PostgreSQL's."""
    return f"({int(cursor.epoch)}, '{int(cursor.xid)}'::xid8, {int(cursor.seq)})"


def newest(connection: Connection) -> Cursor:
    """Return the place of the newest change that can be read, the start where there is none."""
    if connection.dialect.name == "sqlite":
        query = "SELECT epoch, 0, seq FROM change_log ORDER BY seq DESC LIMIT 1"
    else:
        query = (
            "SELECT c.epoch, c.xid::text::bigint, c.seq FROM change_log AS c"
            f" WHERE {_READABLE['postgresql']}"
            " ORDER BY c.epoch DESC, c.xid DESC, c.seq DESC LIMIT 1"
        )
    found = connection.exec_driver_sql(query).first()
    return START if found is None else Cursor(found[0], found[1], found[2])


def read(connection: Connection, cursor: Cursor, limit: int) -> list[tuple[Any, ...]]:
    """Return at most ``limit`` changes after ``cursor`` as tuples of :data:`COLUMNS`."""
    rows = connection.exec_driver_sql(changes_sql(connection.dialect.name, cursor, limit))
    return [tuple(row) for row in rows]


def lag(connection: Connection, cursor: Cursor, now: datetime) -> Lag:
    """Return how far ``cursor`` is behind the newest committed change, in-flight ones excluded.

    A transaction that stays open holds the horizon back: the lag in seconds then grows.
    """
    found = connection.exec_driver_sql(
        "SELECT count(*), min(c.occurred_at) FROM change_log AS c"
        f" WHERE {after_sql(connection.dialect.name, cursor)}"
    ).one()
    rows: int = found[0]
    oldest = read_time(found[1])
    if oldest is None:
        return Lag(0, 0.0)
    return Lag(rows, max(0.0, (now - oldest).total_seconds()))
