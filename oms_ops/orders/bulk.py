"""Capture many orders at once, set by set: history loads and large imports.

The rules are those of :mod:`oms_ops.orders.capture`: the same validation, the same first-come
first-served claim on stock, the same guards and constraints in the database. What differs is the
unit of work: a batch is staged in two temporary tables and every step is one statement over all
of it. Orders come with the warehouse that fulfils them; customers are not notified, because
history's customers were told long ago.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_time
from oms_ops.errors import FieldError
from oms_ops.orders.bulk_rules import Fault, database_faults, shape_faults, short_faults
from oms_ops.orders.staging import ORDER_DEFAULTS, complete, staged
from oms_ops.rules import store
from oms_ops.rules.store import Version
from oms_ops.stock import ledger

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Rejected:
    """An order that was not captured, with every bad field."""

    ref: int
    external_id: str
    errors: list[FieldError]


@dataclass(slots=True)
class BulkResult:
    """What became of a batch: orders and lines written, and the orders refused.

    ``numbers`` holds the order number of each ``ref`` that was written.
    """

    orders: int = 0
    lines: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    numbers: dict[int, str] = field(default_factory=dict)


def capture_many(
    connection: Connection, actor: Actor, orders: pl.DataFrame, lines: pl.DataFrame
) -> BulkResult:
    """Capture a batch; good orders are written, each bad one is named in the result.

    ``orders`` has the columns of :mod:`oms_ops.orders.staging`, one row per order, ``ref`` unique
    in the batch and ``external_id`` given; ``lines`` likewise. Stock goes to the orders in the
    order of ``placed_at``; what is short is backordered, or the order refused if it does not allow
    that.
    """
    actor.require(ORDERS_WRITE)
    version = store.current(connection)
    orders = _with_rules(complete(orders, ORDER_DEFAULTS), version)
    # Lines of no order in the batch are nobody's to refuse or to write.
    lines = lines.join(orders.select("ref"), on="ref", how="semi")
    faults = shape_faults(orders)
    with staged(connection, orders, lines):
        _stage_ids(connection)
        faults += database_faults(connection)
        _drop(connection, sorted({ref for ref, _ in faults}))
        faults += _claim(connection)
        result = _write(connection, actor, version)
    names = dict(orders.select("ref", "external_id").iter_rows())
    by_ref: dict[int, list[FieldError]] = {}
    for ref, fault in faults:
        by_ref.setdefault(ref, []).append(fault)
    result.rejected = [
        Rejected(ref, str(names[ref]), found) for ref, found in sorted(by_ref.items())
    ]
    return result


def _with_rules(orders: pl.DataFrame, version: Version) -> pl.DataFrame:
    """Add what the shop's rules say of each order's currency and channel."""
    import polars as pl

    rates = {
        currency: None if (rate := version.rules.rate_of(currency)) is None else str(rate)
        for currency in orders["currency"].drop_nulls().unique().to_list()
    }
    reserves = {code: rule.reserve_units for code, rule in version.rules.channels.items()}
    return orders.with_columns(
        exchange_rate=pl.col("currency").replace_strict(rates, default=None, return_dtype=pl.String)
        if rates
        else pl.lit(None, pl.String),
        reserve=pl.col("channel").replace_strict(reserves, default=0, return_dtype=pl.Int64)
        if reserves
        else pl.lit(0, pl.Int64),
    )


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)


def _stage_ids(connection: Connection) -> None:
    """Look up warehouses, SKUs and the prices that are not given, once."""
    _run(
        connection,
        "UPDATE bulk_orders SET warehouse_id = w.id FROM warehouses AS w"
        " WHERE w.code = bulk_orders.warehouse AND w.is_active",
    )
    _run(
        connection,
        "UPDATE bulk_lines SET sku_id = k.id, unit_cost_minor = coalesce(t.unit_cost_minor, 0),"
        " price_source = CASE WHEN bulk_lines.unit_price_minor IS NULL THEN 'list' ELSE 'caller'"
        " END, unit_price_minor = coalesce(bulk_lines.unit_price_minor, k.price_minor)"
        " FROM skus AS k LEFT JOIN supplier_terms AS t ON t.sku_id = k.id AND t.is_preferred"
        " WHERE k.code = bulk_lines.sku",
    )


def _drop(connection: Connection, refs: list[int]) -> None:
    if refs:
        rows = [{"ref": ref} for ref in refs]
        connection.execute(sa.text("DELETE FROM bulk_orders WHERE ref = :ref"), rows)
        connection.execute(sa.text("DELETE FROM bulk_lines WHERE ref = :ref"), rows)


#: What each line gets when stock goes round in the order of the orders' moments.
_TAKE = """
UPDATE bulk_lines SET before = t.before,
    take = CASE WHEN t.available - t.before >= bulk_lines.quantity THEN bulk_lines.quantity
                WHEN t.available > t.before THEN t.available - t.before ELSE 0 END
