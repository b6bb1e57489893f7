"""The forms of a customer's order page with which she asks, writes back, rates and says her mind.

As with all of her page, the token in the link is the permission.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.engine import Connection, Engine

from oms_ops.api import tracking
from oms_ops.api.parts import Database
from oms_ops.care import opening, page
from oms_ops.care.forms import MessageIn, OpinionIn, QuestionIn, RatingIn
from oms_ops.database import run
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.shapes import parsed

router = APIRouter(tags=["tracking"])

#: What a form's fields are called on the page.
_LABELS = {"subject": "In short", "message": "Your words", "comment": "Why"}

Fields = dict[str, str]
Act = Callable[[Connection, Fields], None]


@router.post("/track/{token}/tickets", response_class=HTMLResponse)
async def ask(engine: Database, token: str, request: Request) -> Response:
    """Ask for help."""

    def act(connection: Connection, fields: Fields) -> None:
        opening.ask(connection, token, parsed(QuestionIn, fields, "Your question"))

    return await _take(engine, token, request, act)


@router.post("/track/{token}/tickets/{number}/replies", response_class=HTMLResponse)
async def write(engine: Database, token: str, number: str, request: Request) -> Response:
    """Write into a ticket of the order."""

    def act(connection: Connection, fields: Fields) -> None:
        message = parsed(MessageIn, fields, "Your message").message
        page.write(connection, token, number, message)

    return await _take(engine, token, request, act)


@router.post("/track/{token}/tickets/{number}/rating", response_class=HTMLResponse)
async def rate(engine: Database, token: str, number: str, request: Request) -> Response:
    """Say how she was helped."""

    def act(connection: Connection, fields: Fields) -> None:
        rating = parsed(RatingIn, fields, "Your rating").rating
        page.rate(connection, token, number, rating)

    return await _take(engine, token, request, act)


@router.post("/track/{token}/feedback", response_class=HTMLResponse)
async def give(engine: Database, token: str, request: Request) -> Response:
    """Say whether she would recommend the shop."""

    def act(connection: Connection, fields: Fields) -> None:
        page.give(connection, token, parsed(OpinionIn, fields, "Your feedback"))

    return await _take(engine, token, request, act)


async def _take(engine: Engine, token: str, request: Request, act: Act) -> Response:
    return await run_sync(_done, engine, token, await tracking.read(request), act)


def _done(engine: Engine, token: str, body: bytes, act: Act) -> Response:
    try:
        fields = tracking.fields_of(body)
        run(engine, lambda connection: act(connection, fields))
    except (ValidationFailed, Conflict) as refusal:
        faults = [_told(fault) for fault in refusal.errors] or [refusal.message]
        return tracking.shown(engine, token, faults, refusal.status)
    return tracking.seen_again(token)


def _told(fault: FieldError) -> str:
    label = _LABELS.get(fault.field)
    return f"{label}: {fault.message}" if label else fault.message
