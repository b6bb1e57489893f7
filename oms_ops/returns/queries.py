"""Reads returns: one with everything, a page of many, those of an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_READ, Actor
from oms_ops.database import as_ids, execute, ids, read_time
from oms_ops.errors import NotFound
from oms_ops.money import to_text
from oms_ops.orders.locks import lock_orders
from oms_ops.orders.queries import id_of


def return_id(connection: Connection, number: str) -> int:
    """Return the id of a return by its number or its id in digits.

    Raises:
        NotFound: there is no such return.
    """
    digits = number.isascii() and number.isdecimal() and len(number) < 16
    wanted = int(number) if digits else id_of(number, "RM")
    row = execute(connection, "SELECT id FROM returns WHERE id = :id", {"id": wanted}).fetchone()
    if row is None:
        raise NotFound(f"There is no return {number!r}.")
    return int(row[0])


def locked(connection: Connection, return_id: int) -> dict[str, Any]:
    """Lock the order of a return; return the return's columns as they are then.

    Raises:
        NotFound: there is no such return.
    """
    found = execute(
        connection, "SELECT order_id FROM returns WHERE id = :id", {"id": return_id}
    ).fetchone()
    if found is None:
        raise NotFound(f"There is no return {return_id}.")
    lock_orders(connection, [found[0]])
    return head(connection, return_id)


def head(connection: Connection, return_id: int) -> dict[str, Any]:
    """Return the columns of a return."""
    return _rows(connection, "SELECT * FROM returns WHERE id = :id", {"id": return_id})[0]


def lines(connection: Connection, return_id: int) -> list[dict[str, Any]]:
    """Return the columns of a return's lines, with ``line_no``, ``sku`` and ``name``."""
    return _rows(
        connection,
        "SELECT x.*, l.line_no, k.code AS sku, k.name FROM return_lines AS x"
        " JOIN order_lines AS l ON l.id = x.order_line_id JOIN skus AS k ON k.id = x.sku_id"
        " WHERE x.return_id = :id ORDER BY l.line_no",
        {"id": return_id},
    )


def get(connection: Connection, actor: Actor, return_id: int) -> dict[str, Any]:
    """Return one return as callers see it.

    Raises:
        Forbidden: the role may not read orders.
    """
    actor.require(ORDERS_READ)
    return shown(connection, [return_id])[0]


def listing(
    connection: Connection,
    actor: Actor,
    *,
    before: int = 0,
    limit: int = 50,
    status: str | None = None,
    order_id: int | None = None,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of returns, newest first, and the cursor of the next page.

    Raises:
        Forbidden: the role may not read orders.
    """
    actor.require(ORDERS_READ)
    conditions = ["true"]
    if before:
        conditions.append("id < :before")
    if status:
        conditions.append("status = :status")
    if order_id is not None:
        conditions.append("order_id = :order_id")
    rows = execute(
        connection,
        f"SELECT id FROM returns WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit",
        {"before": before, "status": status, "order_id": order_id, "limit": limit + 1},
    ).fetchall()
    page = [row[0] for row in rows[:limit]]
    return shown(connection, page), page[-1] if len(rows) > limit else None


def of_order(connection: Connection, order_id: int) -> list[dict[str, Any]]:
    """Return the returns of an order, the oldest first, for who may see the order."""
    rows = execute(
        connection, "SELECT id FROM returns WHERE order_id = :id ORDER BY id", {"id": order_id}
    ).fetchall()
    return shown(connection, [row[0] for row in rows])


def shown(connection: Connection, return_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return returns as JSON-ready data, in the order given; money is decimal text."""
    chosen = {"ids": as_ids(return_ids)}
    within = f"IN ({ids(connection, 'ids')})"
    heads = _rows(
        connection,
        'SELECT r.*, o.number AS "order", o.currency, w.code AS warehouse, x.number AS replacement'
        " FROM returns AS r JOIN orders AS o ON o.id = r.order_id"
        " JOIN warehouses AS w ON w.id = r.warehouse_id"
        f" LEFT JOIN orders AS x ON x.id = r.exchange_order_id WHERE r.id {within}",
        chosen,
    )
    rows = _rows(
        connection,
        "SELECT x.*, l.line_no, k.code AS sku, k.name FROM return_lines AS x"
        " JOIN order_lines AS l ON l.id = x.order_line_id JOIN skus AS k ON k.id = x.sku_id"
        f" WHERE x.return_id {within} ORDER BY l.line_no",
        chosen,
    )
    refunds = _rows(
        connection,
        "SELECT f.return_id, f.id, f.payment_id, p.method, f.status, f.destination, f.amount_minor,"
        " f.currency FROM refunds AS f JOIN payments AS p ON p.id = f.payment_id"
        f" WHERE f.return_id {within} ORDER BY f.id",
        chosen,
    )
    found = {
        each["id"]: _render(
            each,
            [row for row in rows if row["return_id"] == each["id"]],
            [row for row in refunds if row["return_id"] == each["id"]],
        )
        for each in heads
    }
    return [found[each] for each in return_ids]


_MOMENTS = (
    "requested_at", "decided_at", "expires_at", "received_at", "inspected_at", "resolved_at",
)  # fmt: skip
_LINE = (
    "line_no", "sku", "name", "quantity", "reason", "note", "received", "restocked", "quarantined",
    "scrapped", "disposition",
)  # fmt: skip


def _render(
    head: dict[str, Any], lines: Sequence[dict[str, Any]], refunds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    currency = head["currency"]

    def money(minor: int) -> str:
        return to_text(minor, currency)

    names = ("id", "number", "order", "status", "version", "warehouse", "asked_by", "reason",
             "decision", "resolution", "replacement", "currency")  # fmt: skip
    moments = {name: read_time(head[name]) for name in _MOMENTS}
    return {
        **{name: head[name] for name in names},
        "refund": money(head["refund_minor"]),
        "shipping": money(head["shipping_minor"]),
        "forgiven": money(head["forgiven_minor"]),
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        "lines": [
            {
                **{name: line[name] for name in _LINE},
                "refund": money(line["refund_minor"]),
                "tax": money(line["tax_minor"]),
                "fee": money(line["fee_minor"]),
            }
            for line in lines
        ],
        "refunds": [
            {
                **{name: row[name] for name in ("id", "payment_id", "method", "status")},
                "destination": row["destination"],
                "amount": money(row["amount_minor"]),
            }
            for row in refunds
        ],
    }


def _rows(
    connection: Connection, statement: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    cursor = execute(connection, statement, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
