"""Promise 1 holds for baskets too: what one holds nobody else gets, and it ends by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import make_engine, run
from oms_ops.errors import Forbidden, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.stock import baskets, ledger
from oms_ops.stock.names import Line
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

SHOPPERS = 16


@pytest.fixture
def shop(database: Engine) -> Iterator[Shop]:
    """Return the shop; whatever a test did with it, the ledgers agree afterwards."""
    shop = Shop(database)
    yield shop
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def hold(
    shop: Shop, basket: str, *lines: tuple[str, int], minutes: int | None = 10, **more: Any
) -> dict[str, Any]:
    wanted = [Line(sku, units) for sku, units in lines]
    return run(
        shop.engine, lambda c: arrivals.hold_basket(c, CLERK, basket, wanted, minutes, **more)
    )


def held(shop: Shop) -> list[tuple[str, int, str]]:
    rows = shop.rows(
        "SELECT h.basket, h.quantity, w.code FROM basket_holds AS h"
        " JOIN warehouses AS w ON w.id = h.warehouse_id ORDER BY h.basket, h.sku_id"
    )
    return [tuple(row) for row in rows]


def test_a_hold_keeps_others_from_the_units(shop: Shop) -> None:
    shop.stock("SKU-1", 3)
    answer = hold(shop, "b1", ("SKU-1", 2))
    assert answer["lines"] == [{"sku": "SKU-1", "warehouse": "ATL", "quantity": 2}]
    with pytest.raises(OutOfStock):
        capture(shop.engine, CLERK, order(("SKU-1", 2)))
    with pytest.raises(OutOfStock) as refused:
        hold(shop, "b2", ("SKU-1", 2))
    assert [(e.field, e.message) for e in refused.value.errors] == [
        ("lines[0].quantity", "SKU-1: 1 can be held in one warehouse")
    ]
    assert shop.level("SKU-1") == (3, 2)


def test_the_order_of_the_basket_takes_the_units(shop: Shop) -> None:
    shop.stock("SKU-1", 3)
    hold(shop, "b1", ("SKU-1", 3))
    made = capture(shop.engine, CLERK, order(("SKU-1", 3), basket="b1"))
    assert made["lines"][0]["allocated"] == 3
    assert (held(shop), shop.level("SKU-1")) == ([], (3, 3))


def test_a_repeat_changes_nothing_and_a_change_moves_the_difference(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 5)
    hold(shop, "b1", ("SKU-1", 2), ("SKU-2", 1))
    hold(shop, "b1", ("SKU-1", 2), ("SKU-2", 1))
    assert shop.level("SKU-1") == (5, 2)
    hold(shop, "b1", ("SKU-1", 5))
    assert held(shop) == [("b1", 5, "ATL"), ("b1", 1, "ATL")]
    hold(shop, "b1", ("SKU-1", 1), ("SKU-2", 0))
    assert held(shop) == [("b1", 1, "ATL")]
    assert (shop.level("SKU-1"), shop.level("SKU-2")) == ((5, 1), (5, 0))


def test_units_come_from_the_first_warehouse_that_has_them_all(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    shop.stock("SKU-1", 4, "NYC")
    hold(shop, "b1", ("SKU-1", 2))
    hold(shop, "b2", ("SKU-1", 2))
    hold(shop, "b3", ("SKU-1", 1), warehouse="NYC")
    assert held(shop) == [("b1", 2, "ATL"), ("b2", 2, "NYC"), ("b3", 1, "NYC")]
    run(shop.engine, lambda c: arrivals.release_basket(c, CLERK, "b2"))
    hold(shop, "b1", ("SKU-1", 3))
    assert held(shop) == [("b1", 3, "NYC"), ("b3", 1, "NYC")]


def test_a_basket_that_expired_lets_go_and_a_held_one_lasts(shop: Shop) -> None:
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"basket_minutes": 5}))
    shop.stock("SKU-1", 4)
    hold(shop, "short", ("SKU-1", 1), minutes=None)
    hold(shop, "long", ("SKU-1", 1), minutes=60)
    hold(shop, "again", ("SKU-1", 1), minutes=5)
    later = clock.now() + timedelta(minutes=4)
    assert run(shop.engine, lambda c: arrivals.expire_baskets(c, later)) == 0
    with clock.at(later):
        hold(shop, "again", ("SKU-1", 1), minutes=5)
    later += timedelta(minutes=2)
    assert run(shop.engine, lambda c: arrivals.expire_baskets(c, later)) == 1
    assert held(shop) == [("again", 1, "ATL"), ("long", 1, "ATL")]
    assert shop.level("SKU-1") == (4, 2)


def test_what_a_basket_lets_go_of_goes_to_who_waits(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    hold(shop, "b1", ("SKU-1", 4))
    number = capture(
        shop.engine, CLERK, order(("SKU-1", 3), allow_backorder=True, warehouse="ATL")
    )["number"]
    hold(shop, "b1", ("SKU-1", 2))
    assert shop.level("SKU-1") == (4, 4)
    run(shop.engine, lambda c: arrivals.release_basket(c, CLERK, "b1"))
    assert shop.level("SKU-1") == (4, 3)
    waiting = "SELECT l.backordered FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
    assert shop.rows(f"{waiting} WHERE o.number = :n", n=number)[0][0] == 0


def test_every_bad_field_is_named(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        hold(
            shop, " ", ("SKU-9", 1), ("SKU-5", 1), ("SKU-1", -1), ("SKU-1", 1), minutes=0,
            warehouse="LAX",
        )  # fmt: skip
    assert sorted((e.field, e.code) for e in refused.value.errors) == [
        ("basket", "required"),
        ("lines[0].sku", "unknown_sku"),
        ("lines[1].sku", "unknown_sku"),
        ("lines[2].quantity", "out_of_range"),
        ("lines[3].sku", "duplicate"),
        ("minutes", "out_of_range"),
        ("warehouse", "unknown_warehouse"),
    ]
    with pytest.raises(Forbidden):
        run(
            shop.engine,
            lambda c: baskets.hold(c, Actor("ann", "analyst"), "b", [Line("SKU-1", 1)]),
        )


def at_once(attempts: list[Callable[[], Any]]) -> int:
    """Run all from one starting gun; return how many were not refused."""
    start = threading.Barrier(len(attempts))

    def one(attempt: Callable[[], Any]) -> bool:
        start.wait()
        try:
            attempt()
        except OutOfStock:
            return False
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(one, attempts))


def shoppers(shop: Shop) -> list[Callable[[], Any]]:
    """Return half who hold a unit and half who buy one."""
    holding = [lambda n=n: hold(shop, f"b{n}", ("SKU-1", 1)) for n in range(SHOPPERS // 2)]
    buying = [lambda: capture(shop.engine, CLERK, order(("SKU-1", 1)))] * (SHOPPERS // 2)
    return [each for pair in zip(holding, buying, strict=True) for each in pair]


def test_holds_and_captures_share_the_last_units(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    assert at_once(shoppers(shop)) == 5
    assert shop.level("SKU-1") == (5, 5)


@pytest.fixture
def unguarded(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Return a PostgreSQL engine whose levels no guard keeps."""
    engine = make_engine(postgres_url, pool_size=SHOPPERS)
    monkeypatch.setattr(ledger, "ALLOCATION_GUARD", "")
    drop = "ALTER TABLE stock_levels DROP CONSTRAINT ck_stock_levels_never_oversold"
    run(engine, lambda c: c.execute(sa.text(drop)))
    yield engine
    engine.dispose()


