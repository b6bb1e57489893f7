"""Lays orders that were long delivered and paid, by sets: a million of them in a few minutes.

With each order its lines, shipment, payment, message and idempotency key, and the feed's rows for
all of them, so that every table and every index that a capture touches has its size. The feed's
payloads and the stored answers are short: their length costs a capture nothing. A history for the
pipeline has stock moves and events of payments besides, and payloads as the triggers write them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Connection, Engine

from oms_ops.database import execute, make_engine, transaction
from oms_ops.feed import triggers
from oms_ops.feed.entities import ENTITIES
from tests.benchmarks import databases

Say = Callable[[str], None]

#: Orders of one customer.
_LOYALTY = 5
_LINES = 3
_PRICE = 500
#: The days over which the orders were placed; the last of them is over.
DAYS = 730
_FIRST_DAY = "2024-01-01"
#: Orders that are laid in one transaction of a whole history.
_PART = 250_000

_STAMP = "version, changed_by, changed_at"
_BY = "1, 'history'"


def customers(orders: int) -> int:
    """Return how many customers there are with so many orders."""
    return max(databases.CUSTOMERS, orders // _LOYALTY)


@dataclass(frozen=True, slots=True)
class _Laid:
    """What is there before: orders, customers, and the last stock move."""

    orders: int
    customers: int
    move: int


def lay(url: str, size: int, *, feed: Collection[str] | None = None) -> None:
    """Lay orders until there are ``size``; only laid orders may be there. Analyse everything.

    With ``feed``, the tables whose changes are to be read by the pipeline, the history ends
    yesterday; it is laid in parts, so that a file's journal stays small.
    """
    engine = make_engine(url)
    first_day = _FIRST_DAY
    whole = feed is not None
    if whole:
        first_day = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    for part in [*range(_PART, size, _PART), size] if whole else [size]:
        with transaction(engine) as connection:
            _lay(connection, part, size, first_day, feed)
        if whole and engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    _settle(engine)
    engine.dispose()


def _lay(
    connection: Connection, part: int, size: int, first_day: str, feed: Collection[str] | None
) -> None:
    there = _Laid(
        _count(connection, "orders"),
        _count(connection, "customers"),
        int(
            connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM stock_moves").scalar_one()
        ),
    )
    quiet = _quiet(connection)
    for statement in quiet:
        connection.exec_driver_sql(statement)
    history = _History(connection, size, first_day, feed)
    for statement in history.statements(there, part):
        execute(connection, statement, {})
    _loud(connection)


def megabytes(engine: Engine) -> int:
    """Return the size of the database."""
    size = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if engine.dialect.name == "sqlite"
        else "SELECT pg_database_size(current_database())"
    )
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(size).scalar_one()) // 1_000_000


def _count(connection: Connection, table: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def _quiet(connection: Connection) -> list[str]:
    """Return what keeps triggers and foreign keys from looking at every row."""
    if connection.dialect.name == "sqlite":
        return [
            f"DROP TRIGGER oms_feed_{entity}_{operation}"
            for entity in ENTITIES
            for operation in ("insert", "update", "delete")
        ] + ["PRAGMA defer_foreign_keys = ON"]
    return [
        "SET LOCAL session_replication_role = replica",
        "SET LOCAL work_mem = '256MB'",
        "SET LOCAL timezone = 'UTC'",
    ]


def _loud(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        triggers.install(connection)
        return
    for table in ("customers", "orders", "order_lines", "shipments", "shipment_lines", "payments",
                  "payment_events", "outbox_messages"):  # fmt: skip
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'),"
            f" (SELECT coalesce(max(id), 1) FROM {table}))"
        )


def _settle(engine: Engine) -> None:
    """Leave no work behind that captures would then pay for."""
    engine.dispose()
    statements = (
        ("ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")
        if engine.dialect.name == "sqlite"
        else ("VACUUM (ANALYZE)", "CHECKPOINT")
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class _History:
    """The SQL of a history of ``size`` orders in the end; rows of a table count from 1 on."""

    def __init__(
        self, connection: Connection, size: int, first_day: str, feed: Collection[str] | None
    ) -> None:
        self.sqlite = connection.dialect.name == "sqlite"
        self.size, self.first_day, self.whole = size, first_day, feed is not None
        self.columns = {entity: triggers.columns_of(connection, entity) for entity in feed or ()}

    def statements(self, there: _Laid, upto: int) -> Iterator[str]:
        """Yield what lays the orders up to number ``upto`` after those that are there."""
        sqlite = self.sqlite
        if customers(self.size) > there.customers:
            born = self.moment("n")
            yield (
                f"INSERT INTO customers (id, email, external_id, name, phone, created_at, {_STAMP})"
                " SELECT n, 'person-' || (n - 1) || '@example.com', 'P-' || (n - 1),"
                f" 'Person ' || (n - 1), '+14042300000', {born}, {_BY}, {born}"
                f" FROM {_series(sqlite, there.customers + 1, customers(self.size))}"
            )
            yield from self.logged("customers", f"id > {there.customers}")
        orders = _series(sqlite, there.orders + 1, upto)
        moment = self.moment(f"n * {DAYS * 86_400 // self.size}")
        lines = f"{orders} CROSS JOIN {_series(sqlite, 0, _LINES - 1, 'k')}"
        yield from self.rows_of(orders, lines, moment)
        if self.whole:
            yield from self.moves(lines, moment)
            yield (
                "INSERT INTO payment_events (id, payment_id, kind, amount_minor, currency,"
                " gateway_reference, occurred_at, changed_by) SELECT n, n, 'captured',"
                f" {_LINES * _PRICE}, 'USD', 'capture-' || n, {moment}, 'history' FROM {orders}"
            )
            yield from self.logged("payment_events", f"id > {there.orders}")
            yield from self.logged("stock_moves", f"id > {there.move}")
        for table, factor in (("orders", 1), ("order_lines", _LINES), ("shipments", 1),
                              ("shipment_lines", _LINES), ("payments", 1)):  # fmt: skip
            yield from self.logged(table, f"id > {there.orders * factor}")
        if self.whole:
            yield from self.logged("stock_levels", "changed_by = 'history'", "U")
        else:
            # Each line took its units from a level, which the feed carries too.
            yield self.change(
                "stock_levels", "U", "l.id",
                "order_lines AS s JOIN stock_levels AS l ON l.sku_id = s.sku_id"
                " AND l.warehouse_id = 1 + s.order_id % 3"
                f" WHERE s.id > {there.orders * _LINES}",
            )  # fmt: skip

    def rows_of(self, orders: str, lines: str, moment: str) -> Iterator[str]:
        """Yield what lays orders and what hangs on them."""
        token = _token(self.sqlite)
        yield (
            "INSERT INTO orders (id, channel, external_id, customer_id, warehouse_id, status,"
            " placed_at, closed_at, ship_name, ship_line1, ship_city, ship_region,"
            " ship_postal_code, ship_country, currency, base_currency, gross_minor, total_minor,"
            f" allow_backorder, allow_split, routing, tracking_token, {_STAMP})"
            f" SELECT n, 'history', 'H-' || n, 1 + n * 7919 % {customers(self.size)}, 1 + n % 3,"
            f" 'closed', {moment}, {moment}, 'Person', '1 Main Street', 'Atlanta', 'GA', '30301',"
            f" 'US', 'USD', 'USD', {_LINES * _PRICE}, {_LINES * _PRICE}, false, false,"
            f' \'{{"rule": "history"}}\', {token}, {_BY}, {moment} FROM {orders}'
        )
        yield (
            "INSERT INTO order_lines (id, order_id, line_no, sku_id, quantity, unit_price_minor,"
            f" unit_cost_minor, gross_minor, net_minor, price_source, shipped, {_STAMP})"
            f" SELECT (n - 1) * {_LINES} + k + 1, n, k + 1, {_SKU}, 1, {_PRICE}, 100, {_PRICE},"
            f" {_PRICE}, 'list', 1, {_BY}, {moment} FROM {lines}"
        )
        yield (
            "INSERT INTO shipments (id, order_id, warehouse_id, status, allocated_at, picked_at,"
            f" packed_at, shipped_at, delivered_at, {_STAMP}) SELECT n, n, 1 + n % 3, 'delivered',"
            f" {moment}, {moment}, {moment}, {moment}, {moment}, {_BY}, {moment} FROM {orders}"
        )
        yield (
            "INSERT INTO shipment_lines (id, shipment_id, order_line_id, sku_id, quantity,"
            f" changed_by) SELECT (n - 1) * {_LINES} + k + 1, n, (n - 1) * {_LINES} + k + 1,"
            f" {_SKU}, 1, 'history' FROM {lines}"
        )
        yield (
            "INSERT INTO payments (id, order_id, gateway, method, currency, amount_minor,"
            f" captured_minor, created_at, {_STAMP}) SELECT n, n, 'manual', 'card', 'USD',"
            f" {_LINES * _PRICE}, {_LINES * _PRICE}, {moment}, {_BY}, {moment} FROM {orders}"
        )
        yield (
            "INSERT INTO outbox_messages (id, kind, recipient, payload, created_at, delivered_at,"
            " attempts) SELECT n, 'order.confirmed', 'person@example.com',"
            f' \'{{"total": "15.00"}}\', {moment}, {moment}, 1 FROM {orders}'
        )
        yield (
            "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
            f" SELECT 'history', {token}, {token} || {token},"
            f' \'{{"number": "SO"}}\', {moment} FROM {orders}'
        )

    def moves(self, lines: str, moment: str) -> Iterator[str]:
        """Yield what takes the units of order lines off the shelves."""
        yield (
            "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
            f" reference, unit_cost_minor, occurred_at, changed_by) SELECT {_SKU},"
            " (SELECT id FROM locations WHERE warehouse_id = 1 + n % 3 AND kind = 'storage'),"
            " (SELECT id FROM locations WHERE kind = 'customer'), 1, 'shipment', 'SH-' || n, 100,"
            f" {moment}, 'history' FROM {lines}"
        )
        yield (
            "UPDATE stock_levels AS l SET on_hand = l.on_hand - s.units, version = l.version + 1,"
            f" changed_by = 'history' FROM (SELECT {_SKU} AS sku_id, 1 + n % 3 AS warehouse_id,"
            f" count(*) AS units FROM {lines} GROUP BY 1, 2) AS s"
            " WHERE l.sku_id = s.sku_id AND l.warehouse_id = s.warehouse_id"
        )

    def logged(self, table: str, where: str, op: str = "I") -> Iterator[str]:
        """Yield what writes changes for rows of a table, if the feed is to have them."""
        if not self.whole or table in self.columns:
            yield self.change(table, op, "id", f"{table} WHERE {where} ORDER BY id")

    def change(self, entity: str, op: str, row: str, source: str) -> str:
        """Return what writes a change for each row of ``source``."""
        version = "version" if "version" in self.columns.get(entity, ()) else "1"
        return (
            "INSERT INTO change_log"
            " (epoch, entity, entity_id, op, version, payload, changed_by, occurred_at)"
            f" SELECT 1, '{entity}', {row}, '{op}', {version}, {self.payload(entity, row)},"
            f" 'history', {self.moment('0')} FROM {source}"
        )

    def payload(self, entity: str, row: str) -> str:
        """Return SQL for the payload of a change: that of the triggers, or next to nothing."""
        if not self.whole:
            text = f"'{{\"id\": ' || {row} || '}}'"
            return text if self.sqlite else f"CAST({text} AS json)"
        if self.sqlite:
            pairs = ", ".join(f"'{name}', {name}" for name in self.columns[entity])
            return f"json_object({pairs})"
        return triggers.payload_sql(entity, entity)

    def moment(self, seconds: str) -> str:
        """Return SQL for so many seconds after the first day."""
        return _moment(self.sqlite, self.first_day, seconds)


_SKU = f"1 + (n * 17 + k * 331) % {databases.SKUS}"


def _series(sqlite: bool, first: int, last: int, name: str = "n") -> str:
    if sqlite:
        return (
            f"(WITH RECURSIVE g({name}) AS (SELECT {first} UNION ALL"
            f" SELECT {name} + 1 FROM g WHERE {name} < {last}) SELECT {name} FROM g)"
        )
    return f"generate_series({first}::bigint, {last}) AS g_{name}({name})"


def _moment(sqlite: bool, day: str, seconds: str) -> str:
    if sqlite:
        return f"strftime('%Y-%m-%dT%H:%M:%f000Z', '{day}', ({seconds}) || ' seconds')"
    return f"(timestamptz '{day} 00:00Z' + ({seconds}) * interval '1 second')"


def _token(sqlite: bool) -> str:
    return "lower(hex(randomblob(16)))" if sqlite else "replace(gen_random_uuid()::text, '-', '')"
