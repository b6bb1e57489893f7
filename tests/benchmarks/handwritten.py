"""The yardstick: an order written by hand with the bare driver, statement by statement.

The same tables, rows, triggers, constraints and durability as :mod:`oms_ops.orders.capture`, with
one statement a table, and none of the rest: no validation, no routing rules, no retries.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import make_url

#: As the product has them.
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
)
KEY = "SELECT request_hash, response FROM idempotency_keys WHERE scope = ? AND key = ?"
STOCK = (
    "SELECT s.id, s.code, s.name, t.unit_cost_minor, l.warehouse_id, l.on_hand - l.allocated"
    " FROM skus AS s JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred"
    " JOIN stock_levels AS l ON l.sku_id = s.id WHERE s.is_active AND s.code IN ({marks})"
)
PRICES = (
    "SELECT s.code, p.min_quantity, p.price_minor, l.code FROM skus AS s"
    " JOIN prices AS p ON p.sku_id = s.id"
    " JOIN price_lists AS l ON l.id = p.price_list_id AND l.is_active AND l.currency = ?"
    " WHERE s.code IN ({marks}) ORDER BY p.min_quantity"
)
SITES = "SELECT id, code, region, country, rank FROM warehouses WHERE is_active"
CUSTOMER = "SELECT id FROM customers WHERE email = ?"
ORDER = (
    "INSERT INTO orders (channel, customer_id, contact_name, warehouse_id, status, placed_at,"
    " ship_name, ship_line1, ship_city, ship_region, ship_postal_code, ship_country, currency,"
    " base_currency, exchange_rate, gross_minor, discount_minor, shipping_minor,"
    " shipping_tax_minor, tax_minor, rounding_minor, total_minor, tax_included, allow_backorder,"
    " allow_split, ship_complete, rules_id, routing, tracking_token, version, changed_by,"
    " changed_at) VALUES (?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, '1', ?, 0, 0, 0, 0, 0, ?,"
    " false, false, false, false, 1, ?, ?, 1, ?, ?) RETURNING id, number"
)
LINES = (
    "INSERT INTO order_lines (order_id, line_no, sku_id, quantity, unit_price_minor,"
    " price_source, unit_cost_minor, gross_minor, discount_minor, rounding_minor, net_minor,"
    " tax_rate_ppm, tax_minor, allocated, backordered, shipped, cancelled, returned, version,"
    " changed_by, changed_at)"
    " VALUES {marks} RETURNING id"
)
LINE = "(?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 0, 0, ?, 0, 0, 0, 0, 1, ?, ?)"
SHIPMENT = (
    "INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version, changed_by,"
    " changed_at) VALUES (?, ?, 'allocated', ?, 1, ?, ?) RETURNING id"
)
SHIPMENT_LINES = (
    "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
    " VALUES {marks}"
)
PAYMENT = (
    "INSERT INTO payments (order_id, gateway, method, currency, amount_minor, captured_minor,"
    " refunded_minor, voided_minor, created_at, changed_by, changed_at)"
    " VALUES (?, 'manual', ?, ?, ?, 0, 0, 0, ?, ?, ?) RETURNING id"
)
MESSAGE = (
    "INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)"
    " VALUES ('order.confirmed', ?, ?, ?, 0)"
)
KEEP = (
    "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
    " VALUES (?, ?, ?, ?, ?)"
)
CLAIM = (
    "UPDATE stock_levels AS l SET allocated = l.allocated + d.column3, version = l.version + 1,"
    " changed_by = ?, changed_at = ? FROM (VALUES {marks}) AS d"
    " WHERE l.sku_id = d.column1 AND l.warehouse_id = d.column2"
    " AND l.on_hand - l.allocated >= d.column3"
)
CLAIMED = "(CAST(? AS bigint), CAST(? AS bigint), CAST(? AS bigint))"


class Handwritten:
    """One connection of the bare driver that captures orders."""

    def __init__(self, url: str, actor: str) -> None:
        """Connect as durably as the product does; ``actor`` stands on every change."""
        self.actor = actor
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.queue = None
        if self.sqlite:
            self.connection: Any = sqlite3.connect(
                str(parsed.database), isolation_level=None, timeout=30
            )
            for pragma in PRAGMAS:
                self.connection.execute(pragma)
            # Without the product's queue several SQLite writers starve one another.
            self.queue = open(f"{parsed.database}.lock", "w")  # noqa: SIM115, PTH123
        else:
            import psycopg

            self.connection = psycopg.connect(url)

    def _do(self, statement: str, *values: Any) -> Any:
        return self.connection.execute(
            statement if self.sqlite else statement.replace("?", "%s"), values
        )

    def place(self, order: dict[str, Any], key: str) -> dict[str, Any]:
        """Write the order in one transaction and return an answer of the product's shape."""
        if self.queue:
            fcntl.flock(self.queue, fcntl.LOCK_EX)
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            answer = self._place(order, key)
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise
        finally:
            if self.queue:
                fcntl.flock(self.queue, fcntl.LOCK_UN)
        return answer

    def _place(self, order: dict[str, Any], key: str) -> dict[str, Any]:
        moment = datetime.now(UTC)
        now: Any = now_text(moment) if self.sqlite else moment
        stamp = (self.actor, now)
        if self._do(KEY, f"key:{self.actor}", key).fetchone():
            raise AssertionError("every submission of the benchmark has a key of its own")
        lines, available = self._look(order)
        to = order["ship_to"]
        sites = sorted(self._do(SITES).fetchall(), key=lambda s: (s[2] != to["region"], s[4]))
        site = next(
            s for s in sites
            if all(available.get((s[0], n.sku), 0) >= n.quantity for n in lines)
        )  # fmt: skip
        total = sum(line.net for line in lines)
        customer = self._do(CUSTOMER, order["customer"]["email"]).fetchone()[0]
        routing = {"rule": "single_warehouse_fills_all", "warehouse": site[1],
                   "considered": [s[1] for s in sites]}  # fmt: skip
        token = secrets.token_urlsafe(24)
        currency = order["currency"]
        order_id, number = self._do(
            ORDER, order["channel"], customer, order["customer"]["name"], site[0], now,
            to["name"], to["line1"], to["city"],
            to["region"], to["postal_code"], to["country"], currency, currency, total, total,
            json.dumps(routing), token, *stamp,
        ).fetchone()  # fmt: skip
        values: list[Any] = []
        for place, n in enumerate(lines, 1):
            values += (order_id, place, n.sku_id, n.quantity, n.price, n.price_list, n.cost, n.net,
                       n.net, n.quantity, *stamp)  # fmt: skip
        line_ids = self._do(LINES.format(marks=", ".join([LINE] * len(lines))), *values).fetchall()
        shipment = self._do(SHIPMENT, order_id, site[0], now, *stamp).fetchone()[0]
        values = []
        for (line_id,), n in zip(line_ids, lines, strict=True):
            values += (shipment, line_id, n.sku_id, n.quantity, self.actor)
        self._do(SHIPMENT_LINES.format(marks=", ".join(["(?, ?, ?, ?, ?)"] * len(lines))), *values)
        self._do(PAYMENT, order_id, order["payment"]["method"], currency, total, now, *stamp)
        answer = _answer(order, number, moment, routing, lines, total, token)
        message = {"order": number, "total": answer["totals"]["total"], "currency": currency}
        self._do(MESSAGE, order["customer"]["email"], json.dumps(message), now)
        self._do(KEEP, f"key:{self.actor}", key, key + key, json.dumps(answer), now)
        values = []
        for n in sorted(lines, key=lambda n: n.sku_id):
            values += (n.sku_id, site[0], n.quantity)
        claimed = self._do(CLAIM.format(marks=", ".join([CLAIMED] * len(lines))), *stamp, *values)
        if claimed.rowcount != len(lines):
            raise AssertionError("the shelves of the benchmark are never empty")
        return answer

    def _look(self, order: dict[str, Any]) -> tuple[list[Line], dict[tuple[int, str], int]]:
        """Return the lines with their prices, and the units available per (site, code)."""
        codes = [line["sku"] for line in order["lines"]]
        marks = ", ".join("?" * len(codes))
        stock = self._do(STOCK.format(marks=marks), *codes).fetchall()
        skus = {row[1]: row[:4] for row in stock}
        priced = self._do(PRICES.format(marks=marks), order["currency"], *codes).fetchall()
        lines = []
        for line in order["lines"]:
            # The last one: the greatest quantity that the line reaches.
            *_, (_, _, price, name) = (
                row for row in priced if row[0] == line["sku"] and row[1] <= line["quantity"]
            )
            sku_id, code, title, cost = skus[line["sku"]]
            lines.append(Line(sku_id, code, title, line["quantity"], price, name, cost))
        return lines, {(row[4], row[1]): row[5] for row in stock}


