"""Routes of the drafts: keep, change, price and place an order in the making."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from oms_ops.api.parts import Caller, Cursor, Database, JsonBody, Limit, Once
from oms_ops.database import reading, run
from oms_ops.orders import drafts
from oms_ops.shapes import Body

router = APIRouter(prefix="/drafts", tags=["drafts"])

Seen = Annotated[int, Field(ge=1)]


class Edit(Body):
    """The new document, and the version that it replaces."""

    version: Seen
    document: dict[str, Any]


@router.post("", status_code=201)
def create(engine: Database, actor: Caller, once: Once, body: JsonBody) -> dict[str, Any]:
    """Keep an order in the making; it may still lack things."""
    return once.run(engine, actor, lambda connection: drafts.create(connection, actor, body))


@router.get("")
def listing(
    engine: Database, actor: Caller, after: Cursor = 0, limit: Limit = 50
) -> dict[str, Any]:
    """List open drafts, newest first."""
    with reading(engine) as connection:
        page, cursor = drafts.listing(connection, actor, before=after, limit=limit)
    return {"data": page, "next": cursor}


@router.get("/{number}")
def get(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show a draft."""
    with reading(engine) as connection:
        return drafts.get(connection, actor, number)


@router.put("/{number}")
def edit(engine: Database, actor: Caller, number: str, body: Edit) -> dict[str, Any]:
    """Replace the document of an open draft."""
    return run(
        engine,
        lambda connection: drafts.edit(connection, actor, number, body.document, body.version),
    )


@router.delete("/{number}")
def discard(
    engine: Database, actor: Caller, number: str, version: Annotated[int, Query(ge=1)]
) -> dict[str, Any]:
    """Give a draft up."""
    return run(engine, lambda connection: drafts.discard(connection, actor, number, version))


@router.post("/{number}/price")
def price(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show the order that placing the draft would make now."""
    return drafts.priced(engine, actor, number)


@router.post("/{number}/place", status_code=201)
def place(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Make an order of the draft; a repeat gets the same order."""
    return drafts.place(engine, actor, number)
