"""Routes of the transfers between warehouses."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops.api.parts import (
    MOST_LINES,
    Caller,
    Cursor,
    Database,
    Limit,
    Once,
    one_of,
    refuse_repeated,
)
from oms_ops.database import reading, run
from oms_ops.fulfilment import arrivals, sending
from oms_ops.shapes import Body, Note
from oms_ops.stock import documents, transfers
from oms_ops.stock.names import Line
from oms_ops.stock.tables import TRANSFER_STATUSES
from oms_ops.stock.transfer_receipts import Arrived

router = APIRouter(prefix="/stock/transfers", tags=["stock"])


class LineBody(Body):
    """Units of a SKU to transfer."""

    sku: str
    quantity: int


class TransferBody(Body):
    """A transfer to plan between two warehouses (codes)."""

    from_warehouse: str
    to_warehouse: str
    lines: list[LineBody] = Field(max_length=MOST_LINES)
    reason: Note = ""
    expected_on: date | None = None


class SentLine(Body):
    """Units of a line that leave."""

    line_no: int
    quantity: int


class SendBody(Body):
    """What leaves; without lines, everything that was planned."""

    lines: list[SentLine] | None = Field(default=None, max_length=MOST_LINES)
    expected_on: date | None = None


class ArrivedLine(Body):
    """Units of a line that arrived, how many of them damaged, and how many never will."""

    line_no: int
    quantity: int = 0
    damaged: int = 0
    lost: int = 0


class ReceiveBody(Body):
    """What arrived; ``note`` says why units are lost."""

    lines: list[ArrivedLine] = Field(max_length=MOST_LINES)
    note: Note = ""


@router.post("", status_code=201)
def create_transfer(
    engine: Database, actor: Caller, once: Once, body: TransferBody
) -> dict[str, Any]:
    """Plan a transfer; nothing moves yet."""

    def work(connection: Connection) -> dict[str, Any]:
        number = transfers.create(
            connection, actor, body.from_warehouse, body.to_warehouse,
            [Line(line.sku, line.quantity) for line in body.lines],
            reason=body.reason, expected_on=body.expected_on,
        )  # fmt: skip
        return documents.transfer(connection, number)

    return once.run(engine, actor, work)


@router.get("")
def list_transfers(
    engine: Database,
    actor: Caller,
    status: Annotated[str | None, Query(pattern=one_of(TRANSFER_STATUSES))] = None,
    after: Cursor = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List transfers, newest first."""
    with reading(engine) as connection:
        page, cursor = documents.list_transfers(
            connection, actor, status=status, after=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.get("/{transfer}")
def get_transfer(engine: Database, actor: Caller, transfer: str) -> dict[str, Any]:
    """Show a transfer by its number or id."""
    with reading(engine) as connection:
        return documents.get_transfer(connection, actor, documents.number_of("TR", transfer))


@router.post("/{transfer}/send")
def send_transfer(
    engine: Database, actor: Caller, transfer: str, body: SendBody | None = None
) -> dict[str, Any]:
    """Send a transfer's goods off the floor, then from their bins; what is promised stays."""
    number, asked = documents.number_of("TR", transfer), body or SendBody()
    quantities: dict[int, int] | None = None
    if asked.lines is not None:
        refuse_repeated("The list of lines", [line.line_no for line in asked.lines])
        quantities = {line.line_no: line.quantity for line in asked.lines}

    def work(connection: Connection) -> dict[str, Any]:
        sending.send_transfer(connection, actor, number, quantities, expected_on=asked.expected_on)
        return documents.transfer(connection, number)

    return run(engine, work)


@router.post("/{transfer}/receive")
def receive_transfer(
    engine: Database, actor: Caller, once: Once, transfer: str, body: ReceiveBody
) -> dict[str, Any]:
    """Receive a transfer or a part of it; backorders are filled at once."""
    number = documents.number_of("TR", transfer)
    arrived = [Arrived(a.line_no, a.quantity, a.damaged, a.lost) for a in body.lines]

    def work(connection: Connection) -> dict[str, Any]:
        filled = arrivals.receive_transfer(connection, actor, number, arrived, body.note)
        shown = documents.transfer(connection, number)
        return {**shown, "backorders_filled": filled}

    return once.run(engine, actor, work)


@router.post("/{transfer}/cancel")
def cancel_transfer(engine: Database, actor: Caller, transfer: str) -> dict[str, Any]:
    """Cancel a transfer that was not sent."""
    number = documents.number_of("TR", transfer)

    def work(connection: Connection) -> dict[str, Any]:
        transfers.cancel(connection, actor, number)
        return documents.transfer(connection, number)

    return run(engine, work)
