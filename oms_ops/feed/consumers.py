"""Who reads the feed and how far: what the log must keep, and how far each is behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_time, execute, read_time
from oms_ops.feed.reader import Cursor, Lag, lag

#: The pipeline's lake.
LAKE = "lake"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A reader of the feed: it has all up to ``cursor``, and said so last at ``seen_at``."""

    name: str
    cursor: Cursor
    seen_at: datetime | None


def note(connection: Connection, name: str, cursor: Cursor) -> None:
    """Remember that the reader ``name`` has safely kept all up to ``cursor``.

    A reader that is noted holds the log: what it has not taken is not pruned.
    """
    execute(
        connection,
        "INSERT INTO feed_consumers (name, epoch, xid, seq, seen_at)"
        " VALUES (:name, :epoch, :xid, :seq, :now) ON CONFLICT (name) DO UPDATE SET"
        " epoch = excluded.epoch, xid = excluded.xid, seq = excluded.seq,"
        " seen_at = excluded.seen_at",
        {
            "name": name,
            "epoch": cursor.epoch,
            "xid": cursor.xid,
            "seq": cursor.seq,
            "now": as_time(connection, clock.now()),
        },
    )


def forget(connection: Connection, name: str) -> bool:
    """Let the log go on without a reader that will not come back; tell whether there was one."""
    found = execute(
        connection, "DELETE FROM feed_consumers WHERE name = :name RETURNING name", {"name": name}
    )
    return found.fetchone() is not None


def listing(connection: Connection) -> list[Consumer]:
    """Return the readers, the slowest first."""
    rows = execute(
        connection,
        "SELECT name, epoch, xid, seq, seen_at FROM feed_consumers ORDER BY epoch, xid, seq, name",
        {},
    ).fetchall()
    return [Consumer(r[0], Cursor(r[1], r[2], r[3]), read_time(r[4])) for r in rows]


def lags(connection: Connection) -> dict[str, Lag]:
    """Return how far each reader is behind, in changes and in seconds of the oldest of them."""
    now = clock.now()
    return {each.name: lag(connection, each.cursor, now) for each in listing(connection)}
