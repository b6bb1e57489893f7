"""Reads tickets and feedback: one with everything, a page of many, those of an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CARE_READ, Actor
from oms_ops.care.tables import UNSOLVED
from oms_ops.database import as_ids, as_time, execute, for_update, ids, read_time
from oms_ops.errors import NotFound
from oms_ops.orders.queries import id_of

_UNSOLVED = ", ".join(f"'{status}'" for status in UNSOLVED)
#: SQL on a ticket: it waits for its first answer, or its solution, longer than was promised.
OVERDUE = (
    f"(t.status IN ({_UNSOLVED}) AND (t.resolution_due_at < :now"
    " OR (t.first_responded_at IS NULL AND t.first_response_due_at < :now)))"
)
_MOMENTS = (
    "opened_at", "first_response_due_at", "resolution_due_at", "first_responded_at", "solved_at",
    "closed_at", "rated_at",
)  # fmt: skip
_HEAD = (
    "id", "number", "order", "email", "channel", "topic", "subject", "status", "priority",
    "assigned_to", "reopened", "rating", "version",
)  # fmt: skip


def ticket_id(connection: Connection, number: str) -> int:
    """Return the id of a ticket by its number.

    Raises:
        NotFound: there is no such ticket.
    """
    wanted = id_of(number, "TK")
    row = execute(connection, "SELECT id FROM tickets WHERE id = :id", {"id": wanted}).fetchone()
    if row is None:
        raise NotFound("There is no such ticket.")
    return int(row[0])


def locked(connection: Connection, ticket_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Lock tickets, in one order; return their columns by id.

    Raises:
        NotFound: one of them is not there.
    """
    rows = _rows(
        connection,
        f"SELECT * FROM tickets WHERE id IN ({ids(connection, 'ids')})"
        f" ORDER BY id {for_update(connection)}",
        {"ids": as_ids(ticket_ids)},
    )
    found = {row["id"]: row for row in rows}
    if missing := sorted(set(ticket_ids) - set(found)):
        raise NotFound(f"There is no ticket {missing[0]}.")
    return found


def get(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return one ticket with all of its messages, the internal ones too.

    Raises:
        Forbidden: the role may not read what customers ask.
        NotFound: there is no such ticket.
    """
    actor.require(CARE_READ)
    return shown(connection, ticket_id(connection, number))


def shown(connection: Connection, ticket_id: int) -> dict[str, Any]:
    """Return a ticket with its messages as JSON-ready data, for who may see it."""
    (head,) = _heads(connection, [ticket_id])
    return {**head, "messages": _messages(connection, [ticket_id])[ticket_id]}


def listing(
    connection: Connection,
    actor: Actor,
    *,
    before: int = 0,
    limit: int = 50,
    status: str | None = None,
    order_id: int | None = None,
    email: str | None = None,
    assigned_to: str | None = None,
    overdue: bool | None = None,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of tickets without their messages, newest first, and the next page's cursor.

    Raises:
        Forbidden: the role may not read what customers ask.
    """
    actor.require(CARE_READ)
    chosen = {
        "t.id < :before": before or None,
        "t.status = :status": status,
        "t.order_id = :order_id": order_id,
        "t.email = :email": email.lower() if email else None,
        "t.assigned_to = :assigned_to": assigned_to,
        OVERDUE if overdue else f"NOT {OVERDUE}": overdue,
    }
    conditions = ["true", *(sql for sql, value in chosen.items() if value is not None)]
    rows = execute(
        connection,
        f"SELECT t.id FROM tickets AS t WHERE {' AND '.join(conditions)}"
        " ORDER BY t.id DESC LIMIT :limit",
        {
            "before": before,
            "status": status,
            "order_id": order_id,
            "email": email.lower() if email else None,
            "assigned_to": assigned_to,
            "now": as_time(connection, clock.now()),
            "limit": limit + 1,
        },
    ).fetchall()
    page = [row[0] for row in rows[:limit]]
    return _heads(connection, page), page[-1] if len(rows) > limit else None


def of_order(connection: Connection, order_id: int) -> list[dict[str, Any]]:
    """Return the tickets of an order as its customer sees them, the oldest first: no notes."""
    rows = execute(
        connection, "SELECT id FROM tickets WHERE order_id = :id ORDER BY id", {"id": order_id}
    ).fetchall()
    page = [row[0] for row in rows]
    messages = _messages(connection, page)
    return [
        {**head, "messages": [each for each in messages[head["id"]] if not each["is_internal"]]}
        for head in _heads(connection, page)
    ]


def _heads(connection: Connection, ticket_ids: Sequence[int]) -> list[dict[str, Any]]:
    rows = _rows(
        connection,
        f'SELECT t.*, o.number AS "order", CASE WHEN {OVERDUE} THEN 1 ELSE 0 END AS is_overdue'
        " FROM tickets AS t LEFT JOIN orders AS o ON o.id = t.order_id"
        f" WHERE t.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(ticket_ids), "now": as_time(connection, clock.now())},
    )
    found = {
        row["id"]: {
            **{name: row[name] for name in _HEAD},
            **{name: _iso(row[name]) for name in _MOMENTS},
            "is_overdue": bool(row["is_overdue"]),
        }
        for row in rows
    }
    return [found[each] for each in ticket_ids]


def _messages(connection: Connection, ticket_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    rows = _rows(
        connection,
        "SELECT ticket_id, author, step, is_internal, body, sent_at, changed_by"
        f" FROM ticket_messages WHERE ticket_id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(ticket_ids)},
    )
    found: dict[int, list[dict[str, Any]]] = {each: [] for each in ticket_ids}
    for row in rows:
        found[row["ticket_id"]].append(
            {
                **{name: row[name] for name in ("author", "step", "body")},
                "is_internal": bool(row["is_internal"]),
                "by": row["changed_by"],
                "sent_at": _iso(row["sent_at"]),
            }
        )
    return found


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return moment.isoformat() if moment else None


def _rows(
    connection: Connection, statement: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    cursor = execute(connection, statement, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
