"""Capture many orders at once, set by set: history loads and large imports.

The rules are those of :mod:`oms_ops.orders.capture`: the same validation, the same first-come
first-served claim on stock, the same guards and constraints in the database. What differs is the
unit of work: a batch is staged in two temporary tables and every step is one statement over all
of it. Orders come with the warehouse that fulfils them; customers are not notified, because
history's customers were told long ago.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_time
from oms_ops.errors import FieldError
from oms_ops.orders.countries import COUNTRIES
from oms_ops.orders.intake import POSTAL_CODES, REGION_REQUIRED
from oms_ops.orders.pricing import MOST_MINOR
from oms_ops.payments.tables import PAYMENT_METHODS
from oms_ops.stock import ledger

if TYPE_CHECKING:
    import polars as pl

#: Columns of the orders frame; ``placed_at`` is aware, amounts are minor units.
ORDER_COLUMNS = {
    "ref": "bigint",
    "channel": "text",
    "external_id": "text",
    "currency": "text",
    "email": "text",
    "customer_name": "text",
    "customer_external_id": "text",
    "placed_at": "time",
    "warehouse": "text",
    "ship_name": "text",
    "ship_line1": "text",
    "ship_city": "text",
    "ship_region": "text",
    "ship_postal_code": "text",
    "ship_country": "text",
    "shipping_minor": "bigint",
    "payment_method": "text",
    "allow_backorder": "boolean",
}
#: Columns of the lines frame; ``ref`` is the order's.
LINE_COLUMNS = {
    "ref": "bigint",
    "line_no": "bigint",
    "sku": "text",
    "quantity": "bigint",
    "unit_price_minor": "bigint",
    "discount_minor": "bigint",
}

_EMAIL = r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$"


@dataclass(frozen=True, slots=True)
class Rejected:
    """An order that was not captured, with every bad field."""

    external_id: str
    errors: list[FieldError]


@dataclass(slots=True)
class BulkResult:
    """What became of a batch: orders and lines written, and the orders refused."""

    orders: int = 0
    lines: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def capture_many(
    connection: Connection, actor: Actor, orders: pl.DataFrame, lines: pl.DataFrame
) -> BulkResult:
    """Capture a batch; good orders are written, each bad one is named in the result.

    ``orders`` has :data:`ORDER_COLUMNS`, one row per order, ``ref`` unique in the batch and
    ``external_id`` given; ``lines`` has :data:`LINE_COLUMNS`. Stock goes to the orders in the order
    of ``placed_at``; what is short is backordered, or the order refused if it does not allow that.
    """
    actor.require(ORDERS_WRITE)
    # Lines of no order in the batch are nobody's to refuse or to write.
    lines = lines.join(orders.select("ref"), on="ref", how="semi")
    faults = _shape_faults(orders)
    with _staged(connection, orders, lines):
        _stage_ids(connection)
        faults += _database_faults(connection)
        _drop(connection, sorted({ref for ref, _ in faults}))
        faults += _claim(connection)
        result = _write(connection, actor)
    names = dict(orders.select("ref", "external_id").iter_rows())
    by_ref: dict[int, list[FieldError]] = {}
    for ref, fault in faults:
        by_ref.setdefault(ref, []).append(fault)
    result.rejected = [Rejected(str(names[ref]), found) for ref, found in sorted(by_ref.items())]
    return result


def _shape_faults(orders: pl.DataFrame) -> list[tuple[int, FieldError]]:
    """Check each order's own fields, column by column."""
    import polars as pl

    country, postal = pl.col("ship_country"), pl.col("ship_postal_code").fill_null("")
    no_postal = pl.lit(False)
    for code, form in POSTAL_CODES.items():
        no_postal = no_postal | ((country == code) & ~postal.str.contains(f"^{form.pattern}$"))
    blank = {
        name: pl.col(name).fill_null("").str.strip_chars() == ""
        for name in ("external_id", "channel", "customer_name", "ship_name", "ship_line1",
                     "ship_city")
    }  # fmt: skip
    rules = {
        **{name: ("required", "must be given", test) for name, test in blank.items()},
        "email": ("invalid", "is no e-mail address",
                  ~pl.col("email").fill_null("").str.contains(_EMAIL)),
        "ship_country": ("invalid", "is no ISO country code",
                         ~country.is_in(sorted(COUNTRIES)).fill_null(False)),
        "ship_postal_code": ("invalid", "is no postal code of that country", no_postal),
        "ship_region": ("required", "must be given in that country",
                        country.is_in(sorted(REGION_REQUIRED))
                        & (pl.col("ship_region").fill_null("") == "")),
        "shipping_minor": ("out_of_range", "is negative or too large",
                           ~pl.col("shipping_minor").is_between(0, MOST_MINOR)),
        "currency": ("required", "must be given", pl.col("currency").is_null()),
        "allow_backorder": ("required", "must be given", pl.col("allow_backorder").is_null()),
        "payment_method": ("unknown_method", "is none of the known methods",
                           ~pl.col("payment_method").is_in(PAYMENT_METHODS).fill_null(True)),
        "placed_at": ("required", "must be given", pl.col("placed_at").is_null()),
    }  # fmt: skip
    return [
        (ref, FieldError(name, code, f"{name} {message}"))
        for name, (code, message, test) in rules.items()
        for ref in orders.filter(test.fill_null(True))["ref"]
    ]


