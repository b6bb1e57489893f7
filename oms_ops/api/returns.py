"""Routes of the returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import Field
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import ORDERS_READ, RETURNS_WRITE, Actor
from oms_ops.api import parts
from oms_ops.api.parts import MOST_LINES, Caller, Cursor, Database, Limit, Units
from oms_ops.database import execute, reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders import collecting
from oms_ops.orders.idempotency import once
from oms_ops.orders.queries import order_id as find_order
from oms_ops.returns import commands, exchange, goods, queries, requests, resolution, sold
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.returns.exchange import Wanted
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from oms_ops.shapes import Body, Note

router = APIRouter(tags=["returns"])

Reason = Literal[
    "damaged",
    "wrong_item",
    "not_as_described",
    "changed_mind",
    "too_late",
    "undelivered",
    "other",
]
Disposition = Literal["restock", "quarantine", "scrap"]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
IdempotencyKey = Annotated[parts.IdempotencyKey | None, Header()]


class LineBody(Body):
    """Units of an order line (by its number on the order) that come back, and why."""

    line_no: Units
    quantity: Units
    reason: Reason = "other"
    note: Note | None = None
    #: Of goods that are here already.
    disposition: Disposition | None = None


class ReturnBody(Body):
    """Goods of one order that are to come back, or (``received``) that are here.

    ``override`` says why a return is approved that the policy is against.
    """

    order: str
    reason: Note = ""
    lines: Annotated[list[LineBody], Field(min_length=1, max_length=MOST_LINES)]
    override: Note | None = None
    received: bool = False
    resolution: Literal["refund", "store_credit"] = "refund"


class CountedLine(Body):
    """Units of a line that were counted."""

    line_no: Units
    quantity: Count


class ReceiptBody(Body):
    """What came; without lines, all as it was asked for."""

    lines: Annotated[list[CountedLine], Field(min_length=1, max_length=MOST_LINES)] | None = None
    warehouse: str | None = None


class InspectedLine(Body):
    """What becomes of the units of a line."""

    line_no: Units
    restock: Count = 0
    quarantine: Count = 0
    scrap: Count = 0


class InspectionBody(Body):
    """What becomes of everything that came."""

    lines: Annotated[list[InspectedLine], Field(min_length=1, max_length=MOST_LINES)]


class DecisionBody(Body):
    """Why."""

    reason: Note | None = None


class WantedLine(Body):
    """Units of a SKU to send instead."""

    sku: str
    quantity: Units


class ResolutionBody(Body):
    """What the customer gets; the rest is for an exchange."""

    resolution: Literal["refund", "store_credit", "exchange"] = "refund"
    lines: Annotated[list[WantedLine], Field(max_length=MOST_LINES)] = []  # noqa: RUF012 - Pydantic copies it
    payment: str | None = None
    allow_backorder: bool = False


@router.post("/returns", status_code=201)
def create_return(
    engine: Database, actor: Caller, body: ReturnBody, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Ask for a return; with ``received``, take goods that are here, and refund them at once."""
    actor.require(RETURNS_WRITE)
    _check(body)
    told = body.model_dump()

    def work(connection: Connection) -> dict[str, Any]:
        return once(
            connection, actor, idempotency_key, ("returns", told),
            lambda: {"id": _create(connection, actor, body)},
        )  # fmt: skip

    return_id = run(engine, work)["id"]
    return _settled(engine, actor, return_id) if body.received else _shown(engine, return_id)


def _check(body: ReturnBody) -> None:
    faults = []
    for index, line in enumerate(body.lines):
        if line.disposition is not None and not body.received:
            message = "is decided when the goods are here"
            faults.append(FieldError(f"lines[{index}].disposition", "not_received", message))
        if line.note is not None and body.received:
            message = "is for returns that are asked for"
            faults.append(FieldError(f"lines[{index}].note", "received", message))
    if body.received and not body.reason.strip():
        faults.append(FieldError("reason", "required", "say why"))
    if faults:
        raise ValidationFailed("The return has bad fields.", faults)


def _create(connection: Connection, actor: Actor, body: ReturnBody) -> int:
    order_id = find_order(connection, body.order)
    if not body.received:
        asked = [Asked(li.line_no, li.quantity, li.reason, li.note) for li in body.lines]
        return requests.request(
            connection, actor, order_id, asked, reason=body.reason, override=body.override
        )
    known = sold.lines(connection, order_id=order_id).values()
    ids = {row["line_no"]: row["id"] for row in known}
    errors = [
        FieldError(f"lines[{i}].line_no", "unknown_line", f"{body.order} has no such line")
        for i, line in enumerate(body.lines)
        if line.line_no not in ids
    ]
    if errors:
        raise ValidationFailed("The return has bad fields.", errors)
    lines = tuple(
        ReturnedLine(ids[li.line_no], li.quantity, li.disposition or "restock", reason=li.reason)
        for li in body.lines
    )
    request = ReturnRequest(order_id, lines, body.reason, body.resolution)
    (number,) = commands.receive(connection, actor, [request])
    return queries.return_id(connection, number)


