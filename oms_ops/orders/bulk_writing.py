"""Write a staged batch: customers, orders, lines, shipments, payments; claim the stock last."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_time
from oms_ops.money import to_text
from oms_ops.notifications import outbox
from oms_ops.orders import bulk_review, promises, views
from oms_ops.orders.bulk_review import ORDER_SUMS
from oms_ops.rules.store import Version
from oms_ops.stock import ledger


def write(
    connection: Connection, actor: Actor, version: Version, *, live: bool
) -> tuple[int, int, dict[int, str]]:
    """Write the staged batch; return how many orders and lines, and the numbers by ``ref``."""
    behind = bulk_review.promise(connection, version.rules)
    with promises.making_way(connection, actor, version.rules.routing, behind):
        return _write(connection, actor, version, live=live)


def _write(
    connection: Connection, actor: Actor, version: Version, *, live: bool
) -> tuple[int, int, dict[int, str]]:
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    bulk_review.set_deadlines(connection, version.rules)
    _run(
        connection,
        "INSERT INTO customers (email, external_id, name, phone, created_at, changed_by,"
        " changed_at) SELECT email, customer_external_id, customer_name, customer_phone, placed_at,"
        " :actor, :now FROM (SELECT *, row_number() OVER (PARTITION BY email"
        " ORDER BY placed_at, ref) AS turn FROM bulk_orders) AS b WHERE turn = 1"
        " ON CONFLICT (email) DO NOTHING",
        **stamp,
    )
    _run(
        connection,
        "UPDATE bulk_orders SET customer_id = c.id FROM customers AS c"
        " WHERE c.email = bulk_orders.email",
    )
    if live:
        _rename_customers(connection, stamp)
    if live and version.rules.holds:
        bulk_review.hold(connection, version.rules)
    orders = _write_orders(connection, version, stamp)
    lines = _write_lines(connection, stamp)
    _write_shipments(connection, stamp)
    _run(
        connection,
        "INSERT INTO payments (order_id, gateway, method, currency, amount_minor, captured_minor,"
        " refunded_minor, voided_minor, created_at, changed_by, changed_at)"
        " SELECT o.id, 'manual', b.payment_method, o.currency, o.total_minor, 0, 0, 0, o.placed_at,"
        " :actor, :now FROM bulk_orders AS b JOIN orders AS o ON o.id = b.order_id"
        " WHERE b.payment_method IS NOT NULL AND o.total_minor > 0 ORDER BY o.id",
        **stamp,
    )
    _allocate(connection, stamp)
    if live:
        _tell(connection)
    numbers = _run(
        connection,
        "SELECT b.ref, o.number FROM bulk_orders AS b JOIN orders AS o ON o.id = b.order_id",
    )
    return orders, lines, {row.ref: row.number for row in numbers}


def _rename_customers(connection: Connection, stamp: dict[str, Any]) -> None:
    """Keep what a customer's last order says: the name, and the phone of the last that has one."""
    turn = "row_number() OVER (PARTITION BY customer_id ORDER BY placed_at DESC, ref DESC) AS turn"
    _run(
        connection,
        "UPDATE customers AS c SET name = r.name, phone = r.phone, version = c.version + 1,"
        " changed_by = :actor, changed_at = :now"
        " FROM (SELECT n.customer_id, n.customer_name AS name,"
        "  coalesce(p.customer_phone, k.phone) AS phone"
        f"  FROM (SELECT customer_id, customer_name, {turn} FROM bulk_orders) AS n"
        "  JOIN customers AS k ON k.id = n.customer_id"
        f"  LEFT JOIN (SELECT customer_id, customer_phone, {turn} FROM bulk_orders"
        "   WHERE customer_phone IS NOT NULL) AS p"
        "   ON p.customer_id = n.customer_id AND p.turn = 1 WHERE n.turn = 1) AS r"
        " WHERE c.id = r.customer_id"
        " AND (c.name <> r.name OR c.phone IS DISTINCT FROM r.phone)",
        **stamp,
    )


def _write_orders(connection: Connection, version: Version, stamp: dict[str, Any]) -> int:
    routing = "text" if connection.dialect.name == "sqlite" else "json"
    inserted = _run(
        connection,
        "INSERT INTO orders (channel, external_id, customer_id, contact_name, contact_phone,"
        " warehouse_id, status,"
        " hold_reason, promised_on, delivery_days, deliver_by, placed_at,"
        " ship_name, ship_line1, ship_line2, ship_city,"
        " ship_region, ship_postal_code,"
        " ship_country, ship_phone, note, currency, gross_minor, discount_minor, shipping_minor,"
        " tax_minor, shipping_tax_minor, tax_included, rounding_minor, total_minor, base_currency,"
        " exchange_rate, allow_backorder, allow_split, rules_id, routing, tracking_token, version,"
        " changed_by, changed_at)"
        " SELECT b.channel, b.external_id, b.customer_id, b.customer_name, b.customer_phone,"
        " b.warehouse_id,"
        " CASE WHEN b.hold_reason IS NULL THEN 'open' ELSE 'on_hold' END, b.hold_reason,"
        " b.promised_on, b.delivery_days, b.deliver_by, b.placed_at,"
        " b.ship_name, b.ship_line1, b.ship_line2, b.ship_city, b.ship_region,"
        " b.ship_postal_code, b.ship_country, b.ship_phone, b.note, b.currency, t.gross,"
        " t.discount, b.shipping_minor, t.tax, b.shipping_tax_minor, b.tax_included, t.rounding,"
        " t.gross - t.discount + b.shipping_minor + t.rounding"
        " + CASE WHEN b.tax_included THEN 0 ELSE t.tax END, :base, b.exchange_rate,"
        f" b.allow_backorder, false, :rules, CAST(b.routing AS {routing}), b.tracking_token, 1,"
        f" :actor, :now FROM bulk_orders AS b JOIN ({ORDER_SUMS}) AS t ON t.ref = b.ref"
        " ORDER BY b.placed_at, b.ref",
        base=version.rules.base_currency,
        rules=version.id,
        **stamp,
    ).rowcount
    _run(
        connection,
        "UPDATE bulk_orders SET order_id = o.id FROM orders AS o"
        " WHERE o.channel = bulk_orders.channel AND o.external_id = bulk_orders.external_id",
    )
    return int(inserted)