@contextmanager
def _staged(connection: Connection, orders: pl.DataFrame, lines: pl.DataFrame) -> Iterator[None]:
    """Put the frames into temporary tables for the length of the block."""
    sqlite = connection.dialect.name == "sqlite"
    types = {"time": "text" if sqlite else "timestamptz"}
    tables = {
        "bulk_orders": {**ORDER_COLUMNS, "tracking_token": "text"},
        "bulk_lines": LINE_COLUMNS,
    }
    extra = {
        "bulk_orders": "customer_id bigint, warehouse_id bigint, order_id bigint",
        "bulk_lines": "sku_id bigint, unit_cost_minor bigint, take bigint, before bigint,"
        " order_line_id bigint",
    }
    moments = [as_time(connection, moment) if moment else None for moment in orders["placed_at"]]
    tokens = [secrets.token_urlsafe(24) for _ in range(len(orders))]
    heads = [orders[name].to_list() if name != "placed_at" else moments for name in ORDER_COLUMNS]
    rows = {
        "bulk_orders": list(zip(*heads, tokens, strict=True)),
        "bulk_lines": lines.select(list(LINE_COLUMNS)).rows(),
    }
    for table, columns in tables.items():
        typed = ", ".join(f"{name} {types.get(kind, kind)}" for name, kind in columns.items())
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{table}" if sqlite else
                                   f"DROP TABLE IF EXISTS pg_temp.{table}")  # fmt: skip
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} ({typed}, {extra[table]})")
        _fill(connection, table, list(columns), rows[table])
    connection.exec_driver_sql("CREATE INDEX bulk_lines_ref ON bulk_lines (ref, line_no)")
    connection.exec_driver_sql("CREATE INDEX bulk_orders_ref ON bulk_orders (ref)")
    if not sqlite:
        connection.exec_driver_sql("ANALYZE bulk_lines")
        connection.exec_driver_sql("ANALYZE bulk_orders")
    yield
    for table in tables:
        connection.exec_driver_sql(f"DROP TABLE {table}")


def _fill(connection: Connection, table: str, columns: list[str], rows: list[Any]) -> None:
    if not rows:
        return
    names = ", ".join(columns)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        return
    with driver.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)


def _stage_ids(connection: Connection) -> None:
    """Look up warehouses and SKUs once."""
    _run(
        connection,
        "UPDATE bulk_orders SET warehouse_id = w.id FROM warehouses AS w"
        " WHERE w.code = bulk_orders.warehouse AND w.is_active",
    )
    _run(
        connection,
        "UPDATE bulk_lines SET sku_id = k.id, unit_cost_minor = coalesce(t.unit_cost_minor, 0)"
        " FROM skus AS k LEFT JOIN supplier_terms AS t ON t.sku_id = k.id AND t.is_preferred"
        " WHERE k.code = bulk_lines.sku",
    )


