"""Promise 1: allocated never exceeds on hand, under any concurrency, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.database import run
from oms_ops.errors import OutOfStock
from oms_ops.orders import writing
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import ledger
from tests.oms_ops.shop import CLERK, Shop, order

BUYERS = 24


def _all_at_once(buy: Callable[[int], bool]) -> int:
    """Run the buyers from one starting gun; return how many got what they wanted."""
    start = threading.Barrier(BUYERS)

    def one(number: int) -> bool:
        start.wait()
        return buy(number)

    with ThreadPoolExecutor(BUYERS) as pool:
        return sum(pool.map(one, range(BUYERS)))


def test_the_last_units_are_sold_once(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 100)

    def buy(number: int) -> bool:
        # Half of them name the SKUs the other way round: lock order must not matter.
        lines = [("SKU-1", 1), ("SKU-2", 1)]
        try:
            capture(shop.engine, CLERK, order(*(lines if number % 2 else lines[::-1])))
        except OutOfStock:
            return False
        return True

    assert _all_at_once(buy) == 5
    assert shop.level("SKU-1") == (5, 5)
    assert shop.level("SKU-2") == (100, 5)
    assert [f.name for f in reconcile(shop.engine) if f.count] == []


def test_negative_control_without_the_guard_the_race_oversells(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard and the table's CHECK off, the same race sells what is not there."""
    from oms_ops.database import make_engine

    engine = make_engine(postgres_url, pool_size=BUYERS)
    shop = Shop(engine)
    shop.stock("SKU-1", 5)
    monkeypatch.setattr(ledger, "ALLOCATION_GUARD", "")
    run(engine, writing.install)
    run(
        engine,
        lambda c: c.execute(
            sa.text("ALTER TABLE stock_levels DROP CONSTRAINT ck_stock_levels_never_oversold")
        ),
    )

    def buy(_: int) -> bool:
        try:
            capture(engine, CLERK, order(("SKU-1", 1)))
        except OutOfStock:
            return False
        return True

    assert _all_at_once(buy) > 5
    on_hand, allocated = shop.level("SKU-1")
    assert allocated > on_hand
    engine.dispose()


def test_negative_control_read_then_write_oversells(shop: Shop) -> None:
    """What the guard replaces: look, then claim in another transaction."""
    shop.stock("SKU-1", 5)
    gate = threading.Barrier(BUYERS)
    table = "stock_levels_unguarded"
    run(
        shop.engine,
        lambda c: c.execute(
            sa.text(f"CREATE TABLE {table} AS SELECT on_hand, allocated FROM stock_levels")
        ),
    )

    def buy(_: int) -> bool:
        (available,) = shop.rows(f"SELECT on_hand - allocated FROM {table}")[0]
        gate.wait()
        if available < 1:
            return False
        run(
            shop.engine,
            lambda c: c.execute(sa.text(f"UPDATE {table} SET allocated = allocated + 1")),
        )
        return True

    assert _all_at_once(buy) > 5


def test_the_database_itself_refuses_to_oversell(database: Engine) -> None:
    shop = Shop(database)
    shop.stock("SKU-1", 5)
    with pytest.raises(sa.exc.IntegrityError):
        run(database, lambda c: c.execute(sa.text("UPDATE stock_levels SET allocated = 6")))
    assert shop.level("SKU-1") == (5, 0)
