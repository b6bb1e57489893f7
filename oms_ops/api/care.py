"""Routes of the customers' care: tickets and feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import CARE_READ, CARE_WRITE, Actor
from oms_ops.api.parts import (
    Caller,
    Cursor,
    Database,
    Limit,
    Once,
    Search,
    Submission,
    callers_words,
    one_of,
)
from oms_ops.care import commands, feedback, opening, queries
from oms_ops.care.forms import FeedbackIn, Message, MessageIn, Priority, RatingIn, TicketIn, Topic
from oms_ops.care.tables import STATUSES
from oms_ops.database import reading
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders.queries import order_id as find_order
from oms_ops.shapes import Body, Note, Words, one_line

router = APIRouter(tags=["care"])

#: What the services call the fields of the one thing that a route takes.
_WORDS = {r"^(tickets|feedback)\[0\]\.": ""}


class ReplyBody(MessageIn):
    """A reply: the shop's, or (``by_customer``) what the customer said or wrote elsewhere."""

    by_customer: bool = False


class AssignBody(Body):
    """Who looks after it; nobody, if not said."""

    to: Annotated[Words, AfterValidator(one_line)] | None = None


class ChangeBody(Body):
    """Another priority, another topic, or both."""

    priority: Priority | None = None
    topic: Topic | None = None


class SolveBody(Body):
    """The last reply; it may be left out once the customer was answered."""

    message: Message | None = None


class ReasonBody(Body):
    """Why, for the staff."""

    reason: Note = ""


@router.post("/tickets", status_code=201)
def open_ticket(engine: Database, actor: Caller, once: Once, body: TicketIn) -> dict[str, Any]:
    """Open a ticket for a customer, who is told."""
    actor.require(CARE_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        return {"id": opening.open_tickets(connection, actor, [body])[0]}

    with callers_words(_WORDS):
        return _shown(engine, once.run(engine, actor, work)["id"])


@router.get("/tickets")
def list_tickets(
    engine: Database,
    actor: Caller,
    after: Cursor = 0,
    limit: Limit = 50,
    status: Annotated[str | None, Query(pattern=one_of(STATUSES))] = None,
    order: str | None = None,
    customer: Search | None = None,
    assigned_to: Search | None = None,
    overdue: bool | None = None,
) -> dict[str, Any]:
    """List tickets, newest first; ``customer`` is an e-mail address, ``next`` goes to ``after``."""
    actor.require(CARE_READ)
    with reading(engine) as connection:
        page, cursor = queries.listing(
            connection, actor, before=after, limit=limit, status=status,
            order_id=None if order is None else find_order(connection, order),
            email=customer, assigned_to=assigned_to, overdue=overdue,
        )  # fmt: skip
    return {"data": page, "next": cursor}


@router.get("/tickets/{number}")
def get_ticket(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show a ticket with all that was written in it."""
    with reading(engine) as connection:
        return queries.get(connection, actor, number)


@router.post("/tickets/{number}/replies")
def reply(
    engine: Database, actor: Caller, once: Once, number: str, body: ReplyBody
) -> dict[str, Any]:
    """Answer the customer, who is told; or write down what she said."""
    step = commands.hear if body.by_customer else commands.reply
    return _do(engine, actor, once, number, lambda c, i: step(c, actor, {i: body.message}))


@router.post("/tickets/{number}/notes")
def note(
    engine: Database, actor: Caller, once: Once, number: str, body: MessageIn
) -> dict[str, Any]:
    """Write a note for the staff; the customer never sees it."""
    return _do(engine, actor, once, number, lambda c, i: commands.note(c, actor, {i: body.message}))


@router.post("/tickets/{number}/assign")
def assign(
    engine: Database, actor: Caller, once: Once, number: str, body: AssignBody
) -> dict[str, Any]:
    """Give a ticket to somebody."""
    return _do(engine, actor, once, number, lambda c, i: commands.assign(c, actor, [i], body.to))


@router.post("/tickets/{number}/priority")
def change(
    engine: Database, actor: Caller, once: Once, number: str, body: ChangeBody
) -> dict[str, Any]:
    """Set the priority, by which other hours hold, or the topic."""
    actor.require(CARE_WRITE)
    if body.priority is None and body.topic is None:
        fault = FieldError("priority", "required", "say the priority, or the topic")
        raise ValidationFailed("The request has bad fields.", [fault])

    def step(connection: Connection, ticket_id: int) -> None:
        commands.change(connection, actor, [ticket_id], priority=body.priority, topic=body.topic)

    return _do(engine, actor, once, number, step)


@router.post("/tickets/{number}/solve")
def solve(
    engine: Database, actor: Caller, once: Once, number: str, body: SolveBody | None = None
) -> dict[str, Any]:
    """Say that it is solved; the customer is told, and asked how she was helped."""
    message = body.message if body else None
    return _do(engine, actor, once, number, lambda c, i: commands.solve(c, actor, {i: message}))


@router.post("/tickets/{number}/reopen")
def reopen(
    engine: Database, actor: Caller, once: Once, number: str, body: ReasonBody | None = None
) -> dict[str, Any]:
    """Open a ticket again that was solved or closed."""
    reason = body.reason if body else ""
    return _do(engine, actor, once, number, lambda c, i: commands.reopen(c, actor, [i], reason))


@router.post("/tickets/{number}/close")
def close(
    engine: Database, actor: Caller, once: Once, number: str, body: ReasonBody | None = None
) -> dict[str, Any]:
    """Close a ticket; one that was not solved is given up."""
    reason = body.reason if body else ""
    return _do(engine, actor, once, number, lambda c, i: commands.close(c, actor, [i], reason))


@router.post("/tickets/{number}/rating")
def rate(
    engine: Database, actor: Caller, once: Once, number: str, body: RatingIn
) -> dict[str, Any]:
    """Write down how the customer says that she was helped."""
    return _do(engine, actor, once, number, lambda c, i: commands.rate(c, actor, {i: body.rating}))


@router.post("/feedback", status_code=201)
def give_feedback(engine: Database, actor: Caller, once: Once, body: FeedbackIn) -> dict[str, Any]:
    """Write down whether the customer of an order would recommend the shop; the latest counts."""
    actor.require(CARE_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        return {"id": feedback.give(connection, actor, [body])[0]}

    with callers_words(_WORDS):
        given = once.run(engine, actor, work)["id"]
    with reading(engine) as connection:
        return feedback.shown(connection, given)


@router.get("/feedback")
def list_feedback(
    engine: Database, actor: Caller, after: Cursor = 0, limit: Limit = 50
) -> dict[str, Any]:
    """List feedback, newest first; ``next`` is the cursor for ``after``."""
    with reading(engine) as connection:
        page, cursor = feedback.listing(connection, actor, before=after, limit=limit)
    return {"data": page, "next": cursor}


def _do(
    engine: Engine,
    actor: Actor,
    once: Submission,
    number: str,
    step: Callable[[Connection, int], None],
) -> dict[str, Any]:
    actor.require(CARE_WRITE)

    def work(connection: Connection) -> dict[str, Any]:
        ticket_id = queries.ticket_id(connection, number)
        step(connection, ticket_id)
        # What was written stays in its tables alone: the key keeps no copy of it.
        return {"id": ticket_id}

    return _shown(engine, once.run(engine, actor, work)["id"])


def _shown(engine: Engine, ticket_id: int) -> dict[str, Any]:
    with reading(engine) as connection:
        return queries.shown(connection, ticket_id)
