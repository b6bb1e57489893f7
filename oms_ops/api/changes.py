"""Routes that change an order after it was captured: amend, cancel, hold; its history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_WRITE
from oms_ops.api.parts import Caller, Cursor, Database, JsonBody, Limit, Once, Units, described
from oms_ops.database import reading, run
from oms_ops.orders import cancellation, holds, queries
from oms_ops.orders.amendment import amend
from oms_ops.orders.amendment_shape import AmendmentIn
from oms_ops.orders.history import history
from oms_ops.orders.units import CancelledUnits
from oms_ops.shapes import Body, Reason

router = APIRouter(tags=["orders"])

_AMENDMENT_SCHEMA = described(AmendmentIn)


@router.post("/orders/{number}/amend", openapi_extra=_AMENDMENT_SCHEMA)
def amend_order(
    engine: Database,
    actor: Caller,
    once: Once,
    number: str,
    body: JsonBody,
    preview: bool = False,
) -> dict[str, Any]:
    """Amend what is not picked of an order; ``preview`` tells what it would come to.

    The answer holds the order, whether it was ``changed`` at all, the price ``difference``, what is
    ``to_pay`` beyond its payments, and what was captured too much, ``to_refund``, which goes back
    at once.
    """
    return amend(engine, actor, number, body, preview=preview, idempotency_key=once.key)


@router.get("/orders/{number}/history")
def show_history(
    engine: Database, actor: Caller, number: str, after: Cursor = 0, limit: Limit = 100
) -> dict[str, Any]:
    """Show who changed what of an order and of all that belongs to it, the oldest change first."""
    with reading(engine) as connection:
        page, cursor = history(connection, actor, number, after=after, limit=limit)
    return {"data": page, "next": cursor}


class CancelledLine(Body):
    """Units of a line (by its number on the order) to cancel."""

    line_no: Units
    quantity: Units


class Cancellation(Body):
    """Why, and which units; without lines, the whole order."""

    reason: Reason = "cancelled by the customer"
    lines: Annotated[list[CancelledLine], Field(min_length=1, max_length=500)] | None = None


@router.post("/orders/{number}/cancel")
def cancel_order(
    engine: Database, actor: Caller, once: Once, number: str, body: Cancellation | None = None
) -> dict[str, Any]:
    """Cancel a whole order, or units of its lines, before they are picked."""
    wanted = body or Cancellation()

    def work(connection: Connection) -> dict[str, Any]:
        order_id = queries.named(connection, actor, ORDERS_WRITE, number)
        if wanted.lines is None:
            cancellation.cancel(connection, actor, [order_id], wanted.reason)
        else:
            units = [CancelledUnits(order_id, li.line_no, li.quantity) for li in wanted.lines]
            cancellation.cancel_units(connection, actor, units, wanted.reason)
        return queries.get(connection, number)

    return once.run(engine, actor, work)


class Hold(Body):
    """Why an order has to wait."""

    reason: Reason


@router.post("/orders/{number}/hold")
def hold_order(engine: Database, actor: Caller, number: str, body: Hold) -> dict[str, Any]:
    """Stop an open order: it keeps its stock and nothing more of it is picked or shipped."""

    def work(connection: Connection) -> dict[str, Any]:
        order_id = queries.named(connection, actor, ORDERS_WRITE, number)
        holds.hold(connection, actor, [order_id], body.reason)
        return queries.get(connection, number)

    return run(engine, work)


@router.post("/orders/{number}/release")
def release_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Let a held order go on."""

    def work(connection: Connection) -> dict[str, Any]:
        order_id = queries.named(connection, actor, ORDERS_WRITE, number)
        holds.release(connection, actor, [order_id])
        return queries.get(connection, number)

    return run(engine, work)
