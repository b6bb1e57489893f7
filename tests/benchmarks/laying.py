"""Lays orders that were long delivered and paid, by sets: a million of them in a few minutes.

With each order its lines, shipment, payment, message and idempotency key, and the feed's rows for
all of them, so that every table and every index that a capture touches has its size. The feed's
payloads and the stored answers are short: their length costs a capture nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
_DAYS = 730
_FIRST_DAY = "2024-01-01"

_STAMP = "version, changed_by, changed_at"
_BY = "1, 'history'"


def customers(orders: int) -> int:
    """Return how many customers there are with so many orders."""
    return max(databases.CUSTOMERS, orders // _LOYALTY)


def lay(url: str, size: int) -> None:
    """Lay orders until there are ``size``; only laid orders may be there. Analyse everything."""
    engine = make_engine(url)
    with transaction(engine) as connection:
        there = _count(connection, "orders")
        known = _count(connection, "customers")
        quiet = _quiet(connection)
        for statement in quiet:
            connection.exec_driver_sql(statement)
        for statement in _statements(engine.dialect.name, there, size, known):
            execute(connection, statement, {})
        _loud(connection)
    _settle(engine)
    engine.dispose()


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
    return ["SET LOCAL session_replication_role = replica", "SET LOCAL work_mem = '256MB'"]


def _loud(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        triggers.install(connection)
        return
    for table in ("customers", "orders", "order_lines", "shipments", "shipment_lines", "payments",
                  "outbox_messages"):  # fmt: skip
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
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


def _statements(dialect: str, there: int, size: int, known: int) -> Iterator[str]:
    """Yield what lays the orders ``there + 1`` to ``size``; rows of a table count from 1 on."""
    sqlite = dialect == "sqlite"
    if customers(size) > known:
        yield (
            f"INSERT INTO customers (id, email, external_id, name, phone, created_at, {_STAMP})"
            " SELECT n, 'person-' || (n - 1) || '@example.com', 'P-' || (n - 1),"
            f" 'Person ' || (n - 1), '+14042300000', {_moment(sqlite, 'n')}, {_BY},"
            f" {_moment(sqlite, 'n')} FROM {_series(sqlite, known + 1, customers(size))}"
        )
        yield from _logged(sqlite, "customers", "I", f"id > {known}")
    orders = _series(sqlite, there + 1, size)
    moment = _moment(sqlite, f"n * {_DAYS * 86_400 // size}")
    lines = f"{orders} CROSS JOIN {_series(sqlite, 0, _LINES - 1, 'k')}"
    yield (
        "INSERT INTO orders (id, channel, external_id, customer_id, warehouse_id, status,"
        " placed_at, closed_at, ship_name, ship_line1, ship_city, ship_region, ship_postal_code,"
        " ship_country, currency, base_currency, gross_minor, total_minor, allow_backorder,"
        f" allow_split, routing, tracking_token, {_STAMP})"
        f" SELECT n, 'history', 'H-' || n, 1 + n * 7919 % {customers(size)}, 1 + n % 3, 'closed',"
        f" {moment}, {moment}, 'Person', '1 Main Street', 'Atlanta', 'GA', '30301', 'US', 'USD',"
        f" 'USD', {_LINES * _PRICE}, {_LINES * _PRICE}, false, false,"
        f' \'{{"rule": "history"}}\', {_token(sqlite)}, {_BY}, {moment} FROM {orders}'
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
        "INSERT INTO shipment_lines (id, shipment_id, order_line_id, sku_id, quantity, changed_by)"
        f" SELECT (n - 1) * {_LINES} + k + 1, n, (n - 1) * {_LINES} + k + 1, {_SKU}, 1, 'history'"
        f" FROM {lines}"
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
        f" SELECT 'history', {_token(sqlite)}, {_token(sqlite)} || {_token(sqlite)},"
        f' \'{{"number": "SO"}}\', {moment} FROM {orders}'
    )
    for table, factor in (("orders", 1), ("order_lines", _LINES), ("shipments", 1),
                          ("shipment_lines", _LINES), ("payments", 1)):  # fmt: skip
        yield from _logged(sqlite, table, "I", f"id > {there * factor}")
    # Each line took its units from a level, which the feed carries too.
    yield _change(sqlite, "stock_levels", "U", "l.id", f"order_lines AS s JOIN stock_levels AS l"
                  f" ON l.sku_id = s.sku_id AND l.warehouse_id = 1 + s.order_id % 3"
                  f" WHERE s.id > {there * _LINES}")  # fmt: skip


_SKU = f"1 + (n * 17 + k * 331) % {databases.SKUS}"


def _logged(sqlite: bool, table: str, op: str, where: str) -> Iterator[str]:
    yield _change(sqlite, table, op, "id", f"{table} WHERE {where} ORDER BY id")


def _change(sqlite: bool, entity: str, op: str, row: str, source: str) -> str:
    text = f"'{{\"id\": ' || {row} || '}}'"
    payload = text if sqlite else f"CAST({text} AS jsonb)"
    return (
        "INSERT INTO change_log"
        " (epoch, entity, entity_id, op, version, payload, changed_by, occurred_at)"
        f" SELECT 1, '{entity}', {row}, '{op}', 1, {payload}, 'history',"
        f" {_moment(sqlite, '0')} FROM {source}"
    )


def _series(sqlite: bool, first: int, last: int, name: str = "n") -> str:
    if sqlite:
        return (
            f"(WITH RECURSIVE g({name}) AS (SELECT {first} UNION ALL"
            f" SELECT {name} + 1 FROM g WHERE {name} < {last}) SELECT {name} FROM g)"
        )
    return f"generate_series({first}::bigint, {last}) AS g_{name}({name})"


def _moment(sqlite: bool, seconds: str) -> str:
    if sqlite:
        return f"strftime('%Y-%m-%dT%H:%M:%f000Z', '{_FIRST_DAY}', ({seconds}) || ' seconds')"
    return f"(timestamptz '{_FIRST_DAY} 00:00Z' + ({seconds}) * interval '1 second')"


def _token(sqlite: bool) -> str:
    return "lower(hex(randomblob(16)))" if sqlite else "replace(gen_random_uuid()::text, '-', '')"
