"""Whoever waits is told a day that purchase orders or the lead time bear out, and when it moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.fulfilment import arrivals, sending
from oms_ops.notifications.letters import compose
from oms_ops.orders import holds, promises, supply
from oms_ops.orders.amendment import amend
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.capture import capture
from oms_ops.orders.supply import Waiting
from oms_ops.orders.units import CancelledUnits
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts, suppliers
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.rules.document import RoutingRules
from oms_ops.stock import transfers
from oms_ops.stock.names import Line as StockLine
from oms_ops.stock.transfer_receipts import Arrived
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop, order
from tests.oms_ops.test_bulk import captured
from tests.oms_ops.test_order_life import placed, seen

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def _one_day(shop: Shop) -> Iterator[None]:
    """Let the clock stand; whatever a test did, the ledgers agree."""
    with clock.at(NOON):
        yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def bought(
    shop: Shop, units: int, days: int, sku: str = "SKU-1", warehouse: str = "ATL"
) -> dict[str, Any]:
    """Order units that are expected in so many days."""
    return run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse=warehouse, lines=[PurchaseLine(sku, units)],
            expected_on=TODAY + timedelta(days=days),
        ),
    )  # fmt: skip


def asked(shop: Shop, *units: int, sku: str = "SKU-1") -> list[date | None]:
    """Return what would be promised to somebody who waits for so many units."""
    pair = (shop.warehouse_ids["ATL"], shop.sku_ids[sku])
    with reading(shop.engine) as connection:
        wanted = [Waiting(*pair, count, clock.now()) for count in units]
        return promises.promise(connection, RoutingRules(), wanted).days


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
    assert asked(shop, 6, 1, 5, 1) == [TODAY + timedelta(days=n) for n in (3, 9, 9, 9)]


def test_without_a_purchase_order_the_lead_time_counts_from_today(shop: Shop) -> None:
    assert asked(shop, 1) == [TODAY + timedelta(days=5)]
    run(shop.engine, lambda c: c.exec_driver_sql("DELETE FROM supplier_terms"))
    assert asked(shop, 1) == [None]


def test_a_promise_comes_after_all_that_wait_already(shop: Shop) -> None:
    bought(shop, 6, 3)
    bought(shop, 6, 9)
    placed(shop, ("SKU-1", 4), allow_backorder=True)
    assert asked(shop, 2, 1) == [TODAY + timedelta(days=3), TODAY + timedelta(days=9)]


def test_no_day_is_earlier_than_one_further_up_the_queue(shop: Shop) -> None:
    bought(shop, 6, 30)
    bought(shop, 6, 3)
    days = asked(shop, 6, 4, 4, 8)
    # The lead time is 5 days, but what is ordered now fills those before first.
    assert days == [TODAY + timedelta(days=n) for n in (3, 30, 30, 30)]
    orders = [placed(shop, ("SKU-1", units), allow_backorder=True) for units in (6, 4, 4, 8)]
    assert [seen(shop, each)["promised_on"] for each in orders] == [str(each) for each in days]
    assert run(shop.engine, lambda c: promises.update(c, ADMIN, pairs(shop))) == 0
    # Once the lead time is the later, the last wait for that.
    acme = suppliers.SupplierIn(name="Acme", lead_time_days=40)
    run(shop.engine, lambda c: suppliers.put(c, BUYER, "ACME", acme))
    promised = [seen(shop, each)["promised_on"] for each in orders]
    assert promised == [day(3), day(30), day(40), day(40)]


def test_what_is_late_may_stay_away_as_long_again(shop: Shop) -> None:
    bought(shop, 6, 3)
    with clock.at(NOON + timedelta(days=3)):
        assert asked(shop, 1) == [TODAY + timedelta(days=3)]
    with clock.at(NOON + timedelta(days=5)):
        assert asked(shop, 1) == [TODAY + timedelta(days=7)]


def test_what_is_very_late_is_not_promised_for_the_next_decade(shop: Shop) -> None:
    bought(shop, 6, 3)
    with clock.at(NOON + timedelta(days=403)):
        assert asked(shop, 1) == [TODAY + timedelta(days=403 + supply.MOST_DELAY)]


def without_supplier(shop: Shop, sku: str) -> None:
    statement = f"DELETE FROM supplier_terms WHERE sku_id = {shop.sku_ids[sku]}"
    run(shop.engine, lambda c: c.exec_driver_sql(statement))


def letters(shop: Shop, kind: str) -> list[str]:
    """Return the texts of what was written, the oldest first."""
    rows = shop.rows("SELECT payload FROM outbox_messages WHERE kind = :k ORDER BY id", k=kind)
    payloads = [json.loads(r[0]) if isinstance(r[0], str) else r[0] for r in rows]
    return [compose(kind, payload).text for payload in payloads]


def test_a_customer_is_told_what_waits_and_until_when(shop: Shop) -> None:
    without_supplier(shop, "SKU-2")
    shop.stock("SKU-1", 1)
    wanted = (("SKU-1", 4), ("SKU-2", 2))
    order_id = placed(shop, *wanted, allow_backorder=True)
    number = seen(shop, order_id)["number"]
    assert letters(shop, "order.confirmed") == [
        f"Thank you for your order {number}.\nIt comes to 15.92 USD.\n"
        "This is not in stock yet and follows later:\n"
        f"- 3 x Thing 1 (SKU-1), expected on {day(5)}\n"
        "- 2 x Thing 2 (SKU-2), no day yet: we write to you as soon as it has one"
    ]
    amend(shop.engine, CLERK, number, {"lines": [{"line_no": 2, "quantity": 0}]})
    (changed,) = letters(shop, "order.amended")
    assert changed.endswith(f"- 3 x Thing 1 (SKU-1), expected on {day(5)}")
    shop.stock("SKU-3", 2)
    placed(shop, ("SKU-3", 2))
    assert letters(shop, "order.confirmed")[-1].endswith("It comes to 11.94 USD.")


def test_a_batch_tells_it_as_a_single_capture_does(shop: Shop) -> None:
    placed(shop, ("SKU-1", 3), allow_backorder=True)
    captured(shop, [{"lines": [("SKU-1", 3)]}], live=True)
    one, other = letters(shop, "order.confirmed")
    assert one.splitlines()[1:] == other.splitlines()[1:]
    assert one.endswith(f"- 3 x Thing 1 (SKU-1), expected on {day(5)}")


def test_the_tracking_page_shows_the_day(shop: Shop) -> None:
    made = capture(shop.engine, CLERK, order(("SKU-1", 3), allow_backorder=True))
    with TestClient(app_over(shop.engine)) as customer:
        page = customer.get(made["tracking_url"].split("8000")[1]).text
        assert page.count(day(5)) == 2
        without_supplier(shop, "SKU-1")
        run(shop.engine, lambda c: promises.update(c, ADMIN, pairs(shop)))
        page = customer.get(made["tracking_url"].split("8000")[1]).text
    assert (day(5) in page, "All of it expected: no day yet" in page) == (False, True)


def pairs(shop: Shop) -> list[tuple[int, int]]:
    return [(shop.warehouse_ids["ATL"], sku_id) for sku_id in shop.sku_ids.values()]


def test_nobody_knows_an_orders_day_while_a_line_has_none(shop: Shop) -> None:
    without_supplier(shop, "SKU-2")
    wanted = (("SKU-1", 4), ("SKU-2", 2))
    made = seen(shop, placed(shop, *wanted, allow_backorder=True))
    assert [made["promised_on"], made["lines"][0]["promised_on"]] == [None, day(5)]
    captured(shop, [{"lines": list(wanted)}], live=True)
    bought(shop, 12, 3)
    assert [row[0] for row in shop.rows("SELECT promised_on FROM orders")] == [None, None]
    assert told(shop) == []
    first, _ = (row[0] for row in shop.rows("SELECT id FROM orders ORDER BY id"))
    run(shop.engine, lambda c: cancel_units(c, CLERK, [CancelledUnits(first, 2, 2)], "no more"))
    assert seen(shop, first)["promised_on"] == day(3)


def test_a_letter_says_that_there_is_no_day_any_more(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    without_supplier(shop, "SKU-1")
    run(shop.engine, lambda c: promises.update(c, ADMIN, pairs(shop)))
    assert letters(shop, "order.promise_changed") == [
        f"What your order {seen(shop, order_id)['number']} waits for has no day yet: we write to"
        f" you as soon as it has one.\nWe had told you {day(5)}."
    ]


def test_a_transfer_moves_the_promise_as_a_purchase_order_does(shop: Shop) -> None:
    shop.stock("SKU-1", 8, "NYC")
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True, warehouse="ATL")
    second = placed(shop, ("SKU-1", 2), allow_backorder=True, warehouse="ATL")

    def work(connection: Connection) -> str:
        lines = [StockLine("SKU-1", 6)]
        number = transfers.create(
            connection, ADMIN, "NYC", "ATL", lines, expected_on=TODAY + timedelta(days=2)
        )
        sending.send_transfer(connection, ADMIN, number)
        return number

    number = run(shop.engine, work)
    assert [seen(shop, i)["promised_on"] for i in (order_id, second)] == [day(2), day(2)]
    # What is lost on the way delays who counted on it.
    lost = [Arrived(1, 4, lost=2)]
    run(shop.engine, lambda c: arrivals.receive_transfer(c, ADMIN, number, lost))
    assert seen(shop, order_id)["lines"][0]["backordered"] == 0
    assert seen(shop, second)["promised_on"] == day(5)


def test_another_lead_time_or_supplier_moves_the_promises(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    acme = suppliers.SupplierIn(name="Acme", lead_time_days=30)
    run(shop.engine, lambda c: suppliers.put(c, BUYER, "ACME", acme))
    assert seen(shop, order_id)["promised_on"] == day(30)
    with clock.at(NOON + timedelta(days=1)):
        # The same lead time again delays nobody.
        run(shop.engine, lambda c: suppliers.put(c, BUYER, "ACME", acme))
        assert seen(shop, order_id)["promised_on"] == day(30)
    quick = suppliers.SupplierIn(name="Quick", lead_time_days=2)
    run(shop.engine, lambda c: suppliers.put(c, BUYER, "QUICK", quick))
    terms = suppliers.TermIn(currency="USD", unit_cost=Decimal(2), is_preferred=True)
    run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "QUICK", "SKU-1", terms))
    assert seen(shop, order_id)["promised_on"] == day(2)


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


def came(shop: Shop, order: dict[str, Any], units: int) -> None:
    line = order["lines"][0]["id"]
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, order["id"], {line: units}))


def units(shop: Shop, *order_ids: int) -> list[tuple[int, int]]:
    """Return (allocated, backordered) of each order's first line."""
    lines = [seen(shop, order_id)["lines"][0] for order_id in order_ids]
    return [(line["allocated"], line["backordered"]) for line in lines]


