"""The inbox: a message from another system is stored first, then something is made of it.

It is stored in a transaction of its own, once for each id of its source. What cannot be made of it
stays with its problem and is tried again, by the worker after 2, 4, 8 ... minutes and by whoever
asks for it; making the same twice makes nothing more. No message stands in another's way, whatever
is wrong with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_READ, ORDERS_WRITE, Actor
from oms_ops.database import (
    as_rows,
    as_time,
    read_time,
    reading,
    retryable,
    rowset,
    run,
    unavailable,
)
from oms_ops.errors import NotFound, OmsError, ValidationFailed
from oms_ops.exchange import runs, webhooks

_log = logging.getLogger(__name__)

#: Minutes until a message is tried again, doubled with every attempt.
_PATIENCE = 2
#: After so many attempts (some six days) a message is tried again only when somebody asks for it.
MOST_ATTEMPTS = 12
_COLUMNS = (
    "id, source, external_id, topic, status, document, problem, attempts, received_at,"
    " processed_at, next_attempt_at, settled_by, settled_note"
)


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message and what became of it; times are ISO 8601 in UTC."""

    id: int
    source: str
    external_id: str
    topic: str
    status: str
    document: str | None
    problem: dict[str, Any] | None
    attempts: int
    received_at: str | None
    processed_at: str | None
    next_attempt_at: str | None
    settled_by: str | None
    settled_note: str | None

    @property
    def is_done(self) -> bool:
        """Tell whether nothing is left to make of it."""
        return self.status in ("processed", "ignored")


#: source -> what makes something of a message (topic, body): the number of the document, None
#: where nothing is to be made of it.
HANDLERS: dict[str, Callable[[Engine, str, str], str | None]] = {
    "shopify": webhooks.handle_shopify,
}


def receive(engine: Engine, source: str, external_id: str, topic: str, body: str) -> Message:
    """Store a message, or find the one that came before; then make of it what can be made."""
    message = store(engine, source, external_id, topic, body)
    return message if message.is_done else process(engine, message)


def store(engine: Engine, source: str, external_id: str, topic: str, body: str) -> Message:
    """Store a message in its own transaction; a repeat finds the first one."""

    def work(connection: Connection) -> None:
        connection.execute(
            sa.text(
                "INSERT INTO inbox_messages (source, external_id, topic, body, status, attempts,"
                " received_at, next_attempt_at)"
                " VALUES (:source, :external_id, :topic, :body, 'received', 0, :now, :again)"
                " ON CONFLICT (source, external_id) DO NOTHING"
            ),
            {
                "source": source,
                "external_id": external_id,
                "topic": topic,
                "body": body,
                "now": as_time(connection, clock.now()),
                # Whoever stored it is about to make something of it.
                "again": as_time(connection, _again(1)),
            },
        )

    run(engine, work)
    with reading(engine) as connection:
        return _select(
            connection,
            "source = :source AND external_id = :external_id",
            source=source,
            external_id=external_id,
        )[0]


def process(engine: Engine, message: Message) -> Message:
    """Make of a message what can be made, and keep what came of it."""
    problem: dict[str, Any] | None = None
    document: str | None = None
    try:
        document = HANDLERS[message.source](engine, message.topic, _body(engine, message))
        status = "ignored" if document is None else "processed"
    except OmsError as error:
        status, problem = "failed", error.problem()
    except Exception as error:
        # With the database away it is the sender who tries again.
        if retryable(error) or unavailable(error):
            raise
        _log.exception("message %d of %s could not be read", message.id, message.source)
        status, problem = "failed", _unforeseen(error)
    tried = message.attempts + 1
    again = _again(tried) if problem is not None and tried < MOST_ATTEMPTS else None

    def work(connection: Connection) -> None:
        connection.execute(
            sa.text(
                "UPDATE inbox_messages SET status = :status, document = :document,"
                " problem = :problem, attempts = attempts + 1, processed_at = :now,"
                " next_attempt_at = :again"
                # Two at once made the same; the one that failed does not undo the other.
                " WHERE id = :id AND status IN ('received', 'failed')"
            ),
            {
                "status": status,
                "document": document,
                "problem": None if problem is None else json.dumps(problem),
                "now": as_time(connection, clock.now()),
                "again": again and as_time(connection, again),
                "id": message.id,
            },
        )

    run(engine, work)
    return get(engine, message.id)


