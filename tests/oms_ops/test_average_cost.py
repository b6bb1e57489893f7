"""What a unit of stock costs is the mean of what was paid: `oms reconcile` notices what is not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from oms_ops.database import run
from oms_ops.errors import ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.purchasing import orders, receipts, suppliers
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.receipts import Delivered
from oms_ops.purchasing.suppliers import TermIn
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.rules import store
from oms_ops.stock.adjustments import Adjustment
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop
from tests.oms_ops.test_order_life import advance, pay, placed

RULE = "an average cost lies among the costs of what came in"


def wrong(shop: Shop) -> list[str]:
    return [finding.name for finding in reconcile(shop.engine) if finding.count]


def average(shop: Shop) -> int | None:
    row = shop.rows("SELECT average_cost_e4 FROM stock_levels ORDER BY sku_id, warehouse_id")[0]
    return None if row[0] is None else int(row[0])


def bought(shop: Shop, units: int, *parts: Delivered) -> None:
    line = PurchaseLine("SKU-1", units)
    order = run(
        shop.engine,
        lambda c: orders.create(c, BUYER, supplier="ACME", warehouse="ATL", lines=[line]),
    )
    for part in parts:
        came = {order["lines"][0]["id"]: part}
        run(shop.engine, lambda c, came=came: receipts.receive(c, ADMIN, order["id"], came))


def test_parts_foreign_costs_and_returns_leave_a_mean_of_what_was_paid(shop: Shop) -> None:
    rules = {"base_currency": "USD", "exchange_rates": {"EUR": "1.10"}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    bought(shop, 12, Delivered(5, unit_cost_minor=100), Delivered(7, unit_cost_minor=101))
    assert average(shop) == 1_005_833
    terms = TermIn(currency="EUR", unit_cost=Decimal("2.00"), moq=6, pack_multiple=6)
    run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "ACME", "SKU-1", terms))
    bought(shop, 12, Delivered(12, damaged=3))
    # Twelve at 1.005833 and nine at 2.20.
    assert average(shop) == 1_517_619
    order_id = placed(shop, ("SKU-1", 6))
    pay(shop, order_id)
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    line_id = shop.rows("SELECT id FROM order_lines")[0][0]
    back = ReturnRequest(order_id, (ReturnedLine(line_id, 2),), "too small")
    run(shop.engine, lambda c: returns.receive(c, CLERK, [back]))
    run(
        shop.engine,
        lambda c: arrivals.adjust(c, ADMIN, "ATL", [Adjustment("SKU-1", -3)], "correction"),
    )
    assert wrong(shop) == []


def test_nothing_is_bought_at_a_cost_without_an_exchange_rate(shop: Shop) -> None:
    bought(shop, 6, Delivered(6, unit_cost_minor=100))
    terms = TermIn(currency="EUR", unit_cost=Decimal("2.00"), moq=6, pack_multiple=6)
    run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "ACME", "SKU-1", terms))
    with pytest.raises(ValidationFailed) as refusal:
        bought(shop, 6, Delivered(6))
    assert "no_exchange_rate" in {error.code for error in refusal.value.errors}
    assert average(shop) == 1_000_000
    assert wrong(shop) == []


@pytest.mark.parametrize("cost", ["NULL", "-1", "999999", "2000001"])
def test_an_impossible_average_is_noticed(shop: Shop, cost: str) -> None:
    bought(shop, 12, Delivered(6, unit_cost_minor=100), Delivered(6, unit_cost_minor=200))
    assert wrong(shop) == []
    broken = f"UPDATE stock_levels SET average_cost_e4 = {cost}"
    run(shop.engine, lambda c: c.exec_driver_sql(broken))
    assert wrong(shop) == [RULE]


def test_a_cost_out_of_nothing_is_noticed(shop: Shop) -> None:
    run(
        shop.engine,
        lambda c: arrivals.adjust(c, ADMIN, "ATL", [Adjustment("SKU-1", 3)], "found"),
    )
    assert (average(shop), wrong(shop)) == (None, [])
    broken = "UPDATE stock_levels SET average_cost_e4 = 1000000"
    run(shop.engine, lambda c: c.exec_driver_sql(broken))
    assert wrong(shop) == [RULE]


def test_a_broken_number_is_noticed(shop: Shop) -> None:
    if shop.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL keeps whole numbers in this column: there is nothing to break")
    bought(shop, 12, Delivered(6, unit_cost_minor=100), Delivered(6, unit_cost_minor=200))
    broken = "UPDATE stock_levels SET average_cost_e4 = 1500000.5"
    run(shop.engine, lambda c: c.exec_driver_sql(broken))
    assert wrong(shop) == [RULE]
