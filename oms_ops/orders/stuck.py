"""Why an order, or units of it, can no longer be cancelled: each is named with a stable code.

The codes are ``cancelled`` and ``closed`` (it is over), ``being_picked`` (in a picker's walk,
picked or packed: it may still be given back), ``shipped`` (it left), and ``beyond_quantity`` (the
line never had so many units). Callers hold the orders' rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids
from oms_ops.errors import FieldError
from oms_ops.orders.queries import number_of

CANCELLED, CLOSED, BEING_PICKED, SHIPPED = "cancelled", "closed", "being_picked", "shipped"
BEYOND_QUANTITY = "beyond_quantity"
#: Statuses of orders that are over; they are their own codes.
OVER = (CANCELLED, CLOSED)


def of_orders(
    connection: Connection, order_ids: Sequence[int], statuses: Mapping[int, str]
) -> list[FieldError]:
    """Return why orders cannot be cancelled whole; ``statuses`` are those before anything was done.

    One that is over is named once, another with each shipment that holds it.
    """
    rows = execute(
        connection,
        "SELECT s.order_id, s.number, s.status, s.wave_id IS NOT NULL FROM shipments AS s"
        f" WHERE s.order_id IN ({ids(connection, 'ids')}) AND s.status <> 'cancelled'"
        " ORDER BY s.id",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    faults = []
    for order_id in dict.fromkeys(order_ids):
        number = number_of(order_id, "SO")
        if statuses[order_id] in OVER:
            faults.append(
                FieldError("number", statuses[order_id], f"{number} is {statuses[order_id]}")
            )
            continue
        for holder, shipment, status, in_wave in rows:
            code, state = _state(status, in_wave=bool(in_wave))
            if holder == order_id and code:
                faults.append(FieldError("number", code, f"{shipment} of {number} {state}"))
    return faults


def of_lines(connection: Connection, short: Mapping[int, tuple[str, int]]) -> list[FieldError]:
    """Return why units of lines cannot be cancelled.

    ``short`` has, by the id of an order's line, the field that asks for it and how many units of it
    are neither picked nor cancelled.
    """
    if not short:
        return []
    rows = execute(
        connection,
        "SELECT l.id, l.order_id, l.line_no, k.code, l.quantity, l.cancelled"
        " FROM order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
        f" WHERE l.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(short)},
    ).fetchall()
    held = _held(connection, list(short))
    faults = {}
    for line_id, order_id, line_no, sku, quantity, cancelled in rows:
        field, free = short[line_id]
        code, where = _where(held.get(line_id, []), cancelled)
        line = f"of line {line_no} ({sku}) of {number_of(order_id, 'SO')}"
        message = f"{line}, {free} of {quantity} units can be cancelled{where}"
        faults[line_id] = FieldError(field, code, message)
    return [faults[line_id] for line_id in short]


def _held(connection: Connection, line_ids: Sequence[int]) -> dict[int, list[Any]]:
    """Return per order line (shipment, its status, whether in a wave, units)."""
    rows = execute(
        connection,
        "SELECT x.order_line_id, s.number, s.status, s.wave_id IS NOT NULL,"
        " CAST(sum(x.quantity) AS bigint)"
        " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
        f" WHERE x.order_line_id IN ({ids(connection, 'ids')}) AND s.status <> 'cancelled'"
        " GROUP BY x.order_line_id, s.id ORDER BY s.id",
        {"ids": as_ids(line_ids)},
    )
    held: dict[int, list[Any]] = {}
    for line_id, *part in rows.fetchall():
        held.setdefault(line_id, []).append(part)
    return held


def _where(parts: Sequence[Any], cancelled: int) -> tuple[str, str]:
    """Return the code of what holds a line, and where its other units are."""
    codes, texts = set(), []
    for shipment, status, in_wave, units in parts:
        code, state = _state(status, in_wave=bool(in_wave))
        if code:
            codes.add(code)
            texts.append(f"{units} in {shipment}, which {state}")
    if cancelled:
        codes.add(CANCELLED)
        texts.append(f"{cancelled} cancelled already")
    first = next((c for c in (BEING_PICKED, SHIPPED, CANCELLED) if c in codes), BEYOND_QUANTITY)
    return first, f": {'; '.join(texts)}" if texts else ""


def _state(status: str, *, in_wave: bool) -> tuple[str | None, str]:
    """Return the code of a shipment that cannot change, None where it can, and what it is."""
    if status == "allocated":
        return (BEING_PICKED, "is in a wave") if in_wave else (None, "is not picked")
    words = f"is {status.replace('_', ' ')}"
    if status == "delivery_failed":
        words = "was shipped and not delivered"
    return (BEING_PICKED if status in ("picked", "packed") else SHIPPED), words
