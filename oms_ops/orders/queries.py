"""Reads orders: one with everything, a page of many, and the shipments of one.

What takes an actor is for people and asks for their permission. The rest is for the services:
inside a command, and for its answer, which whoever may give the command may see.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_READ, Actor
from oms_ops.customers.tables import Customer
from oms_ops.database import as_ids, as_rows, execute, ids, read_time, rowset
from oms_ops.errors import NotFound
from oms_ops.orders import amounts, views
from oms_ops.orders.tables import Order, Shipment
from oms_ops.payments.refunds import LOWERS_COST
from oms_ops.settings import settings


def order_id(connection: Connection, number: str) -> int:
    """Return the id of the order with this number.

    Raises:
        NotFound: there is no such order.
    """
    found = connection.scalar(sa.select(Order.id).where(Order.id == id_of(number, "SO")))
    if found is None:
        raise NotFound(f"There is no order {number!r}.")
    return int(found)


def named(connection: Connection, actor: Actor, permission: str, number: str) -> int:
    """Return the id of the order that an action with ``permission`` names.

    Raises:
        Forbidden: the actor lacks it; whether there is such an order is then nothing to him.
        NotFound: there is no such order.
    """
    actor.require(permission)
    return order_id(connection, number)


def named_shipment(connection: Connection, actor: Actor, permission: str, shipment_id: int) -> None:
    """Refuse a shipment that is not there, or the action with ``permission`` on it.

    Raises:
        Forbidden: the actor lacks the permission.
        NotFound: there is no such shipment.
    """
    actor.require(permission)
    if connection.scalar(sa.select(Shipment.id).where(Shipment.id == shipment_id)) is None:
        raise NotFound(f"There is no shipment {shipment_id}.")


def show(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return one order as :func:`get` does, with its shipments.

    Raises:
        NotFound: there is no such order.
    """
    found = named(connection, actor, ORDERS_READ, number)
    return {
        **_orders(connection, [found])[0],
        "shipments": _shipments(connection, "s.order_id = :id", {"id": found}),
    }


def get(connection: Connection, number: str) -> dict[str, Any]:
    """Return one order as :func:`oms_ops.orders.views.render` shows it.

    Raises:
        NotFound: there is no such order.
    """
    return _orders(connection, [order_id(connection, number)])[0]


