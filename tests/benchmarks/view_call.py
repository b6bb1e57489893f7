"""The limit on SQLite: the order placed by one statement, an INSERT into a view with a trigger.

SQLite has no functions to call; a trigger comes nearest: its statements are compiled once, run
without going through Python, and look up stock and prices, insert, claim and make up the answer.
The same rows, feed, constraints and durability as :mod:`tests.benchmarks.handwritten`.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from typing import Any

from sqlalchemy.engine import make_url

from tests.benchmarks.handwritten import PRAGMAS, now_text

_VIEW = """
CREATE TEMP VIEW bench_order AS
    SELECT '' AS doc, '' AS key, '' AS digest, '' AS token, '' AS actor, '' AS now
"""

#: What the trigger's statements tell one another: the lines as they are priced, and the head.
_SCRATCH = (
    "CREATE TEMP TABLE bench_lines (place INTEGER PRIMARY KEY, sku_id, code, name, units, price,"
    " list, cost)",
    "CREATE TEMP TABLE bench_head (id INTEGER PRIMARY KEY, site_id, site, total, routing)",
)

_MONEY = "printf('%d.%02d', ({0}) / 100, ({0}) % 100)"
_ID = "(SELECT max(id) FROM orders)"

_TRIGGER = f"""
CREATE TEMP TRIGGER bench_place INSTEAD OF INSERT ON bench_order BEGIN
    SELECT RAISE(ABORT, 'every submission of the benchmark has a key of its own')
        WHERE EXISTS (SELECT 1 FROM idempotency_keys
            WHERE scope = 'key:' || NEW.actor AND key = NEW.key);
    DELETE FROM bench_lines;
    DELETE FROM bench_head;
    INSERT INTO bench_lines (place, sku_id, code, name, units, price, list, cost)
        SELECT n.key + 1, s.id, s.code, s.name, n.value ->> 'quantity', 0, '', t.unit_cost_minor
        FROM json_each(NEW.doc, '$.lines') AS n
        JOIN skus AS s ON s.code = n.value ->> 'sku' AND s.is_active
        JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred;
    UPDATE bench_lines SET (price, list) = (
        SELECT p.price_minor, l.code FROM prices AS p JOIN price_lists AS l
            ON l.id = p.price_list_id AND l.is_active AND l.currency = NEW.doc ->> 'currency'
        WHERE p.sku_id = bench_lines.sku_id AND p.min_quantity <= bench_lines.units
        ORDER BY p.min_quantity DESC LIMIT 1);
    INSERT INTO bench_head (id, site_id, site, total, routing)
        SELECT 1, w.id, w.code, (SELECT sum(price * units) FROM bench_lines),
            json_object('rule', 'single_warehouse_fills_all', 'warehouse', w.code)
        FROM warehouses AS w WHERE w.is_active AND NOT EXISTS (
            SELECT 1 FROM bench_lines AS n LEFT JOIN stock_levels AS v
                ON v.sku_id = n.sku_id AND v.warehouse_id = w.id
            WHERE coalesce(v.on_hand - v.allocated, 0) < n.units)
        ORDER BY w.region <> NEW.doc ->> '$.ship_to.region', w.rank, w.id LIMIT 1;
    INSERT INTO orders (channel, customer_id, contact_name, warehouse_id, status, placed_at,
        ship_name, ship_line1, ship_city, ship_region, ship_postal_code, ship_country, currency,
        base_currency, exchange_rate, gross_minor, discount_minor, shipping_minor,
        shipping_tax_minor, tax_minor, rounding_minor, total_minor, tax_included, allow_backorder,
        allow_split, ship_complete, rules_id, routing, tracking_token, version, changed_by,
        changed_at)
    SELECT NEW.doc ->> 'channel', (SELECT id FROM customers WHERE email =
            NEW.doc ->> '$.customer.email'), NEW.doc ->> '$.customer.name', h.site_id, 'open',
        NEW.now,
        NEW.doc ->> '$.ship_to.name', NEW.doc ->> '$.ship_to.line1', NEW.doc ->> '$.ship_to.city',
        NEW.doc ->> '$.ship_to.region', NEW.doc ->> '$.ship_to.postal_code',
        NEW.doc ->> '$.ship_to.country', NEW.doc ->> 'currency', NEW.doc ->> 'currency', '1',
        h.total, 0, 0, 0, 0, 0, h.total, false, false, false, false, 1, h.routing, NEW.token, 1,
        NEW.actor, NEW.now
    FROM bench_head AS h;
    INSERT INTO order_lines (order_id, line_no, sku_id, quantity, unit_price_minor, price_source,
        unit_cost_minor, gross_minor, discount_minor, rounding_minor, net_minor, tax_rate_ppm,
        tax_minor, allocated, backordered, shipped, cancelled, returned, version, changed_by,
        changed_at)
    SELECT {_ID}, n.place, n.sku_id, n.units, n.price, n.list, n.cost, n.price * n.units, 0, 0,
        n.price * n.units, 0, 0, n.units, 0, 0, 0, 0, 1, NEW.actor, NEW.now
    FROM bench_lines AS n ORDER BY n.place;
    INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version, changed_by,
        changed_at)
    SELECT {_ID}, h.site_id, 'allocated', NEW.now, 1, NEW.actor, NEW.now FROM bench_head AS h;
    INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)
    SELECT (SELECT max(id) FROM shipments), l.id, l.sku_id, l.quantity, NEW.actor
    FROM order_lines AS l WHERE l.order_id = {_ID};
    INSERT INTO payments (order_id, gateway, method, currency, amount_minor, captured_minor,
        refunded_minor, voided_minor, created_at, changed_by, changed_at)
    SELECT {_ID}, 'manual', NEW.doc ->> '$.payment.method', NEW.doc ->> 'currency', h.total, 0, 0,
        0, NEW.now, NEW.actor, NEW.now FROM bench_head AS h;
    INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)
    SELECT 'order.confirmed', NEW.doc ->> '$.customer.email', json_object('order', o.number,
        'total', {_MONEY.format("o.total_minor")}, 'currency', o.currency), NEW.now, 0
    FROM orders AS o WHERE o.id = {_ID};
    INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)
    SELECT 'key:' || NEW.actor, NEW.key, NEW.digest, json_object(
        'number', o.number, 'external_id', NULL, 'channel', o.channel, 'version', 1,
        'status', 'open', 'hold_reason', NULL, 'cancel_reason', NULL, 'payment_status', 'unpaid',
        'fulfilment_status', 'allocated', 'currency', o.currency, 'base_currency', o.currency,
        'exchange_rate', '1', 'tax_included', json('false'),
        'customer', json_object('email', NEW.doc ->> '$.customer.email',
            'name', NEW.doc ->> '$.customer.name', 'phone', NULL), 'placed_at', NEW.now,
        'warehouse', h.site, 'promised_on', NULL, 'deliver_by', NULL,
        'allow_backorder', json('false'),
        'allow_split', json('false'), 'ship_complete', json('false'), 'note', NULL,
        'routing', json(h.routing), 'ship_to',
        json_insert(NEW.doc -> 'ship_to', '$.line2', NULL, '$.phone', NULL),
        'lines', (SELECT json_group_array(json_object('line_no', n.place, 'sku', n.code,
            'name', n.name, 'quantity', n.units, 'unit_price', {_MONEY.format("n.price")},
            'price_source', n.list, 'discount', '0.00', 'rounding', '0.00',
            'net', {_MONEY.format("n.price * n.units")}, 'tax', '0.00', 'tax_percent', '0',
            'allocated', n.units, 'backordered', 0, 'shipped', 0, 'cancelled', 0, 'returned', 0,
            'promised_on', NULL)) FROM bench_lines AS n),
        'totals', json_object('gross', {_MONEY.format("h.total")}, 'discount', '0.00',
            'shipping', '0.00', 'shipping_tax', '0.00', 'tax', '0.00', 'rounding', '0.00',
            'total', {_MONEY.format("h.total")}, 'cancelled', '0.00',
            'owed', {_MONEY.format("h.total")}, 'due', {_MONEY.format("h.total")},
            'authorised', '0.00', 'captured', '0.00', 'refunded', '0.00',
            'charged_back', '0.00'),
        'tracking_url', 'http://127.0.0.1:8000/track/' || NEW.token), NEW.now
    FROM orders AS o, bench_head AS h WHERE o.id = {_ID};
    UPDATE stock_levels SET allocated = allocated + d.units, version = version + 1,
        changed_by = NEW.actor, changed_at = NEW.now
    FROM (SELECT n.sku_id, n.units, h.site_id FROM bench_lines AS n, bench_head AS h) AS d
    WHERE stock_levels.sku_id = d.sku_id AND stock_levels.warehouse_id = d.site_id
        AND on_hand - allocated >= d.units;
    SELECT RAISE(ABORT, 'the shelves of the benchmark are never empty')
        WHERE changes() <> (SELECT count(*) FROM bench_lines);
