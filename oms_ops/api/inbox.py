"""Routes of the inbox: what other systems sent, what came of it, and another try."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from oms_ops.api.parts import Caller, Cursor, Database, Key, Limit
from oms_ops.exchange import decisions, inbox
from oms_ops.exchange.tables import INBOX_STATUSES
from oms_ops.shapes import Body, Note

router = APIRouter(tags=["inbox"])

Status = Annotated[str | None, Query(pattern=f"^({'|'.join(INBOX_STATUSES)})$")]


@router.get("/inbox")
def list_messages(
    engine: Database, actor: Caller, status: Status = None, limit: Limit = 50, after: Cursor = 0
) -> dict[str, Any]:
    """Return the messages of other systems, newest first; ``next`` is the cursor for ``after``."""
    return inbox.listing(engine, actor, status=status, limit=limit, after=after)


@router.get("/inbox/{message_id}")
def get_message(engine: Database, actor: Caller, message_id: Key) -> dict[str, Any]:
    """Return a message with its body as it came."""
    return inbox.look(engine, actor, message_id)


@router.post("/inbox/{message_id}/retry")
def retry_message(engine: Database, actor: Caller, message_id: Key) -> dict[str, Any]:
    """Try a message again now; ``problem`` says why it failed again. What is done stays so."""
    return asdict(inbox.retry_one(engine, actor, message_id))


class Decision(Body):
    """What whoever settles a message has to say of it."""

    note: Note = ""


@router.post("/inbox/{message_id}/dismiss")
def dismiss_message(
    engine: Database, actor: Caller, message_id: Key, body: Decision | None = None
) -> dict[str, Any]:
    """Put a failed message aside: it is not tried again; ``settled_by`` keeps who did."""
    return asdict(decisions.dismiss(engine, actor, message_id, (body or Decision()).note))


@router.post("/inbox/{message_id}/accept")
def accept_message(
    engine: Database, actor: Caller, message_id: Key, body: Decision | None = None
) -> dict[str, Any]:
    """Know an order that ``differs`` by what the message says; the order here stays as it is."""
    return asdict(decisions.accept(engine, actor, message_id, (body or Decision()).note))
