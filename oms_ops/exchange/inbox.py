"""The inbox: a message from another system is stored first, then something is made of it.

It is stored in a transaction of its own, once for each id of its source. What cannot be made of it
stays with its problem and is tried again; making the same twice makes nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_time, reading, run
from oms_ops.errors import OmsError
from oms_ops.exchange import runs, webhooks


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message and what became of it."""

    id: int
    source: str
    topic: str
    body: str
    status: str
    document: str | None
    problem: dict[str, Any] | None

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
                " received_at) VALUES (:source, :external_id, :topic, :body, 'received', 0, :now)"
                " ON CONFLICT (source, external_id) DO NOTHING"
            ),
            {
                "source": source,
                "external_id": external_id,
                "topic": topic,
                "body": body,
                "now": as_time(connection, clock.now()),
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
        document = HANDLERS[message.source](engine, message.topic, message.body)
        status = "ignored" if document is None else "processed"
    except OmsError as error:
        status, problem = "failed", error.problem()

    def work(connection: Connection) -> None:
        connection.execute(
            sa.text(
                "UPDATE inbox_messages SET status = :status, document = :document,"
                " problem = :problem, attempts = attempts + 1, processed_at = :now"
                # Two at once made the same; the one that failed does not undo the other.
                " WHERE id = :id AND status IN ('received', 'failed')"
            ),
            {
                "status": status,
                "document": document,
                "problem": None if problem is None else json.dumps(problem),
                "now": as_time(connection, clock.now()),
                "id": message.id,
            },
        )

    run(engine, work)
    with reading(engine) as connection:
        return _select(connection, "id = :id", id=message.id)[0]


def retry(engine: Engine, actor: Actor, *, limit: int = 1000) -> list[Message]:
    """Try again what failed or was cut off, oldest first; return what became of each."""
    actor.require(ORDERS_WRITE)
    with reading(engine) as connection:
        waiting = _select(
            connection, "status IN ('received', 'failed') ORDER BY id LIMIT :limit", limit=limit
        )
    return [process(engine, message) for message in waiting]


def _select(connection: Connection, condition: str, **parameters: Any) -> list[Message]:
    rows = connection.execute(
        sa.text(
            "SELECT id, source, topic, body, status, document, problem FROM inbox_messages"
            f" WHERE {condition}"
        ),
        parameters,
    )
    return [
        Message(r.id, r.source, r.topic, r.body, r.status, r.document, runs.document(r.problem))
        for r in rows
    ]
