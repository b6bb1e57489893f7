"""The limit: the order placed by one hand-written call of PostgreSQL, in one round trip.

The same rows, triggers, constraints and durability as :mod:`tests.benchmarks.handwritten`: the
function looks up stock and prices, inserts, and takes the locks of the levels last, so that they
are held for no round trip. It validates nothing and knows no rules.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from sqlalchemy.engine import Engine

_FUNCTION = """
CREATE OR REPLACE FUNCTION bench_place(
    p_order jsonb, p_key text, p_digest text, p_token text, p_actor text
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_to jsonb := p_order -> 'ship_to';
    v_currency text := p_order ->> 'currency';
    v_email text := p_order -> 'customer' ->> 'email';
    v_codes text[]; v_units bigint[]; v_skus bigint[]; v_names text[]; v_prices bigint[];
    v_lists text[]; v_costs bigint[]; v_customer bigint; v_site bigint; v_site_code text;
    v_total bigint; v_order bigint; v_number text; v_shipment bigint; v_routing json;
    v_answer jsonb; v_claimed bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM idempotency_keys WHERE scope = 'key:' || p_actor AND key = p_key) THEN
        RAISE EXCEPTION 'every submission of the benchmark has a key of its own';
    END IF;
    SELECT array_agg(n ->> 'sku'), array_agg((n ->> 'quantity')::bigint)
        INTO v_codes, v_units FROM jsonb_array_elements(p_order -> 'lines') AS n;
    SELECT array_agg(s.id ORDER BY n.place), array_agg(s.name ORDER BY n.place),
        array_agg(e.price_minor ORDER BY n.place), array_agg(e.code ORDER BY n.place),
        array_agg(t.unit_cost_minor ORDER BY n.place), sum(e.price_minor * n.units)
        INTO v_skus, v_names, v_prices, v_lists, v_costs, v_total
    FROM unnest(v_codes, v_units) WITH ORDINALITY AS n(code, units, place)
    JOIN skus AS s ON s.code = n.code AND s.is_active
    JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred
    CROSS JOIN LATERAL (
        SELECT p.price_minor, l.code FROM prices AS p
        JOIN price_lists AS l ON l.id = p.price_list_id
        WHERE p.sku_id = s.id AND l.currency = v_currency AND l.is_active
            AND p.min_quantity <= n.units ORDER BY p.min_quantity DESC LIMIT 1
    ) AS e;
    SELECT w.id, w.code INTO v_site, v_site_code FROM warehouses AS w
    WHERE w.is_active AND NOT EXISTS (
        SELECT 1 FROM unnest(v_skus, v_units) AS n(sku_id, units)
        LEFT JOIN stock_levels AS l ON l.sku_id = n.sku_id AND l.warehouse_id = w.id
        WHERE coalesce(l.on_hand - l.allocated, 0) < n.units
    ) ORDER BY w.region <> v_to ->> 'region', w.rank, w.id LIMIT 1;
    SELECT id INTO v_customer FROM customers WHERE email = v_email;
    v_routing := json_build_object(
        'rule', 'single_warehouse_fills_all', 'warehouse', v_site_code);
    INSERT INTO orders (channel, customer_id, contact_name, warehouse_id, status, placed_at,
        ship_name, ship_line1, ship_city, ship_region, ship_postal_code, ship_country, currency,
        base_currency, exchange_rate, gross_minor, discount_minor, shipping_minor,
        shipping_tax_minor, tax_minor, rounding_minor, total_minor, tax_included, allow_backorder,
        allow_split, ship_complete, rules_id, routing, tracking_token, version, changed_by,
        changed_at)
    VALUES (p_order ->> 'channel', v_customer, p_order -> 'customer' ->> 'name', v_site,
        'open', v_now, v_to ->> 'name',
        v_to ->> 'line1', v_to ->> 'city', v_to ->> 'region', v_to ->> 'postal_code',
        v_to ->> 'country', v_currency, v_currency, '1', v_total, 0, 0, 0, 0, 0, v_total, false,
        false, false, false, 1, v_routing, p_token, 1, p_actor, v_now)
    RETURNING id, number INTO v_order, v_number;
    INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version, changed_by,
        changed_at)
    VALUES (v_order, v_site, 'allocated', v_now, 1, p_actor, v_now) RETURNING id INTO v_shipment;
    WITH placed AS (
        INSERT INTO order_lines (order_id, line_no, sku_id, quantity, unit_price_minor,
            price_source, unit_cost_minor, gross_minor, discount_minor, rounding_minor, net_minor,
            tax_rate_ppm, tax_minor, allocated, backordered, shipped, cancelled, returned,
            version, changed_by, changed_at)
        SELECT v_order, n.place, n.sku_id, n.units, n.price, n.list, n.cost, n.price * n.units, 0,
            0, n.price * n.units, 0, 0, n.units, 0, 0, 0, 0, 1, p_actor, v_now
        FROM unnest(v_skus, v_units, v_prices, v_lists, v_costs)
            WITH ORDINALITY AS n(sku_id, units, price, list, cost, place)
        RETURNING id, sku_id, quantity
    )
    INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)
    SELECT v_shipment, id, sku_id, quantity, p_actor FROM placed;
    INSERT INTO payments (order_id, gateway, method, currency, amount_minor, captured_minor,
        refunded_minor, voided_minor, created_at, changed_by, changed_at)
    VALUES (v_order, 'manual', p_order -> 'payment' ->> 'method', v_currency, v_total, 0, 0, 0,
        v_now, p_actor, v_now);
    v_answer := jsonb_build_object(
        'number', v_number, 'external_id', NULL, 'channel', p_order ->> 'channel', 'version', 1,
        'status', 'open', 'hold_reason', NULL, 'cancel_reason', NULL, 'payment_status', 'unpaid',
        'fulfilment_status', 'allocated', 'currency', v_currency, 'base_currency', v_currency,
        'exchange_rate', '1', 'tax_included', false,
        'customer', jsonb_build_object('email', v_email,
            'name', p_order -> 'customer' ->> 'name', 'phone', NULL), 'placed_at', v_now,
        'warehouse', v_site_code, 'promised_on', NULL, 'deliver_by', NULL,
        'allow_backorder', false,
        'allow_split', false, 'ship_complete', false, 'note', NULL, 'routing', v_routing,
        'ship_to', jsonb_build_object('line2', NULL, 'phone', NULL) || v_to,
        'lines', (SELECT jsonb_agg(jsonb_build_object('line_no', n.place, 'sku', n.code,
            'name', n.name, 'quantity', n.units, 'unit_price', bench_money(n.price),
            'price_source', n.list, 'discount', '0.00', 'rounding', '0.00',
            'net', bench_money(n.price * n.units), 'tax', '0.00', 'tax_percent', '0',
            'allocated', n.units, 'backordered', 0, 'shipped', 0, 'cancelled', 0, 'returned', 0,
            'promised_on', NULL))
            FROM unnest(v_codes, v_names, v_units, v_prices, v_lists)
                WITH ORDINALITY AS n(code, name, units, price, list, place)),
        'totals', jsonb_build_object('gross', bench_money(v_total), 'discount', '0.00',
            'shipping', '0.00', 'shipping_tax', '0.00', 'tax', '0.00', 'rounding', '0.00',
            'total', bench_money(v_total), 'cancelled', '0.00', 'owed', bench_money(v_total),
            'due', bench_money(v_total), 'authorised', '0.00', 'captured', '0.00',
            'refunded', '0.00', 'charged_back', '0.00'),
        'tracking_url', 'http://127.0.0.1:8000/track/' || p_token);
    INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)
    VALUES ('order.confirmed', v_email, json_build_object('order', v_number,
        'total', bench_money(v_total), 'currency', v_currency), v_now, 0);
    INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)
    VALUES ('key:' || p_actor, p_key, p_digest, v_answer::json, v_now);
    UPDATE stock_levels AS l SET allocated = l.allocated + d.units, version = l.version + 1,
        changed_by = p_actor, changed_at = v_now
    FROM (SELECT s.id, n.units FROM unnest(v_skus, v_units) AS n(sku_id, units)
        JOIN stock_levels AS s ON s.sku_id = n.sku_id AND s.warehouse_id = v_site
        ORDER BY s.id FOR UPDATE OF s) AS d
    WHERE l.id = d.id AND l.on_hand - l.allocated >= d.units;
    GET DIAGNOSTICS v_claimed = ROW_COUNT;
    IF v_claimed <> array_length(v_skus, 1) THEN
        RAISE EXCEPTION 'the shelves of the benchmark are never empty';
    END IF;
    RETURN v_answer;
END $$
"""

_MONEY = """
CREATE OR REPLACE FUNCTION bench_money(minor bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (minor / 100)::text || '.' || lpad((minor % 100)::text, 2, '0')
"""


class ServerCall:
    """One connection of the bare driver that captures orders, each statement a transaction."""

    def __init__(self, url: str, actor: str) -> None:
        """Connect; ``actor`` stands on every change."""
        import psycopg

        self.connection = psycopg.connect(url, autocommit=True)
        self.actor = actor

    @staticmethod
    def install(engine: Engine) -> None:
        """Create the function."""
        with engine.begin() as connection:
            connection.exec_driver_sql(_MONEY.replace("%", "%%"))
            connection.exec_driver_sql(_FUNCTION)

    def place(self, order: dict[str, Any], key: str) -> dict[str, Any]:
        """Place the order and return its answer."""
        row = self.connection.execute(
            "SELECT bench_place(%s, %s, %s, %s, %s)",
            (json.dumps(order), key, key + key, secrets.token_urlsafe(24), self.actor),
        ).fetchone()
        assert row is not None
        answer: dict[str, Any] = row[0]
        return answer
