"""What comes in goes to who waits longest, at whatever home; channels leave what they must."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from oms_ops import clock
from oms_ops.database import run
from oms_ops.fulfilment import arrivals
from oms_ops.orders import holds
from oms_ops.orders.cancellation import cancel
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.stock.adjustments import Adjustment
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import placed, seen
from tests.oms_ops.test_promises import bought, day
from tests.oms_ops.test_races import both

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Let the clock stand; whatever a test did, the ledgers agree."""
    with clock.at(NOON):
        yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def came(shop: Shop, units: int, warehouse: str = "NYC", sku: str = "SKU-1") -> int:
    """Find units in a warehouse; return how many of them backorders got."""
    found = [Adjustment(sku, units)]
    return run(
        shop.engine, lambda c: arrivals.adjust(c, ADMIN, warehouse, found, "found", "in a corner")
    )


def waits(shop: Shop, units: int, home: str = "ATL", **more: Any) -> int:
    """Place an order that waits at ``home``; by default it may be split."""
    wanted = {"allow_split": True, "allow_backorder": True, "warehouse": home, **more}
    return placed(shop, ("SKU-1", units), **wanted)


def got(shop: Shop, *order_ids: int) -> list[dict[str, int]]:
    """Return the units of each order by warehouse."""
    rows = shop.rows(
        "SELECT s.order_id, w.code, sum(x.quantity) FROM shipments AS s"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id"
        " JOIN warehouses AS w ON w.id = s.warehouse_id WHERE s.status <> 'cancelled'"
        " GROUP BY s.order_id, w.code"
    )
    return [{row[1]: int(row[2]) for row in rows if row[0] == i} for i in order_ids]


def test_an_order_that_may_be_split_is_served_from_any_warehouse_in_its_turn(shop: Shop) -> None:
    old = waits(shop, 3)
    home = waits(shop, 1, "NYC", allow_split=False)
    young = waits(shop, 3)
    assert came(shop, 5) == 5
    assert got(shop, old, home, young) == [{"NYC": 3}, {"NYC": 1}, {"NYC": 1}]


def test_an_order_that_may_not_be_split_waits_for_its_home(shop: Shop) -> None:
    old = waits(shop, 3, allow_split=False)
    assert came(shop, 5) == 0
    assert came(shop, 2, "ATL") == 2
    assert got(shop, old) == [{"ATL": 2}]


def test_who_waits_at_its_home_is_promised_an_earlier_day(shop: Shop) -> None:
    bought(shop, 6, 3)
    first, second = waits(shop, 6), waits(shop, 6)
    assert seen(shop, second)["promised_on"] == day(5)
    came(shop, 6)
    assert got(shop, first) == [{"NYC": 6}]
    assert seen(shop, second)["promised_on"] == day(3)


def test_no_order_is_split_more_often_or_further_than_the_rules_say(shop: Shop) -> None:
    shop.stock("SKU-1", 1)
    once = waits(shop, 3)
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"routing": {"max_splits": 1}}))
    assert came(shop, 1) == 0
    north = {"zones": {"north": ["US-NY"]}, "warehouses": {"NYC": {"zones": ["north"]}}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"routing": north}))
    assert came(shop, 1) == 0
    run(shop.engine, lambda c: store.publish(c, ADMIN, {}))
    assert came(shop, 1) == 2
    assert got(shop, once) == [{"ATL": 1, "NYC": 2}]


def test_a_released_order_gets_what_came_elsewhere_while_it_was_held(shop: Shop) -> None:
    order_id = waits(shop, 3)
    run(shop.engine, lambda c: holds.hold(c, CLERK, [order_id], "check"))
    assert came(shop, 5) == 0
    run(shop.engine, lambda c: holds.release(c, CLERK, [order_id]))
    assert got(shop, order_id) == [{"NYC": 3}]


def test_backorders_leave_what_their_channel_must_leave(shop: Shop) -> None:
    rules = {"channels": {"web": {"reserve_units": 2}, "shop": {}}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    web = waits(shop, 5)
    assert came(shop, 5, "ATL") == 3
    # Those of a channel without a reserve come after, and may take it.
    other = waits(shop, 4, channel="shop")
    assert got(shop, web, other) == [{"ATL": 3}, {"ATL": 2}]
    assert came(shop, 3, "ATL") == 3
    assert got(shop, web, other) == [{"ATL": 4}, {"ATL": 4}]
    assert shop.level("SKU-1") == (8, 8)


@pytest.mark.parametrize("cancels_first", [True, False])
def test_a_receipt_elsewhere_and_a_cancellation_meet_at_the_order(
    shop: Shop, cancels_first: bool
) -> None:
    order_id = waits(shop, 3)
    found = [Adjustment("SKU-1", 5)]
    steps = [
        lambda c: cancel(c, CLERK, [order_id], "no more"),
        lambda c: arrivals.adjust(c, ADMIN, "NYC", found, "found", "in a corner"),
    ]
    both(shop, *(steps if cancels_first else reversed(steps)))
    assert seen(shop, order_id)["status"] == "cancelled"
    assert shop.level("SKU-1", "NYC") == (5, 0)
