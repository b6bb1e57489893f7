"""Routes of the orders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header

from oms_ops.access.actor import ORDERS_READ
from oms_ops.api.parts import Caller, Cursor, Database, JsonBody, Limit
from oms_ops.database import reading
from oms_ops.orders import queries
from oms_ops.orders.capture import capture
from oms_ops.orders.intake import OrderIn

router = APIRouter(tags=["orders"])

_ORDER_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": OrderIn.model_json_schema()}},
    }
}


@router.post("/orders", status_code=201, openapi_extra=_ORDER_SCHEMA)
def capture_order(
    engine: Database,
    actor: Caller,
    body: JsonBody,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> dict[str, Any]:
    """Capture an order; a repeat with the same Idempotency-Key and body gets the first answer."""
    return capture(engine, actor, body, idempotency_key=idempotency_key)


@router.get("/orders")
def list_orders(
    engine: Database, actor: Caller, after: Cursor = 0, limit: Limit = 50, status: str | None = None
) -> dict[str, Any]:
    """List orders, newest first; ``next`` is the cursor for ``after``."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        page, cursor = queries.listing(connection, before=after, limit=limit, status=status)
    return {"data": page, "next": cursor}


@router.get("/orders/{number}")
def get_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show one order."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        return queries.get(connection, number)


@router.get("/orders/{number}/shipments")
def list_shipments(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show the shipments of an order."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        return {"data": queries.shipments(connection, number), "next": None}
