"""Routes of purchasing: purchase orders from draft to receipt, and what suppliers charge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PURCHASING_WRITE, STOCK_WRITE
from oms_ops.api.parts import (
    MOST_LINES,
    Caller,
    Cursor,
    Database,
    Limit,
    Once,
    Units,
    one_of,
    refuse_repeated,
)
from oms_ops.database import reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.purchasing import confirmation, orders, queries, receipts, sending, variance
from oms_ops.purchasing.confirmation import ConfirmedLine
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.receipts import Delivered
from oms_ops.purchasing.tables import PURCHASE_ORDER_STATUSES
from oms_ops.shapes import Amount, Body, Note, Reason

router = APIRouter(tags=["purchasing"])


class LineBody(Body):
    """Units of a SKU to order; without a cost, the supplier's terms hold."""

    sku: str
    quantity: Units
    unit_cost: Amount | None = None


class OrderBody(Body):
    """An order to one supplier for one warehouse (codes); a ``draft`` is not sent yet."""

    supplier: str
    warehouse: str
    lines: Annotated[list[LineBody], Field(max_length=MOST_LINES)]
    expected_on: date | None = None
    note: Note | None = None
    draft: bool = False


class EditBody(Body):
    """What changes of a draft; ``lines`` replace all there are."""

    warehouse: str | None = None
    lines: Annotated[list[LineBody], Field(max_length=MOST_LINES)] | None = None
    expected_on: date | None = None
    note: Note | None = None


class ConfirmedLineBody(Body):
    """The day and the cost that the supplier confirms for a line."""

    line_no: Units
    confirmed_on: date | None = None
    unit_cost: Amount | None = None


class ConfirmationBody(Body):
    """The supplier's confirmation: one day for all lines, others for some."""

    confirmed_on: date | None = None
    lines: list[ConfirmedLineBody] = Field(default_factory=list, max_length=MOST_LINES)
    reference: Annotated[str, Field(max_length=200)] | None = None


class CancellationBody(Body):
    """Why the rest of the order is given up."""

    reason: Reason


class ReceivedLine(Body):
    """Units of an order line (by its number on the order) that arrived, some of them damaged."""

    line_no: Units
    quantity: Units
    damaged: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    unit_cost: Amount | None = None


class ReceiptBody(Body):
    """A delivery; ``close_short`` gives up on what did not come."""

    lines: Annotated[list[ReceivedLine], Field(min_length=1, max_length=MOST_LINES)]
    close_short: bool = False


def _lines(lines: Sequence[LineBody]) -> list[PurchaseLine]:
    return [PurchaseLine(line.sku, line.quantity, line.unit_cost) for line in lines]


@router.post("/purchase-orders", status_code=201)
def create_purchase_order(
    engine: Database, actor: Caller, once: Once, body: OrderBody
) -> dict[str, Any]:
    """Order from a supplier, at once or as a draft."""
    return once.run(
        engine,
        actor,
        lambda connection: orders.create(
            connection,
            actor,
            supplier=body.supplier,
            warehouse=body.warehouse,
            lines=_lines(body.lines),
            status="draft" if body.draft else "sent",
            expected_on=body.expected_on,
            note=body.note,
        ),
    )


@router.get("/purchase-orders")
def list_purchase_orders(
    engine: Database,
    actor: Caller,
    after: Cursor = 0,
    limit: Limit = 50,
    status: Annotated[str | None, Query(pattern=one_of(PURCHASE_ORDER_STATUSES))] = None,
    supplier: str | None = None,
) -> dict[str, Any]:
    """List purchase orders, newest first."""
    with reading(engine) as connection:
        found = queries.listing(
            connection, actor, after=after, limit=limit + 1, status=status, supplier=supplier
        )
    page = found[:limit]
    return {"data": page, "next": page[-1]["id"] if len(found) > limit else None}