@pytest.mark.parametrize("at_once", [False, True])
def test_who_comes_before_others_takes_their_day(shop: Shop, at_once: bool) -> None:
    order = bought(shop, 6, 3)
    web = placed(shop, ("SKU-1", 6), allow_backorder=True)
    last = placed(shop, ("SKU-1", 6), allow_backorder=True)
    earlier = NOON - timedelta(hours=3)
    with clock.at(NOON + timedelta(days=1)):
        if at_once:
            captured(shop, [{"lines": [("SKU-1", 6)], "placed_at": earlier}], live=True)
            early = int(shop.rows("SELECT max(id) FROM orders")[0][0])
        else:
            wanted = {"allow_backorder": True, "placed_at": earlier.isoformat()}
            early = placed(shop, ("SKU-1", 6), **wanted)
    # Who had to wait for goods still to be ordered loses nothing.
    assert [seen(shop, each)["promised_on"] for each in (early, web, last)] == [
        day(3), day(6), day(5),
    ]  # fmt: skip
    number = seen(shop, web)["number"]
    assert told(shop) == [{"order": number, "promised_on": day(6), "was_promised_on": day(3)}]
    with clock.at(NOON + timedelta(days=3)):
        came(shop, order, 6)
    assert units(shop, early, web) == [(6, 0), (0, 6)]


