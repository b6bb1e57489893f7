"""Promise 4: prices, discounts, taxes, shipping and rounding add up to the total to the cent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from oms_ops.catalog import discounts, prices
from oms_ops.catalog.discounts import DiscountIn
from oms_ops.catalog.prices import ListedPrice
from oms_ops.cli import app
from oms_ops.database import reading, run
from oms_ops.errors import ValidationFailed
from oms_ops.orders import charges
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.rules import advice, store
from oms_ops.rules.document import Rules
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """Return a shop with plenty of everything."""
    for sku in ("SKU-1", "SKU-2", "SKU-3"):
        shop.stock(sku, 1000)
    return shop


def publish(shop: Shop, **document: Any) -> None:
    """Put rules in force."""
    run(shop.engine, lambda connection: store.publish(connection, ADMIN, document))


def price_list(shop: Shop, code: str, *listed: ListedPrice, **fields: Any) -> None:
    """Put a price list into the shop."""
    fields = {"name": code, "currency": "USD", **fields}
    run(shop.engine, lambda c: prices.put_list(c, ADMIN, code, **fields))
    run(shop.engine, lambda c: prices.set_prices(c, ADMIN, code, listed))


def place(shop: Shop, *lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
    """Capture an order."""
    return capture(shop.engine, CLERK, order(*lines, **changes))


def refused(shop: Shop, *lines: tuple[str, int], **changes: Any) -> dict[str, str]:
    """Return what an order is refused for: field to code."""
    with pytest.raises(ValidationFailed) as refusal:
        place(shop, *lines, **changes)
    assert shop.count("orders") == 0
    return {error.field: error.code for error in refusal.value.errors}


def sound(shop: Shop) -> bool:
    """Tell whether every promise holds in the database."""
    return [finding.name for finding in reconcile(shop.engine) if finding.count] == []


def test_a_quantity_break_a_group_and_a_validity_choose_the_price(stocked: Shop) -> None:
    price_list(stocked, "ALL", ListedPrice("SKU-1", Decimal("1.50")),
               ListedPrice("SKU-1", Decimal("1.20"), 10))  # fmt: skip
    price_list(stocked, "TRADE", ListedPrice("SKU-1", Decimal("1.00")), customer_group="trade")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    price_list(stocked, "OVER", ListedPrice("SKU-1", Decimal("0.10")), priority=9,
               valid_to=yesterday)  # fmt: skip
    few, many = place(stocked, ("SKU-1", 9)), place(stocked, ("SKU-1", 10))
    assert (few["lines"][0]["unit_price"], few["lines"][0]["price_source"]) == ("1.50", "ALL")
    assert many["lines"][0]["unit_price"] == "1.20"
    run(
        stocked.engine,
        lambda c: c.exec_driver_sql("UPDATE customers SET customer_group = 'trade'"),
    )
    assert place(stocked, ("SKU-1", 10))["lines"][0]["price_source"] == "TRADE"
    assert place(stocked, ("SKU-2", 1))["lines"][0]["price_source"] == "list"
    assert sound(stocked)


def test_a_price_that_is_not_the_one_shown_is_refused(stocked: Shop) -> None:
    body = order(("SKU-1", 1))
    body["lines"][0]["expected_unit_price"] = "1.89"
    with pytest.raises(ValidationFailed) as refusal:
        capture(stocked.engine, CLERK, body)
    (fault,) = refusal.value.errors
    assert (fault.field, fault.code, fault.message) == (
        "lines[0].expected_unit_price", "price_changed", "now 1.99 USD",
    )  # fmt: skip
    assert refused(stocked, ("SKU-1", 1), expected_total="2.00") == {
        "expected_total": "total_changed"
    }
    assert place(stocked, ("SKU-1", 1), expected_total="1.99")["totals"]["total"] == "1.99"


def test_tax_on_top_is_rounded_once_a_rate_and_spread(stocked: Shop) -> None:
    publish(
        stocked,
        taxes=[
            {"percent": "0", "categories": ["shipping"]},
            {"percent": "8.875", "places": ["US-NY"]},
            {"percent": "4", "places": ["US"]},
        ],
    )
    answer = place(stocked, ("SKU-1", 1), ("SKU-1", 1), ("SKU-1", 1), shipping="5.00")
    # 3 x 1.99 = 5.97, of which 4 % is 0.2388: 0.24, where three lines of 0.08 would make it too.
    assert [line["tax"] for line in answer["lines"]] == ["0.08", "0.08", "0.08"]
    assert (answer["totals"]["tax"], answer["totals"]["total"]) == ("0.24", "11.21")
    body = order(("SKU-1", 1), ("SKU-2", 3))
    body["ship_to"] |= {"region": "NY", "postal_code": "10001", "city": "New York"}
    answer = capture(stocked.engine, CLERK, body)
    assert answer["lines"][0]["tax_percent"] == "8.875"
    assert answer["totals"]["tax"] == "1.24"
    assert sound(stocked)


def test_tax_that_prices_include_is_shown_and_not_added(stocked: Shop) -> None:
    publish(stocked, prices_include_tax=True, taxes=[{"percent": "20"}])
    answer = place(stocked, ("SKU-1", 6), shipping="6.00")
    assert answer["tax_included"] is True
    assert answer["totals"]["total"] == "17.94"
    # 11.94 holds 1.99 of tax, 6.00 holds 1.00.
    assert (answer["lines"][0]["tax"], answer["totals"]["shipping_tax"]) == ("1.99", "1.00")
    assert answer["totals"]["tax"] == "2.99"
    assert sound(stocked)


def test_shipping_is_charged_by_the_first_rule_that_fits(stocked: Shop) -> None:
    publish(
        stocked,
        shipping=[
            {"name": "free", "currency": "USD", "charge": "0", "places": ["US"], "min_net": "20"},
            {"name": "state", "currency": "USD", "charge": "3.00", "places": ["US-GA"]},
            {"name": "rest", "currency": "USD", "charge": "9.00", "per_kilogram": "1.50"},
        ],
    )
    assert place(stocked, ("SKU-1", 1))["totals"]["shipping"] == "3.00"
    assert place(stocked, ("SKU-1", 11))["totals"]["shipping"] == "0.00"
    body = order(("SKU-1", 2))
    body["ship_to"] = {"name": "B", "line1": "1", "city": "Berlin", "postal_code": "10115",
                       "country": "DE"}  # fmt: skip
    run(
        stocked.engine,
        lambda c: c.exec_driver_sql("UPDATE skus SET weight_grams = 600 WHERE code = 'SKU-1'"),
    )
    assert capture(stocked.engine, CLERK, body)["totals"]["shipping"] == "12.00"
    assert place(stocked, ("SKU-1", 1), shipping="1.23")["totals"]["shipping"] == "1.23"


def test_another_currency_is_exchanged_and_keeps_its_rate(stocked: Shop) -> None:
    publish(stocked, exchange_rates={"EUR": "1.08", "JPY": "0.0065"})
    answer = place(stocked, ("SKU-1", 2), currency="EUR")
    assert (answer["exchange_rate"], answer["base_currency"]) == ("1.08", "USD")
    assert answer["lines"][0]["unit_price"] == "1.84"
    # 1.99 / 0.0065 is 306.15 yen, which has no cents.
    assert place(stocked, ("SKU-1", 1), currency="JPY")["totals"]["total"] == "306"
    assert stocked.rows("SELECT DISTINCT exchange_rate FROM orders ORDER BY 1")[1][0] == "1.08"


def test_a_currency_without_a_rate_is_refused(stocked: Shop) -> None:
    assert refused(stocked, ("SKU-1", 1), currency="EUR")["currency"] in (
        "no_exchange_rate",
        "no_price",
    )


def test_what_rounding_adds_is_stored(stocked: Shop) -> None:
    body = order(("SKU-1", 3))
    body["lines"][0] |= {"amount": "5.00"}
    answer = capture(stocked.engine, CLERK, body)
    # A third of 5.00 is 1.67; three of them are a cent too many.
    line = answer["lines"][0]
    assert (line["unit_price"], line["rounding"], line["net"]) == ("1.67", "-0.01", "5.00")
    assert (answer["totals"]["rounding"], answer["totals"]["total"]) == ("-0.01", "5.00")
    publish(stocked, base_currency="USD", cash_rounding={"USD": 5})
    answer = place(stocked, ("SKU-1", 1), payment={"method": "cash"})
    assert (answer["totals"]["rounding"], answer["totals"]["total"]) == ("0.01", "2.00")
    assert place(stocked, ("SKU-1", 1))["totals"]["total"] == "1.99"
    assert sound(stocked)


def test_codes_take_off_what_they_say_and_say_why_not(stocked: Shop) -> None:
    def put(**fields: Any) -> None:
        wanted = DiscountIn(**{"name": "a code", **fields})
        run(stocked.engine, lambda c: discounts.put(c, ADMIN, wanted))

    put(code="ten", percent="10")
    put(code="FIVE", amount="5", sku="SKU-2")
    put(code="BIG", percent="50", min_net="1000")
    put(code="EUROS", amount="5", currency="EUR")
    put(code="OLD", percent="10", valid_to=datetime.now(UTC) - timedelta(days=1))
    assert refused(stocked, ("SKU-1", 1), discount_codes=["FIVE", "BIG", "OLD"]) == {
        "discount_codes[2]": "unknown_discount"
    }
    assert refused(stocked, ("SKU-1", 1), discount_codes=["FIVE", "BIG", "EUROS"]) == {
        "discount_codes[0]": "discount_fits_no_line",
        "discount_codes[1]": "discount_below_minimum",
        "discount_codes[2]": "discount_other_currency",
    }
    answer = place(stocked, ("SKU-1", 10), ("SKU-2", 1), discount_codes=["ten", "FIVE"])
    # 19.90 and 3.98; 10 % of 23.88 is 2.39 over both, then the rest of SKU-2: 3.58.
    assert [line["discount"] for line in answer["lines"]] == ["1.99", "3.98"]
    assert answer["totals"]["total"] == "17.91"
    assert stocked.rows("SELECT sum(amount_minor) FROM discount_uses")[0][0] == 597
    assert sound(stocked)


def test_a_code_without_a_currency_is_of_the_base_currency(stocked: Shop) -> None:
    publish(stocked, base_currency="JPY", exchange_rates={"USD": "150"})

    def put(code: str, **fields: Any) -> tuple[str | None, str]:
        wanted = DiscountIn(code=code, name="a code", **fields)
        shown = run(stocked.engine, lambda c: discounts.put(c, ADMIN, wanted))
        return shown["currency"], shown["min_net"]

    assert put("TEN", percent="10", min_net="1000") == ("JPY", "1000")
    assert put("LESS", amount="500") == ("JPY", "0")
    assert put("ALL", percent="10") == (None, "0")
    with reading(stocked.engine) as connection:
        listed = discounts.listing(connection, ADMIN)
    assert [code["min_net"] for code in listed] == ["0", "0", "1000"]
    lines = [{"sku": "SKU-1", "quantity": 1, "unit_price": "3000"}]
    codes = ["TEN", "LESS"]
    body = order(currency="JPY", discount_codes=codes) | {"lines": lines}
    # 3000 less 500 and less a tenth.
    assert capture(stocked.engine, CLERK, body)["totals"]["discount"] == "800"


def test_a_bad_currency_or_amount_is_named(stocked: Shop) -> None:
    def faults(**fields: Any) -> dict[str, str]:
        wanted = DiscountIn(code="TEN", name="a code", **fields)
        with pytest.raises(ValidationFailed) as refusal:
            run(stocked.engine, lambda c: discounts.put(c, ADMIN, wanted))
        return {error.field: error.code for error in refusal.value.errors}

    assert faults(amount="5", currency="XXX") == {"currency": "unknown_currency"}
    assert faults(percent="5", min_net="3.001") == {"min_net": "invalid_amount"}
    assert faults(amount="5.001", min_net="3.001", sku="NOPE") == {
        "amount": "invalid_amount", "min_net": "invalid_amount", "sku": "unknown_sku",
    }  # fmt: skip


def test_a_percent_code_asks_for_its_minimum_in_the_orders_currency(stocked: Shop) -> None:
    publish(stocked, exchange_rates={"EUR": "1.25", "JPY": "0.0065", "KWD": "3.25"})
    wanted = DiscountIn(code="TEN", name="ten", percent=Decimal(10), min_net=Decimal(50))
    put = run(stocked.engine, lambda c: discounts.put(c, ADMIN, wanted))
    assert (put["currency"], put["min_net"]) == ("USD", "50.00")

    def off(currency: str, price: str) -> str | None:
        body = order(currency=currency, discount_codes=["TEN"])
        body["lines"] = [{"sku": "SKU-1", "quantity": 1, "unit_price": price}]
        try:
            return str(capture(stocked.engine, CLERK, body)["totals"]["discount"])
        except ValidationFailed as refusal:
            (fault,) = refusal.errors
            assert fault.code == "discount_below_minimum"
            return fault.message

    assert off("USD", "50") == "5.00"
    # 50 dollars are 40 euros, 7692.3 yen, 15.3846 dinars: rounded half up.
    assert (off("EUR", "39.99"), off("EUR", "40")) == ("TEN needs goods for 40.00 EUR", "4.00")
    assert (off("JPY", "600"), off("JPY", "7692")) == ("TEN needs goods for 7692 JPY", "769")
    assert off("KWD", "6") == "TEN needs goods for 15.385 KWD"
    assert sound(stocked)


def test_a_currency_that_no_shipping_rule_names_is_charged_by_exchange(stocked: Shop) -> None:
    usual = {"name": "usual", "currency": "USD", "charge": "4.90"}
    free = {"name": "free", "currency": "USD", "charge": "0", "min_net": "50"}
    euros = {"name": "euros", "currency": "EUR", "charge": "7"}
    rates = {"EUR": "1.10", "JPY": "0.0065", "CAD": "0.70"}
    publish(stocked, shipping=[free, usual, euros], exchange_rates=rates)

    def shipping(currency: str, quantity: int = 1) -> str:
        return str(place(stocked, ("SKU-1", quantity), currency=currency)["totals"]["shipping"])

    # 4.90 / 0.0065 is 753.8 yen; 50 dollars are 71.43 of Canada, 25 SKUs are 71.00.
    assert [shipping(code) for code in ("USD", "EUR", "JPY", "CAD")] == [
        "4.90", "7.00", "754", "7.00"
    ]  # fmt: skip
    assert (shipping("CAD", 25), shipping("CAD", 26)) == ("7.00", "0.00")
    assert sound(stocked)


def test_percentages_come_off_line_and_order(stocked: Shop) -> None:
    body = order(("SKU-1", 10), ("SKU-2", 5), discount_percent="10")
    body["lines"][0]["discount_percent"] = "25"
    answer = capture(stocked.engine, CLERK, body)
    # 19.90 less 4.98 (half up) is 14.92; with 19.90 that is 34.82, of which 10 % is 3.48.
    assert answer["totals"]["discount"] == "8.46"
    assert answer["totals"]["total"] == "31.34"
    assert sound(stocked)


@given(
    nets=st.lists(st.integers(0, 10**7), min_size=1, max_size=8),
    data=st.data(),
    included=st.booleans(),
)
def test_the_lines_tax_is_the_rates_tax(nets: list[int], data: Any, included: bool) -> None:
    rates = [data.draw(st.sampled_from([0, 50_000, 88_750, 200_000])) for _ in nets]
    parts = charges.taxes(nets, rates, included=included)
    for rate in set(rates):
        base = sum(net for net, own in zip(nets, rates, strict=True) if own == rate)
        exact = Decimal(base) * rate / (1_000_000 + (rate if included else 0))
        part = sum(tax for tax, own in zip(parts, rates, strict=True) if own == rate)
        assert abs(part - exact) <= Decimal("0.5")
    assert all(0 <= tax <= net + 1 for tax, net in zip(parts, nets, strict=True))


@pytest.mark.parametrize("rate", ["1e400", "1E-400", "0", "-1", "1000001", "0.0000001", "NaN"])
def test_an_exchange_rate_is_one_that_money_can_have(rate: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        store.parse({"exchange_rates": {"EUR": rate}})
    assert [error.field for error in refusal.value.errors] == ["exchange_rates.EUR"]


def test_texts_that_postgresql_cannot_hold_are_refused_on_both(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        publish(shop, taxes=[{"percent": "4", "categories": ["a\0"]}], channels={"b\0": {}})
    assert {error.field for error in refusal.value.errors} == {"taxes[0].categories[0]", "channels"}
    for field in ("code", "name", "category", "customer_group"):
        fields = {"code": "C", "name": "n", "percent": Decimal(1), field: "a\0"}
        with pytest.raises(ValueError, match="cannot be stored"):
            DiscountIn.model_validate(fields)


def test_rules_without_effect_are_warned_of(tmp_path: Path) -> None:
    rules = store.parse(
        {
            "exchange_rates": {"EUR": "1.1"},
            "taxes": [{"percent": "4", "places": ["US-Georgia", "US-ZZ"]}],
            "shipping": [{"name": "s", "currency": "EUR", "charge": "1"}],
            "routing": {"warehouses": {"ATL": {"daily_capacity": 5}, "NOWHERE": {}}},
        }
    )
    assert [(w.field, w.code) for w in advice.warnings(rules, ["ATL"])] == [
        ("routing.warehouses.ATL.daily_capacity", "not_ranked"),
        ("routing.warehouses.NOWHERE", "unknown_warehouse"),
        ("taxes[0]", "unknown_region"),
        ("shipping", "ships_free"),
    ]
    file = tmp_path / "rules.json"
    file.write_text(rules.model_dump_json())
    runner = CliRunner()
    assert "NOWHERE" not in runner.invoke(app, ["rules", "check", str(file)]).output
    runner.invoke(app, ["init"])
    checked = runner.invoke(app, ["rules", "check", str(file)])
    assert checked.exit_code == 0
    assert "NOWHERE: unknown_warehouse" in checked.output


def test_rules_name_every_bad_field_and_the_ones_in_force_stay(shop: Shop) -> None:
    publish(shop, taxes=[{"percent": "4"}])
    with pytest.raises(ValidationFailed) as refusal:
        publish(shop, taxes=[{"percent": "400"}], base_currency="usd", colour="red")
    assert {error.field for error in refusal.value.errors} == {
        "taxes[0].percent", "base_currency", "colour",
    }  # fmt: skip
    with shop.engine.connect() as connection:
        assert store.current(connection).rules == Rules.model_validate(
            {"taxes": [{"percent": "4"}]}
        )
        assert len(store.history(connection, ADMIN)) == 1