END
"""


class ViewCall:
    """One connection of the bare driver that captures orders, each INSERT a transaction."""

    def __init__(self, url: str, actor: str) -> None:
        """Connect as durably as the product does; ``actor`` stands on every change."""
        database = str(make_url(url).database)
        self.actor = actor
        self.connection = sqlite3.connect(database, isolation_level=None, timeout=30)
        for statement in (*PRAGMAS, _VIEW, *_SCRATCH, _TRIGGER):
            self.connection.execute(statement)
        self.queue = open(f"{database}.lock", "w")  # noqa: SIM115, PTH123

    def place(self, order: dict[str, Any], key: str) -> dict[str, Any]:
        """Place the order and return its answer."""
        token = secrets.token_urlsafe(24)
        fcntl.flock(self.queue, fcntl.LOCK_EX)
        try:
            self.connection.execute(
                "INSERT INTO bench_order VALUES (?, ?, ?, ?, ?, ?)",
                (json.dumps(order), key, key + key, token, self.actor, now_text()),
            )
        finally:
            fcntl.flock(self.queue, fcntl.LOCK_UN)
        row = self.connection.execute(
            "SELECT response FROM idempotency_keys WHERE scope = ? AND key = ?",
            (f"key:{self.actor}", key),
        ).fetchone()
        answer: dict[str, Any] = json.loads(row[0])
        return answer