def test_negative_control_without_the_guard_holds_are_oversold(unguarded: Engine) -> None:
    shop = Shop(unguarded)
    shop.stock("SKU-1", 5)
    holds = [lambda n=n: hold(shop, f"b{n}", ("SKU-1", 1)) for n in range(SHOPPERS)]
    assert at_once(holds) > 5
    on_hand, allocated = shop.level("SKU-1")
    assert allocated > on_hand


def test_one_basket_held_many_times_at_once_is_held_once(shop: Shop) -> None:
    shop.stock("SKU-1", 20)
    units = [2, 3, 4] * 4
    assert at_once([lambda n=n: hold(shop, "b1", ("SKU-1", n)) for n in units]) == len(units)
    ((_, quantity, _),) = held(shop)
    assert shop.level("SKU-1") == (20, quantity)


def test_a_basket_that_grows_while_it_is_bought_is_counted_once(shop: Shop) -> None:
    shop.stock("SKU-1", 40)
    for number in range(4):
        basket = f"b{number}"
        hold(shop, basket, ("SKU-1", 2))
        attempts: list[Callable[[], Any]] = [
            lambda b=basket: hold(shop, b, ("SKU-1", 3)),
            lambda b=basket: capture(shop.engine, CLERK, order(("SKU-1", 2), basket=b)),
            lambda b=basket: run(shop.engine, lambda c: arrivals.release_basket(c, CLERK, b)),
        ]
        at_once(attempts)
        assert [f for f in reconcile(shop.engine) if f.count] == []


def test_two_sweeps_at_once_let_go_of_each_hold_once(shop: Shop) -> None:
    shop.stock("SKU-1", 20)
    for number in range(12):
        hold(shop, f"b{number}", ("SKU-1", 1))
    later = clock.now() + timedelta(hours=1)

    def sweep() -> None:
        while run(shop.engine, lambda c: arrivals.expire_baskets(c, later, limit=2)):
            pass

    at_once([sweep] * 3)
    assert shop.level("SKU-1") == (20, 0)


def reserving(shop: Shop, **more: int) -> None:
    channels = {"web": {"reserve_units": 2}, "shop": {}, **more}
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"channels": channels}))


def test_what_a_basket_holds_its_order_gets_whatever_the_channel_must_leave(shop: Shop) -> None:
    reserving(shop)
    shop.stock("SKU-1", 5)
    with pytest.raises(OutOfStock) as refused:
        hold(shop, "b1", ("SKU-1", 5))
    assert refused.value.errors[0].message == "SKU-1: 3 can be held in one warehouse"
    hold(shop, "b1", ("SKU-1", 3))
    hold(shop, "b1", ("SKU-1", 3))
    # Somebody else may sell the last two: nothing of the basket's is reserved again.
    capture(shop.engine, CLERK, order(("SKU-1", 2), channel="shop"))
    made = capture(shop.engine, CLERK, order(("SKU-1", 3), basket="b1"))
    assert made["lines"][0]["allocated"] == 3
    assert (held(shop), shop.level("SKU-1")) == ([], (5, 5))


def test_a_basket_of_a_channel_without_a_reserve_holds_all(shop: Shop) -> None:
    reserving(shop)
    shop.stock("SKU-1", 5)
    hold(shop, "b1", ("SKU-1", 5), channel="shop")
    with pytest.raises(ValidationFailed) as refused:
        hold(shop, "b2", ("SKU-1", 1), channel="fair")
    assert [(e.field, e.code) for e in refused.value.errors] == [("channel", "unknown_channel")]


def test_holds_at_once_leave_the_reserve(shop: Shop) -> None:
    reserving(shop)
    shop.stock("SKU-1", 7)
    assert at_once(shoppers(shop)) == 5
    assert shop.level("SKU-1") == (7, 5)
