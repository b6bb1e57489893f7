"""The money of a return: exact, within what was captured, and visible when it does not go back."""

from __future__ import annotations

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.fulfilment import delivery
from oms_ops.orders import collecting, queries, refunding, remedies, tenders, uncollected
from oms_ops.orders.cancellation import cancel_units
from oms_ops.orders.capture import capture
from oms_ops.orders.refunding import LineBack, Wanted
from oms_ops.orders.units import CancelledUnits
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.returns import commands, resolution
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.till import Till
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.shop import ADMIN, CLERK, order

_TAX = [{"percent": "8.875"}]


def declined(till: Till, desk: Desk) -> tuple[int, int, int]:
    """Resolve a return whose refund is declined; return order, return and failed operation."""
    order_id = shipped(till, desk)
    collecting.perform(till.engine)
    return_id = inspected(desk, order_id, 1)
    till.fake.break_next("refund", "declined")
    desk.resolve(return_id)
    collecting.perform(till.engine)
    failed = till.shop.rows("SELECT id FROM payment_operations WHERE status = 'failed'")[0][0]
    return order_id, return_id, failed


@pytest.mark.parametrize("included", [False, True])
def test_tax_goes_back_with_the_price_to_the_cent(desk: Desk, *, included: bool) -> None:
    desk.rules(taxes=_TAX, prices_include_tax=included)
    order_id = desk.sold(("SKU-1", 3), discount="1.00")
    totals = desk.order(order_id)["totals"]
    returns = [desk.back(order_id, Asked(1, 1, "damaged")) for _ in range(3)]
    assert desk.totals(order_id) == ("0.00", totals["total"], totals["total"])
    taxes = [desk.seen(each)["lines"][0]["tax"] for each in returns]
    assert f"{sum(map(float, taxes)):.2f}" == totals["tax"]


def test_what_is_kept_of_a_partly_cancelled_line_is_refunded_whole(desk: Desk) -> None:
    desk.rules(taxes=_TAX)
    desk.shop.stock("SKU-1", 2)
    number = capture(
        desk.engine, CLERK, order(("SKU-1", 3), discount="1.01", allow_backorder=True)
    )["number"]
    order_id = queries.id_of(number, "SO")
    cut = [CancelledUnits(order_id, 1, 1)]
    run(desk.engine, lambda c: cancel_units(c, CLERK, cut, "does not come"))
    desk.deliver(order_id)
    desk.pay(order_id)
    captured = desk.totals(order_id)[1]
    for _ in range(2):
        desk.back(order_id, Asked(1, 1, "damaged"))
    assert desk.totals(order_id) == ("0.00", captured, captured)


def test_the_fee_is_kept_and_is_not_the_shops_faults(desk: Desk) -> None:
    desk.rules(returns={"restocking_fee_percent": "15"})
    order_id = desk.sold(("SKU-1", 1), ("SKU-2", 1), ("SKU-3", 1))
    lines = (Asked(1, 1, "changed_mind"), Asked(2, 1, "changed_mind"), Asked(3, 1, "damaged"))
    seen = desk.seen(desk.back(order_id, *lines))
    # 15 % of 5.97 is 0.90, spread as 1.99 to 3.98.
    assert [(li["refund"], li["fee"]) for li in seen["lines"]] == [
        ("1.69", "0.30"), ("3.38", "0.60"), ("5.97", "0.00"),
    ]  # fmt: skip
    assert (seen["refund"], seen["status"]) == ("11.04", "refunded")
    assert desk.totals(order_id)[2] == "11.04"


def test_shipping_goes_back_once_with_the_shops_fault(desk: Desk) -> None:
    desk.rules(taxes=[{"percent": "10"}])
    order_id = desk.sold(("SKU-1", 2), shipping="5.00")
    assert desk.seen(desk.back(order_id, Asked(1, 1, "changed_mind")))["shipping"] == "0.00"
    assert desk.seen(desk.back(order_id, Asked(1, 1, "damaged")))["shipping"] == "5.50"
    total = desk.order(order_id)["totals"]["total"]
    assert desk.totals(order_id) == ("0.00", total, total)


