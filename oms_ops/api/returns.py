"""Routes of the returns."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import Field

from oms_ops.api.parts import Caller, Database, Units
from oms_ops.database import run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders import queries
from oms_ops.returns import commands
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.shapes import Body

router = APIRouter(tags=["returns"])


class LineBody(Body):
    """Units of an order line (by its number on the order) that come back."""

    line_no: Units
    quantity: Units
    disposition: Literal["restock", "scrap"] = "restock"


class ReturnBody(Body):
    """Goods of one order that came back."""

    order: str
    reason: str
    lines: list[LineBody] = Field(min_length=1)


@router.post("/returns", status_code=201)
def receive_return(engine: Database, actor: Caller, body: ReturnBody) -> dict[str, Any]:
    """Receive returned goods and refund them."""

    def work(connection: Any) -> dict[str, Any]:
        order_id = queries.order_id(connection, body.order)
        rows = connection.execute(
            sa.text("SELECT line_no, id FROM order_lines WHERE order_id = :id"), {"id": order_id}
        )
        ids = {row.line_no: row.id for row in rows}
        errors = [
            FieldError(f"lines[{i}].line_no", "unknown_line", f"{body.order} has no such line")
            for i, line in enumerate(body.lines)
            if line.line_no not in ids
        ]
        if errors:
            raise ValidationFailed("The return has bad fields.", errors)
        lines = tuple(
            ReturnedLine(ids[line.line_no], line.quantity, line.disposition) for line in body.lines
        )
        numbers = commands.receive(connection, actor, [ReturnRequest(order_id, lines, body.reason)])
        return {"number": numbers[0], "order": queries.get(connection, body.order)}

    return run(engine, work)
