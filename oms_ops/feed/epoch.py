"""The epoch: it sets the changes after a restore apart from those that the restore undid."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import FEED_WRITE, Actor
from oms_ops.database import as_time, execute


def begin(connection: Connection, actor: Actor) -> int:
    """Begin a new epoch of the feed after a restore; return its number.

    A restored database hands out numbers again that readers have seen with other changes. In a new
    epoch they are new, and a reader finds out what the restore undid by comparing the earlier
    epochs with the log. Whoever writes meanwhile waits and is in the new epoch.

    Raises:
        Forbidden: the role may not write to the feed.
    """
    actor.require(FEED_WRITE)
    if connection.dialect.name == "postgresql":
        # Nobody may commit a change of the old epoch after the first one of the new.
        connection.exec_driver_sql("LOCK TABLE change_log IN EXCLUSIVE MODE")
    row = execute(
        connection,
        "UPDATE feed_state SET epoch = epoch + 1, changed_by = :actor, changed_at = :now"
        " RETURNING epoch",
        {"actor": actor.name, "now": as_time(connection, clock.now())},
    ).fetchone()
    return int(row[0])


def current(connection: Connection) -> int:
    """Return the epoch of the changes that are written now."""
    return int(execute(connection, "SELECT epoch FROM feed_state", {}).fetchone()[0])