def _write_lines(connection: Connection, stamp: dict[str, Any]) -> int:
    inserted = _run(
        connection,
        "INSERT INTO order_lines (order_id, line_no, sku_id, quantity, unit_price_minor,"
        " unit_cost_minor, gross_minor, discount_minor, rounding_minor, net_minor, tax_minor,"
        " tax_rate_ppm, price_source, promised_on, allocated, backordered, shipped, cancelled,"
        " returned, version, changed_by, changed_at)"
        " SELECT b.order_id, l.line_no, l.sku_id, l.quantity, l.unit_price_minor,"
        " l.unit_cost_minor, l.quantity * l.unit_price_minor, l.discount_minor, l.rounding_minor,"
        " l.quantity * l.unit_price_minor - l.discount_minor + l.rounding_minor, l.tax_minor,"
        " l.tax_rate_ppm, l.price_source, l.promised_on, l.take, l.quantity - l.take, 0, 0, 0, 1,"
        " :actor, :now"
        " FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref"
        " ORDER BY b.order_id, l.line_no",
        **stamp,
    ).rowcount
    _run(
        connection,
        "UPDATE bulk_lines SET order_line_id = ol.id FROM bulk_orders AS b, order_lines AS ol"
        " WHERE b.ref = bulk_lines.ref AND ol.order_id = b.order_id"
        " AND ol.line_no = bulk_lines.line_no",
    )
    return int(inserted)


def _write_shipments(connection: Connection, stamp: dict[str, Any]) -> None:
    _run(
        connection,
        "INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version, changed_by,"
        " changed_at) SELECT b.order_id, b.warehouse_id, 'allocated', b.placed_at, 1, :actor, :now"
        " FROM bulk_orders AS b WHERE EXISTS (SELECT 1 FROM bulk_lines AS l WHERE l.ref = b.ref"
        " AND l.take > 0) ORDER BY b.order_id",
        **stamp,
    )
    _run(
        connection,
        "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
        " SELECT s.id, l.order_line_id, l.sku_id, l.take, :actor FROM bulk_lines AS l"
        " JOIN bulk_orders AS b ON b.ref = l.ref JOIN shipments AS s ON s.order_id = b.order_id"
        " WHERE l.take > 0 ORDER BY l.order_line_id",
        actor=stamp["actor"],
    )


def _allocate(connection: Connection, stamp: dict[str, Any]) -> None:
    """Claim the stock last, under the same guard as a single order."""
    wanted = (
        "SELECT b.warehouse_id, l.sku_id, CAST(sum(l.take) AS bigint) AS quantity"
        " FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref WHERE l.take > 0"
        " GROUP BY b.warehouse_id, l.sku_id"
    )
    pairs = _run(connection, f"SELECT count(*) FROM ({wanted}) AS w").scalar()
    if ledger.allocate_from(connection, wanted, stamp) != pairs:
        raise Retry("stock moved between the plan and the claim")


def _tell(connection: Connection) -> None:
    """Confirm the orders to their customers, as a single capture does."""
    rows = _run(
        connection,
        "SELECT o.id, o.number, o.total_minor, o.currency, o.promised_on, c.email"
        " FROM bulk_orders AS b"
        " JOIN orders AS o ON o.id = b.order_id JOIN customers AS c ON c.id = o.customer_id"
        " ORDER BY o.id",
    ).all()
    lines: dict[int, list[dict[str, Any]]] = {}
    for line in _run(
        connection,
        "SELECT l.order_id, k.code AS sku, k.name, l.backordered, l.promised_on"
        " FROM bulk_lines AS b JOIN order_lines AS l ON l.id = b.order_line_id"
        " JOIN skus AS k ON k.id = l.sku_id WHERE b.take < b.quantity ORDER BY l.id",
    ).mappings():
        shown = {**line, "promised_on": _text(line["promised_on"])}
        lines.setdefault(line["order_id"], []).append(shown)
    outbox.post_many(
        connection,
        "order.confirmed",
        [
            (
                row.email,
                {
                    "order": row.number,
                    "total": to_text(row.total_minor, row.currency),
                    "currency": row.currency,
                    **views.waiting(
                        {"promised_on": _text(row.promised_on), "lines": lines.get(row.id, ())}
                    ),
                },
            )
            for row in rows
        ],
    )


def _text(day: Any) -> str | None:
    return None if day is None else str(day)


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)
