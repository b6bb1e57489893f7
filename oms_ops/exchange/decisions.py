"""What a person decides about a message of another system that nothing could be made of.

``dismiss`` puts it aside. ``accept`` is for an order that was changed there after it was taken
(``differs``), once somebody has done here what is to be done: what that system says now is what the
order is known by from then on, so that its later messages are no problem any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_time, execute, for_update, run
from oms_ops.errors import Conflict, FieldError, NotFound
from oms_ops.exchange import inbox, runs, webhooks
from oms_ops.exchange.inbox import Message

DIFFERS = "differs"
#: source -> what makes the content of a message (topic, body) the one that is known.
ACCEPTORS: dict[str, Callable[[Connection, str], None]] = {"shopify": webhooks.accept_shopify}


def dismiss(engine: Engine, actor: Actor, message_id: int, note: str = "") -> Message:
    """Put a message aside that somebody has looked at: it is ``ignored``, and not tried again.

    Raises:
        Forbidden: the role may not write orders.
        NotFound: there is no such message.
        Conflict: it did not fail.
    """
    actor.require(ORDERS_WRITE)

    def work(connection: Connection) -> None:
        _failed(connection, message_id, "dismiss")
        _settle(connection, actor, message_id, note, "status = 'ignored', next_attempt_at = NULL,")

    run(engine, work)
    return inbox.get(engine, message_id)


def accept(engine: Engine, actor: Actor, message_id: int, note: str = "") -> Message:
    """Take what a message says as what its order is known by; then make of it what can be made.

    The order itself stays as it is here: amend it, or leave it.

    Raises:
        Forbidden: the role may not write orders.
        NotFound: there is no such message.
        Conflict: it did not fail because its order differs.
    """
    actor.require(ORDERS_WRITE)

    def work(connection: Connection) -> None:
        row = _failed(connection, message_id, "accept")
        problem = runs.document(row["problem"]) or {}
        codes = {str(error.get("code")) for error in problem.get("errors", [])}
        if DIFFERS not in codes or row["source"] not in ACCEPTORS:
            message = "its order does not differ: retry it, or dismiss it"
            raise Conflict(
                f"Message {message_id} cannot be accepted.",
                [FieldError("message_id", "not_differing", message)],
            )
        ACCEPTORS[row["source"]](connection, row["body"])
        _settle(connection, actor, message_id, note)

    run(engine, work)
    return inbox.process(engine, inbox.get(engine, message_id))


def _failed(connection: Connection, message_id: int, step: str) -> Any:
    """Lock a message that failed; return its source, body and problem."""
    row = (
        connection.execute(
            sa.text(
                "SELECT source, body, status, problem FROM inbox_messages WHERE id = :id"
                f" {for_update(connection)}"
            ),
            {"id": message_id},
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no message {message_id}.")
    if row["status"] != "failed":
        state = f"is {row['status']}, not failed"
        raise Conflict(
            f"Message {message_id} {state}: there is nothing to {step}.",
            [FieldError("message_id", "wrong_status", state)],
        )
    return row


def _settle(
    connection: Connection, actor: Actor, message_id: int, note: str, changes: str = ""
) -> None:
    execute(
        connection,
        f"UPDATE inbox_messages SET {changes} settled_by = :actor, settled_note = :note,"
        " processed_at = :now WHERE id = :id",
        {
            "id": message_id,
            "actor": actor.name,
            "note": note or None,
            "now": as_time(connection, clock.now()),
        },
    )