#: field, code, message and the query that finds the refs it is true of.
_DATABASE_RULES = (
    ("warehouse", "unknown_warehouse", "there is no such active warehouse",
     "SELECT ref, NULL FROM bulk_orders WHERE warehouse_id IS NULL"),
    ("external_id", "duplicate", "this order is already captured",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN orders AS o"
     " ON o.channel = b.channel AND o.external_id = b.external_id"),
    ("external_id", "duplicate", "this order is in the batch before",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN (SELECT channel, external_id,"
     " min(ref) AS first_ref FROM bulk_orders GROUP BY channel, external_id"
     " HAVING count(*) > 1) AS f ON f.channel = b.channel AND f.external_id = b.external_id"
     " WHERE b.ref > f.first_ref"),
    ("lines", "required", "an order has at least one line",
     "SELECT b.ref, NULL FROM bulk_orders AS b"
     " WHERE NOT EXISTS (SELECT 1 FROM bulk_lines AS l WHERE l.ref = b.ref)"),
    ("sku", "unknown_sku", "there is no such SKU",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NULL"),
    ("sku", "inactive_sku", "this SKU is not sold any more",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE NOT k.is_active"),
    ("currency", "no_price", "a SKU has no price in this currency",
     "SELECT DISTINCT b.ref, NULL FROM bulk_orders AS b JOIN bulk_lines AS l ON l.ref = b.ref"
     " JOIN skus AS k ON k.id = l.sku_id WHERE k.currency <> b.currency"),
    ("quantity", "out_of_range", "between 1 and 1,000,000",
     "SELECT ref, line_no FROM bulk_lines WHERE quantity IS NULL OR quantity NOT BETWEEN 1 AND"
     " 1000000"),
    ("unit_price", "out_of_range", "between 0 and 10,000,000.00",
     "SELECT ref, line_no FROM bulk_lines WHERE unit_price_minor IS NULL"
     " OR unit_price_minor NOT BETWEEN 0 AND 1000000000"),
    ("line_no", "required", "must be given",
     "SELECT ref, NULL FROM bulk_lines WHERE line_no IS NULL"),
    ("discount", "out_of_range", "between 0 and the line's price",
     "SELECT ref, line_no FROM bulk_lines WHERE discount_minor IS NULL OR discount_minor < 0"
     " OR discount_minor > 1.0 * quantity * unit_price_minor"),
    ("lines", "too_large", "the order's total is too large",
     "SELECT ref, NULL FROM bulk_lines WHERE unit_price_minor <= 1000000000"
     " AND quantity <= 1000000 GROUP BY ref"
     f" HAVING sum(quantity * unit_price_minor) > {MOST_MINOR}"),
    ("line_no", "duplicate", "two lines have this number",
     "SELECT ref, line_no FROM bulk_lines GROUP BY ref, line_no HAVING count(*) > 1"),
)  # fmt: skip


def _database_faults(connection: Connection) -> list[tuple[int, FieldError]]:
    return [
        (ref, FieldError(name if line is None else f"lines[{line - 1}].{name}", code, message))
        for name, code, message, query in _DATABASE_RULES
        for ref, line in _run(connection, query)
    ]


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
    SELECT l.ref, l.line_no, coalesce(v.on_hand - v.allocated, 0) AS available,
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


def _claim(connection: Connection) -> list[tuple[int, FieldError]]:
    """Decide what each line gets; refuse the orders that are short and may not wait."""
    faults: list[tuple[int, FieldError]] = []
    while True:
        _run(connection, _TAKE)
        short = _run(connection, _FIRST_SHORT).all()
        if not short:
            return faults
        faults += [
            (
                ref,
                FieldError(
                    f"lines[{line_no - 1}].quantity",
                    "out_of_stock",
                    f"{take} of {quantity} available",
                ),
            )
            for ref, line_no, take, quantity in short
        ]
        _drop(connection, sorted({row.ref for row in short}))


def _write(connection: Connection, actor: Actor) -> BulkResult:
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    _run(
        connection,
        "INSERT INTO customers (email, external_id, name, created_at, changed_by, changed_at)"
        " SELECT lower(email), max(customer_external_id), max(customer_name), min(placed_at),"
        " :actor, :now FROM bulk_orders WHERE true GROUP BY lower(email)"
        " ON CONFLICT (email) DO NOTHING",
        **stamp,
    )
    _run(
        connection,
        "UPDATE bulk_orders SET customer_id = c.id FROM customers AS c"
        " WHERE c.email = lower(bulk_orders.email)",
    )
    written = BulkResult(_write_orders(connection, stamp), _write_lines(connection, stamp))
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
    return written


def _write_orders(connection: Connection, stamp: dict[str, Any]) -> int:
    inserted = _run(
        connection,
        "INSERT INTO orders (channel, external_id, customer_id, warehouse_id, status, placed_at,"
        " ship_name, ship_line1, ship_city, ship_region, ship_postal_code, ship_country, currency,"
        " gross_minor, discount_minor, shipping_minor, tax_minor, rounding_minor, total_minor,"
        " allow_backorder, allow_split, routing, tracking_token, version, changed_by, changed_at)"
        " SELECT b.channel, b.external_id, b.customer_id, b.warehouse_id, 'open', b.placed_at,"
        " b.ship_name, b.ship_line1, b.ship_city, b.ship_region, b.ship_postal_code,"
        " b.ship_country, b.currency, t.gross, t.discount, b.shipping_minor, 0, 0,"
        " t.gross - t.discount + b.shipping_minor, b.allow_backorder, false,"
        " CAST(:routing AS json_type), b.tracking_token, 1, :actor, :now"
        " FROM bulk_orders AS b JOIN (SELECT ref, CAST(sum(quantity * unit_price_minor) AS bigint)"
        "  AS gross, CAST(sum(discount_minor) AS bigint) AS discount"
        "  FROM bulk_lines GROUP BY ref) AS t ON t.ref = b.ref"
        " ORDER BY b.placed_at, b.ref".replace(
            "json_type", "text" if connection.dialect.name == "sqlite" else "json"
        ),
        routing='{"rule": "given"}',
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
        " unit_cost_minor, gross_minor, discount_minor, net_minor, tax_minor, allocated,"
        " backordered, shipped, cancelled, returned, version, changed_by, changed_at)"
        " SELECT b.order_id, l.line_no, l.sku_id, l.quantity, l.unit_price_minor,"
        " l.unit_cost_minor, l.quantity * l.unit_price_minor, l.discount_minor,"
        " l.quantity * l.unit_price_minor - l.discount_minor, 0, l.take, l.quantity - l.take,"
        " 0, 0, 0, 1, :actor, :now"
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
