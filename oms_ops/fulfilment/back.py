"""A return whose number is scanned: what it holds, and what the warehouse does with it next.

The returns are a room beside this one; a scanner reads their rows as it reads those of orders.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.fulfilment.next_step import Next

#: What follows a status, and the fields of its request that are still to be filled.
_STEPS = {
    "requested": ("approve", ()),
    "approved": ("receive", ("lines",)),
    "received": ("inspect", ("lines",)),
    "inspected": ("resolve", ("resolution",)),
    "refund_failed": ("resolve", ("resolution",)),
    "exchanging": ("resolve", ("resolution",)),
}


def look(connection: Connection, return_id: int) -> tuple[dict[str, Any], Next | None]:
    """Return what is known of a return, and what is next."""
    number, status, order, warehouse = execute(
        connection,
        "SELECT r.number, r.status, o.number, w.code FROM returns AS r"
        " JOIN orders AS o ON o.id = r.order_id JOIN warehouses AS w ON w.id = r.warehouse_id"
        " WHERE r.id = :id",
        {"id": return_id},
    ).fetchone()
    rows = execute(
        connection,
        "SELECT l.line_no, k.code, x.quantity, x.received, x.reason FROM return_lines AS x"
        " JOIN order_lines AS l ON l.id = x.order_line_id JOIN skus AS k ON k.id = x.sku_id"
        " WHERE x.return_id = :id ORDER BY l.line_no",
        {"id": return_id},
    ).fetchall()
    names = ("line_no", "sku", "quantity", "received", "reason")
    lines = [dict(zip(names, row, strict=True)) for row in rows]
    shown = {"number": number, "status": status, "order": order, "warehouse": warehouse,
             "lines": lines}  # fmt: skip
    if status not in _STEPS:
        return shown, None
    step, needs = _STEPS[status]
    body: dict[str, Any] = {}
    if step == "receive":
        # All as it was asked for, unless who counts says otherwise.
        body = {"lines": [{n: line[n] for n in ("line_no", "quantity")} for line in lines]}
    return shown, Next(step, f"/v1/returns/{number}/{step}", body, needs)
