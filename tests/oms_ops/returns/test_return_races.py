"""Two at one return: no more units come back than were shipped, no more money than was captured."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from oms_ops.database import run
from oms_ops.errors import Conflict, OmsError
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands, goods, requests, resolution, transitions
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from oms_ops.returns.transitions import TRANSITIONS
from tests.oms_ops.returns.desk import WAREHOUSE, Desk
from tests.oms_ops.shop import CLERK, Shop
from tests.oms_ops.test_races import both


def at_once(shop: Shop, *acts: Callable[[Connection], Any]) -> list[Any]:
    """Do all of it at the same time; return how each ended."""

    def do(act: Callable[[Connection], Any]) -> Any:
        try:
            return run(shop.engine, act)
        except OmsError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(do, acts))


def inspected(desk: Desk, order_id: int, units: int) -> int:
    return_id = desk.ask(order_id, Asked(1, units, "damaged"))
    desk.receive(return_id)
    desk.inspect(return_id, Inspected(1, restock=units))
    return return_id


def test_goods_are_received_once_by_two(desk: Desk) -> None:
    return_id = desk.ask(desk.sold(("SKU-1", 4)), Asked(1, 2, "damaged"))
    ended = both(
        desk.shop,
        lambda c: goods.receive(c, WAREHOUSE, return_id),
        lambda c: goods.receive(c, WAREHOUSE, return_id),
    )
    assert isinstance(ended, Conflict)
    assert desk.quarantine("SKU-1") == 2


def test_without_the_guard_goods_would_be_received_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(shop)
    return_id = desk.ask(desk.sold(("SKU-1", 4)), Asked(1, 2, "damaged"))
    loose = replace(TRANSITIONS["receive"], needs=("approved", "received"))
    monkeypatch.setitem(transitions.TRANSITIONS, "receive", loose)
    for _ in range(2):
        desk.receive(return_id)
    assert desk.quarantine("SKU-1") == 4
    broken = {finding.name for finding in reconcile(shop.engine) if finding.count}
    assert broken == {"a line's returned units are those that its returns received"}


@pytest.mark.parametrize("cancel_first", [False, True])
def test_goods_of_a_return_that_is_given_up_are_not_received(
    desk: Desk, *, cancel_first: bool
) -> None:
    return_id = desk.ask(desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))
    acts: list[Callable[[Connection], Any]] = [
        lambda c: goods.receive(c, WAREHOUSE, return_id),
        lambda c: requests.cancel(c, CLERK, return_id, None),
    ]
    first, second = reversed(acts) if cancel_first else acts
    assert isinstance(both(desk.shop, first, second), Conflict)
    assert desk.seen(return_id)["status"] == ("cancelled" if cancel_first else "received")
    assert desk.quarantine("SKU-1") == (0 if cancel_first else 1)


def test_four_who_ask_for_one_line_get_no_more_than_was_shipped(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 3))
    asked = [Asked(1, 1, "damaged")]
    ended = at_once(
        desk.shop, *[lambda c: requests.request(c, CLERK, order_id, asked)] * 4
    )  # fmt: skip
    assert sum(isinstance(each, OmsError) for each in ended) == 1
    assert desk.shop.count("returns") == 3


def test_four_counters_take_one_line_back_no_more_often_than_it_was_shipped(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 3), discount="1.00")
    line = desk.shop.rows("SELECT id FROM order_lines")[0][0]
    wanted = [ReturnRequest(order_id, (ReturnedLine(line, 1),), "small")]
    ended = at_once(desk.shop, *[lambda c: commands.receive(c, CLERK, wanted)] * 4)
    assert sum(isinstance(each, OmsError) for each in ended) == 1
    assert desk.totals(order_id) == ("0.00", "4.97", "4.97")


def test_a_return_and_a_refund_together_give_back_no_more_than_was_captured(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    return_id = inspected(desk, order_id, 2)
    payment = desk.shop.rows("SELECT id FROM payments")[0][0]
    kind = [RefundRequest(payment, 398, "sorry")]
    ended = at_once(
        desk.shop,
        lambda c: resolution.resolve(c, CLERK, return_id, "refund"),
        lambda c: payments.refund(c, CLERK, kind),
    )
    assert not isinstance(ended[0], OmsError)
    assert desk.totals(order_id) == ("0.00", "3.98", "3.98")


def test_eight_who_resolve_one_return_refund_it_once(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    return_id = inspected(desk, order_id, 1)
    ended = at_once(
        desk.shop, *[lambda c: resolution.resolve(c, CLERK, return_id, "refund")] * 8
    )  # fmt: skip
    assert sum(isinstance(each, Conflict) for each in ended) == 7
    assert desk.totals(order_id)[2] == "1.99"


def test_two_inspections_restock_once(desk: Desk) -> None:
    return_id = desk.ask(desk.sold(("SKU-1", 2), stock=2), Asked(1, 2, "damaged"))
    desk.receive(return_id)
    ended = both(
        desk.shop,
        lambda c: goods.inspect(c, WAREHOUSE, return_id, [Inspected(1, restock=2)]),
        lambda c: goods.inspect(c, WAREHOUSE, return_id, [Inspected(1, restock=2)]),
    )
    assert isinstance(ended, Conflict)
    assert desk.shop.level("SKU-1") == (2, 0)


def test_returns_whose_orders_wait_for_each_others_units_do_not_deadlock(desk: Desk) -> None:
    first = desk.sold(("SKU-1", 4), stock=4)
    second = desk.sold(("SKU-2", 4), stock=4)
    line = {
        order_id: desk.shop.rows("SELECT id FROM order_lines WHERE order_id = :i", i=order_id)[0][0]
        for order_id in (first, second)
    }

    def back(order_id: int) -> Callable[[Connection], Any]:
        wanted = [ReturnRequest(order_id, (ReturnedLine(line[order_id], 1),), "small")]
        return lambda c: commands.receive(c, CLERK, wanted)

    ended = at_once(desk.shop, *[back(first), back(second)] * 4)
    assert not any(isinstance(each, OmsError) for each in ended)
