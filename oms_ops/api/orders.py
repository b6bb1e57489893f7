"""Routes of the orders."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field, WithJsonSchema

from oms_ops.access.actor import ORDERS_WRITE
from oms_ops.api.parts import (
    UNSTORABLE,
    Caller,
    Credentials,
    Cursor,
    Database,
    IdempotencyKey,
    JsonBody,
    Limit,
    authenticated,
    described,
    one_of,
    refuse_unstorable,
)
from oms_ops.database import as_json, reading
from oms_ops.errors import OmsError
from oms_ops.orders import queries
from oms_ops.orders.capture import capture, quote
from oms_ops.orders.intake import OrderIn
from oms_ops.orders.tables import ORDER_STATUSES
from oms_ops.shapes import Strict, parsed

router = APIRouter(tags=["orders"])

_ORDER_SCHEMA = described(OrderIn)


@router.post("/orders", status_code=201, openapi_extra=_ORDER_SCHEMA, response_model=dict[str, Any])
async def capture_order(
    request: Request,
    credentials: Credentials,
    body: JsonBody,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    """Capture an order; a repeat with the same Idempotency-Key and body gets the first answer."""
    # Not as dependencies: resolving two takes FastAPI as long as a tenth of the capture.
    engine, turns = request.app.state.engine, request.app.state.turns

    def work() -> bytes:
        actor = authenticated(engine, credentials)
        return as_json(capture(engine, actor, body, idempotency_key=idempotency_key)).encode()

    # The answer is plain data already: FastAPI would walk through it twice more.
    return Response(await run_sync(work, limiter=turns), 201, media_type="application/json")


class BatchEntry(Strict):
    """One order of a batch, with an idempotency key of its own; what is in it, its answer tells."""

    order: Any
    idempotency_key: IdempotencyKey | None = None


#: It is read when its turn comes: a bad one is refused alone.
_Entry = Annotated[Any, WithJsonSchema(BatchEntry.model_json_schema())]


class Batch(Strict):
    """Orders that are captured one by one, each in a transaction of its own."""

    orders: Annotated[list[_Entry], Field(min_length=1, max_length=200)]


@router.post("/orders/batch")
def capture_batch(engine: Database, actor: Caller, body: Batch) -> dict[str, Any]:
    """Capture many orders; each has its own answer, in the order of the batch."""
    actor.require(ORDERS_WRITE)
    results = [_captured(engine, actor, entry) for entry in body.orders]
    captured = sum(result["status"] == 201 for result in results)
    return {"captured": captured, "refused": len(results) - captured, "results": results}


def _captured(engine: Database, actor: Caller, submitted: Any) -> dict[str, Any]:
    try:
        entry = parsed(BatchEntry, submitted, "The entry of the batch")
        order = capture(engine, actor, entry.order, idempotency_key=entry.idempotency_key)
    except OmsError as refusal:
        return {"status": refusal.status, "order": None, "problem": refusal.problem()}
    except UNSTORABLE:
        refused = refuse_unstorable()
        return {"status": refused.status, "order": None, "problem": refused.problem()}
    return {"status": 201, "order": order, "problem": None}


@router.post("/orders/quote", openapi_extra=_ORDER_SCHEMA)
def quote_order(engine: Database, actor: Caller, body: JsonBody) -> dict[str, Any]:
    """Show what an order would cost and where it would ship from; nothing is written."""
    return quote(engine, actor, body)


@router.get("/orders")
def list_orders(
    engine: Database,
    actor: Caller,
    after: Cursor = 0,
    limit: Limit = 50,
    status: Annotated[str | None, Query(pattern=one_of(ORDER_STATUSES))] = None,
    customer: Annotated[str | None, Query(max_length=320)] = None,
    external_id: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """List orders, newest first: all, a customer's (by e-mail address), or a channel's by its id.

    ``next`` is the cursor for ``after``.
    """
    with reading(engine) as connection:
        page, cursor = queries.listing(
            connection,
            actor,
            before=after,
            limit=limit,
            status=status,
            customer=customer,
            external_id=external_id,
        )
    return {"data": page, "next": cursor}


@router.get("/orders/{number}")
def get_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show one order, with its shipments and all their moments."""
    with reading(engine) as connection:
        return queries.show(connection, actor, number)


@router.get("/orders/{number}/shipments")
def list_shipments(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show the shipments of an order."""
    with reading(engine) as connection:
        return {"data": queries.shipments(connection, actor, number), "next": None}