def test_who_comes_last_costs_nobody_a_day(shop: Shop) -> None:
    bought(shop, 6, 3)
    placed(shop, ("SKU-1", 6), allow_backorder=True)
    with clock.at(NOON + timedelta(days=1)):
        moment = (NOON + timedelta(hours=1)).isoformat()
        younger = placed(shop, ("SKU-1", 6), allow_backorder=True, placed_at=moment)
    assert seen(shop, younger)["promised_on"] == day(6)
    assert told(shop) == []


def test_one_queue_for_those_that_may_be_split_and_those_at_home(shop: Shop) -> None:
    wanted = {"allow_backorder": True, "allow_split": True}
    older = placed(shop, ("SKU-1", 6), warehouse="NYC", **wanted)
    with clock.at(NOON + timedelta(hours=1)):
        order = bought(shop, 6, 3)
        younger = placed(shop, ("SKU-1", 6), allow_backorder=True, warehouse="ATL")
    assert [seen(shop, each)["promised_on"] for each in (older, younger)] == [day(3), day(5)]
    with clock.at(NOON + timedelta(days=3)):
        came(shop, order, 6)
    assert units(shop, older, younger) == [(6, 0), (0, 6)]


def test_whether_an_order_may_be_split_is_changed_with_its_day(shop: Shop) -> None:
    bought(shop, 6, 3)
    older = placed(shop, ("SKU-1", 6), allow_backorder=True, warehouse="NYC")
    number = seen(shop, older)["number"]
    with clock.at(NOON + timedelta(hours=1)):
        younger = placed(shop, ("SKU-1", 6), allow_backorder=True, warehouse="ATL")
    for splits, days in ((True, (3, 5)), (False, (5, 3))):
        amend(shop.engine, CLERK, number, {"allow_split": splits})
        promised = [seen(shop, each)["promised_on"] for each in (older, younger)]
        assert promised == [day(count) for count in days]


