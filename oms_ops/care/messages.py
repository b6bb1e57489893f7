"""What is written in tickets, and what customers are told of them, in the transaction of the step.

Internal messages stay with the staff: they are in no letter and on no customer's page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, as_time, execute, ids, read_time, rowset
from oms_ops.notifications import outbox
from oms_ops.settings import settings


@dataclass(frozen=True, slots=True)
class Written:
    """A message of a ticket, and the step that was taken with it."""

    ticket_id: int
    author: str
    step: str
    body: str
    is_internal: bool = False


def write(connection: Connection, by: str, now: datetime, messages: Sequence[Written]) -> None:
    """Write messages into locked tickets."""
    columns = {
        "ticket_id": "bigint", "author": "text", "step": "text", "body": "text",
        "is_internal": "boolean",
    }  # fmt: skip
    execute(
        connection,
        "INSERT INTO ticket_messages (ticket_id, author, step, is_internal, body, sent_at,"
        " changed_by) SELECT ticket_id, author, step, is_internal, body, :now, :actor"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r ORDER BY ticket_id",
        {
            "rows": as_rows(asdict(message) for message in messages),
            "actor": by,
            "now": as_time(connection, now),
        },
    )


def tell(
    connection: Connection,
    step: str,
    ticket_ids: Sequence[int],
    replies: Mapping[int, str | None] | None = None,
) -> None:
    """Post ``ticket.<step>`` to the customers of tickets; call it after the step.

    ``replies`` are the words for each of them.
    """
    rows = execute(
        connection,
        "SELECT t.id, t.number, t.email, t.subject, t.first_response_due_at, o.number"
        " FROM tickets AS t LEFT JOIN orders AS o ON o.id = t.order_id"
        f" WHERE t.id IN ({ids(connection, 'ids')}) ORDER BY t.id",
        {"ids": as_ids(ticket_ids)},
    ).fetchall()
    posted = []
    for ticket_id, number, email, about, due, order in rows:
        payload: dict[str, Any] = {"ticket": number, "about": about}
        if order is not None:
            # By it the letter gets the link to the order's page.
            payload["order"] = order
        if step == "opened":
            payload["answer_by"] = _hour(due)
        if (reply := (replies or {}).get(ticket_id)) is not None:
            payload["reply"] = reply
        posted.append((email, payload))
    outbox.post_many(connection, f"ticket.{step}", posted)


def _hour(value: Any) -> str | None:
    moment = read_time(value)
    return f"{moment.astimezone(settings().zone):%Y-%m-%d %H:%M}" if moment else None
