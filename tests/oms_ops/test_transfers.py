"""Goods between two warehouses are in one place at a time; promised ones stay where they are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import make_engine, run
from oms_ops.errors import Conflict, OmsError, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals, sending
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import floor, levels, transfers
from oms_ops.stock.names import Line
from oms_ops.stock.transfer_receipts import Arrived
from tests.oms_ops.picking import held, opened, put, sold, with_bins
from tests.oms_ops.shop import CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")


def sound(shop: Shop) -> bool:
    return all(finding.count == 0 for finding in reconcile(shop.engine))


def planned(shop: Shop, *lines: Line) -> str:
    return run(shop.engine, lambda c: transfers.create(c, WORKER, "ATL", "NYC", lines))


def sent(shop: Shop, *lines: Line) -> str:
    number = planned(shop, *lines)
    run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number))
    return number


def arrive(shop: Shop, number: str, *arrived: Arrived, note: str = "") -> int:
    return run(shop.engine, lambda c: arrivals.receive_transfer(c, WORKER, number, arrived, note))


def status(shop: Shop, number: str) -> str:
    return str(shop.rows("SELECT status FROM transfers WHERE number = :n", n=number)[0][0])


def transit(shop: Shop) -> int:
    rows = shop.rows(
        "SELECT sum(c.quantity) FROM location_levels AS c"
        " JOIN locations AS p ON p.id = c.location_id AND p.kind = 'transit'"
    )
    return int(rows[0][0] or 0)


def test_goods_travel_in_parts_and_are_never_in_two_places(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    number = planned(shop, Line("SKU-1", 6))
    assert shop.level("SKU-1") == (10, 0)
    run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number))
    assert (shop.level("SKU-1"), transit(shop), status(shop, number)) == ((4, 0), 6, "in_transit")
    arrive(shop, number, Arrived(1, 4, damaged=1))
    assert (shop.level("SKU-1", "NYC"), transit(shop)) == ((3, 0), 2)
    assert status(shop, number) == "partly_received"
    arrive(shop, number, Arrived(1, 1, lost=1), note="box open")
    assert (shop.level("SKU-1", "NYC"), transit(shop)) == ((4, 0), 0)
    assert status(shop, number) == "received"
    move = shop.rows("SELECT reference, changed_by FROM stock_moves ORDER BY id DESC LIMIT 1")[0]
    assert tuple(move) == (f"{number}: lost: box open", "wanda")
    assert sound(shop)


def test_the_cost_travels_with_the_goods(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    arrive(shop, sent(shop, Line("SKU-1", 6)), Arrived(1, 6))
    costs = shop.rows("SELECT average_cost_e4 FROM stock_levels ORDER BY id")
    assert [row[0] for row in costs] == [1_000_000, 1_000_000]


def test_no_more_arrives_than_was_sent(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    number = sent(shop, Line("SKU-1", 6))
    with pytest.raises(ValidationFailed) as refused:
        arrive(shop, number, Arrived(1, 5, lost=2), Arrived(2, 1))
    assert [(e.field, e.code) for e in refused.value.errors] == [
        ("lines[0].quantity", "out_of_range"),
        ("lines[1].line_no", "unknown_line"),
    ]
    arrive(shop, number, Arrived(1, 6))
    with pytest.raises(Conflict):
        arrive(shop, number, Arrived(1, 1))
    assert sound(shop)


def test_two_who_receive_the_same_goods_do_not_receive_them_twice(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    number = sent(shop, Line("SKU-1", 6))

    def receive(_: int) -> bool:
        try:
            arrive(shop, number, Arrived(1, 4))
        except OmsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(receive, range(4))) == 1
    assert shop.level("SKU-1", "NYC") == (4, 0)
    assert sound(shop)


def test_less_than_planned_may_be_sent(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    number = planned(shop, Line("SKU-1", 6), Line("SKU-2", 1))
    run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number, {1: 2}))
    arrive(shop, number, Arrived(1, 2))
    assert status(shop, number) == "received"
    assert sound(shop)


def test_a_day_that_has_passed_since_is_not_promised(shop: Shop) -> None:
    shop.stock("SKU-1", 6)
    today = datetime(2026, 3, 2, 12, tzinfo=UTC)
    day = (today + timedelta(days=1)).date()
    with clock.at(today):
        number = run(
            shop.engine,
            lambda c: transfers.create(
                c, WORKER, "ATL", "NYC", [Line("SKU-1", 6)], expected_on=day
            ),
        )
    with clock.at(today + timedelta(days=2)):
        with pytest.raises(ValidationFailed) as refusal:
            run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number))
        assert [(e.field, e.code) for e in refusal.value.errors] == [("expected_on", "in_the_past")]
        day += timedelta(days=2)
        run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number, expected_on=day))
    assert status(shop, number) == "in_transit"


def test_only_a_draft_is_sent_or_cancelled(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    number = planned(shop, Line("SKU-1", 6))
    run(shop.engine, lambda c: transfers.cancel(c, WORKER, number))
    assert status(shop, number) == "cancelled"
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number))
    number = sent(shop, Line("SKU-1", 6))
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: transfers.cancel(c, WORKER, number))


def test_promised_units_are_not_sent_away(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    capture(shop.engine, CLERK, order(("SKU-1", 3)))
    number = planned(shop, Line("SKU-1", 3))
    with pytest.raises(OutOfStock) as refused:
        run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number))
    assert [e.message for e in refused.value.errors] == [
        "SKU-1: 3 of 5 are promised, 2 can be taken"
    ]
    assert status(shop, number) == "draft"
    assert sound(shop)


def test_what_arrives_goes_to_who_waits_there(shop: Shop) -> None:
    made = capture(shop.engine, CLERK, order(("SKU-1", 3), allow_backorder=True, warehouse="NYC"))
    assert made["lines"][0]["backordered"] == 3
    shop.stock("SKU-1", 5)
    assert arrive(shop, sent(shop, Line("SKU-1", 4)), Arrived(1, 4)) == 3
    assert shop.level("SKU-1", "NYC") == (4, 3)
    assert sound(shop)


def test_what_the_floor_lacks_is_picked_from_bins_in_walk_order(shop: Shop) -> None:
    put(with_bins(shop), ("SKU-1", 3, "A"), ("SKU-1", 2, "B"), ("SKU-1", 4, "C"))
    shop.stock("SKU-1", 1)
    sold(shop, ("SKU-1", 1))
    opened(shop)
    # The wave is sent for one of B's two: it stays there.
    sent(shop, Line("SKU-1", 5))
    assert held(shop) == {("B", "SKU-1"): 1, ("C", "SKU-1"): 4, ("TRANSIT", "SKU-1"): 5}
    with pytest.raises(OutOfStock) as refused:
        sent(shop, Line("SKU-1", 5))
    assert [e.code for e in refused.value.errors] == ["not_available"]
    sent(shop, Line("SKU-1", 4))
    assert shop.level("SKU-1") == (1, 1)
    assert sound(shop)


def test_every_bad_field_is_named(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        run(
            shop.engine,
            lambda c: transfers.create(c, WORKER, "ATL", "ATL", [Line("SKU-9", 0)]),
        )
    assert sorted((e.field, e.code) for e in refused.value.errors) == [
        ("lines[0].quantity", "out_of_range"),
        ("lines[0].sku", "unknown_sku"),
        ("to_warehouse", "same_warehouse"),
    ]


BUYERS = 8


def _race(shop: Shop) -> tuple[int, bool]:
    """Let eight buy one unit each while three of eight are sent away; return sold and sent."""
    start = threading.Barrier(BUYERS + 1)
    number = planned(shop, Line("SKU-1", 3))

    def attempt(work: Callable[[], Any]) -> bool:
        start.wait()
        try:
            work()
        except OutOfStock:
            return False
        return True

    def buy(_: int) -> bool:
        return attempt(lambda: capture(shop.engine, CLERK, order(("SKU-1", 1), warehouse="ATL")))

    def send() -> bool:
        return attempt(lambda: run(shop.engine, lambda c: sending.send_transfer(c, WORKER, number)))

    with ThreadPoolExecutor(BUYERS + 1) as pool:
        leaving = pool.submit(send)
        bought = sum(pool.map(buy, range(BUYERS)))
        return bought, leaving.result()


def test_send_and_capture_share_the_last_units(shop: Shop) -> None:
    shop.stock("SKU-1", BUYERS)
    sold, was_sent = _race(shop)
    assert sold == (BUYERS - 3 if was_sent else BUYERS)
    assert shop.level("SKU-1") == (BUYERS - 3 * was_sent, sold)
    assert sound(shop)


def test_negative_control_without_the_guard_promised_units_travel(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(postgres_url, pool_size=BUYERS + 1)
    shop = Shop(engine)
    shop.stock("SKU-1", BUYERS)
    guarded = levels.update

    def unguarded(c: Any, actor: Any, totals: Any, change: str, guard: str, **rest: Any) -> int:
        return guarded(c, actor, totals, change, "" if "on_hand = " in change else guard, **rest)

    monkeypatch.setattr(levels, "update", unguarded)
    monkeypatch.setattr(floor, "refuse", lambda *_: None)
    run(
        engine,
        lambda c: c.execute(
            sa.text("ALTER TABLE stock_levels DROP CONSTRAINT ck_stock_levels_never_oversold")
        ),
    )
    capture(engine, CLERK, order(("SKU-1", BUYERS - 1), warehouse="ATL"))
    sent(shop, Line("SKU-1", 3))
    on_hand, allocated = shop.level("SKU-1")
    assert allocated > on_hand
    assert not sound(shop)
    engine.dispose()
