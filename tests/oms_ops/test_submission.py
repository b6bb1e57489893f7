"""One answer names every bad field, whatever else is wrong; blank texts say nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.catalog import discounts
from oms_ops.catalog.discounts import DiscountIn
from oms_ops.database import run
from oms_ops.errors import Conflict, ValidationFailed
from oms_ops.orders import submission
from oms_ops.orders.amendment import amend
from oms_ops.orders.capture import capture
from oms_ops.regions import code_of
from oms_ops.stock import warehouses
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order
from tests.oms_ops.test_order_rules import put_sku
from tests.oms_ops.test_pricing import publish


def faults(shop: Shop, body: dict[str, Any]) -> set[tuple[str, str]]:
    """Return what a submission is refused for."""
    with pytest.raises(ValidationFailed) as refusal:
        capture(shop.engine, CLERK, body)
    return {(error.field, error.code) for error in refusal.value.errors}


def test_a_bad_e_mail_hides_nothing(shop: Shop) -> None:
    put_sku(shop, min_quantity=6)
    body = order(
        ("SKU-1", 1), ("NOPE", 1), ("SKU-2", 1), discount_codes=["NONE"], warehouse="NOWHERE",
        shipping="1.001",
    )  # fmt: skip
    body["customer"] = {"email": "no address", "name": "Bob", "phone": "12"}
    body["ship_to"] |= {"phone": "555 0123", "region": "ZZ"}
    body["lines"][2] |= {"unit_price": "1.999"}
    assert faults(shop, body) == {
        ("customer.email", "invalid"), ("customer.phone", "string_too_short"),
        ("ship_to.phone", "invalid_phone"), ("ship_to.region", "unknown_region"),
        ("lines[0].quantity", "below_minimum"), ("lines[1].sku", "unknown_sku"),
        ("lines[2].unit_price", "invalid_amount"), ("discount_codes[0]", "unknown_discount"),
        ("warehouse", "unknown_warehouse"), ("shipping", "invalid_amount"),
    }  # fmt: skip


def test_a_fault_of_one_line_hides_none_of_another(shop: Shop) -> None:
    put_sku(shop, code="SKU-3", quantity_multiple=2)
    body = order(("SKU-1", 1), ("SKU-1", 1), ("SKU-3", 1), ("SKU-5", 1))
    body["lines"][0]["quantity"] = "one"
    body["lines"][1]["expected_unit_price"] = "1.00"
    body["lines"][2]["colour"] = "red"
    assert faults(shop, body) == {
        ("lines[0].quantity", "int_type"), ("lines[1].expected_unit_price", "price_changed"),
        ("lines[2].colour", "unknown_field"), ("lines[2].quantity", "not_a_multiple"),
        ("lines[3].sku", "inactive_sku"),
    }  # fmt: skip


def test_a_catalogue_fault_hides_no_price(shop: Shop) -> None:
    body = order(("SKU-5", 1), ("SKU-1", 1), expected_total="1.00")
    body["lines"][1]["expected_unit_price"] = "1.00"
    assert faults(shop, body) == {
        ("lines[0].sku", "inactive_sku"), ("lines[1].expected_unit_price", "price_changed"),
        ("expected_total", "total_changed"),
    }  # fmt: skip
    # What an unknown SKU costs nobody knows, so nothing is said of the total but its form.
    body = order(("NOPE", 1), ("SKU-1", 1), expected_total="1.001")
    body["lines"][1]["expected_unit_price"] = "1.00"
    assert faults(shop, body) == {
        ("lines[0].sku", "unknown_sku"), ("lines[1].expected_unit_price", "price_changed"),
        ("expected_total", "invalid_amount"),
    }  # fmt: skip


def test_what_depends_on_a_bad_field_is_not_said(shop: Shop) -> None:
    wanted = DiscountIn(code="TRADE", name="t", percent=Decimal(10), customer_group="trade")
    run(shop.engine, lambda connection: discounts.put(connection, ADMIN, wanted))
    body = order(("SKU-1", 1), discount_codes=["TRADE"], expected_total="1.00")
    body["customer"]["email"] = "no address"
    body["lines"][0]["expected_unit_price"] = "1.00"
    assert faults(shop, body) == {("customer.email", "invalid")}
    body = order(("SKU-1", 1), currency="usd", expected_total="1.001")
    assert faults(shop, body) == {("currency", "invalid")}
    put_sku(shop, channels=["shop"])
    assert faults(shop, order(("SKU-1", 1), channel=7)) == {("channel", "string_type")}


@pytest.mark.parametrize(
    "payload",
    [
        None, 1, [], "x", {}, {"lines": 1}, {"lines": [1, {}]},
        {"customer": [], "ship_to": 3, "discount_codes": [1, "A"]},
    ],
)  # fmt: skip
def test_whatever_is_submitted_is_refused_with_its_fields(payload: Any) -> None:
    read = submission.read(payload)
    assert read.order is None
    assert read.errors


def test_an_order_that_is_here_is_a_duplicate_when_the_stock_is_gone(shop: Shop) -> None:
    shop.stock("SKU-1", 1)
    body = order(("SKU-1", 1), external_id="E-1")
    capture(shop.engine, CLERK, body)
    with pytest.raises(Conflict) as refusal:
        capture(shop.engine, CLERK, body)
    assert [error.code for error in refusal.value.errors] == ["duplicate"]


@pytest.mark.parametrize("scope", ["shopify", "/drafts", "import:web"])
def test_a_callers_keys_are_none_of_the_houses(shop: Shop, scope: str) -> None:
    shop.stock("SKU-1", 2)
    first, other = order(("SKU-1", 1)), order(("SKU-1", 1), note="another")
    capture(shop.engine, CLERK, first, idempotency_key="1", key_scope=scope)
    caller = Actor(scope, "clerk")
    answer = capture(shop.engine, caller, other, idempotency_key="1")
    assert answer["number"] == "SO-10000002"
    assert capture(shop.engine, caller, other, idempotency_key="1") == answer


def test_a_blank_text_is_a_missing_one(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    put_sku(shop, channels=["web"])
    body = order(("SKU-1", 1), channel=" web ", external_id=" ", warehouse="")
    body["customer"]["phone"] = ""
    body["ship_to"] |= {"phone": " ", "line2": ""}
    assert capture(shop.engine, CLERK, body)["external_id"] is None
    body["ship_to"] |= {"name": " ", "postal_code": ""}
    assert faults(shop, body) == {
        ("ship_to.name", "required"), ("ship_to.postal_code", "required")
    }  # fmt: skip


@pytest.mark.parametrize("region", ["GA", "ga", "Georgia", "US-GA", " georgia "])
def test_a_region_is_one_however_it_is_written(shop: Shop, region: str) -> None:
    shop.stock("SKU-1", 5)
    publish(
        shop,
        taxes=[{"percent": "50", "places": ["US-GA"], "categories": ["standard"]}],
        shipping=[{"name": "near", "currency": "USD", "charge": "3", "places": ["US-Georgia"]}],
        holds=[{"code": "here", "total_above": "0", "places": ["US-GA"]}],
        routing={"zones": {"south": ["US-GA"]}, "warehouses": {"ATL": {"zones": ["south"]}}},
    )
    body = order(("SKU-1", 2))
    body["ship_to"]["region"] = region
    answer = capture(shop.engine, CLERK, body)
    assert answer["ship_to"]["region"] == "GA"
    assert (answer["totals"]["tax"], answer["totals"]["shipping"]) == ("1.99", "3.00")
    assert answer["hold_reason"] == "rule: here"


@pytest.mark.parametrize(
    ("country", "written", "code"),
    [
        ("JP", "JP-13", "13"), ("JP", "Tokyo", "13"), ("JP", "東京都", "13"), ("MX", "CMX", "CMX"),
        ("MX", "DF", "CMX"), ("MX", "Ciudad de Mexico", "CMX"), ("KR", "KR-11", "11"),
        ("CN", "GD", "GD"), ("CN", "44", "GD"), ("IN", "MH", "MH"), ("IN", "OR", "OD"),
        ("AE", "AZ", "AZ"), ("AE", "dubai", "DU"), ("HK", "HK", "Hong Kong Island"),
        ("HK", "KL", "Kowloon"), ("TW", "TPE", "TPE"), ("CA", "Québec", "QC"),
        ("CA", "quebec", "QC"), ("ES", "A Coruña", "C"), ("US", "ZZ", None), ("GB", "Kent", None),
        ("CN", "Guangdong", "GD"), ("CN", "beijing", "BJ"), ("RU", "Moscow", "MOW"),
        ("RU", "St. Petersburg", "SPE"),
    ],
)  # fmt: skip
def test_regions_are_known_by_code_and_name(country: str, written: str, code: str | None) -> None:
    assert code_of(country, written) == code


@pytest.mark.parametrize(
    ("ship_to", "wrong"),
    [
        ({"country": "JP", "region": "JP-13", "postal_code": "100-0001"}, []),
        ({"country": "HK", "region": "KL"}, []),
        ({"country": "SG", "postal_code": "238801"}, []),
        ({"country": "CN", "region": "GD", "postal_code": "510000"}, ["ship_to.city"]),
        ({"country": "DE", "postal_code": "10115"}, ["ship_to.city"]),
    ],
)
def test_a_city_is_asked_for_where_the_country_does(
    shop: Shop, ship_to: dict[str, Any], wrong: list[str]
) -> None:
    shop.stock("SKU-1", 1)
    body = order(("SKU-1", 1), ship_to={"name": "N", "line1": "1", **ship_to})
    if wrong:
        assert faults(shop, body) == {(field, "required") for field in wrong}
    else:
        assert capture(shop.engine, CLERK, body)["ship_to"]["city"] is None


def test_an_amended_address_and_a_warehouse_keep_the_regions_code(shop: Shop) -> None:
    shop.stock("SKU-1", 1)
    body = order(("SKU-1", 1))
    number = capture(shop.engine, CLERK, body)["number"]
    to = {**body["ship_to"], "region": "new york", "postal_code": "10001", "phone": "2125550100"}
    answer = amend(shop.engine, CLERK, number, {"ship_to": to})["order"]
    assert (answer["ship_to"]["region"], answer["ship_to"]["phone"]) == ("NY", "+12125550100")
    place = {"line1": "", "city": "Tokyo", "region": "Tokyo", "postal_code": "1", "country": "JP"}
    run(shop.engine, lambda c: warehouses.create(c, ADMIN, code="TYO", name="T", **place))
    assert shop.rows("SELECT region FROM warehouses WHERE code = 'TYO'")[0][0] == "13"
