"""Routes of the shop's rules."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from oms_ops.api.parts import Caller, Database, Limit
from oms_ops.database import reading, run
from oms_ops.orders import sites
from oms_ops.payments.gateways.registry import problem
from oms_ops.rules import advice, store
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
    """Put a document in force; ``warnings`` name what in it will have no effect."""
    version = run(
        engine,
        lambda c: store.publish(c, actor, body.document, body.note, where="document"),
    )
    rules = store.parse(body.document)
    with reading(engine) as connection:
        found = advice.warnings(rules, [site.code for site in sites.active(connection)], problem)
    return {
        "version": version,
        "document": rules.model_dump(mode="json"),
        "warnings": [{**asdict(each), "field": f"document.{each.field}"} for each in found],
    }
