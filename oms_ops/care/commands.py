"""What is done with tickets: they are answered, noted upon, given to somebody, solved and closed.

Each command takes a set of tickets, all of them or none, under the locks of their rows: whoever
comes second sees what the first did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import CARE_WRITE, SYSTEM, Actor
from oms_ops.care import messages, queries
from oms_ops.care.messages import Written
from oms_ops.care.opening import due
from oms_ops.care.transitions import advance
from oms_ops.database import as_ids, as_time, execute, for_update, ids, read_time, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.rules import store


def reply(
    connection: Connection, actor: Actor, replies: Mapping[int, str], *, notify: bool = True
) -> None:
    """Answer the customers of tickets (by id); the first answer is the first response.

    Raises:
        Conflict: a ticket is solved or closed.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    now = clock.now()
    queries.locked(connection, list(replies))
    answered = [{"ticket_id": each, "answers": True} for each in replies]
    advance(connection, actor.name, now, "answer", answered)
    written = [Written(each, "agent", "reply", body) for each, body in replies.items()]
    messages.write(connection, actor.name, now, written)
    if notify:
        messages.tell(connection, "replied", list(replies), replies)


def hear(connection: Connection, actor: Actor, said: Mapping[int, str]) -> None:
    """Write down what customers said in their tickets; what was solved is open again.

    Raises:
        Conflict: a ticket is closed.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    heard(connection, actor.name, said)


def heard(connection: Connection, by: str, said: Mapping[int, str]) -> None:
    """Do what :func:`hear` does, for whoever has asked for the permission."""
    now = clock.now()
    heads = queries.locked(connection, list(said))
    advance(connection, by, now, "hear", [{"ticket_id": each} for each in said])
    written = [
        Written(each, "customer", "reopened" if _is_solved(heads[each]) else "reply", body)
        for each, body in said.items()
    ]
    messages.write(connection, by, now, written)


def _is_solved(head: Mapping[str, Any]) -> bool:
    return bool(head["status"] == "solved")


def note(connection: Connection, actor: Actor, notes: Mapping[int, str]) -> None:
    """Write notes for the staff into tickets, whatever became of them; customers never see these.

    Raises:
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    queries.locked(connection, list(notes))
    written = [
        Written(each, "agent", "note", body, is_internal=True) for each, body in notes.items()
    ]
    messages.write(connection, actor.name, clock.now(), written)


def assign(connection: Connection, actor: Actor, ticket_ids: Sequence[int], to: str | None) -> None:
    """Give tickets to somebody, or (None) to nobody again; a new one is then open.

    Raises:
        Conflict: a ticket is closed.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    queries.locked(connection, ticket_ids)
    given = [{"ticket_id": each, "assigned_to": to} for each in set(ticket_ids)]
    advance(connection, actor.name, clock.now(), "assign", given)


def change(
    connection: Connection,
    actor: Actor,
    ticket_ids: Sequence[int],
    *,
    priority: str | None = None,
    topic: str | None = None,
) -> None:
    """Set the priority or the topic of tickets; another priority has other hours.

    Raises:
        Conflict: a ticket is closed.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    rules = store.current(connection).rules.care
    changed = []
    for head in queries.locked(connection, ticket_ids).values():
        until = {name: head[name] for name in ("first_response_due_at", "resolution_due_at")}
        opened_at = read_time(head["opened_at"])
        if priority is not None and priority != head["priority"] and opened_at is not None:
            moments = due(rules, priority, opened_at)
            until = {name: as_time(connection, moment) for name, moment in moments.items()}
        chosen = {"topic": topic or head["topic"], "priority": priority or head["priority"]}
        changed.append({"ticket_id": head["id"], **chosen, **until})
    advance(connection, actor.name, clock.now(), "change", changed)


