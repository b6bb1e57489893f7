"""Receive a delivery: stock comes in, backorders are filled, the purchase order moves on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import as_rows, as_time, for_update, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_waiting
from oms_ops.purchasing.tables import Receipt
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move


def receive(
    connection: Connection,
    actor: Actor,
    purchase_order_id: int,
    quantities: Mapping[int, int],
    *,
    close_short: bool = False,
) -> str:
    """Receive ``quantities`` (units per purchase order line id); return the receipt's number.

    Backordered lines are filled, oldest first, in the same transaction. The order is closed when
    every line has arrived, or with ``close_short`` when the rest will never come.

    Raises:
        NotFound: there is no such purchase order.
        ValidationFailed: a line is not of this order, or a quantity is not positive or more than
            is still open.
        Conflict: the order is a draft, closed or cancelled.
    """
    actor.require(STOCK_WRITE)
    head = connection.execute(
        sa.text(
            "SELECT id, number, status, warehouse_id FROM purchase_orders WHERE id = :id"
            f" {for_update(connection)}"
        ),
        {"id": purchase_order_id},
    ).one_or_none()
    if head is None:
        raise NotFound(f"There is no purchase order {purchase_order_id}.")
    if head.status not in ("sent", "confirmed", "partly_received"):
        raise Conflict(f"{head.number} is {head.status}: nothing can be received on it.")
    lines = _lines(connection, purchase_order_id)
    _check(quantities, lines)
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    number = _write(connection, actor, head, quantities, lines, stamp)
    _move_on(connection, purchase_order_id, close_short, stamp)
    pairs = {(head.warehouse_id, lines[i].sku_id) for i in quantities}
    lock_waiting(connection, pairs)
    ledger.receive(
        connection,
        actor,
        [
            Move(head.warehouse_id, lines[i].sku_id, units, "supplier", True, "receipt",
                 head.number, lines[i].unit_cost_minor)
            for i, units in quantities.items()
        ],
    )  # fmt: skip
    backorders.fill(connection, actor, pairs, from_supply=True)
    return number


def _lines(connection: Connection, purchase_order_id: int) -> dict[int, Any]:
    rows = connection.execute(
        sa.text(
            "SELECT id, sku_id, quantity, received, unit_cost_minor FROM purchase_order_lines"
            " WHERE purchase_order_id = :id"
        ),
        {"id": purchase_order_id},
    )
    return {row.id: row for row in rows}


def _check(quantities: Mapping[int, int], lines: dict[int, Any]) -> None:
    errors = []
    if not quantities:
        errors.append(FieldError("lines", "required", "at least one line"))
    for line_id, units in quantities.items():
        line = lines.get(line_id)
        if line is None:
            errors.append(FieldError(f"lines.{line_id}", "unknown_line", "not of this order"))
        elif not 0 < units <= line.quantity - line.received:
            message = f"between 1 and {line.quantity - line.received} units are open"
            errors.append(FieldError(f"lines.{line_id}", "out_of_range", message))
    if errors:
        raise ValidationFailed("The receipt has bad fields.", errors)


def _write(
    connection: Connection,
    actor: Actor,
    head: Any,
    quantities: Mapping[int, int],
    lines: dict[int, Any],
    stamp: dict[str, Any],
) -> str:
    receipt = connection.execute(
        sa.insert(Receipt)
        .values(
            purchase_order_id=head.id,
            warehouse_id=head.warehouse_id,
            received_at=clock.now(),
            changed_by=actor.name,
        )
        .returning(Receipt.id, Receipt.number)
    ).one()
    columns = dict.fromkeys(("line_id", "sku_id", "units", "unit_cost_minor"), "bigint")
    rows = as_rows(
        {
            "line_id": line_id,
            "sku_id": lines[line_id].sku_id,
            "units": units,
            "unit_cost_minor": lines[line_id].unit_cost_minor,
        }
        for line_id, units in quantities.items()
    )
    source = f"({rowset(connection, 'rows', columns)}) AS r"
    connection.execute(
        sa.text(
            "INSERT INTO receipt_lines (receipt_id, purchase_order_line_id, sku_id, quantity,"
            " unit_cost_minor, changed_by)"
            f" SELECT :receipt, line_id, sku_id, units, unit_cost_minor, :actor FROM {source}"
        ),
        {"receipt": receipt.id, "rows": rows, "actor": actor.name},
    )
    connection.execute(
        sa.text(
            "UPDATE purchase_order_lines AS l SET received = l.received + r.units,"
            " version = l.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM {source} WHERE l.id = r.line_id"
        ),
        {"rows": rows, **stamp},
    )
    return str(receipt.number)


def _move_on(
    connection: Connection, purchase_order_id: int, close_short: bool, stamp: dict[str, Any]
) -> None:
    open_lines = (
        "EXISTS (SELECT 1 FROM purchase_order_lines AS l"
        " WHERE l.purchase_order_id = purchase_orders.id AND l.received < l.quantity)"
    )
    stays = "false" if close_short else open_lines
    connection.execute(
        sa.text(
            f"UPDATE purchase_orders SET status = CASE WHEN {stays}"
            f" THEN 'partly_received' ELSE 'closed' END,"
            f" closed_at = CASE WHEN {stays} THEN NULL ELSE :now END,"
            " version = version + 1, changed_by = :actor, changed_at = :now WHERE id = :id"
        ),
        {"id": purchase_order_id, **stamp},
    )
