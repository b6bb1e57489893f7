"""The temporary tables of a bulk capture: their columns, and how frames get into them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_time, driver_errors

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
#: Columns of the orders frame that may be left out, and what then stands in them. Where money, the
#: warehouse or ``tax_included`` is null, the shop's rules say it.
ORDER_DEFAULTS: dict[str, tuple[str, Any]] = {
    "customer_phone": ("text", None),
    "ship_line2": ("text", None),
    "ship_phone": ("text", None),
    "note": ("text", None),
    "shipping_tax_minor": ("bigint", None),
    "tax_included": ("boolean", None),
}
#: Columns of the lines frame; ``ref`` is the order's. Without a price, the shop's prices hold.
LINE_COLUMNS = {
    "ref": "bigint",
    "line_no": "bigint",
    "sku": "text",
    "quantity": "bigint",
    "unit_price_minor": "bigint",
    "discount_minor": "bigint",
}
#: Columns of the lines frame that may be left out. ``rounding_minor`` is what the line's stated
#: amount has beyond its quantity times its unit price, less the discount.
LINE_DEFAULTS: dict[str, tuple[str, Any]] = {
    "rounding_minor": ("bigint", 0),
    "tax_minor": ("bigint", None),
    "tax_rate_ppm": ("bigint", 0),
    "price_source": ("text", None),
}
#: Further columns that may be left out: what the caller expects the shop's rules to come to. They
#: are looked at, not kept.
ORDER_ASKS: dict[str, tuple[str, Any]] = {"expected_total_minor": ("bigint", None)}
LINE_ASKS: dict[str, tuple[str, Any]] = {"expected_unit_price_minor": ("bigint", None)}

_EXTRA = {
    "bulk_orders": "customer_id bigint, warehouse_id bigint, order_id bigint, hold_reason text,"
    " promised_on date, delivery_days bigint, deliver_by date",
    "bulk_lines": "sku_id bigint, unit_cost_minor bigint, take bigint, before bigint,"
    " order_line_id bigint, promised_on date",
}
#: Columns of the staged orders that this module or its caller adds to the frame.
_STAGED = {
    "exchange_rate": "text",
    "reserve": "bigint",
    "routing": "text",
    "cash_rounding_minor": "bigint",
    "tracking_token": "text",
}


@contextmanager
def staged(connection: Connection, orders: pl.DataFrame, lines: pl.DataFrame) -> Iterator[None]:
    """Put the frames into the tables ``bulk_orders`` and ``bulk_lines`` for the block."""
    import polars as pl

    tokens = [secrets.token_urlsafe(24) for _ in range(len(orders))]
    moments = [as_time(connection, moment) if moment else None for moment in orders["placed_at"]]
    heads = _loadable(orders).with_columns(pl.Series("tracking_token", tokens, dtype=pl.String))
    order_columns = {
        **ORDER_COLUMNS,
        **{name: kind for name, (kind, _) in ORDER_DEFAULTS.items()},
        **_STAGED,
    }
    columns = [heads[c].to_list() if c != "placed_at" else moments for c in order_columns]
    line_columns = {**LINE_COLUMNS, **{name: kind for name, (kind, _) in LINE_DEFAULTS.items()}}
    rows = _loadable(lines).select(list(line_columns)).rows()
    with (
        _table(connection, "bulk_orders", order_columns, list(zip(*columns, strict=True))),
        _table(connection, "bulk_lines", line_columns, rows),
    ):
        connection.exec_driver_sql("CREATE INDEX bulk_lines_ref ON bulk_lines (ref, line_no)")
        connection.exec_driver_sql("CREATE INDEX bulk_orders_ref ON bulk_orders (ref)")
        if connection.dialect.name != "sqlite":
            connection.exec_driver_sql("ANALYZE bulk_lines")
            connection.exec_driver_sql("ANALYZE bulk_orders")
        yield


def _loadable(frame: pl.DataFrame) -> pl.DataFrame:
    """Drop the one character that PostgreSQL takes in no text; who sent it is refused already."""
    import polars as pl

    return frame.with_columns(pl.col(pl.String).str.replace_all("\x00", "", literal=True))


def complete(frame: pl.DataFrame, *defaults: dict[str, tuple[str, Any]]) -> pl.DataFrame:
    """Add the columns that were left out."""
    import polars as pl

    kinds = {"bigint": pl.Int64, "text": pl.String, "boolean": pl.Boolean}
    return frame.with_columns(
        pl.lit(value, kinds[kind]).alias(name)
        for columns in defaults
        for name, (kind, value) in columns.items()
        if name not in frame.columns
    )


@contextmanager
def _table(
    connection: Connection, table: str, columns: dict[str, str], rows: Sequence[Any]
) -> Iterator[None]:
    sqlite = connection.dialect.name == "sqlite"
    types = {"time": "text" if sqlite else "timestamptz"}
    typed = ", ".join(f"{name} {types.get(kind, kind)}" for name, kind in columns.items())
    schema = "temp" if sqlite else "pg_temp"
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {schema}.{table}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} ({typed}, {_EXTRA[table]})")
    load(connection, table, list(columns), rows)
    yield
    connection.exec_driver_sql(f"DROP TABLE {table}")


def load(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Put many rows into a table, by the fastest way that the driver has."""
    if not rows:
        return
    names = ", ".join(columns)
    driver: Any = connection.connection.driver_connection
    with driver_errors(connection, f"load {table}"):
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(columns))
            driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
            return
        with driver.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