def solve(
    connection: Connection,
    actor: Actor,
    solutions: Mapping[int, str | None],
    *,
    notify: bool = True,
) -> None:
    """Say that tickets are solved, each with a last reply or without one.

    Raises:
        Conflict: a ticket is solved or closed already.
        ValidationFailed: a customer who was never answered would hear nothing.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    now = clock.now()
    heads = queries.locked(connection, list(solutions))
    solved = [{"ticket_id": each, "answers": bool(body)} for each, body in solutions.items()]
    advance(connection, actor.name, now, "solve", solved)
    faults = [
        FieldError("message", "required", f"nobody has answered {heads[each]['number']} yet")
        for each, body in solutions.items()
        if not body and heads[each]["first_responded_at"] is None
    ]
    if faults:
        raise ValidationFailed("The solution has bad fields.", faults)
    written = [
        Written(each, "agent", "solved", body or "", is_internal=not body)
        for each, body in solutions.items()
    ]
    messages.write(connection, actor.name, now, written)
    if notify:
        messages.tell(connection, "solved", list(solutions), solutions)


def reopen(
    connection: Connection, actor: Actor, ticket_ids: Sequence[int], reason: str = ""
) -> None:
    """Open tickets again that were solved or closed; ``reason`` is for the staff.

    Raises:
        Conflict: a ticket is neither.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    _end(connection, actor.name, ticket_ids, "reopen", "reopened", reason)


def close(
    connection: Connection, actor: Actor, ticket_ids: Sequence[int], reason: str = ""
) -> None:
    """Close tickets: solved ones, or those that are given up; ``reason`` is for the staff.

    Raises:
        Conflict: a ticket is closed already.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    _end(connection, actor.name, ticket_ids, "close", "closed", reason)


def _end(
    connection: Connection,
    by: str,
    ticket_ids: Sequence[int],
    step: str,
    told: str,
    reason: str,
    author: str = "agent",
) -> None:
    now, chosen = clock.now(), sorted(set(ticket_ids))
    queries.locked(connection, chosen)
    advance(connection, by, now, step, [{"ticket_id": each} for each in chosen])
    written = [Written(each, author, told, reason, is_internal=True) for each in chosen]
    messages.write(connection, by, now, written)


def rate(connection: Connection, actor: Actor, ratings: Mapping[int, int]) -> None:
    """Write down how customers were helped, from 1 to 5; the latest rating of a ticket counts.

    Raises:
        Conflict: a ticket is not solved.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    rated(connection, actor.name, ratings)


def rated(connection: Connection, by: str, ratings: Mapping[int, int]) -> None:
    """Do what :func:`rate` does, for whoever has asked for the permission."""
    queries.locked(connection, list(ratings))
    given = [{"ticket_id": each, "rating": rating} for each, rating in ratings.items()]
    advance(connection, by, clock.now(), "rate", given)


def close_solved(engine: Engine, *, batch: int = 200) -> int:
    """Close the tickets that were solved long enough ago; return how many. Nobody is told."""
    done = 0
    while closed := run(engine, lambda connection: close_due(connection, SYSTEM.name, batch)):
        done += closed
    return done


def close_due(connection: Connection, by: str, batch: int) -> int:
    """Close some of the tickets that were solved long enough ago; return how many."""
    days = store.current(connection).rules.care.close_after_days
    before = as_time(connection, clock.now() - timedelta(days=days))
    rows = execute(
        connection,
        "SELECT id FROM tickets WHERE status = 'solved' AND solved_at < :before"
        " ORDER BY id LIMIT :batch",
        {"before": before, "batch": batch},
    ).fetchall()
    # Under their locks: a customer may have written meanwhile.
    still = execute(
        connection,
        f"SELECT id FROM tickets WHERE id IN ({ids(connection, 'ids')}) AND status = 'solved'"
        f" AND solved_at < :before ORDER BY id {for_update(connection)}",
        {"ids": as_ids(row[0] for row in rows), "before": before},
    ).fetchall()
    if still:
        _end(connection, by, [row[0] for row in still], "close", "closed", "", author="system")
    return len(rows)