@router.get("/purchase-orders/{number}")
def get_purchase_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show one purchase order by its number or id."""
    with reading(engine) as connection:
        return queries.show(connection, actor, number)


@router.get("/purchase-orders/{number}/csv", response_class=Response)
def get_purchase_order_csv(engine: Database, actor: Caller, number: str) -> Response:
    """Download the lines of a purchase order as CSV, as the supplier gets them."""
    with reading(engine) as connection:
        order = queries.show(connection, actor, number)
    name = f"attachment; filename={order['number']}.csv"
    return Response(
        sending.as_csv(order), media_type="text/csv", headers={"Content-Disposition": name}
    )


@router.patch("/purchase-orders/{number}")
def edit_purchase_order(
    engine: Database, actor: Caller, number: str, body: EditBody
) -> dict[str, Any]:
    """Change a draft."""
    return run(
        engine,
        lambda connection: orders.edit(
            connection,
            actor,
            number,
            warehouse=body.warehouse,
            lines=None if body.lines is None else _lines(body.lines),
            expected_on=body.expected_on,
            note=body.note,
        ),
    )


@router.post("/purchase-orders/{number}/send")
def send_purchase_order(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Send a draft to its supplier."""
    return run(engine, lambda connection: sending.send(connection, actor, number))


@router.post("/purchase-orders/{number}/confirm")
def confirm_purchase_order(
    engine: Database, actor: Caller, number: str, body: ConfirmationBody | None = None
) -> dict[str, Any]:
    """Record what the supplier confirms, at first or anew."""
    said = body or ConfirmationBody()

    def work(connection: Connection) -> dict[str, Any]:
        currency = queries.show(connection, actor, number, PURCHASING_WRITE)["currency"]
        costs = _costs([line.unit_cost for line in said.lines], currency)
        lines = [
            ConfirmedLine(line.line_no, line.confirmed_on, cost)
            for line, cost in zip(said.lines, costs, strict=True)
        ]
        return confirmation.confirm(
            connection,
            actor,
            number,
            lines=lines,
            confirmed_on=said.confirmed_on,
            reference=said.reference,
        )

    return run(engine, work)


@router.post("/purchase-orders/{number}/cancel")
def cancel_purchase_order(
    engine: Database, actor: Caller, number: str, body: CancellationBody
) -> dict[str, Any]:
    """Give up what has not arrived."""
    return run(
        engine, lambda connection: confirmation.cancel(connection, actor, number, body.reason)
    )


@router.post("/purchase-orders/{number}/receive", status_code=201)
def receive_purchase_order(
    engine: Database, actor: Caller, once: Once, number: str, body: ReceiptBody
) -> dict[str, Any]:
    """Receive a delivery against a purchase order; damaged units go to quarantine."""

    def work(connection: Connection) -> dict[str, Any]:
        order = queries.show(connection, actor, number, STOCK_WRITE)
        ids = {line["line_no"]: line["id"] for line in order["lines"]}
        refuse_repeated("The receipt", [line.line_no for line in body.lines])
        errors = [
            FieldError(f"lines[{i}].line_no", "unknown_line", f"{number} has no such line")
            for i, line in enumerate(body.lines)
            if line.line_no not in ids
        ]
        if errors:
            raise ValidationFailed("The receipt has bad fields.", errors)
        costs = _costs([line.unit_cost for line in body.lines], order["currency"])
        came: dict[int, int | Delivered] = {
            ids[line.line_no]: Delivered(line.quantity, line.damaged, cost)
            for line, cost in zip(body.lines, costs, strict=True)
        }
        receipt = receipts.receive(
            connection, actor, order["id"], came, close_short=body.close_short
        )
        return {"number": receipt, "purchase_order": queries.get(connection, number)}

    return once.run(engine, actor, work)


@router.get("/price-variances")
def list_price_variances(
    engine: Database,
    actor: Caller,
    supplier: str | None = None,
    purchase_order: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """List what suppliers charged otherwise than agreed, the newest receipts first."""
    with reading(engine) as connection:
        page, cursor = variance.variances(
            connection,
            actor,
            supplier=supplier,
            purchase_order=purchase_order,
            before=after,
            limit=limit,
        )
    return {"data": page, "next": cursor}


def _costs(costs: Sequence[Decimal | None], currency: str) -> list[int | None]:
    found: list[int | None] = []
    errors = []
    for index, cost in enumerate(costs):
        try:
            found.append(None if cost is None else to_minor(cost, currency))
        except ValueError as error:
            errors.append(FieldError(f"lines[{index}].unit_cost", "invalid_amount", str(error)))
    if errors:
        raise ValidationFailed("Some costs are wrong.", errors)
    return found
