"""Takes old changes out of the log that every reader has; the lake keeps them.

What is left is always a whole tail of the feed: everything after the place in ``feed_state``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import FEED_WRITE, Actor
from oms_ops.database import as_time, execute
from oms_ops.errors import Conflict
from oms_ops.feed import consumers
from oms_ops.feed.reader import START, Cursor

#: Changes that one transaction deletes, at most: writers wait for it on SQLite.
BATCH = 20_000


def pruned_upto(connection: Connection) -> Cursor:
    """Return the place up to which changes may be missing in the log."""
    row = execute(
        connection, "SELECT pruned_epoch, pruned_xid, pruned_seq FROM feed_state", {}
    ).fetchone()
    return Cursor(*row)


def prune(connection: Connection, actor: Actor, keep: timedelta, *, limit: int = BATCH) -> int:
    """Delete at most ``limit`` changes older than ``keep`` that every reader has; return how many.

    An order's history shows what the log holds: it begins later then.

    Raises:
        Forbidden: the role may not write to the feed.
        Conflict: nobody reads the feed (``no_consumer``): nothing else has the changes.
    """
    actor.require(FEED_WRITE)
    readers = consumers.listing(connection)
    if not readers:
        raise Conflict("Nobody reads the feed: the log is the only place that has its changes.")
    end = _end(connection, readers[0].cursor, clock.now() - keep, limit)
    if end is None:
        return 0
    parameters = {"epoch": end.epoch, "xid": end.xid, "seq": end.seq}
    done = execute(
        connection, f"DELETE FROM change_log WHERE {_upto(connection)}", parameters
    ).rowcount
    execute(
        connection,
        "UPDATE feed_state SET pruned_epoch = :epoch, pruned_xid = :xid, pruned_seq = :seq,"
        " changed_by = :actor, changed_at = :now",
        parameters | {"actor": actor.name, "now": as_time(connection, clock.now())},
    )
    return int(done)


def _end(connection: Connection, slowest: Cursor, before: datetime, limit: int) -> Cursor | None:
    """Return the place of the last change of a batch, None where nothing is to be deleted."""
    order = "seq" if connection.dialect.name == "sqlite" else "epoch, xid, seq"
    xid = "0" if connection.dialect.name == "sqlite" else "CAST(CAST(xid AS text) AS bigint)"
    rows = execute(
        connection,
        f"SELECT epoch, {xid}, seq, occurred_at < :before FROM change_log"
        f" WHERE {_upto(connection)} ORDER BY {order} LIMIT :limit",
        {
            "epoch": slowest.epoch,
            "xid": slowest.xid,
            "seq": slowest.seq,
            "before": as_time(connection, before),
            "limit": limit,
        },
    ).fetchall()
    end = START
    for epoch, number, seq, is_old in rows:
        if not is_old:
            break
        end = Cursor(epoch, number, seq)
    return None if end == START else end


def _upto(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        # In one file seq grows across epochs too; the first term lets its key serve the range.
        return "seq <= :seq AND (epoch, seq) <= (:epoch, :seq)"
    return "(epoch, xid, seq) <= (:epoch, CAST(CAST(:xid AS text) AS xid8), :seq)"
