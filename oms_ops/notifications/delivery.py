"""Deliver what waits in the outbox: at least once, each message with an id that never changes.

A batch is claimed in one transaction, which also says when it may be tried again; the letters leave
outside any transaction; what left is marked. Whoever dies in between leaves the batch to the next
round, which sends it again under the same id. What is for somebody without an e-mail address is
marked like what left, and stays with that as its problem.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.database import as_rows, as_time, execute, reading, rowset, run
from oms_ops.notifications.letters import Letter, compose
from oms_ops.notifications.nobody import is_nobody

_log = logging.getLogger(__name__)

#: Minutes until a message is tried again, doubled with every attempt.
_PATIENCE = 2
#: After so many attempts (some six days) a message stays with its problem.
MOST_ATTEMPTS = 12
_LONGEST_PROBLEM = 500
_NO_ADDRESS = "not sent: the customer left no e-mail address"

#: Returns where the customers of orders (numbers) follow them.
Links = Callable[[Connection, Sequence[str]], Mapping[str, str]]


class Sender(Protocol):
    """What takes letters away."""

    def send(self, letters: Sequence[tuple[str, str, Letter]]) -> dict[str, str]:
        """Send letters, each with its id and recipient; return the problem of each that failed."""
        ...


@dataclass(frozen=True, slots=True)
class _Message:
    id: int
    kind: str
    recipient: str
    payload: dict[str, Any]


def deliver(engine: Engine, sender: Sender, links: Links, *, batch: int = 50) -> int:
    """Send what waits and may be sent now; return how many left."""
    sent = 0
    while claimed := run(engine, partial(_claim, batch=batch)):
        with reading(engine) as connection:
            orders = sorted({m.payload["order"] for m in claimed if "order" in m.payload})
            urls = links(connection, orders) if orders else {}
        letters = [
            (message_id(m.id), m.recipient, compose(m.kind, m.payload, urls.get(_order(m))))
            for m in claimed
            if not is_nobody(m.recipient)
        ]
        problems = sender.send(letters) if letters else {}
        run(engine, partial(_settle, claimed=claimed, problems=problems))
        sent += len(letters) - len(problems)
        if problems:
            _log.warning("%d of %d messages could not be sent", len(problems), len(claimed))
        if len(claimed) < batch:
            break
    return sent


def message_id(outbox_id: int) -> str:
    """Return the id that a message keeps however often it is sent."""
    return f"outbox-{outbox_id}"


def _order(message: _Message) -> str:
    return str(message.payload.get("order", ""))


def _claim(connection: Connection, batch: int) -> list[_Message]:
    """Take messages that wait; nobody else takes them until they may be tried again."""
    now = clock.now()
    skip = "" if connection.dialect.name == "sqlite" else " FOR UPDATE SKIP LOCKED"
    rows = execute(
        connection,
        "SELECT id, kind, recipient, payload, attempts FROM outbox_messages"
        " WHERE delivered_at IS NULL AND attempts < :most"
        " AND (next_attempt_at IS NULL OR next_attempt_at <= :now)"
        f" ORDER BY id LIMIT :batch{skip}",
        {"most": MOST_ATTEMPTS, "now": as_time(connection, now), "batch": batch},
    ).fetchall()
    if not rows:
        return []
    columns = {"id": "bigint", "again": "timestamptz"}
    execute(
        connection,
        "UPDATE outbox_messages AS m SET attempts = m.attempts + 1, next_attempt_at = r.again"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE m.id = r.id",
        {
            "rows": as_rows(
                {
                    "id": row[0],
                    "again": as_time(connection, now + timedelta(minutes=_PATIENCE * 2 ** row[4])),
                }
                for row in rows
            )
        },
    )
    return [_Message(row[0], row[1], row[2], _document(row[3])) for row in rows]


def _settle(
    connection: Connection, claimed: Sequence[_Message], problems: Mapping[str, str]
) -> None:
    columns = {"id": "bigint", "problem": "text", "waits": "boolean"}
    execute(
        connection,
        "UPDATE outbox_messages AS m SET problem = r.problem,"
        " delivered_at = CASE WHEN r.waits THEN m.delivered_at ELSE :now END"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " WHERE m.id = r.id AND m.delivered_at IS NULL",
        {
            "now": as_time(connection, clock.now()),
            "rows": as_rows(
                {
                    "id": m.id,
                    "problem": problems[message_id(m.id)][:_LONGEST_PROBLEM]
                    if message_id(m.id) in problems
                    else (_NO_ADDRESS if is_nobody(m.recipient) else None),
                    "waits": message_id(m.id) in problems,
                }
                for m in claimed
            ),
        },
    )


def _document(value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return document
