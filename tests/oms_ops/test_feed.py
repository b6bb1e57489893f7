"""Promise 11 at its source: every committed change of every writer is in the log, in order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import oms_ops
from oms_ops.database import make_engine, reading, run, transaction
from oms_ops.feed.entities import ENTITIES
from oms_ops.feed.reader import START, Cursor, lag, read
from oms_ops.feed.triggers import install
from oms_ops.orders.capture import capture
from oms_ops.schema import metadata
from tests.oms_ops.shop import CLERK, Shop, order


def changes(shop: Shop, after: Cursor = START) -> list[tuple[Any, ...]]:
    with reading(shop.engine) as connection:
        return read(connection, after, 1_000_000)


def test_a_capture_is_logged_row_by_row_without_its_secrets(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    before = Cursor(*changes(shop)[-1][:3])
    capture(shop.engine, CLERK, order(("SKU-1", 2)))
    logged = changes(shop, before)
    assert sorted({row[3] for row in logged}) == [
        "customers",
        "order_lines",
        "orders",
        "payments",
        "shipment_lines",
        "shipments",
        "stock_levels",
    ]
    placed = next(json.loads(row[7]) for row in logged if row[3] == "orders")
    assert placed["number"].startswith("SO-")
    assert "tracking_token" not in placed
    assert {row[8] for row in logged} == {"carla"}


def test_plain_sql_and_deletes_are_logged(shop: Shop) -> None:
    before = Cursor(*changes(shop)[-1][:3])
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE suppliers SET name = 'New'")))
    run(shop.engine, lambda c: c.execute(sa.text("DELETE FROM supplier_terms WHERE sku_id = 1")))
    logged = [(row[3], row[5]) for row in changes(shop, before)]
    assert logged == [("suppliers", "U"), ("supplier_terms", "D")]


def test_a_change_has_its_rows_version(shop: Shop) -> None:
    before = Cursor(*changes(shop)[-1][:3])
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE suppliers SET version = 7")))
    shop.stock("SKU-1", 1)
    assert {(row[3], row[6]) for row in changes(shop, before)} >= {
        ("suppliers", 7),
        ("stock_moves", 1),
    }


def test_a_version_of_the_shops_own_may_be_empty(shop: Shop) -> None:
    with transaction(shop.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE stock_moves ADD COLUMN version integer")
        install(connection)
    before = Cursor(*changes(shop)[-1][:3])
    shop.stock("SKU-1", 1)
    assert ("stock_moves", 1) in {(row[3], row[6]) for row in changes(shop, before)}


def test_moments_are_in_utc_wherever_the_writer_is(shop: Shop) -> None:
    def write(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL timezone = 'Asia/Tokyo'")
        moment = "2026-05-01T12:00:00.000000Z"
        connection.execute(sa.text("UPDATE suppliers SET changed_at = :at"), {"at": moment})

    run(shop.engine, write)
    moment = json.loads(changes(shop)[-1][7])["changed_at"]
    assert moment in ("2026-05-01T12:00:00.000000Z", "2026-05-01T12:00:00+00:00")


def test_the_id_of_a_deleted_row_is_never_given_again(sqlite_url: str) -> None:
    """SQLite does, unless told: the log and the history would take one row for the other."""
    sources = Path(oms_ops.__file__).parent.rglob("*.py")
    code = "".join(p.read_text() for p in sources if "migrations" not in p.parts)
    assert not re.search(r"sa\.delete\(|\.delete\(connection", code)
    deleted = set(re.findall(r"DELETE FROM (\w+)", code)) & set(metadata.tables)
    assert {"shipment_lines", "picks"} <= deleted
    deleted -= {"feed_consumers"}  # its key is a name
    with make_engine(sqlite_url).connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master")
        made = {row.name: row.sql for row in rows}
    assert [table for table in sorted(deleted) if "AUTOINCREMENT" not in made[table]] == []


def test_what_is_rolled_back_is_not_logged(shop: Shop) -> None:
    before = changes(shop)
    with pytest.raises(ZeroDivisionError), transaction(shop.engine) as connection:
        connection.execute(sa.text("UPDATE suppliers SET name = 'New'"))
        raise ZeroDivisionError
    assert changes(shop) == before


def test_the_lag_counts_what_waits(shop: Shop) -> None:
    from oms_ops import clock

    whole = changes(shop)
    middle = Cursor(*whole[9][:3])
    with reading(shop.engine) as connection:
        behind = lag(connection, middle, clock.now())
        assert behind.rows == len(whole) - 10
        assert behind.seconds >= 0
        assert lag(connection, Cursor(*whole[-1][:3]), clock.now()).rows == 0


def test_a_new_epoch_is_read_from_its_start(shop: Shop) -> None:
    newest = Cursor(*changes(shop)[-1][:3])
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE feed_state SET epoch = 2")))
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE suppliers SET name = 'New'")))
    assert [row[0] for row in changes(shop, newest)] == [2]
    # A restored database hands out numbers again that the lake has seen in the old epoch.
    assert [row[0] for row in changes(shop, Cursor(1, 10**9, 10**9))] == [2]


def test_every_business_table_is_in_the_feed() -> None:
    private = {
        "api_keys", "idempotency_keys", "outbox_messages", "feed_state", "change_log", "shop_rules",
        "feed_consumers",
        "basket_holds", "drafts", "imports", "import_rows", "inbox_messages",
        "gateway_messages",
    }  # fmt: skip
    assert set(metadata.tables) - private == set(ENTITIES)


def test_a_new_column_is_in_the_payload_after_the_triggers_are_installed(shop: Shop) -> None:
    def widen(connection: sa.Connection) -> None:
        connection.execute(sa.text("ALTER TABLE suppliers ADD COLUMN vat_number text"))
        install(connection)

    run(shop.engine, widen)
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE suppliers SET vat_number = 'X1'")))
    assert json.loads(changes(shop)[-1][7])["vat_number"] == "X1"