def retry(engine: Engine, actor: Actor, *, limit: int = 1000) -> list[Message]:
    """Try again what failed or was cut off, oldest first; return what became of each."""
    actor.require(ORDERS_WRITE)
    with reading(engine) as connection:
        waiting = _select(
            connection, "status IN ('received', 'failed') ORDER BY id LIMIT :limit", limit=limit
        )
    return [process(engine, message) for message in waiting]


def retry_one(engine: Engine, actor: Actor, message_id: int) -> Message:
    """Try a message again now; one that is done stays as it is.

    Raises:
        NotFound: there is no such message.
    """
    actor.require(ORDERS_WRITE)
    message = get(engine, message_id)
    return message if message.is_done else process(engine, message)


def retry_due(engine: Engine, *, batch: int = 50) -> int:
    """Try again the messages whose time has come; return how many are done now."""
    done = 0
    while due := run(engine, partial(_claim, batch=batch)):
        done += sum(process(engine, message).is_done for message in due)
        if len(due) < batch:
            break
    return done


def listing(
    engine: Engine, actor: Actor, *, status: str | None, limit: int, after: int = 0
) -> dict[str, Any]:
    """Return a page of the messages, newest first; ``next`` is the cursor for ``after``."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        found = _select(
            connection,
            "id < :before" + (" AND status = :status" if status else "")
            + " ORDER BY id DESC LIMIT :limit",
            before=after or 2**62,
            limit=limit + 1,
            **({"status": status} if status else {}),
        )  # fmt: skip
    last = found[limit - 1].id if len(found) > limit else None
    return {"data": [asdict(message) for message in found[:limit]], "next": last}


def look(engine: Engine, actor: Actor, message_id: int) -> dict[str, Any]:
    """Return a message with its ``body`` as it came.

    Raises:
        NotFound: there is no such message.
    """
    actor.require(ORDERS_READ)
    message = get(engine, message_id)
    return {**asdict(message), "body": _body(engine, message)}


def get(engine: Engine, message_id: int) -> Message:
    """Return a message; raise NotFound where there is none of that id."""
    with reading(engine) as connection:
        found = _select(connection, "id = :id", id=message_id)
    if not found:
        raise NotFound(f"There is no message {message_id}.")
    return found[0]


def _claim(connection: Connection, batch: int) -> list[Message]:
    """Take messages whose time has come; nobody else takes them for a while."""
    skip = "" if connection.dialect.name == "sqlite" else " FOR UPDATE SKIP LOCKED"
    due = _select(
        connection,
        "next_attempt_at <= :now AND status IN ('received', 'failed')"
        f" ORDER BY next_attempt_at, id LIMIT :batch{skip}",
        now=as_time(connection, clock.now()),
        batch=batch,
    )
    if due:
        connection.execute(
            sa.text(
                "UPDATE inbox_messages AS m SET next_attempt_at = :again"
                f" FROM ({rowset(connection, 'rows', {'id': 'bigint'})}) AS r WHERE m.id = r.id"
            ),
            {
                "again": as_time(connection, _again(1)),
                "rows": as_rows({"id": message.id} for message in due),
            },
        )
    return due


def _again(attempts: int) -> datetime:
    """Return when a message may be tried again after so many attempts."""
    return clock.now() + timedelta(minutes=_PATIENCE**attempts)


def _unforeseen(error: Exception) -> dict[str, Any]:
    """Return the problem of a message that nobody foresaw; the log has the rest."""
    problem = ValidationFailed(f"It could not be read ({type(error).__name__}).").problem()
    return {**problem, "type": f"urn:oms:problem:{runs.UNREADABLE}", "title": runs.UNREADABLE}


def _body(engine: Engine, message: Message) -> str:
    with reading(engine) as connection:
        statement = sa.text("SELECT body FROM inbox_messages WHERE id = :id")
        return str(connection.execute(statement, {"id": message.id}).scalar_one())


def _select(connection: Connection, condition: str, **parameters: Any) -> list[Message]:
    rows = connection.execute(
        sa.text(f"SELECT {_COLUMNS} FROM inbox_messages WHERE {condition}"), parameters
    ).mappings()
    return [
        Message(
            **{
                **row,
                "problem": runs.document(row["problem"]),
                **{name: _iso(row[name]) for name in row if name.endswith("_at")},
            }
        )
        for row in rows
    ]


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return None if moment is None else moment.isoformat()