def test_who_leaves_the_queue_of_another_home_makes_room(shop: Shop) -> None:
    wanted = {"allow_backorder": True, "allow_split": True}
    older = placed(shop, ("SKU-1", 6), warehouse="NYC", **wanted)
    bought(shop, 6, 3)
    with clock.at(NOON + timedelta(hours=1)):
        younger = placed(shop, ("SKU-1", 6), allow_backorder=True, warehouse="ATL")
    run(shop.engine, lambda c: cancel(c, CLERK, [older], "changed her mind"))
    assert seen(shop, younger)["promised_on"] == day(3)


def test_a_warehouse_that_may_not_serve_an_order_promises_it_nothing(shop: Shop) -> None:
    north = {"zones": {"south": ["US-FL"]}, "warehouses": {"ATL": {"zones": ["south"]}}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"routing": north}))
    bought(shop, 6, 3)
    wanted = {"allow_backorder": True, "allow_split": True, "warehouse": "NYC"}
    assert seen(shop, placed(shop, ("SKU-1", 6), **wanted))["promised_on"] == day(5)
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"routing": {"max_splits": 1}}))
    shop.stock("SKU-1", 1, "NYC")
    assert seen(shop, placed(shop, ("SKU-1", 6), **wanted))["promised_on"] == day(5)


def test_a_later_day_elsewhere_delays_nobody_at_other_homes(shop: Shop) -> None:
    wanted = {"allow_backorder": True, "allow_split": True}
    placed(shop, ("SKU-1", 6), warehouse="ATL", **wanted)
    far = placed(shop, ("SKU-1", 6), allow_backorder=True, warehouse="NYC")
    with clock.at(NOON + timedelta(days=2)):
        bought(shop, 6, 9)
        assert seen(shop, far)["promised_on"] == day(5)


@pytest.mark.parametrize("seed", range(6))
def test_who_is_promised_a_day_has_the_goods_on_it(shop: Shop, seed: int) -> None:
    rng = Random(seed)
    coming = []
    for _ in range(rng.randint(1, 4)):
        days, warehouse = rng.randint(1, 4), rng.choice(["ATL", "NYC"])
        coming.append(
            (days, shop.warehouse_ids[warehouse], bought(shop, 6, days, warehouse=warehouse))
        )
    waiting = []
    for _ in range(8):
        moment = NOON - timedelta(minutes=rng.randint(0, 500))
        waiting.append(
            placed(
                shop, ("SKU-1", rng.randint(1, 5)), allow_backorder=True,
                allow_split=rng.random() < 0.5, warehouse=rng.choice(["ATL", "NYC"]),
                placed_at=moment.isoformat(),
            )
        )  # fmt: skip
    promised = [seen(shop, order_id)["promised_on"] for order_id in waiting]
    assert run(shop.engine, lambda c: promises.update(c, ADMIN, all_pairs(shop))) == 0
    served: dict[int, str] = {}
    for days, _, bringing in sorted(coming, key=lambda each: each[:2]):
        with clock.at(NOON + timedelta(days=days)):
            came(shop, bringing, 6)
        for order_id, (_, left) in zip(waiting, units(shop, *waiting), strict=True):
            if not left:
                served.setdefault(order_id, day(days))
    for order_id, on in zip(waiting, promised, strict=True):
        # Who is not served by what was coming waits for the lead time, at the least.
        assert served.get(order_id, on) == on
        assert order_id in served or on >= day(5)


def all_pairs(shop: Shop) -> list[tuple[int, int]]:
    return [(home, sku) for home in shop.warehouse_ids.values() for sku in shop.sku_ids.values()]
