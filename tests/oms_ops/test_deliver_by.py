"""Each order has a day by which its customer is to have it: deliveries are held against it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.fulfilment import picking, waves
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders import promises, queries
from oms_ops.orders.amendment import amend
from oms_ops.orders.cancellation import cancel_units
from oms_ops.orders.capture import capture
from oms_ops.orders.units import CancelledUnits
from oms_ops.purchasing import confirmation, orders
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.rules import store
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop, order

#: In New York, where the shop's clock may stand, it is still the day before.
LATE = datetime(2026, 3, 3, 2, tzinfo=UTC)
RULES = {
    "delivery": [
        {"handling_days": 0, "transit_days": 1, "places": ["US-NY"]},
        {"handling_days": 1, "transit_days": 2, "channels": ["web"]},
    ]
}
NEW_YORK = {
    "name": "Eve", "line1": "5th Avenue 1", "city": "New York", "region": "NY",
    "postal_code": "10001", "country": "US",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _rules(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMS_TIMEZONE", "America/New_York")
    settings.cache_clear()
    run(shop.engine, lambda c: store.publish(c, ADMIN, RULES))
    with clock.at(LATE):
        yield


def sold(shop: Shop, *lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
    return capture(shop.engine, CLERK, order(*lines, **changes))


def day(shop: Shop, made: dict[str, Any]) -> str | None:
    with reading(shop.engine) as connection:
        found: str | None = queries.get(connection, made["number"])["deliver_by"]
    return found


def bought(shop: Shop, units: int) -> str:
    line = PurchaseLine("SKU-1", units)
    made = run(
        shop.engine,
        lambda c: orders.create(c, BUYER, supplier="ACME", warehouse="ATL", lines=[line]),
    )
    return str(made["number"])


def test_what_is_in_stock_is_there_after_handling_and_transit(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    made = sold(shop, ("SKU-1", 1))
    assert (made["deliver_by"], made["promised_on"]) == ("2026-03-05", None)
    assert day(shop, made) == "2026-03-05"
    assert sold(shop, ("SKU-1", 1), ship_to=NEW_YORK)["deliver_by"] == "2026-03-03"
    earlier = (LATE - timedelta(days=9)).isoformat()
    assert sold(shop, ("SKU-1", 1), placed_at=earlier)["deliver_by"] == "2026-02-24"


def test_without_a_rule_there_is_no_day(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    assert sold(shop, ("SKU-1", 1), channel="store")["deliver_by"] is None


def test_what_waits_is_there_so_many_days_after_it_came_in(shop: Shop) -> None:
    shop.stock("SKU-2", 9)
    made = sold(shop, ("SKU-1", 3), ("SKU-2", 1), allow_backorder=True)
    # The supplier's five days, then three.
    assert (made["promised_on"], made["deliver_by"]) == ("2026-03-07", "2026-03-10")
    number = bought(shop, 6)
    later = LATE.date() + timedelta(days=19)
    run(shop.engine, lambda c: confirmation.confirm(c, BUYER, number, confirmed_on=later))
    assert day(shop, made) == str(later + timedelta(days=3))
    run(
        shop.engine,
        lambda c: c.exec_driver_sql("UPDATE supplier_terms SET is_preferred = false"),
    )
    run(shop.engine, lambda c: confirmation.cancel(c, BUYER, number, "too late"))
    assert day(shop, made) is None
    # Nobody knows when it comes: no day is better than one that nobody can keep.
    assert sold(shop, ("SKU-1", 3), allow_backorder=True)["deliver_by"] is None


def test_what_is_left_when_the_waiting_line_is_cancelled_is_there_as_if_nothing_had_waited(
    shop: Shop,
) -> None:
    shop.stock("SKU-2", 9)
    made = sold(shop, ("SKU-1", 3), ("SKU-2", 1), allow_backorder=True)
    assert (made["promised_on"], made["deliver_by"]) == ("2026-03-07", "2026-03-10")
    waits = CancelledUnits(int(made["number"][3:]) - 10_000_000, 1, 3)
    run(shop.engine, lambda c: cancel_units(c, CLERK, [waits], "changed her mind"))
    assert day(shop, made) == "2026-03-05"
    assert [row[0] for row in shop.rows("SELECT promised_on FROM orders")] == [None]


def test_a_short_pick_moves_the_day(shop: Shop) -> None:
    shop.stock("SKU-1", 3)
    made = sold(shop, ("SKU-1", 3))
    wave = run(shop.engine, lambda c: waves.open_wave(c, ADMIN, "ATL", Limits()))
    picks = {row[0]: 0 for row in shop.rows("SELECT id FROM picks")}
    run(shop.engine, lambda c: picking.confirm(c, ADMIN, wave, picks))
    assert day(shop, made) == "2026-03-10"


def test_a_promise_that_is_renewed_moves_the_day(shop: Shop) -> None:
    made = sold(shop, ("SKU-1", 3), allow_backorder=True)
    with clock.at(LATE + timedelta(days=10)):
        run(shop.engine, lambda c: promises.refresh(c, ADMIN))
    assert day(shop, made) == "2026-03-20"


def test_an_amendment_asks_for_no_more_than_is_possible(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    made = sold(shop, ("SKU-1", 1))
    with clock.at(LATE + timedelta(days=4)):
        fewer = {"lines": [{"line_no": 1, "quantity": 1}], "note": "ring"}
        amend(shop.engine, CLERK, made["number"], fewer)
        assert day(shop, made) == "2026-03-05"
        more = {"lines": [{"line_no": 1, "quantity": 2}]}
        amend(shop.engine, CLERK, made["number"], more)
        assert day(shop, made) == "2026-03-09"
        amend(shop.engine, CLERK, made["number"], {"ship_to": NEW_YORK})
        assert day(shop, made) == "2026-03-07"


def test_customer_and_warehouse_see_the_day(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    made = sold(shop, ("SKU-1", 1))
    with reading(shop.engine) as connection:
        (shipment,) = queries.shipments(connection, CLERK, made["number"])
    assert (shipment["deliver_by"], shipment["promised_on"]) == ("2026-03-05", None)
    client = TestClient(app_over(shop.engine))
    page = "/track/" + made["tracking_url"].rpartition("/")[2]
    assert "Delivery by 2026-03-05" in client.get(page).text
    none = sold(shop, ("SKU-1", 1), channel="store")
    page = "/track/" + none["tracking_url"].rpartition("/")[2]
    assert "Delivery by" not in client.get(page).text