@router.post("/returns/{number}/receive")
def receive_return(
    engine: Database,
    actor: Caller,
    number: str,
    body: ReceiptBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Count the goods of a return in (by its number or id)."""
    actor.require(RETURNS_WRITE)
    told = body or ReceiptBody()
    counted = None if told.lines is None else _counts(told.lines)

    def work(connection: Connection) -> dict[str, Any]:
        return_id = queries.return_id(connection, number)

        def do() -> dict[str, Any]:
            goods.receive(connection, actor, return_id, counted, warehouse=told.warehouse)
            return {"id": return_id}

        asked = (f"returns/{return_id}/receive", told.model_dump())
        return once(connection, actor, idempotency_key, asked, do)

    return _shown(engine, run(engine, work)["id"])


def _counts(lines: list[CountedLine]) -> dict[int, int]:
    counted: dict[int, int] = {}
    faults = []
    for index, line in enumerate(lines):
        if line.line_no in counted:
            faults.append(FieldError(f"lines[{index}].line_no", "repeated_line", "is there twice"))
        counted[line.line_no] = line.quantity
    if faults:
        raise ValidationFailed("The receipt has bad fields.", faults)
    return counted


@router.post("/returns/{number}/approve")
def approve_return(
    engine: Database, actor: Caller, number: str, body: DecisionBody | None = None
) -> dict[str, Any]:
    """Approve a return; one that was refused or is over only with a reason."""
    actor.require(RETURNS_WRITE)
    reason = body.reason if body else None
    return _do(engine, number, lambda c, i: requests.approve(c, actor, i, reason))


@router.post("/returns/{number}/refuse")
def refuse_return(
    engine: Database, actor: Caller, number: str, body: DecisionBody
) -> dict[str, Any]:
    """Refuse a return; the customer is told the reason."""
    actor.require(RETURNS_WRITE)
    return _do(engine, number, lambda c, i: requests.refuse(c, actor, i, body.reason or ""))


@router.post("/returns/{number}/cancel")
def cancel_return(
    engine: Database, actor: Caller, number: str, body: DecisionBody | None = None
) -> dict[str, Any]:
    """Give a return up whose goods have not come."""
    actor.require(RETURNS_WRITE)
    reason = body.reason if body else None
    return _do(engine, number, lambda c, i: requests.cancel(c, actor, i, reason))


@router.post("/returns/{number}/inspect")
def inspect_return(
    engine: Database, actor: Caller, number: str, body: InspectionBody
) -> dict[str, Any]:
    """Decide about all the units that came: restock, quarantine or scrap."""
    actor.require(RETURNS_WRITE)
    found = [Inspected(**line.model_dump()) for line in body.lines]
    return _do(engine, number, lambda c, i: goods.inspect(c, actor, i, found))


@router.post("/returns/{number}/resolve")
def resolve_return(
    engine: Database, actor: Caller, number: str, body: ResolutionBody | None = None
) -> dict[str, Any]:
    """Refund an inspected return, give store credit for it, or send other goods."""
    actor.require(RETURNS_WRITE)
    wanted = body or ResolutionBody()
    with reading(engine) as connection:
        return_id = queries.return_id(connection, number)
    if wanted.resolution == "exchange":
        instead = [Wanted(line.sku, line.quantity) for line in wanted.lines]
        exchange.exchange(
            engine, actor, return_id, instead,
            method=wanted.payment, allow_backorder=wanted.allow_backorder,
        )  # fmt: skip
    else:
        run(engine, lambda c: resolution.resolve(c, actor, return_id, wanted.resolution))
    return _settled(engine, actor, return_id)


@router.get("/returns")
def list_returns(
    engine: Database,
    actor: Caller,
    after: Cursor = 0,
    limit: Limit = 50,
    status: str | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    """List returns, newest first; ``next`` is the cursor for ``after``."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        order_id = None if order is None else find_order(connection, order)
        page, cursor = queries.listing(
            connection, actor, before=after, limit=limit, status=status, order_id=order_id
        )
    return {"data": page, "next": cursor}


@router.get("/returns/{number}")
def get_return(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show one return, with its lines and refunds."""
    actor.require(ORDERS_READ)
    with reading(engine) as connection:
        return queries.get(connection, actor, queries.return_id(connection, number))


def _do(engine: Engine, number: str, step: Callable[[Connection, int], None]) -> dict[str, Any]:
    def work(connection: Connection) -> int:
        return_id = queries.return_id(connection, number)
        step(connection, return_id)
        return return_id

    return _shown(engine, run(engine, work))


def _settled(engine: Engine, actor: Actor, return_id: int) -> dict[str, Any]:
    """Ask the gateways for what was just reserved, then show the return."""
    with reading(engine) as connection:
        rows = execute(
            connection,
            "SELECT DISTINCT payment_id FROM refunds WHERE return_id = :id AND status = 'pending'",
            {"id": return_id},
        ).fetchall()
    if rows:
        collecting.perform(engine, payment_ids=[row[0] for row in rows])
    return _shown(engine, return_id)


def _shown(engine: Engine, return_id: int) -> dict[str, Any]:
    with reading(engine) as connection:
        return queries.shown(connection, [return_id])[0]