def listing(
    connection: Connection,
    actor: Actor,
    *,
    before: int = 0,
    limit: int = 50,
    status: str | None = None,
    customer: str | None = None,
    external_id: str | None = None,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of orders, newest first, and the cursor of the next page (None at the end).

    ``before`` is a cursor from an earlier page, 0 for the first. ``customer`` is an e-mail address,
    ``external_id`` what a channel calls the order.
    """
    actor.require(ORDERS_READ)
    query = sa.select(Order.id).order_by(Order.id.desc()).limit(limit + 1)
    if before:
        query = query.where(Order.id < before)
    if status:
        query = query.where(Order.status == status)
    if customer is not None:
        buyer = sa.select(Customer.id).where(Customer.email == customer.strip().lower())
        query = query.where(Order.customer_id.in_(buyer))
    if external_id is not None:
        query = query.where(Order.external_id == external_id)
    found = list(connection.scalars(query))
    page = found[:limit]
    return _orders(connection, page), page[-1] if len(found) > limit else None


def shipments(connection: Connection, actor: Actor, number: str) -> list[dict[str, Any]]:
    """Return the shipments of an order with their lines and moments.

    Raises:
        NotFound: there is no such order.
    """
    actor.require(ORDERS_READ)
    return shipments_of(connection, number)


def shipments_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Return what :func:`shipments` does."""
    return _shipments(connection, "s.order_id = :id", {"id": order_id(connection, number)})


def shipments_by_id(connection: Connection, shipment_ids: Collection[int]) -> list[dict[str, Any]]:
    """Return shipments as :func:`shipments` does, by their ids; those that do not exist lack."""
    chosen = f"s.id IN ({ids(connection, 'ids')})"
    return _shipments(connection, chosen, {"ids": as_ids(shipment_ids)})


_SHIPMENT = (
    "id", "number", "order", "warehouse", "status", "carrier", "tracking_number", "failure_reason",
)  # fmt: skip


def _shipments(
    connection: Connection, chosen: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = connection.execute(
        sa.text(
            'SELECT s.id, s.number, o.number AS "order", w.code AS warehouse, s.status, s.carrier,'
            " s.tracking_number, s.failure_reason, s.allocated_at, s.picked_at, s.packed_at,"
            " s.shipped_at, s.delivered_at, s.failed_at, s.returned_at,"
            " coalesce(l.promised_on, o.promised_on) AS promised_on, o.deliver_by,"
            " k.code AS sku, l.line_no, sl.quantity FROM shipments AS s"
            " JOIN orders AS o ON o.id = s.order_id"
            " JOIN warehouses AS w ON w.id = s.warehouse_id"
            " JOIN shipment_lines AS sl ON sl.shipment_id = s.id"
            " JOIN order_lines AS l ON l.id = sl.order_line_id"
            f" JOIN skus AS k ON k.id = sl.sku_id WHERE {chosen}"
            " ORDER BY s.id, l.line_no, sl.id"
        ),
        parameters,
    ).mappings()
    result: dict[int, dict[str, Any]] = {}
    for row in rows:
        shipment = result.setdefault(
            row["id"],
            {
                **{key: row[key] for key in _SHIPMENT},
                "promised_on": None,
                "deliver_by": str(row["deliver_by"]) if row["deliver_by"] else None,
                **{key: _iso(row[key]) for key in row if key.endswith("_at")},
                "lines": [],
            },
        )
        # On time is what comes on the day that was promised for the last of its lines.
        promises = filter(None, (shipment["promised_on"], row["promised_on"]))
        shipment["promised_on"] = max(map(str, promises), default=None)
        shipment["lines"].append({key: row[key] for key in ("line_no", "sku", "quantity")})
    return list(result.values())


def _orders(connection: Connection, chosen: list[int]) -> list[dict[str, Any]]:
    """Read ``chosen`` orders with two statements, in the order given."""
    parameters = {"ids": as_ids(chosen)}
    within = f"IN ({ids(connection, 'ids')})"
    heads = connection.execute(
        sa.text(
            "SELECT o.*, c.email, w.code AS warehouse, p.authorised, p.captured, p.refunded,"
            " p.voided, p.charged_back, g.given_back, s.delivered,"
            " (SELECT CAST(sum(r.forgiven_minor) AS bigint) FROM returns AS r"
            f"  WHERE r.order_id = o.id) AS forgiven, {amounts.went_back_sql(within)} AS went_back"
            " FROM orders AS o"
            " JOIN customers AS c ON c.id = o.customer_id"
            " JOIN warehouses AS w ON w.id = o.warehouse_id"
            " LEFT JOIN (SELECT order_id, CAST(sum(CASE WHEN authorised_minor"
            "  > amount_minor - voided_minor THEN amount_minor - voided_minor"
            "  ELSE authorised_minor END) AS bigint) AS authorised,"
            "  CAST(sum(captured_minor) AS bigint) AS captured,"
            "  CAST(sum(refunded_minor + credited_minor) AS bigint) AS refunded,"
            "  CAST(sum(voided_minor) AS bigint) AS voided,"
            "  CAST(sum(charged_back_minor) AS bigint) AS charged_back"
            f"  FROM payments WHERE order_id {within} GROUP BY order_id) AS p ON p.order_id = o.id"
            " LEFT JOIN (SELECT order_id, CAST(sum(amount_minor) AS bigint) AS given_back"
            f"  FROM refunds WHERE order_id {within} AND {LOWERS_COST} GROUP BY order_id) AS g"
            "  ON g.order_id = o.id"
            " LEFT JOIN (SELECT order_id, min(CASE WHEN status = 'delivered' THEN 1 ELSE 0 END)"
            f"  AS delivered FROM shipments WHERE order_id {within} AND status <> 'cancelled'"
            "  GROUP BY order_id) AS s ON s.order_id = o.id"
            f" WHERE o.id {within}"
        ).columns(**{column.name: column.type for column in Order.__table__.columns}),
        parameters,
    ).mappings()
    lines: dict[int, list[Any]] = {}
    for line in connection.execute(
        sa.text(
            "SELECT l.*, k.code AS sku, k.name FROM order_lines AS l"
            f" JOIN skus AS k ON k.id = l.sku_id WHERE l.order_id {within}"
            " ORDER BY l.order_id, l.line_no"
        ),
        parameters,
    ).mappings():
        lines.setdefault(line["order_id"], []).append(line)
    rendered = {
        head["id"]: views.render(
            dict(head),
            lines.get(head["id"], []),
            paid=views.Paid(**{each.name: head[each.name] or 0 for each in fields(views.Paid)}),
            delivered=bool(head["delivered"]),
            public_url=settings().public_url,
        )
        for head in heads
    }
    return [rendered[chosen_id] for chosen_id in chosen]


def tracking_urls(connection: Connection, numbers: Sequence[str]) -> dict[str, str]:
    """Return where the customers of orders follow them, by the orders' numbers."""
    rows = execute(
        connection,
        f"SELECT o.number, o.tracking_token FROM ({rowset(connection, 'rows', {'id': 'bigint'})})"
        " AS r JOIN orders AS o ON o.id = r.id",
        {"rows": as_rows({"id": id_of(number, "SO")} for number in numbers)},
    )
    public_url = settings().public_url
    return {number: f"{public_url}/track/{token}" for number, token in rows}


def id_of(number: str, prefix: str) -> int:
    """Return the id in a document number, -1 when it is none."""
    head, _, digits = number.partition("-")
    known = head == prefix and digits.isascii() and digits.isdecimal() and len(digits) < 16
    return int(digits) - 10_000_000 if known else -1


def number_of(document_id: int, prefix: str) -> str:
    """Return the number of the document with this id."""
    return f"{prefix}-{10_000_000 + document_id}"


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return moment.isoformat() if moment else None