def now_text(moment: datetime | None = None) -> str:
    """Return a moment, or this one, as SQLite keeps it."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is written."""

    sku_id: int
    sku: str
    name: str
    quantity: int
    price: int
    price_list: str
    cost: int

    @property
    def net(self) -> int:
        return self.price * self.quantity


def _answer(
    order: dict[str, Any],
    number: str,
    moment: datetime,
    routing: dict[str, Any],
    lines: list[Line],
    total: int,
    token: str,
) -> dict[str, Any]:
    money = f"{total / 100:.2f}"
    return {
        "number": number, "external_id": None, "channel": order["channel"], "version": 1,
        "status": "open", "hold_reason": None, "cancel_reason": None, "payment_status": "unpaid",
        "fulfilment_status": "allocated", "currency": "USD", "base_currency": "USD",
        "exchange_rate": "1", "tax_included": False,
        "customer": {"phone": None, **order["customer"]}, "placed_at": moment.isoformat(),
        "warehouse": routing["warehouse"], "promised_on": None, "deliver_by": None,
        "allow_backorder": False, "allow_split": False, "ship_complete": False, "note": None,
        "routing": routing,
        "ship_to": {"line2": None, "phone": None, **order["ship_to"]},
        "lines": [
            {"line_no": place, "sku": n.sku, "name": n.name, "quantity": n.quantity,
             "unit_price": f"{n.price / 100:.2f}", "price_source": n.price_list,
             "discount": "0.00", "rounding": "0.00", "net": f"{n.net / 100:.2f}", "tax": "0.00",
             "tax_percent": "0", "allocated": n.quantity, "backordered": 0, "shipped": 0,
             "cancelled": 0, "returned": 0, "promised_on": None}
            for place, n in enumerate(lines, 1)
        ],
        "totals": {"gross": money, "discount": "0.00", "shipping": "0.00", "shipping_tax": "0.00",
                   "tax": "0.00", "rounding": "0.00", "total": money, "cancelled": "0.00",
                   "owed": money, "due": money, "authorised": "0.00", "captured": "0.00",
                   "refunded": "0.00", "charged_back": "0.00"},
        "tracking_url": f"http://127.0.0.1:8000/track/{token}",
    }  # fmt: skip
