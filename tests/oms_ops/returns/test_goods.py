"""Goods that come back: counted, kept apart until somebody looked, and then where they belong."""

from __future__ import annotations

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.orders import queries
from oms_ops.orders.capture import capture
from oms_ops.returns import commands
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from oms_ops.stock.names import Line
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.shop import ADMIN, CLERK, order


def test_units_are_not_for_sale_before_they_are_inspected(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 3), stock=3)
    return_id = desk.ask(order_id, Asked(1, 3, "changed_mind"))
    desk.receive(return_id)
    assert (desk.shop.level("SKU-1"), desk.quarantine("SKU-1")) == ((0, 0), 3)
    with pytest.raises(OutOfStock):
        capture(desk.engine, CLERK, order(("SKU-1", 1)))
    desk.inspect(return_id, Inspected(1, restock=1, quarantine=1, scrap=1))
    assert (desk.shop.level("SKU-1"), desk.quarantine("SKU-1")) == ((1, 0), 1)
    line = desk.seen(return_id)["lines"][0]
    assert (line["restocked"], line["quarantined"], line["scrapped"], line["disposition"]) == (
        1, 1, 1, "mixed",
    )  # fmt: skip
    moves = desk.shop.rows(
        "SELECT f.kind, t.kind, m.quantity, m.reason FROM stock_moves AS m"
        " JOIN locations AS f ON f.id = m.from_location_id"
        " JOIN locations AS t ON t.id = m.to_location_id WHERE m.reference = :n ORDER BY m.id",
        n=desk.seen(return_id)["number"],
    )
    assert [tuple(move) for move in moves] == [
        ("customer", "quarantine", 3, "return"),
        ("quarantine", "storage", 1, "return"),
        ("quarantine", "scrap", 1, "scrap"),
    ]


def test_restocked_units_go_to_who_waits_longest_in_the_same_transaction(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2), stock=2)
    waiting = [
        capture(desk.engine, CLERK, order(("SKU-1", 1), allow_backorder=True))["number"]
        for _ in range(2)
    ]
    return_id = desk.ask(order_id, Asked(1, 1, "changed_mind"))
    desk.receive(return_id)
    desk.inspect(return_id, Inspected(1, restock=1))
    allocated = [
        desk.order(queries.id_of(number, "SO"))["lines"][0]["allocated"] for number in waiting
    ]
    assert allocated == [1, 0]


def test_less_than_asked_is_kept_as_it_is_counted(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 3), ("SKU-2", 1))
    return_id = desk.ask(order_id, Asked(1, 3, "damaged"), Asked(2, 1, "damaged"))
    desk.receive(return_id, {1: 1})
    lines = desk.seen(return_id)["lines"]
    assert [(li["quantity"], li["received"]) for li in lines] == [(3, 1), (1, 0)]
    assert [li["returned"] for li in desk.order(order_id)["lines"]] == [1, 0]
    desk.inspect(return_id, Inspected(1, restock=1))
    desk.resolve(return_id)
    assert desk.totals(order_id)[2] == "1.99"
    # What did not come may be asked for again.
    desk.ask(order_id, Asked(1, 2, "damaged"), Asked(2, 1, "damaged"))


def test_more_than_asked_is_taken_but_never_more_than_was_shipped(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 3))
    return_id = desk.ask(order_id, Asked(1, 1, "damaged"))
    with pytest.raises(Conflict) as refusal:
        desk.receive(return_id, {1: 4})
    assert [fault.code for fault in refusal.value.errors] == ["more_than_shipped"]
    assert desk.seen(return_id)["status"] == "approved"
    desk.receive(return_id, {1: 2})
    assert desk.seen(return_id)["lines"][0]["received"] == 2


@pytest.mark.parametrize(
    ("counted", "code"), [({1: 0}, "nothing_received"), ({7: 1}, "unknown_line")]
)
def test_a_receipt_of_nothing_or_of_something_else_is_refused(
    desk: Desk, counted: dict[int, int], code: str
) -> None:
    return_id = desk.ask(desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))
    with pytest.raises(ValidationFailed) as refusal:
        desk.receive(return_id, counted)
    assert code in [fault.code for fault in refusal.value.errors]


def test_an_inspection_decides_about_every_unit_once(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2), ("SKU-2", 1))
    return_id = desk.ask(order_id, Asked(1, 2, "damaged"), Asked(2, 1, "damaged"))
    desk.receive(return_id)
    with pytest.raises(ValidationFailed) as refusal:
        desk.inspect(return_id, Inspected(1, restock=3), Inspected(3, scrap=1))
    assert [fault.code for fault in refusal.value.errors] == [
        "does_not_add_up", "unknown_line", "missing_line",
    ]  # fmt: skip
    desk.inspect(return_id, Inspected(1, scrap=2), Inspected(2, restock=1))
    with pytest.raises(Conflict):
        desk.inspect(return_id, Inspected(1, scrap=2), Inspected(2, restock=1))


def test_units_that_somebody_took_out_of_quarantine_are_not_restocked(desk: Desk) -> None:
    return_id = desk.ask(desk.sold(("SKU-1", 1)), Asked(1, 1, "damaged"))
    desk.receive(return_id)
    run(desk.engine, lambda c: arrivals.dispose(c, ADMIN, "ATL", [Line("SKU-1", 1)], "scrap"))
    with pytest.raises(OutOfStock):
        desk.inspect(return_id, Inspected(1, restock=1))
    desk.inspect(return_id, Inspected(1, quarantine=1))


def test_over_the_counter_a_set_of_returns_is_one_step(desk: Desk) -> None:
    sold = [desk.sold(("SKU-1", 2), ("SKU-2", 1)) for _ in range(3)]
    on_hand = desk.shop.level("SKU-1")[0]
    lines = {
        order_id: [r[0] for r in desk.shop.rows(
            "SELECT id FROM order_lines WHERE order_id = :i ORDER BY line_no", i=order_id)]
        for order_id in sold
    }  # fmt: skip
    wanted = [
        ReturnRequest(i, (ReturnedLine(lines[i][0], 1), ReturnedLine(lines[i][1], 1, how)), "small")
        for i, how in zip(sold, ("restock", "quarantine", "scrap"), strict=True)
    ]
    numbers = run(desk.engine, lambda c: commands.receive(c, CLERK, wanted))
    assert len(set(numbers)) == 3
    assert [desk.totals(order_id)[2] for order_id in sold] == ["5.97"] * 3
    assert desk.shop.level("SKU-1")[0] == on_hand + 3
    assert desk.quarantine("SKU-2") == 1
    assert desk.told() == ["return.refunded"] * 3