def test_shipping_goes_back_with_the_last_of_the_goods_where_the_rules_say_so(desk: Desk) -> None:
    desk.rules(returns={"refund_shipping": True})
    order_id = desk.sold(("SKU-1", 2), shipping="5.00")
    shares = [
        desk.seen(desk.back(order_id, Asked(1, 1, "changed_mind")))["shipping"] for _ in range(2)
    ]
    assert shares == ["0.00", "5.00"]


def test_a_parcel_that_nobody_paid_comes_back_and_is_owed_no_more(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2), paid=False, stock=2)
    assert desk.totals(order_id) == ("3.98", "0.00", "0.00")
    return_id = desk.back(order_id, Asked(1, 1, "undelivered"))
    seen = desk.seen(return_id)
    assert (seen["status"], seen["refund"], seen["forgiven"]) == ("refunded", "0.00", "1.99")
    assert desk.totals(order_id) == ("1.99", "0.00", "0.00")
    desk.pay(order_id)
    assert desk.totals(order_id) == ("0.00", "1.99", "0.00")
    assert desk.order(order_id)["payment_status"] == "paid"
    with pytest.raises(Conflict):
        run(desk.engine, lambda c: tenders.add(c, CLERK, order_id, "cash"))
    desk.back(order_id, Asked(1, 1, "undelivered"))
    assert desk.totals(order_id) == ("0.00", "1.99", "1.99")
    assert desk.shop.level("SKU-1") == (2, 0)


def test_an_unpaid_parcel_that_the_carrier_brought_back_is_taken_in_at_once(desk: Desk) -> None:
    desk.shop.stock("SKU-1", 2)
    number = capture(desk.engine, CLERK, order(("SKU-1", 2)))["number"]
    order_id = queries.id_of(number, "SO")
    ids = [r[0] for r in desk.shop.rows("SELECT id FROM shipments")]
    for act in (fulfilment.pick, fulfilment.pack, fulfilment.ship, delivery.bring_back):
        run(desk.engine, lambda c, a=act: a(c, ADMIN, ids))
    line = desk.shop.rows("SELECT id FROM order_lines")[0][0]
    request = ReturnRequest(order_id, (ReturnedLine(line, 2, reason="undelivered"),), "refused it")
    run(desk.engine, lambda c: commands.receive(c, CLERK, [request]))
    assert (desk.totals(order_id), desk.shop.level("SKU-1")) == (("0.00", "0.00", "0.00"), (2, 0))
    assert desk.order(order_id)["payment_status"] == "voided"


