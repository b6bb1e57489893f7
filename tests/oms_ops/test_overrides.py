"""Who may state prices, and how far what is stated may go."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.access.actor import ORDERS_WRITE, PAYMENTS_WRITE, PRICES_OVERRIDE, Actor
from oms_ops.database import run
from oms_ops.errors import Forbidden
from oms_ops.orders.amendment import amend
from oms_ops.orders.bulk import capture_many
from oms_ops.orders.capture import capture
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import CLERK, Shop, order
from tests.oms_ops.test_bulk import batch
from tests.oms_ops.test_pricing import place, publish, refused

#: A storefront's key: it orders at the shop's terms.
STORE = Actor("storefront", "clerk", frozenset({ORDERS_WRITE, PAYMENTS_WRITE}))


def lined(**line: Any) -> dict[str, Any]:
    """Return an order of two SKU-1 at 1.99, with something stated of the line."""
    body = order(("SKU-1", 2))
    body["lines"][0] |= line
    return body


def forbidden(shop: Shop, body: dict[str, Any]) -> set[str]:
    """Return the fields for which the storefront's order is refused."""
    with pytest.raises(Forbidden) as refusal:
        capture(shop.engine, STORE, body)
    assert {error.code for error in refusal.value.errors} == {"not_permitted"}
    return {error.field for error in refusal.value.errors}


def test_other_prices_than_the_shops_need_a_permission(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    publish(shop, taxes=[{"percent": "10"}],
            shipping=[{"name": "s", "currency": "USD", "charge": "5"}])  # fmt: skip
    for name, value in (("unit_price", "0"), ("discount", "1"), ("discount_percent", "5"),
                        ("tax", "0"), ("amount", "3.97")):  # fmt: skip
        assert f"lines[0].{name}" in forbidden(shop, lined(**{name: value}))
    for name, value in (("discount", "1"), ("discount_percent", "100"), ("shipping", "0"),
                        ("shipping_tax", "0"), ("tax_included", True)):  # fmt: skip
        assert name in forbidden(shop, {**lined(), name: value})
    # What it states as the shop would is no override; and a clerk may say anything.
    shops = {**lined(unit_price="1.99", tax="0.40"), "shipping": "5.00", "shipping_tax": "0.50"}
    assert capture(shop.engine, STORE, shops)["totals"]["total"] == "9.88"
    assert capture(shop.engine, CLERK, lined(unit_price="0"))["totals"]["gross"] == "0.00"


def test_a_batch_keeps_to_what_its_actor_may_state(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    wanted = [{"lines": [("SKU-1", 1, {"unit_price_minor": price})]} for price in (199, 1, None)]
    result = run(shop.engine, lambda c: capture_many(c, STORE, *batch(wanted)))
    assert result.orders == 2
    assert [(e.field, e.code) for r in result.rejected for e in r.errors] == [
        ("lines[0].unit_price", "not_permitted")
    ]
    assert run(shop.engine, lambda c: capture_many(c, CLERK, *batch(wanted[1:2]))).orders == 0


def test_an_amendment_is_no_way_around(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    shop.stock("SKU-2", 9)
    number = place(shop, ("SKU-1", 1), allow_backorder=True)["number"]
    for line in ({"unit_price": "0.01"}, {"discount": "1"}):
        with pytest.raises(Forbidden):
            amend(shop.engine, STORE, number, {"lines": [{"sku": "SKU-2", "quantity": 1, **line}]})
    at_the_shops = {"lines": [{"sku": "SKU-2", "quantity": 1, "unit_price": "3.98"}]}
    assert amend(shop.engine, STORE, number, at_the_shops)["difference"] == "3.98"


def test_a_key_without_the_scope_is_refused_and_a_clerks_is_not(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    scopes = [[ORDERS_WRITE], [ORDERS_WRITE, PRICES_OVERRIDE], None]
    statuses = []
    with TestClient(app_over(shop.engine)) as client:
        for number, each in enumerate(scopes):
            key = run(
                shop.engine,
                lambda c, n=number, s=each: keys.create(c, "clerk", f"key {n}", scopes=s),
            )
            answer = client.post("/v1/orders", json=lined(unit_price="1"),
                                 headers={"Authorization": f"Bearer {key}"})  # fmt: skip
            statuses.append(answer.status_code)
    assert statuses == [403, 201, 201]


def test_an_expected_price_is_compared_with_a_stated_one_too(shop: Shop) -> None:
    with pytest.raises(Exception, match=r"now 1\.50 USD"):
        capture(shop.engine, CLERK, lined(unit_price="1.50", expected_unit_price="1.99"))
    with pytest.raises(Exception, match=r"now 1\.50 USD"):
        capture(shop.engine, CLERK, lined(amount="3.00", expected_unit_price="1.99"))


def test_an_included_tax_is_no_more_than_the_price_it_is_in(shop: Shop) -> None:
    line = {"sku": "SKU-1", "quantity": 1, "unit_price": "1", "tax": "50"}
    stated = {"tax_included": True, "shipping": "0", "shipping_tax": "9", "lines": [line]}
    assert refused(shop, **stated) == {"lines[0].tax": "too_large", "shipping_tax": "too_large"}
    shop.stock("SKU-1", 1)
    answer = place(shop, **{**stated, "tax_included": False})
    assert answer["totals"]["total"] == "60.00"


def test_rounding_is_no_discount(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    for amount in ("0.00", "199.97", "200.03"):
        line = {"sku": "SKU-1", "quantity": 2, "unit_price": "100", "amount": amount}
        assert refused(shop, lines=[line]) == {"lines[0].amount": "beyond_rounding"}
    line["amount"] = "199.98"
    assert place(shop, lines=[line])["totals"]["rounding"] == "-0.02"


def test_a_batch_bounds_what_is_stated_without_a_rule_too(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    stated: list[Any] = [
        {"lines": [("SKU-1", 2, {"rounding_minor": -3})]},
        {"lines": [("SKU-1", 2, {"rounding_minor": -2})]},
        {"lines": [("SKU-1", 1, {"tax_minor": 200})], "tax_included": True},
        {"lines": [("SKU-1", 1)], "tax_included": True, "shipping_minor": 5,
         "shipping_tax_minor": 6},
        {"lines": [("SKU-1", 1, {"tax_minor": 200})], "tax_included": False},
    ]  # fmt: skip
    result = run(shop.engine, lambda c: capture_many(c, CLERK, *batch(stated)))
    assert result.orders == 2
    assert [(e.field, e.code) for r in result.rejected for e in r.errors] == [
        ("lines[0].amount", "beyond_rounding"), ("lines[0].tax", "too_large"),
        ("shipping_tax", "too_large"),
    ]  # fmt: skip
