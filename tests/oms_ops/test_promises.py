"""Whoever waits is told a day that purchase orders or the lead time bear out, and when it moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.orders import holds, promises
from oms_ops.orders.cancellation import cancel
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.reconcile import reconcile
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop
from tests.oms_ops.test_order_life import placed, seen

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def _one_day(shop: Shop) -> Iterator[None]:
    """Let the clock stand; whatever a test did, the ledgers agree."""
    with clock.at(NOON):
        yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def bought(shop: Shop, units: int, days: int, sku: str = "SKU-1") -> dict[str, Any]:
    """Order units that are expected in so many days."""
    return run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=[PurchaseLine(sku, units)],
            expected_on=TODAY + timedelta(days=days),
        ),
    )  # fmt: skip


def asked(shop: Shop, *units: int, sku: str = "SKU-1") -> list[date | None]:
    """Return what would be promised to somebody who waits for so many units."""
    pair = (shop.warehouse_ids["ATL"], shop.sku_ids[sku])
    with reading(shop.engine) as connection:
        return promises.promise(connection, [(*pair, count) for count in units])


def told(shop: Shop) -> list[Any]:
    """Return what customers were told of their days, the oldest message first."""
    rows = shop.rows(
        "SELECT payload FROM outbox_messages WHERE kind = 'order.promise_changed' ORDER BY id"
    )
    return [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in rows]


def day(days: int) -> str:
    return str(TODAY + timedelta(days=days))


def test_a_promise_is_the_day_on_which_enough_has_arrived(shop: Shop) -> None:
    bought(shop, 6, 9)
    bought(shop, 6, 3)
    assert asked(shop, 6, 1, 5, 1) == [TODAY + timedelta(days=n) for n in (3, 9, 9, 5)]


def test_without_a_purchase_order_the_lead_time_counts_from_today(shop: Shop) -> None:
    assert asked(shop, 1) == [TODAY + timedelta(days=5)]
    run(shop.engine, lambda c: c.exec_driver_sql("DELETE FROM supplier_terms"))
    assert asked(shop, 1) == [None]


def test_a_promise_comes_after_all_that_wait_already(shop: Shop) -> None:
    bought(shop, 6, 3)
    bought(shop, 6, 9)
    placed(shop, ("SKU-1", 4), allow_backorder=True)
    assert asked(shop, 2, 1) == [TODAY + timedelta(days=3), TODAY + timedelta(days=9)]


def test_what_is_late_may_stay_away_as_long_again(shop: Shop) -> None:
    bought(shop, 6, 3)
    with clock.at(NOON + timedelta(days=3)):
        assert asked(shop, 1) == [TODAY + timedelta(days=3)]
    with clock.at(NOON + timedelta(days=5)):
        assert asked(shop, 1) == [TODAY + timedelta(days=7)]


def test_a_purchase_order_moves_the_promise_and_the_customer_is_told(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    before = seen(shop, order_id)["promised_on"]
    bought(shop, 6, 3)
    assert seen(shop, order_id)["promised_on"] == day(3)
    number = seen(shop, order_id)["number"]
    assert told(shop) == [{"order": number, "promised_on": day(3), "was_promised_on": before}]
    bought(shop, 6, 9)
    assert len(told(shop)) == 1


def test_a_short_receipt_moves_the_promise_of_those_that_wait_on(shop: Shop) -> None:
    first = placed(shop, ("SKU-1", 4), allow_backorder=True)
    second = placed(shop, ("SKU-1", 4), allow_backorder=True)
    order = bought(shop, 12, 3)
    line = order["lines"][0]["id"]
    run(
        shop.engine,
        lambda c: receipts.receive(c, ADMIN, order["id"], {line: 5}, close_short=True),
    )
    assert seen(shop, second)["promised_on"] == day(5)
    # What was promised last stays for the record when nothing waits any more.
    assert seen(shop, first)["promised_on"] == day(3)


def test_a_cancelled_order_makes_room_and_delays_nobody(shop: Shop) -> None:
    bought(shop, 6, 3)
    first = placed(shop, ("SKU-1", 4), allow_backorder=True)
    second = placed(shop, ("SKU-1", 4), allow_backorder=True)
    third = placed(shop, ("SKU-1", 4), allow_backorder=True)
    run(shop.engine, lambda c: promises.refresh(c, ADMIN))
    assert [seen(shop, order_id)["promised_on"] for order_id in (second, third)] == [day(5)] * 2
    with clock.at(NOON + timedelta(days=1)):
        run(shop.engine, lambda c: cancel(c, CLERK, [first], "changed her mind"))
    assert [seen(shop, order_id)["promised_on"] for order_id in (second, third)] == [day(3), day(5)]


def test_an_order_is_promised_for_its_latest_line(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), ("SKU-2", 4), allow_backorder=True)
    bought(shop, 6, 3)
    soon = bought(shop, 6, 9, "SKU-2")
    assert seen(shop, order_id)["promised_on"] == day(9)
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, soon["id"], {soon["lines"][0]["id"]: 6}))
    assert seen(shop, order_id)["promised_on"] == day(3)


def test_a_held_order_keeps_its_place_in_the_promise(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    run(shop.engine, lambda c: holds.hold(c, CLERK, [order_id], "check"))
    bought(shop, 6, 3)
    assert seen(shop, order_id)["promised_on"] == day(3)
    assert asked(shop, 3) == [TODAY + timedelta(days=5)]


def test_an_overdue_promise_is_renewed(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    bought(shop, 6, 3)
    with clock.at(NOON + timedelta(days=4)):
        assert run(shop.engine, lambda c: promises.refresh(c, ADMIN)) == 1
        assert seen(shop, order_id)["promised_on"] == day(5)
        assert run(shop.engine, lambda c: promises.refresh(c, ADMIN)) == 0
