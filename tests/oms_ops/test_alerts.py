"""A level that falls to its threshold is told once for each time that it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Forbidden, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.stock import thresholds, transfers
from oms_ops.stock.adjustments import Adjustment
from oms_ops.stock.names import Line
from oms_ops.stock.thresholds import Threshold
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")
BUYERS = 12


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def threshold(shop: Shop, units: int | None, sku: str = "SKU-1") -> int:
    wanted = [Threshold(sku, "ATL", units)]
    return run(shop.engine, lambda c: thresholds.put(c, BUYER, wanted))


def told(shop: Shop, **asked: Any) -> list[tuple[str, int, int, bool]]:
    with reading(shop.engine) as connection:
        page, _ = thresholds.raised(connection, CLERK, **asked)
    return [(row["sku"], row["threshold"], row["available"], row["is_open"]) for row in page]


def buy(shop: Shop, units: int = 1) -> None:
    capture(shop.engine, CLERK, order(("SKU-1", units), warehouse="ATL"))


def found(shop: Shop, units: int) -> None:
    lines = [Adjustment("SKU-1", units)]
    run(shop.engine, lambda c: arrivals.adjust(c, WORKER, "ATL", lines, "correction"))


def test_many_buyers_cross_a_threshold_once(shop: Shop) -> None:
    shop.stock("SKU-1", BUYERS)
    threshold(shop, 5)
    start = threading.Barrier(BUYERS)

    def one(_: int) -> None:
        start.wait()
        buy(shop)

    with ThreadPoolExecutor(BUYERS) as pool:
        list(pool.map(one, range(BUYERS)))
    assert shop.level("SKU-1") == (BUYERS, BUYERS)
    assert told(shop) == [("SKU-1", 5, 5, True)]


def test_a_level_that_rose_and_falls_again_is_told_again(shop: Shop) -> None:
    shop.stock("SKU-1", 6)
    threshold(shop, 5)
    buy(shop)
    buy(shop)
    found(shop, 2)
    assert told(shop, only_open=True) == []
    found(shop, -1)
    found(shop, -1)
    assert told(shop) == [("SKU-1", 5, 5, True), ("SKU-1", 5, 5, False)]
    assert told(shop, only_open=True) == [("SKU-1", 5, 5, True)]


def test_a_refused_claim_tells_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 6)
    threshold(shop, 5)
    with pytest.raises(OutOfStock):
        buy(shop, 7)
    assert told(shop) == []


def test_goods_that_are_sent_away_cross_it_too(shop: Shop) -> None:
    shop.stock("SKU-1", 6)
    threshold(shop, 5)

    def send(connection: Any) -> None:
        number = transfers.create(connection, WORKER, "ATL", "NYC", [Line("SKU-1", 4)])
        transfers.send(connection, WORKER, number)

    run(shop.engine, send)
    assert told(shop) == [("SKU-1", 5, 2, True)]


def test_a_threshold_that_rises_past_the_level_is_told_once(shop: Shop) -> None:
    shop.stock("SKU-1", 6)
    assert threshold(shop, 5) == 1
    assert told(shop) == []
    assert threshold(shop, 7) == 1
    assert threshold(shop, 7) == 0
    assert threshold(shop, 8) == 1
    assert told(shop) == [("SKU-1", 7, 6, True)]
    threshold(shop, None)
    assert told(shop, only_open=True) == []


def test_a_sku_that_was_never_stocked_can_have_one(shop: Shop) -> None:
    threshold(shop, 2, "SKU-3")
    assert told(shop) == [("SKU-3", 2, 0, True)]
    assert shop.level("SKU-3") == (0, 0)


def test_who_wants_to_know_gets_a_message(shop: Shop) -> None:
    rules = {"alerts": {"low_stock_email": "stock@example.com"}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    shop.stock("SKU-1", 6)
    threshold(shop, 5)
    buy(shop)
    threshold(shop, 6)
    rows = shop.rows("SELECT recipient FROM outbox_messages WHERE kind = 'stock.low'")
    assert [row[0] for row in rows] == ["stock@example.com"]


def test_every_bad_field_is_named_and_nothing_is_set(shop: Shop) -> None:
    wanted = [
        Threshold("SKU-1", "ATL", 5), Threshold("SKU-9", "ATL", 5), Threshold("SKU-2", "LAX", -1),
        Threshold("SKU-1", "ATL", 6),
    ]  # fmt: skip
    with pytest.raises(ValidationFailed) as refused:
        run(shop.engine, lambda c: thresholds.put(c, BUYER, wanted))
    assert sorted((e.field, e.code) for e in refused.value.errors) == [
        ("thresholds[1].sku", "unknown_sku"),
        ("thresholds[2].units", "out_of_range"),
        ("thresholds[2].warehouse", "unknown_warehouse"),
        ("thresholds[3]", "duplicate"),
    ]
    assert shop.count("stock_levels") == 0


def test_a_clerk_sets_no_threshold(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: thresholds.put(c, CLERK, [Threshold("SKU-1", "ATL", 5)]))
