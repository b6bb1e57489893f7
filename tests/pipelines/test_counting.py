"""Totals that are kept by parts are those of the tables, whatever changed what they read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.database import make_engine, reading, transaction
from oms_ops.orders.amounts import kept
from pipelines.lib import counting, landing, ledger, past
from tests.dbt.trade import Trade, changed_days, first_days

#: One change of each table that a total reads, also where it only values or picks what is summed.
CHANGES = (
    "UPDATE orders SET gross_minor = gross_minor + 1, total_minor = total_minor + 1 WHERE id = 1",
    "UPDATE orders SET currency = 'EUR', exchange_rate = '2' WHERE id = 2",
    "UPDATE order_lines SET discount_minor = discount_minor + 1,"
    " net_minor = net_minor - 1 WHERE id = 1",
    "UPDATE payments SET captured_minor = captured_minor - 1 WHERE captured_minor > 0",
    "UPDATE return_lines SET refund_minor = refund_minor + 1",
    "UPDATE refunds SET status = 'failed', refunded_at = NULL",
    "UPDATE returns SET refund_minor = 0, resolved_at = changed_at",
    "UPDATE locations SET kind = 'quarantine' WHERE kind = 'storage'",
    "UPDATE tickets SET rating = 1 WHERE rating = 4",
    "UPDATE feedback SET score = 0 WHERE score = 9",
    "UPDATE purchase_order_lines SET received = received + 1",
    "UPDATE purchase_orders SET status = 'cancelled'",
    "DELETE FROM feedback WHERE score = 0",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "changes"


def of_the_tables(engine: Engine, landed: landing.Landing) -> dict[str, int]:
    """Return all totals, summed from every row."""
    with reading(engine) as connection:
        return ledger.totals(connection, landed.horizon.cursor)


def whole_at(folder: Path) -> object:
    """Return when all parts were summed the last time."""
    kept = counting.Count.load(folder)
    assert kept is not None
    return kept.whole_at


@pytest.mark.parametrize("amount", [7, -7, 0])
def test_a_line_is_summed_with_what_it_keeps(database: Engine, amount: int) -> None:
    quantity = 3
    lines = " UNION ALL ".join(
        f"SELECT CAST({amount} AS bigint) AS amount, CAST({quantity} AS bigint) AS quantity,"
        f" CAST({cancelled} AS bigint) AS cancelled"
        for cancelled in range(quantity + 1)
    )
    with reading(database) as connection:
        found = connection.execute(
            sa.text(f"SELECT {ledger.share('l.amount')} FROM ({lines}) AS l ORDER BY l.cancelled")
        )
        shares = list(found.scalars())
    assert shares == [kept(amount, quantity, units) for units in range(quantity, -1, -1)]


@pytest.mark.usefixtures("small_parts")
def test_totals_follow_a_change_of_any_table_that_they_read(database: Engine, folder: Path) -> None:
    trade = Trade(database)
    first_days(trade)
    trade.receive("2026-03-04", trade.buy("2026-03-03", "SKU-4", 12), 6)
    before = landing.land(database, folder).horizon.totals
    begun = whole_at(folder)
    for statement in CHANGES:
        trade.by_sql(statement)
        landed = landing.land(database, folder)
        assert landed.horizon.totals == of_the_tables(database, landed), statement
        assert landed.horizon.totals != before, statement
        before = landed.horizon.totals
    assert whole_at(folder) == begun


@pytest.mark.usefixtures("small_parts")
def test_totals_follow_days_of_trade_and_rows_that_go(sqlite_url: str, folder: Path) -> None:
    engine = make_engine(sqlite_url)
    trade = Trade(engine)
    sold = first_days(trade)
    landing.land(engine, folder)
    changed_days(trade, sold)
    trade.by_sql("DELETE FROM orders WHERE id = 2")
    landed = landing.land(engine, folder)
    assert landed.horizon.totals == of_the_tables(engine, landed)
    # SQLite does not ask whoever writes with plain SQL whether a line has an order.
    lines = "SELECT count(*) FROM order_lines"
    [[there]] = trade.shop.rows(f"{lines} WHERE order_id IN (SELECT id FROM orders)")
    assert landed.horizon.totals["order_lines"] == there < trade.shop.rows(lines)[0][0]


@pytest.fixture
def shop_without_a_trigger(sqlite_url: str, folder: Path) -> Trade:
    """Return a shop that has landed, whose log no longer hears of changed orders."""
    engine = make_engine(sqlite_url)
    trade = Trade(engine)
    first_days(trade)
    landing.land(engine, folder)
    with transaction(engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER oms_feed_orders_update")
    trade.by_sql("UPDATE orders SET gross_minor = gross_minor + 7, total_minor = total_minor + 7")
    trade.sell("2026-03-04", "fay", ("SKU-1", 1))
    return trade


def test_a_small_shop_is_summed_whole_each_time(
    shop_without_a_trigger: Trade, folder: Path
) -> None:
    engine = shop_without_a_trigger.engine
    landed = landing.land(engine, folder)
    assert landed.horizon.totals == of_the_tables(engine, landed)


@pytest.mark.usefixtures("small_parts")
def test_what_changed_behind_the_triggers_is_summed_within_a_day(
    shop_without_a_trigger: Trade, folder: Path
) -> None:
    engine = shop_without_a_trigger.engine
    landed = landing.land(engine, folder)
    assert landed.horizon.totals != of_the_tables(engine, landed)
    with clock.at(clock.now() + timedelta(days=1)):
        landed = landing.land(engine, folder)
    assert landed.horizon.totals == of_the_tables(engine, landed)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("lost", ["count", "past", "landing"])
def test_parts_that_are_not_of_this_lake_are_summed_anew(
    shop_without_a_trigger: Trade, folder: Path, lost: str
) -> None:
    engine = shop_without_a_trigger.engine
    if lost == "count":
        (folder / "counted.json").unlink()
    elif lost == "past":
        past.renew(folder, "a test")
    else:
        kept = (folder / "counted.json").read_text()
        landing.land(engine, folder)
        (folder / "counted.json").write_text(kept)
    landed = landing.land(engine, folder)
    assert landed.horizon.totals == of_the_tables(engine, landed)
