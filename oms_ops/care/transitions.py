"""The one table of a ticket's steps, and the statement that takes tickets along it.

The UPDATE carries the statuses that it expects: a ticket that somebody else moved meanwhile is
refused instead of moved twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.care.tables import UNSOLVED
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError


@dataclass(frozen=True, slots=True)
class Step:
    """Which status a step makes of which, and what else it changes.

    ``values`` are the columns that each ticket gets a value of its own for, with their types;
    ``sets`` is SQL on the ticket ``t``, its row ``r`` of what is wanted, and ``:now``.
    """

    moves: Mapping[str, str]
    values: Mapping[str, str] = field(default_factory=dict)
    sets: str = ""
    #: Columns of the row that ``sets`` reads.
    reads: Mapping[str, str] = field(default_factory=dict)


_STAYS = {status: status for status in (*UNSOLVED, "solved")}
_ANSWERED = (
    "first_responded_at = CASE WHEN r.answers THEN coalesce(t.first_responded_at, :now)"
    " ELSE t.first_responded_at END"
)
_ANSWERS = {"answers": "boolean"}

TRANSITIONS = {
    "answer": Step(dict.fromkeys(UNSOLVED, "waiting"), sets=_ANSWERED, reads=_ANSWERS),
    # The customer writes: what was solved is not, after all.
    "hear": Step(
        {"new": "new", "open": "open", "waiting": "open", "solved": "open"},
        sets="reopened = t.reopened + CASE t.status WHEN 'solved' THEN 1 ELSE 0 END,"
        " solved_at = NULL",
    ),
    "assign": Step({**_STAYS, "new": "open"}, {"assigned_to": "text"}),
    "change": Step(
        _STAYS,
        {
            "topic": "text",
            "priority": "text",
            "first_response_due_at": "timestamptz",
            "resolution_due_at": "timestamptz",
        },
    ),
    "solve": Step(
        dict.fromkeys(UNSOLVED, "solved"), sets=f"solved_at = :now, {_ANSWERED}", reads=_ANSWERS
    ),
    "reopen": Step(
        dict.fromkeys(("solved", "closed"), "open"),
        sets="reopened = t.reopened + 1, solved_at = NULL, closed_at = NULL",
    ),
    "close": Step(dict.fromkeys((*UNSOLVED, "solved"), "closed"), sets="closed_at = :now"),
    # A customer may change her mind.
    "rate": Step(
        {"solved": "solved", "closed": "closed"}, {"rating": "integer"}, sets="rated_at = :now"
    ),
}


def advance(
    connection: Connection, by: str, now: datetime, step: str, tickets: Sequence[Mapping[str, Any]]
) -> None:
    """Take locked tickets one step along: each a ``ticket_id`` with what the step reads of it.

    Raises:
        Conflict: a ticket is not in a status for it; none is then moved.
    """
    rule = TRANSITIONS[step]
    columns = {"ticket_id": "bigint", **rule.values, **rule.reads}
    cases = " ".join(f"WHEN '{was}' THEN '{leaves}'" for was, leaves in rule.moves.items())
    needs = ", ".join(f"'{status}'" for status in rule.moves)
    sets = [f"{name} = r.{name}" for name in rule.values] + ([rule.sets] if rule.sets else [])
    moved = execute(
        connection,
        f"UPDATE tickets AS t SET status = CASE t.status {cases} END,"
        f" {''.join(f'{each}, ' for each in sets)}"
        " version = t.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        f" WHERE t.id = r.ticket_id AND t.status IN ({needs}) RETURNING id",
        {
            "rows": as_rows({name: each[name] for name in columns} for each in tickets),
            "actor": by,
            "now": as_time(connection, now),
        },
    ).fetchall()
    if len(moved) != len(tickets):
        done = {row[0] for row in moved}
        left = sorted({each["ticket_id"] for each in tickets} - done)
        raise _refusal(connection, left, step)


def _refusal(connection: Connection, ticket_ids: Sequence[int], step: str) -> Conflict:
    rows = execute(
        connection,
        f"SELECT number, status FROM tickets WHERE id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(ticket_ids)},
    ).fetchall()
    needs = " or ".join(TRANSITIONS[step].moves)
    faults = [FieldError("number", "wrong_status", f"{n} is {s}, not {needs}") for n, s in rows]
    named = "; ".join(fault.message for fault in faults) or "There is no such ticket"
    return Conflict(f"{named}.", faults)
