"""What an order must be: SKU, channel, quantity, address, phone; and when it is held."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.catalog import discounts, skus
from oms_ops.catalog.discounts import DiscountIn
from oms_ops.catalog.skus import SkuIn
from oms_ops.database import make_engine, run
from oms_ops.errors import OutOfStock, ValidationFailed
from oms_ops.orders import writing
from oms_ops.orders.capture import capture, quote
from oms_ops.reconcile import reconcile
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order
from tests.oms_ops.test_bulk import captured
from tests.oms_ops.test_pricing import place, publish, refused

BUYERS = 16


def put_sku(shop: Shop, **fields: Any) -> None:
    sku = SkuIn(**{"code": "SKU-1", "name": "Thing", "currency": "USD", "price": "1.99", **fields})
    run(shop.engine, lambda connection: skus.put(connection, ADMIN, [sku]))


def test_quantities_keep_the_skus_minimum_multiple_and_maximum(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    put_sku(shop, min_quantity=6, quantity_multiple=6, max_quantity=24)
    assert refused(shop, ("SKU-1", 5)) == {"lines[0].quantity": "not_a_multiple"}
    assert refused(shop, ("SKU-1", 18), ("SKU-1", 12)) == {"lines[1].quantity": "above_maximum"}
    assert place(shop, ("SKU-1", 18), ("SKU-1", 6))["status"] == "open"


def test_a_sku_is_sold_in_its_channels_only(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    put_sku(shop, channels=["shop", "phone"])
    assert refused(shop, ("SKU-1", 1)) == {"lines[0].sku": "not_in_channel"}
    assert place(shop, ("SKU-1", 1), channel="phone")["channel"] == "phone"
    publish(shop, channels={"web": {}})
    with pytest.raises(ValidationFailed) as refusal:
        place(shop, ("SKU-1", 1), channel="phone")
    assert [error.code for error in refusal.value.errors] == ["unknown_channel"]


def test_addresses_keep_the_rules_of_their_country(shop: Shop) -> None:
    shop.stock("SKU-1", 100)

    def faults(**changes: Any) -> dict[str, str]:
        body = order(("SKU-1", 1))
        body["ship_to"] = {key: value for key, value in {**body["ship_to"], **changes}.items()
                           if value is not None}  # fmt: skip
        try:
            quote(shop.engine, CLERK, body)
        except ValidationFailed as refusal:
            return {error.field: error.code for error in refusal.errors}
        return {}

    assert faults() == {}
    assert faults(region="Georgia") == {}
    assert faults(region=None) == {"ship_to.region": "required"}
    assert faults(region="ZZ") == {"ship_to.region": "unknown_region"}
    assert faults(postal_code="10001") == {"ship_to.postal_code": "invalid_postal_code"}
    assert faults(postal_code=None) == {"ship_to.postal_code": "required"}
    assert faults(country="GB", region=None, postal_code="SW1A 1AA") == {}
    assert faults(country="GB", region=None, postal_code="30301") != {}
    assert faults(country="IE", region=None, postal_code=None) == {}
    assert faults(country="XX") == {"ship_to.country": "unknown_country"}


def test_phone_numbers_are_kept_in_one_form(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    body = order(("SKU-1", 1))
    body["customer"]["phone"] = "(404) 555-0100"
    body["ship_to"]["phone"] = "+44 20 7946 0018"
    capture(shop.engine, CLERK, body)
    assert shop.rows("SELECT phone FROM customers")[0][0] == "+14045550100"
    assert shop.rows("SELECT ship_phone FROM orders")[0][0] == "+442079460018"
    body["customer"]["phone"] = "12"
    with pytest.raises(ValidationFailed) as refusal:
        capture(shop.engine, CLERK, body)
    assert [error.field for error in refusal.value.errors] == ["customer.phone"]


def test_large_orders_and_unpaid_customers_are_held(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    publish(
        shop,
        holds=[
            {"code": "large", "total_above": "100"},
            {"code": "unpaid", "unpaid_orders": 1},
        ],
    )
    assert place(shop, ("SKU-1", 1))["status"] == "open"
    large = place(shop, ("SKU-1", 51))
    assert (large["status"], large["hold_reason"]) == ("on_hold", "rule: large")
    assert large["fulfilment_status"] == "allocated"
    shipped = "UPDATE shipments SET shipped_at = allocated_at WHERE id = 1"
    run(shop.engine, lambda connection: connection.exec_driver_sql(shipped))
    assert place(shop, ("SKU-1", 1))["hold_reason"] == "rule: unpaid"


def test_a_channel_leaves_its_reserve_under_concurrency(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    publish(shop, channels={"market": {"reserve_units": 4}, "web": {}})

    def buy(_: int) -> bool:
        try:
            place(shop, ("SKU-1", 1), channel="market")
        except OutOfStock:
            return False
        return True

    with ThreadPoolExecutor(BUYERS) as pool:
        assert sum(pool.map(buy, range(BUYERS))) == 6
    assert place(shop, ("SKU-1", 4))["status"] == "open"
    assert shop.level("SKU-1") == (10, 10)


def _race_for(shop: Shop, code: str) -> int:
    def buy(number: int) -> bool:
        try:
            capture(
                shop.engine, CLERK, order(("SKU-1", 1), discount_codes=[code]),
                idempotency_key=f"buyer-{number}",
            )  # fmt: skip
        except ValidationFailed as refusal:
            assert [e.code for e in refusal.errors] == ["discount_used_up"]
            return False
        return True

    with ThreadPoolExecutor(BUYERS) as pool:
        return sum(pool.map(buy, range(BUYERS)))


def _limited(shop: Shop, uses: int) -> None:
    shop.stock("SKU-1", 100)
    wanted = DiscountIn(code="FEW", name="the first", percent="10", use_limit=uses)
    run(shop.engine, lambda connection: discounts.put(connection, ADMIN, wanted))


def test_a_codes_last_use_is_given_once(shop: Shop) -> None:
    _limited(shop, 3)
    assert _race_for(shop, "FEW") == 3
    assert shop.count("orders") == shop.count("discount_uses") == 3
    assert [f.name for f in reconcile(shop.engine) if f.count] == []


def test_negative_control_without_the_guard_a_code_is_given_too_often(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(postgres_url, pool_size=BUYERS)
    shop = Shop(engine)
    _limited(shop, 3)
    guard = " AND (d.use_limit IS NULL OR d.used < d.use_limit)"
    steps = tuple(
        writing.Step(s.rows, s.sql.replace(guard, ""), s.gives, s.complete) for s in writing.STEPS
    )
    assert steps != writing.STEPS
    monkeypatch.setattr(writing, "STEPS", steps)
    run(shop.engine, writing.install)
    check = "ALTER TABLE discounts DROP CONSTRAINT ck_discounts_within_use_limit"
    run(shop.engine, lambda connection: connection.exec_driver_sql(check))
    assert _race_for(shop, "FEW") > 3
    engine.dispose()


def test_a_quote_says_what_an_order_would_and_writes_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    offer = quote(shop.engine, CLERK, order(("SKU-1", 2)))
    assert (offer["totals"]["total"], offer["number"]) == ("3.98", "")
    with pytest.raises(OutOfStock):
        quote(shop.engine, CLERK, order(("SKU-1", 6)))
    assert shop.count("orders") == 0


def test_who_is_short_is_told_what_the_channel_leaves_to_others(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    publish(shop, channels={"web": {"reserve_units": 47}})
    short = "3 of 9 available, beyond the 47 that the channel leaves to others"
    with pytest.raises(OutOfStock) as refusal:
        place(shop, ("SKU-1", 9))
    assert [error.message for error in refusal.value.errors] == [f"SKU-1: {short}"]
    batch = captured(shop, [{"lines": [("SKU-1", 9)], "allow_backorder": False, "channel": "web"}])
    assert [error.message for each in batch.rejected for error in each.errors] == [short]
