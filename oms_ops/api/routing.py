"""Routes of the routing: send shipments elsewhere, ask what other rules would have done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.api.parts import Caller, Database, ShipmentIds
from oms_ops.database import reading, run
from oms_ops.orders import affected, sites, whatif
from oms_ops.orders.reroute import reroute
from oms_ops.shapes import Body, Reason

router = APIRouter(tags=["routing"])


class Rerouting(Body):
    """Shipments that nobody picks yet, and the warehouses that may not (or the one that must)."""

    shipment_ids: ShipmentIds
    exclude: list[str] = Field(default_factory=list, max_length=100)
    to: str | None = None
    reason: Reason


class Question(Body):
    """Changed parts of the rules, and the period whose orders they are tried on."""

    rules: dict[str, Any]
    month: str | None = None
    days: int | None = None
    may_split: bool | None = None


@router.post("/shipments/reroute")
def send_elsewhere(engine: Database, actor: Caller, body: Rerouting) -> dict[str, Any]:
    """Route shipments again, away from their warehouses, or to a named one; show where they are."""

    def work(connection: Connection) -> list[dict[str, Any]]:
        order_ids = reroute(
            connection,
            actor,
            body.shipment_ids,
            exclude=body.exclude,
            to=body.to,
            reason=body.reason,
        )
        return affected.placement(connection, order_ids)

    return {"data": run(engine, work)}


@router.get("/routing/sites")
def list_sites(engine: Database, actor: Caller) -> dict[str, Any]:
    """Show the active warehouses as routing sees them: place, rules and shipments of today."""
    with reading(engine) as connection:
        return {"data": sites.overview(connection, actor), "next": None}


@router.post("/routing/what-if")
def ask_what_if(engine: Database, actor: Caller, body: Question) -> dict[str, Any]:
    """Replay a period's orders under the rules in force and under changed ones; nothing changes."""
    with reading(engine) as connection:
        return whatif.what_if(
            connection,
            actor,
            body.rules,
            month=body.month,
            days=body.days,
            may_split=body.may_split,
            where="rules",
        )
