"""Other goods for what came back: paid with its value, made once, and never lost in between."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, OutOfStock
from oms_ops.orders import collecting, queries
from oms_ops.returns import exchange, resolution
from oms_ops.returns.exchange import Wanted
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from oms_ops.returns.transitions import advance
from tests.oms_ops.payments.till import Till
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.returns.test_refunds import shipped
from tests.oms_ops.shop import CLERK


def inspected(desk: Desk, order_id: int, *lines: Asked) -> int:
    return_id = desk.ask(order_id, *lines)
    desk.receive(return_id)
    desk.inspect(return_id, *(Inspected(line.line_no, scrap=line.quantity) for line in lines))
    return return_id


@pytest.mark.parametrize("included", [False, True])
def test_the_same_goods_cost_what_was_paid_and_move_no_money(desk: Desk, *, included: bool) -> None:
    desk.rules(taxes=[{"percent": "8.875"}], prices_include_tax=included)
    order_id = desk.sold(("SKU-1", 3), discount="1.00", shipping="4.00")
    return_id = inspected(desk, order_id, Asked(1, 2, "damaged"))
    worth = desk.seen(return_id)["lines"][0]["refund"]
    number = exchange.exchange(desk.engine, CLERK, return_id)
    seen, new = desk.seen(return_id), desk.order(queries.id_of(number, "SO"))
    assert (seen["status"], seen["replacement"], seen["refund"]) == ("exchanged", number, worth)
    assert (new["totals"]["total"], new["payment_status"]) == (worth, "paid")
    assert [(f["destination"], f["amount"]) for f in seen["refunds"]] == [("store_credit", worth)]
    assert desk.shop.rows("SELECT balance_minor FROM balances")[0][0] == 0
    assert desk.told()[-1] == "return.exchanged"


def test_what_dearer_goods_cost_more_is_still_to_be_paid(desk: Desk) -> None:
    return_id = inspected(desk, desk.sold(("SKU-1", 1)), Asked(1, 1, "changed_mind"))
    desk.shop.stock("SKU-3", 1)
    number = exchange.exchange(desk.engine, CLERK, return_id, [Wanted("SKU-3", 1)], method="cash")
    totals = desk.order(queries.id_of(number, "SO"))["totals"]
    assert (totals["total"], totals["captured"], totals["due"]) == ("5.97", "1.99", "3.98")
    expected = desk.shop.rows("SELECT method, amount_minor FROM payments ORDER BY id")
    assert [tuple(row) for row in expected][1:] == [("store_credit", 199), ("cash", 398)]


def test_what_cheaper_goods_cost_less_goes_back_where_it_came_from(desk: Desk) -> None:
    order_id = desk.sold(("SKU-3", 1))
    return_id = inspected(desk, order_id, Asked(1, 1, "changed_mind"))
    desk.shop.stock("SKU-1", 1)
    exchange.exchange(desk.engine, CLERK, return_id, [Wanted("SKU-1", 1)])
    refunds = [(f["destination"], f["amount"]) for f in desk.seen(return_id)["refunds"]]
    assert sorted(refunds) == [("original", "3.98"), ("store_credit", "1.99")]
    assert desk.totals(order_id)[2] == "5.97"


def test_an_exchange_waits_for_the_gateway_with_the_difference_only(till: Till) -> None:
    desk = Desk(till.shop)
    order_id = shipped(till, desk)
    collecting.perform(till.engine)
    return_id = inspected(desk, order_id, Asked(1, 2, "damaged"))
    number = exchange.exchange(desk.engine, CLERK, return_id, [Wanted("SKU-1", 1)])
    assert desk.seen(return_id)["status"] == "refunding"
    assert desk.order(queries.id_of(number, "SO"))["payment_status"] == "paid"
    till.fake.break_next("refund", "declined")
    collecting.perform(till.engine)
    assert desk.seen(return_id)["status"] == "refund_failed"
    desk.resolve(return_id)
    collecting.perform(till.engine)
    seen = desk.seen(return_id)
    assert (seen["status"], seen["resolution"], desk.totals(order_id)[2]) == (
        "exchanged", "exchange", "3.98",
    )  # fmt: skip


def test_what_cannot_be_sent_leaves_the_return_as_it_was(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1), stock=1)
    return_id = inspected(desk, order_id, Asked(1, 1, "damaged"))
    with pytest.raises(OutOfStock):
        exchange.exchange(desk.engine, CLERK, return_id)
    assert desk.seen(return_id)["status"] == "inspected"
    desk.resolve(return_id)
    assert desk.totals(order_id)[2] == "1.99"


@pytest.mark.parametrize("dies", ["_finish", "give_back"])
def test_a_crash_between_the_steps_makes_no_second_order_and_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    return_id = inspected(desk, desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(exchange, dies, die)
        exchange.exchange(desk.engine, CLERK, return_id)
    assert desk.seen(return_id)["status"] == "exchanging"
    with pytest.raises(Conflict):
        run(desk.engine, lambda c: resolution.resolve(c, CLERK, return_id, "refund"))
    number = exchange.exchange(desk.engine, CLERK, return_id)
    assert desk.shop.count("orders") == 2
    assert desk.order(queries.id_of(number, "SO"))["payment_status"] == "paid"
    with pytest.raises(Conflict):
        exchange.exchange(desk.engine, CLERK, return_id)


def test_an_exchange_is_for_who_may_sell_and_take_money(desk: Desk) -> None:
    return_id = inspected(desk, desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))
    with pytest.raises(Forbidden):
        exchange.exchange(desk.engine, Actor("sue", "support"), return_id)


def test_another_request_that_fails_meanwhile_does_not_lose_the_replacement(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    return_id = inspected(desk, desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))
    real = exchange.capture.capture

    def stopped_meanwhile(*arguments: Any, **named: Any) -> Any:
        run(desk.engine, lambda c: advance(c, "other", [return_id], "stop_exchange"))
        return real(*arguments, **named)

    with monkeypatch.context() as patched, pytest.raises(Conflict):
        patched.setattr(exchange.capture, "capture", stopped_meanwhile)
        exchange.exchange(desk.engine, CLERK, return_id)
    assert desk.seen(return_id)["status"] == "inspected"
    # Its replacement is made and not paid yet: the money is not given back as well.
    with pytest.raises(Conflict):
        desk.resolve(return_id)
    exchange.exchange(desk.engine, CLERK, return_id)
    assert (desk.shop.count("orders"), desk.seen(return_id)["status"]) == (2, "exchanged")
