"""Routes of purchasing."""

from __future__ import annotations

from datetime import date
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from oms_ops.access.actor import PURCHASING_READ
from oms_ops.api.parts import Caller, Cursor, Database, Limit, Units
from oms_ops.database import reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.purchasing import orders, receipts
from oms_ops.purchasing.orders import PurchaseLine

router = APIRouter(tags=["purchasing"])


class LineBody(BaseModel):
    """Units of a SKU to order."""

    sku: str
    quantity: Units


class OrderBody(BaseModel):
    """An order to one supplier for one warehouse (codes)."""

    supplier: str
    warehouse: str
    lines: list[LineBody]
    expected_on: date | None = None


class ReceivedLine(BaseModel):
    """Units of an order line (by its number on the order) that arrived."""

    line_no: Units
    quantity: Units


class ReceiptBody(BaseModel):
    """A delivery; ``close_short`` gives up on what did not come."""

    lines: list[ReceivedLine] = Field(min_length=1)
    close_short: bool = False


@router.post("/purchase-orders", status_code=201)
def create_purchase_order(engine: Database, actor: Caller, body: OrderBody) -> dict[str, Any]:
    """Order from a supplier."""
    lines = [PurchaseLine(line.sku, line.quantity) for line in body.lines]
    return run(
        engine,
        lambda connection: orders.create(
            connection,
            actor,
            supplier=body.supplier,
            warehouse=body.warehouse,
            lines=lines,
            expected_on=body.expected_on,
        ),
    )


@router.get("/purchase-orders")
def list_purchase_orders(
    engine: Database, actor: Caller, after: Cursor = 0, limit: Limit = 50
) -> dict[str, Any]:
    """List purchase orders, newest first."""
    actor.require(PURCHASING_READ)
    with reading(engine) as connection:
        found = orders.listing(connection, after=after, limit=limit + 1)
    page = found[:limit]
    return {"data": page, "next": page[-1]["id"] if len(found) > limit else None}


@router.get("/purchase-orders/{number}")
def get_purchase_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show one purchase order by its number or id."""
    actor.require(PURCHASING_READ)
    with reading(engine) as connection:
        return orders.get(connection, number)


@router.post("/purchase-orders/{number}/receive", status_code=201)
def receive_purchase_order(
    engine: Database, actor: Caller, number: str, body: ReceiptBody
) -> dict[str, Any]:
    """Receive a delivery against a purchase order."""

    def work(connection: Any) -> dict[str, Any]:
        order = orders.get(connection, number)
        ids = {line["line_no"]: line["id"] for line in order["lines"]}
        errors = [
            FieldError(f"lines[{i}].line_no", "unknown_line", f"{number} has no such line")
            for i, line in enumerate(body.lines)
            if line.line_no not in ids
        ]
        if errors:
            raise ValidationFailed("The receipt has bad fields.", errors)
        quantities: dict[int, int] = {}
        for line in body.lines:
            line_id = ids[line.line_no]
            quantities[line_id] = quantities.get(line_id, 0) + line.quantity
        receipt = receipts.receive(
            connection, actor, order["id"], quantities, close_short=body.close_short
        )
        return {"number": receipt, "purchase_order": orders.get(connection, number)}

    return run(engine, work)