def test_what_went_back_as_goodwill_does_not_go_back_twice(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    payment = desk.shop.rows("SELECT id FROM payments")[0][0]
    run(desk.engine, lambda c: payments.refund(c, CLERK, [RefundRequest(payment, 100, "sorry")]))
    seen = desk.seen(desk.back(order_id, Asked(1, 2, "damaged")))
    assert (seen["refund"], seen["forgiven"]) == ("2.98", "0.00")
    assert desk.totals(order_id) == ("0.00", "3.98", "3.98")


def test_refunds_go_back_over_the_tenders_as_the_rules_say(desk: Desk) -> None:
    desk.rules(payments={"refund_order": ["cash"]})
    desk.shop.stock("SKU-2", 5)
    number = capture(desk.engine, CLERK, order(("SKU-2", 2), payment=None))["number"]
    order_id = queries.id_of(number, "SO")
    run(desk.engine, lambda c: tenders.add(c, CLERK, order_id, "bank_transfer", 600))
    run(desk.engine, lambda c: tenders.add(c, CLERK, order_id, "cash"))
    desk.pay(order_id)
    desk.deliver(order_id)
    seen = desk.seen(desk.back(order_id, Asked(1, 1, "damaged")))
    assert {f["method"]: f["amount"] for f in seen["refunds"]} == {
        "cash": "1.96", "bank_transfer": "2.02",
    }  # fmt: skip


def test_store_credit_is_settled_at_once_and_counts_as_refunded(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    seen = desk.seen(desk.back(order_id, Asked(1, 1, "changed_mind"), how="store_credit"))
    assert (seen["status"], seen["refunds"][0]["destination"]) == ("credited", "store_credit")
    assert desk.totals(order_id)[2] == "1.99"
    assert desk.shop.rows("SELECT balance_minor FROM balances")[0][0] == 199
    assert desk.told()[-1] == "return.refunded"


def shipped(till: Till, desk: Desk) -> int:
    """Sell two units by card, through the gateway; return the order."""
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    till.ship(order_id)
    return order_id


def inspected(desk: Desk, order_id: int, units: int = 1) -> int:
    return_id = desk.ask(order_id, Asked(1, units, "damaged"))
    desk.receive(return_id)
    desk.inspect(return_id, Inspected(1, restock=units))
    return return_id


def test_a_return_is_refunding_until_the_gateway_has_given_it_back(till: Till) -> None:
    desk = Desk(till.shop)
    order_id = shipped(till, desk)
    collecting.perform(till.engine)
    return_id = inspected(desk, order_id)
    desk.resolve(return_id)
    assert (desk.seen(return_id)["status"], desk.totals(order_id)[2]) == ("refunding", "0.00")
    assert "return.refunded" not in desk.told()
    collecting.perform(till.engine)
    assert (desk.seen(return_id)["status"], desk.totals(order_id)[2]) == ("refunded", "1.99")
    # Once, and not as any refund besides.
    assert desk.told() == ["return.approved", "return.received", "return.refunded"]


def needs_a_person(desk: Desk) -> list[str]:
    with reading(desk.engine) as connection:
        return [each["kind"] for each in uncollected.listing(connection, CLERK)]


@pytest.mark.parametrize("way", ["refund", "store_credit"])
def test_a_refund_that_failed_is_seen_and_made_again(till: Till, way: str) -> None:
    desk = Desk(till.shop)
    order_id = shipped(till, desk)
    collecting.perform(till.engine)
    return_id = inspected(desk, order_id)
    till.fake.break_next("refund", "declined")
    desk.resolve(return_id)
    collecting.perform(till.engine)
    assert (desk.seen(return_id)["status"], desk.totals(order_id)[2]) == ("refund_failed", "0.00")
    assert needs_a_person(desk) == ["refund_failed"]
    desk.resolve(return_id, way)
    collecting.perform(till.engine)
    final = {"refund": "refunded", "store_credit": "credited"}[way]
    assert (desk.seen(return_id)["status"], desk.totals(order_id)[2]) == (final, "1.99")
    assert needs_a_person(desk) == [], "she has got her money: nobody is to send it again"
    with pytest.raises(Conflict):
        desk.resolve(return_id)


def test_money_that_is_just_being_collected_is_waited_for(till: Till) -> None:
    desk = Desk(till.shop)
    order_id = shipped(till, desk)
    return_id = inspected(desk, order_id, 2)
    with pytest.raises(Conflict) as refusal:
        desk.resolve(return_id)
    assert refusal.value.errors[0].code == "capture_in_flight"
    assert desk.seen(return_id)["status"] == "inspected"
    collecting.perform(till.engine)
    desk.resolve(return_id)
    collecting.perform(till.engine)
    assert desk.totals(order_id) == ("0.00", "3.98", "3.98")


def test_what_is_only_held_for_a_parcel_that_came_back_is_let_go(till: Till) -> None:
    desk = Desk(till.shop)
    desk.rules(payments={"gateways": {"card": "fake"}, "capture": "manual"})
    order_id = shipped(till, desk)
    desk.resolve(inspected(desk, order_id, 2))
    collecting.perform(till.engine)
    assert till.operations() == [("authorise", "settled"), ("void", "settled")]
    assert desk.totals(order_id) == ("0.00", "0.00", "0.00")


def test_a_failed_refund_is_not_retried_where_the_return_was_resolved_again(till: Till) -> None:
    desk = Desk(till.shop)
    order_id, return_id, failed = declined(till, desk)
    desk.resolve(return_id, "store_credit")
    with pytest.raises(Conflict):
        run(till.engine, lambda c: remedies.retry(c, CLERK, failed))
    assert (desk.seen(return_id)["status"], desk.totals(order_id)[2]) == ("credited", "1.99")


def test_a_failed_refund_that_is_retried_brings_its_return_along(till: Till) -> None:
    desk = Desk(till.shop)
    _, return_id, failed = declined(till, desk)
    run(till.engine, lambda c: remedies.retry(c, CLERK, failed))
    assert desk.seen(return_id)["status"] == "refunding"
    collecting.perform(till.engine)
    assert desk.seen(return_id)["status"] == "refunded"


def test_what_was_refunded_of_a_line_is_not_given_back_again_when_its_units_come(
    desk: Desk,
) -> None:
    """Refunds by line, of the shipping, and returns count together, whichever comes first."""
    order_id = desk.sold(("SKU-1", 2), shipping="1.00")
    wanted = Wanted("late", (LineBack(1, None, 150),), shipping=True)
    run(desk.engine, lambda c: refunding.refund(c, CLERK, order_id, wanted))
    desk.back(order_id, Asked(1, 2, "damaged"))
    assert desk.totals(order_id) == ("0.00", "4.98", "4.98")
    with pytest.raises(Conflict):
        again = Wanted("more", goodwill=1)
        run(desk.engine, lambda c: refunding.refund(c, CLERK, order_id, again))


def test_what_a_total_was_rounded_by_goes_back_with_the_last_of_the_goods(desk: Desk) -> None:
    desk.rules(cash_rounding={"USD": 5})
    order_id = desk.sold(("SKU-1", 2), payment={"method": "cash"})
    assert desk.totals(order_id) == ("0.00", "4.00", "0.00")
    desk.back(order_id, Asked(1, 1, "changed_mind"))
    assert desk.totals(order_id)[2] == "1.99"
    desk.back(order_id, Asked(1, 1, "changed_mind"))
    assert desk.totals(order_id) == ("0.00", "4.00", "4.00")
    assert desk.order(order_id)["payment_status"] == "refunded"


@pytest.mark.parametrize("role", ["support", "warehouse"])
def test_only_who_may_refund_gives_money_for_goods(desk: Desk, role: str) -> None:
    order_id = desk.sold(("SKU-1", 1))
    return_id = desk.ask(order_id, Asked(1, 1, "damaged"))
    desk.receive(return_id)
    desk.inspect(return_id, Inspected(1, 1))
    actor = Actor("sam", role)
    for how in ("refund", "store_credit"):
        with pytest.raises(Forbidden, match="payments:write"):
            run(desk.engine, lambda c, h=how: resolution.resolve(c, actor, return_id, h))
    request = ReturnRequest(order_id, (ReturnedLine(1, 1, reason="damaged"),), "x")
    with pytest.raises(Forbidden, match="payments:write"):
        run(desk.engine, lambda c: commands.receive(c, actor, [request]))
    assert desk.totals(order_id)[2] == "0.00"


def test_what_a_total_was_rounded_by_goes_back_once(desk: Desk) -> None:
    desk.rules(cash_rounding={"USD": 5})
    order_id = desk.sold(("SKU-1", 2), shipping="5.00", payment={"method": "cash"})
    returned = [desk.ask(order_id, Asked(1, 1, "changed_mind")) for _ in range(2)]
    for return_id in returned:
        desk.receive(return_id)
        desk.inspect(return_id, Inspected(1, 1))
    for return_id in returned:
        desk.resolve(return_id)
    assert [desk.seen(return_id)["shipping"] for return_id in returned] == ["0.02", "0.00"]
    assert desk.totals(order_id)[2] == "4.00"
