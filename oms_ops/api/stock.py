"""Routes of the stock: levels, what can be promised, corrections, quarantine, alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.api.parts import MOST_LINES, Caller, Cursor, Database, Limit, Once
from oms_ops.database import reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.money import to_minor
from oms_ops.rules import store
from oms_ops.shapes import Amount, Body, Note
from oms_ops.stock import availability, quarantine, queries, thresholds
from oms_ops.stock.adjustments import Adjustment
from oms_ops.stock.names import Line
from oms_ops.stock.quarantine import Suspect
from oms_ops.stock.thresholds import Threshold

router = APIRouter(tags=["stock"])


_RECEIPT = "The receipt"


class ReceiptLine(Body):
    """Units of a SKU that came in, to a place (the floor by default), and what one of them cost."""

    sku: str
    quantity: int
    location: str | None = None
    unit_cost: Amount | None = None


class ReceiptBody(Body):
    """Goods that came without a purchase order: an opening stock, or goods that were found."""

    warehouse: str
    reason: Literal["opening", "found"] = "found"
    note: Note = ""
    currency: str | None = None
    lines: list[ReceiptLine] = Field(max_length=MOST_LINES)


class AdjustmentLine(Body):
    """Units more (or, negative, less) of a SKU in a place; the floor by default."""

    sku: str
    quantity: int
    location: str | None = None


class AdjustmentBody(Body):
    """A correction of what the books say, and why."""

    warehouse: str
    reason: str
    note: Note = ""
    lines: list[AdjustmentLine] = Field(max_length=MOST_LINES)


class QuarantineBody(Body):
    """Goods to put into a warehouse's quarantine, or to decide about."""

    warehouse: str
    note: Note = ""
    lines: list[AdjustmentLine] = Field(max_length=MOST_LINES)


class ThresholdBody(Body):
    """When a level is low; ``units`` null: never."""

    sku: str
    warehouse: str
    units: int | None


class ThresholdsBody(Body):
    """Thresholds to set."""

    thresholds: list[ThresholdBody] = Field(max_length=MOST_LINES)


@router.get("/stock")
def list_stock(
    engine: Database,
    actor: Caller,
    sku: str | None = None,
    warehouse: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Show units on hand, allocated, available and incoming, by SKU and warehouse."""
    with reading(engine) as connection:
        page, cursor = queries.levels(
            connection, actor, sku=sku, warehouse=warehouse, after=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.get("/stock/availability")
def show_availability(
    engine: Database,
    actor: Caller,
    sku: Annotated[list[str] | None, Query(max_length=200)] = None,
    warehouse: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Show where every unit is, what comes when, and what can be promised from which day on.

    ``sku`` can be given several times; ``limit`` counts SKUs.
    """
    with reading(engine) as connection:
        page, cursor = availability.view(
            connection, actor, skus=sku or (), warehouse=warehouse, after=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.post("/stock/receipts", status_code=201)
def receive_goods(engine: Database, actor: Caller, once: Once, body: ReceiptBody) -> dict[str, Any]:
    """Receive goods that no purchase order announced; backorders are filled at once."""

    def work(connection: Connection) -> dict[str, Any]:
        lines = _costed(connection, body)
        filled = arrivals.adjust(
            connection, actor, body.warehouse, lines, body.reason, body.note, _RECEIPT
        )
        return _changed(connection, body.warehouse, body.lines, filled)

    return once.run(engine, actor, work)


def _costed(connection: Connection, body: ReceiptBody) -> list[Adjustment]:
    base = store.current(connection).rules.base_currency
    errors, lines = [], []
    if body.currency is not None and body.currency != base:
        errors.append(FieldError("currency", "wrong_currency", f"costs are in {base}"))
    for index, line in enumerate(body.lines):
        cost = None
        try:
            cost = None if line.unit_cost is None else to_minor(line.unit_cost, base)
        except ValueError as error:
            errors.append(FieldError(f"lines[{index}].unit_cost", "invalid_amount", str(error)))
        lines.append(Adjustment(line.sku, line.quantity, line.location, cost))
    if errors:
        raise ValidationFailed(f"{_RECEIPT} has bad fields.", errors)
    return lines


@router.post("/stock/adjustments", status_code=201)
def adjust_stock(
    engine: Database, actor: Caller, once: Once, body: AdjustmentBody
) -> dict[str, Any]:
    """Correct what the books say, with a reason; what is promised cannot be written off."""

    def work(connection: Connection) -> dict[str, Any]:
        lines = [Adjustment(line.sku, line.quantity, line.location) for line in body.lines]
        filled = arrivals.adjust(connection, actor, body.warehouse, lines, body.reason, body.note)
        return _changed(connection, body.warehouse, body.lines, filled)

    return once.run(engine, actor, work)


@router.post("/stock/quarantine", status_code=201)
def put_in_quarantine(
    engine: Database, actor: Caller, once: Once, body: QuarantineBody
) -> dict[str, Any]:
    """Take goods off the shelf until somebody decides about them."""

    def work(connection: Connection) -> dict[str, Any]:
        lines = [Suspect(line.sku, line.quantity, line.location) for line in body.lines]
        quarantine.put_in(connection, actor, body.warehouse, lines, body.note)
        return _changed(connection, body.warehouse, body.lines, 0)

    return once.run(engine, actor, work)


@router.post("/stock/quarantine/{decision}")
def decide_about_quarantine(
    engine: Database,
    actor: Caller,
    once: Once,
    decision: Literal["release", "scrap", "return_to_supplier"],
    body: QuarantineBody,
) -> dict[str, Any]:
    """Release quarantined goods to the floor, scrap them or send them back to the supplier."""

    def work(connection: Connection) -> dict[str, Any]:
        lines = [Line(line.sku, line.quantity) for line in body.lines]
        filled = arrivals.dispose(connection, actor, body.warehouse, lines, decision, body.note)
        return _changed(connection, body.warehouse, body.lines, filled)

    return once.run(engine, actor, work)


def _changed(
    connection: Connection,
    warehouse: str,
    lines: Iterable[ReceiptLine | AdjustmentLine],
    filled: int,
) -> dict[str, Any]:
    levels = queries.levels_of(connection, warehouse, [line.sku for line in lines])
    return {"levels": levels, "backorders_filled": filled}


@router.get("/stock/alerts")
def list_alerts(
    engine: Database,
    actor: Caller,
    open: bool = False,  # noqa: A002 - the name of the query parameter
    sku: str | None = None,
    warehouse: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """List low-stock alerts, newest first; ``open``: only those whose level is still low."""
    with reading(engine) as connection:
        page, cursor = thresholds.raised(
            connection, actor, only_open=open, sku=sku, warehouse=warehouse, after=after,
            limit=limit,
        )  # fmt: skip
    return {"data": page, "next": cursor}


@router.put("/stock/thresholds")
def set_thresholds(engine: Database, actor: Caller, body: ThresholdsBody) -> dict[str, Any]:
    """Set when levels are low, all or none."""
    wanted = [Threshold(t.sku, t.warehouse, t.units) for t in body.thresholds]
    return {"changed": run(engine, lambda c: thresholds.put(c, actor, wanted))}