FROM (
    SELECT l.ref, l.line_no, coalesce(v.on_hand - v.allocated, 0) - b.reserve AS available,
        sum(l.quantity) OVER (PARTITION BY b.warehouse_id, l.sku_id
                              ORDER BY b.placed_at, l.ref, l.line_no) - l.quantity AS before
    FROM bulk_lines AS l
    JOIN bulk_orders AS b ON b.ref = l.ref
    LEFT JOIN stock_levels AS v ON v.sku_id = l.sku_id AND v.warehouse_id = b.warehouse_id
) AS t
WHERE bulk_lines.ref = t.ref AND bulk_lines.line_no = t.line_no
"""

#: Short lines of orders that allow no backorder, where no other order to be refused stands before
#: in the same queue, whichever of its lines is short: what is refused frees all that it claimed,
#: so those behind it are looked at again in the next round.
_FIRST_SHORT = """
WITH doomed AS (
    SELECT DISTINCT l.ref FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref
    WHERE l.take < l.quantity AND NOT b.allow_backorder
), queue AS (
    SELECT l.ref, l.line_no, l.take, l.quantity, first_value(l.ref) OVER (
        PARTITION BY b.warehouse_id, l.sku_id ORDER BY l.before) AS first_ref
    FROM bulk_lines AS l
    JOIN doomed AS d ON d.ref = l.ref
    JOIN bulk_orders AS b ON b.ref = l.ref
)
SELECT ref, line_no, take, quantity FROM queue WHERE ref = first_ref AND take < quantity
"""


def _claim(connection: Connection) -> list[Fault]:
    """Decide what each line gets; refuse the orders that are short and may not wait."""
    faults: list[Fault] = []
    while True:
        _run(connection, _TAKE)
        short = _run(connection, _FIRST_SHORT).all()
        if not short:
            return faults
        faults += short_faults(short)
        _drop(connection, sorted({row.ref for row in short}))


def _write(connection: Connection, actor: Actor, version: Version) -> BulkResult:
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    _run(
        connection,
        "INSERT INTO customers (email, external_id, name, phone, created_at, changed_by,"
        " changed_at) SELECT lower(email), max(customer_external_id), max(customer_name),"
        " max(customer_phone), min(placed_at),"
        " :actor, :now FROM bulk_orders WHERE true GROUP BY lower(email)"
        " ON CONFLICT (email) DO NOTHING",
        **stamp,
    )
    _run(
        connection,
        "UPDATE bulk_orders SET customer_id = c.id FROM customers AS c"
        " WHERE c.email = lower(bulk_orders.email)",
    )
    written = BulkResult(_write_orders(connection, version, stamp))
    written.lines = _write_lines(connection, stamp)
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
    numbers = _run(
        connection,
        "SELECT b.ref, o.number FROM bulk_orders AS b JOIN orders AS o ON o.id = b.order_id",
    )
    written.numbers = {row.ref: row.number for row in numbers}
    return written


#: What an order's lines add up to, and its tax where that is not in the prices.
_ORDER_SUMS = """
SELECT l.ref, CAST(sum(l.quantity * l.unit_price_minor) AS bigint) AS gross,
    CAST(sum(l.discount_minor) AS bigint) AS discount,
    CAST(sum(l.rounding_minor) AS bigint) AS rounding,
    CAST(sum(l.tax_minor) AS bigint) + max(b.shipping_tax_minor) AS tax
FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref GROUP BY l.ref
"""


def _write_orders(connection: Connection, version: Version, stamp: dict[str, Any]) -> int:
    routing = "text" if connection.dialect.name == "sqlite" else "json"
    inserted = _run(
        connection,
        "INSERT INTO orders (channel, external_id, customer_id, warehouse_id, status, placed_at,"
        " ship_name, ship_line1, ship_line2, ship_city, ship_region, ship_postal_code,"
        " ship_country, ship_phone, note, currency, gross_minor, discount_minor, shipping_minor,"
        " tax_minor, shipping_tax_minor, tax_included, rounding_minor, total_minor, base_currency,"
        " exchange_rate, allow_backorder, allow_split, rules_id, routing, tracking_token, version,"
        " changed_by, changed_at)"
        " SELECT b.channel, b.external_id, b.customer_id, b.warehouse_id, 'open', b.placed_at,"
        " b.ship_name, b.ship_line1, b.ship_line2, b.ship_city, b.ship_region,"
        " b.ship_postal_code, b.ship_country, b.ship_phone, b.note, b.currency, t.gross,"
        " t.discount, b.shipping_minor, t.tax, b.shipping_tax_minor, b.tax_included, t.rounding,"
        " t.gross - t.discount + b.shipping_minor + t.rounding"
        " + CASE WHEN b.tax_included THEN 0 ELSE t.tax END, :base, b.exchange_rate,"
        f" b.allow_backorder, false, :rules, CAST(:routing AS {routing}), b.tracking_token, 1,"
        f" :actor, :now FROM bulk_orders AS b JOIN ({_ORDER_SUMS}) AS t ON t.ref = b.ref"
        " ORDER BY b.placed_at, b.ref",
        routing='{"rule": "given"}',
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
        " tax_rate_ppm, price_source, allocated, backordered, shipped, cancelled, returned,"
        " version, changed_by, changed_at)"
        " SELECT b.order_id, l.line_no, l.sku_id, l.quantity, l.unit_price_minor,"
        " l.unit_cost_minor, l.quantity * l.unit_price_minor, l.discount_minor, l.rounding_minor,"
        " l.quantity * l.unit_price_minor - l.discount_minor + l.rounding_minor, l.tax_minor,"
        " l.tax_rate_ppm, l.price_source, l.take, l.quantity - l.take, 0, 0, 0, 1, :actor, :now"
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
