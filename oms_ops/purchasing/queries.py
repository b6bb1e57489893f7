"""Reads purchase orders: one with its lines, a page of many.

What takes an actor is for people and asks for their permission; :func:`get` is for the services.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PURCHASING_READ, Actor
from oms_ops.database import read_time
from oms_ops.errors import NotFound
from oms_ops.money import to_text

_HEAD_SQL = (
    "SELECT p.id, p.number, p.status, p.source, p.currency, p.ordered_at, p.expected_on,"
    " p.sent_at, p.confirmed_at, p.closed_at, p.supplier_reference, p.note, p.version,"
    " s.code AS supplier, s.name AS supplier_name, w.code AS warehouse FROM purchase_orders AS p"
    " JOIN suppliers AS s ON s.id = p.supplier_id JOIN warehouses AS w ON w.id = p.warehouse_id"
)
_PLAIN = (
    "id", "number", "status", "source", "currency", "supplier", "supplier_name", "warehouse",
    "supplier_reference", "note", "version",
)  # fmt: skip


def id_of(number: str) -> int:
    """Return the id in a purchase order's number, or the id itself; -1 when it is neither."""
    digits = number.removeprefix("PO-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
        return -1
    return int(digits) - (10_000_000 if digits != number else 0)


def show(
    connection: Connection, actor: Actor, number: str, permission: str = PURCHASING_READ
) -> dict[str, Any]:
    """Return a purchase order as :func:`get` does, to look at it or to act on it.

    Raises:
        NotFound: there is no such purchase order.
    """
    actor.require(permission)
    return get(connection, number)


def get(connection: Connection, number: str) -> dict[str, Any]:
    """Return a purchase order by number or id, as JSON-ready data with its lines and total.

    A line's ``expected_on`` is the day that the supplier confirmed, else the order's; its
    ``confirmed_cost`` is None until then.

    Raises:
        NotFound: there is no such purchase order.
    """
    head = (
        connection.execute(sa.text(f"{_HEAD_SQL} WHERE p.id = :id"), {"id": id_of(number)})
        .mappings()
        .one_or_none()
    )
    if head is None:
        raise NotFound(f"There is no purchase order {number!r}.")
    lines = connection.execute(
        sa.text(
            "SELECT l.id, l.line_no, k.code AS sku, k.name, l.quantity, l.received,"
            " l.unit_cost_minor, l.confirmed_cost_minor, l.confirmed_on, (SELECT"
            " coalesce(sum(r.damaged), 0) FROM receipt_lines AS r"
            " WHERE r.purchase_order_line_id = l.id) AS damaged"
            " FROM purchase_order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
            " WHERE l.purchase_order_id = :id ORDER BY l.line_no"
        ),
        {"id": head["id"]},
    ).mappings()
    return _render(head, list(lines))


def listing(
    connection: Connection,
    actor: Actor,
    *,
    after: int = 0,
    limit: int = 50,
    status: str | None = None,
    supplier: str | None = None,
) -> list[dict[str, Any]]:
    """Return purchase orders, newest first, below id ``after`` (0 for the newest page)."""
    actor.require(PURCHASING_READ)
    rows = connection.execute(
        sa.text(
            f"{_HEAD_SQL} WHERE (:after = 0 OR p.id < :after)"
            " AND (CAST(:status AS text) IS NULL OR p.status = :status)"
            " AND (CAST(:supplier AS text) IS NULL OR s.code = :supplier)"
            " ORDER BY p.id DESC LIMIT :limit"
        ),
        {"after": after, "limit": limit, "status": status, "supplier": supplier},
    ).mappings()
    return [_render(row, None) for row in rows]


def _render(head: Any, lines: Sequence[Any] | None) -> dict[str, Any]:
    currency = head["currency"]
    answer = {name: head[name] for name in _PLAIN}
    for name in ("ordered_at", "sent_at", "confirmed_at", "closed_at"):
        moment = read_time(head[name])
        answer[name] = moment.isoformat() if moment else None
    answer["expected_on"] = str(head["expected_on"])
    if lines is not None:
        answer["total"] = to_text(sum(li["quantity"] * _cost(li) for li in lines), currency)
        answer["lines"] = [_line(line, head) for line in lines]
    return answer


def _cost(line: Any) -> int:
    confirmed = line["confirmed_cost_minor"]
    return int(line["unit_cost_minor"] if confirmed is None else confirmed)


def _line(line: Any, head: Any) -> dict[str, Any]:
    confirmed = line["confirmed_cost_minor"]
    is_open = head["status"] not in ("closed", "cancelled")
    return {
        **{key: line[key] for key in ("id", "line_no", "sku", "name", "quantity", "received")},
        "open": max(0, line["quantity"] - line["received"]) if is_open else 0,
        "damaged": int(line["damaged"]),
        "unit_cost": to_text(line["unit_cost_minor"], head["currency"]),
        "confirmed_cost": None if confirmed is None else to_text(confirmed, head["currency"]),
        "expected_on": str(line["confirmed_on"] or head["expected_on"]),
        "is_confirmed": line["confirmed_on"] is not None,
    }
