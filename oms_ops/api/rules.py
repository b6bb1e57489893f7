"""Routes of the shop's rules."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from oms_ops.api.parts import Caller, Database, Limit
from oms_ops.database import reading, run
from oms_ops.rules import store
from oms_ops.shapes import Body

router = APIRouter(prefix="/rules", tags=["rules"])


class NewRules(Body):
    """A whole document, and what was changed in it."""

    document: dict[str, Any]
    note: Annotated[str, Field(max_length=500)] = ""


@router.get("")
def current(engine: Database, actor: Caller) -> dict[str, Any]:
    """Show the rules in force."""
    with reading(engine) as connection:
        found = store.show(connection, actor)
    return {"version": found.id, "document": found.rules.model_dump(mode="json")}


@router.get("/history")
def history(engine: Database, actor: Caller, limit: Limit = 50) -> dict[str, Any]:
    """List the versions, newest first: who published them, when and why."""
    with reading(engine) as connection:
        return {"data": store.history(connection, actor, limit=limit), "next": None}


@router.put("")
def publish(engine: Database, actor: Caller, body: NewRules) -> dict[str, Any]:
    """Put a document in force."""
    version = run(
        engine, lambda connection: store.publish(connection, actor, body.document, body.note)
    )
    return {"version": version, "document": store.parse(body.document).model_dump(mode="json")}
