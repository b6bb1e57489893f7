"""Refunds by line, of shipping, of good will: to the cent, capped, spread over the tenders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.orders import collecting, refunding
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.refunding import LineBack, Wanted
from oms_ops.orders.units import CancelledUnits
from oms_ops.rules import store
from tests.oms_ops.payments.desk import Desk, codes, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import ADMIN, CLERK


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def sold(desk: Desk, *lines: tuple[str, int], **changes: Any) -> int:
    order_id = desk.till.sell(*(lines or (("SKU-1", 3), ("SKU-2", 1))), **changes)
    desk.pay(order_id)
    return order_id


def ask(desk: Desk, order_id: int, body: dict[str, Any], **named: Any) -> Any:
    return desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "damaged", **body}, **named)


def test_units_of_a_line_go_back_at_what_was_paid_for_them_to_the_cent(desk: Desk) -> None:
    # 3 x 1.99 less 1.00 and with 10% tax on top: 4.97 + 0.50, which three cannot share evenly.
    document = {"taxes": [{"percent": "10"}], "payments": {"gateways": {"card": "fake"}}}
    run(desk.till.engine, lambda c: store.publish(c, ADMIN, document))
    order_id = sold(desk, ("SKU-1", 3), discount="1.00")
    parts = [
        ask(desk, order_id, {"lines": [{"line_no": 1, "quantity": 1}]}).json()["amount"]
        for _ in range(3)
    ]
    assert sum(int(part.replace(".", "")) for part in parts) == 547
    assert desk.till.money(order_id)[3] == "5.47"
    more = ask(desk, order_id, {"lines": [{"line_no": 1, "quantity": 1}]})
    assert codes(more) == {"lines[0].quantity": "too_large"}


def test_lines_shipping_and_goodwill_go_back_together_and_are_remembered(desk: Desk) -> None:
    order_id = sold(desk, shipping="5.00")
    body = {
        "lines": [{"line_no": 1, "quantity": 2}, {"line_no": 2, "amount": "0.50"}],
        "shipping": True,
        "goodwill": "1.00",
    }
    seen = ask(desk, order_id, body).json()
    assert seen["amount"] == "10.48"
    assert [each["amount"] for each in seen["lines"]] == ["3.98", "0.50"]
    assert (seen["shipping"], seen["goodwill"]) == ("5.00", "1.00")
    (payment,) = desk.get(f"/orders/{number(order_id)}/payments").json()["data"]
    items = [(i["kind"], i["line_no"], i["quantity"]) for i in payment["refunds"][0]["items"]]
    assert items == [("line", 1, 2), ("line", 2, 0), ("shipping", None, 0), ("goodwill", None, 0)]
    assert codes(ask(desk, order_id, {"shipping": True})) == {"shipping": "too_large"}
    assert codes(ask(desk, order_id, {"shipping": "0.01"})) == {"shipping": "too_large"}
    assert codes(ask(desk, order_id, {"lines": [{"line_no": 2, "amount": "3.49"}]})) == {
        "lines[0].amount": "too_large"
    }


def test_units_after_an_amount_give_back_the_rest_of_the_line(desk: Desk) -> None:
    order_id = sold(desk)
    assert ask(desk, order_id, {"lines": [{"line_no": 1, "amount": "5.00"}]}).is_success
    rest = ask(desk, order_id, {"lines": [{"line_no": 1, "quantity": 3}]}).json()
    assert rest["amount"] == "0.97"


def test_everything_brings_the_order_to_the_cent(desk: Desk) -> None:
    order_id = sold(desk, shipping="5.00", discount="0.01")
    assert ask(desk, order_id, {"lines": [{"line_no": 1, "quantity": 1}]}).is_success
    assert ask(desk, order_id, {"everything": True}).is_success
    due, _, captured, refunded = desk.till.money(order_id)
    assert (due, refunded) == ("0.00", captured)
    assert ask(desk, order_id, {"everything": True}).status_code == 409


def test_a_preview_changes_nothing(desk: Desk) -> None:
    order_id = sold(desk)
    path = f"/orders/{number(order_id)}/refunds?preview=true"
    seen = desk.post(path, {"reason": "x", "lines": [{"line_no": 1}]}, role="support")
    assert seen.status_code == 200
    assert (seen.json()["amount"], seen.json()["preview"]) == ("5.97", True)
    assert desk.till.shop.count("refunds") == 0


def test_every_bad_field_is_named(desk: Desk) -> None:
    order_id = sold(desk)
    lines = [{"line_no": 9}, {"line_no": 1, "quantity": 4}, {"line_no": 1}]
    assert codes(ask(desk, order_id, {"lines": lines, "shipping": "1"})) == {
        "lines[0].line_no": "unknown_line",
        "lines[1].quantity": "too_large",
        "lines[2].line_no": "repeated",
        "shipping": "too_large",
    }
    assert codes(ask(desk, order_id, {})) == {"lines": "required"}
    assert codes(ask(desk, order_id, {"goodwill": "0.001", "shipping": "0.001"})) == {
        "goodwill": "invalid_amount", "shipping": "invalid_amount",
    }  # fmt: skip
    assert ask(desk, order_id, {"goodwill": "1000"}).status_code == 409


def test_refunds_go_to_the_tenders_as_the_rules_say(shop: Any) -> None:
    till = Till(shop, refund_order=["gift_card"])
    desk = Desk(till)
    order_id = till.sell(("SKU-1", 10), payment=None)
    path = f"/orders/{number(order_id)}/payments"
    code = desk.post("/gift-cards", {"currency": "USD", "amount": "5"}).json()["code"]
    assert desk.post(path, {"method": "gift_card", "code": code}).is_success
    card = desk.post(path, {"method": "card"}).json()["id"]
    desk.post(f"/payments/{card}/authorise", {"token": "t"})
    desk.post(f"/payments/{card}/capture")
    made = ask(desk, order_id, {"lines": [{"line_no": 1, "quantity": 4}]}).json()
    assert [(r["method"], r["amount"]) for r in made["refunds"]] == [
        ("gift_card", "5.00"), ("card", "2.96"),
    ]  # fmt: skip
    on_card = desk.post("/gift-cards/balance", {"code": code}).json()
    assert on_card["balance"] == "5.00"
    kinds = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert kinds.count("payment.refunded") == 2


def test_a_refund_can_go_to_the_customers_credit(desk: Desk) -> None:
    order_id = sold(desk)
    made = ask(desk, order_id, {"goodwill": "2.00", "destination": "store_credit"}).json()
    assert [each["status"] for each in made["refunds"]] == ["settled"]
    credit = desk.get("/customers/bob@example.com/credit").json()["credits"][0]
    assert credit["balance"] == "2.00"
    told = desk.till.shop.rows("SELECT count(*) FROM outbox_messages WHERE kind = :k",
                               k="payment.credited")  # fmt: skip
    assert told[0][0] == 1


def test_a_repeat_under_the_same_key_gives_back_once(desk: Desk) -> None:
    order_id = sold(desk)
    answers = [ask(desk, order_id, {"goodwill": "1.00"}, key="g1") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert desk.till.money(order_id)[3] == "1.00"


def test_eight_refunds_of_one_unit_each_give_back_the_line_and_no_more(desk: Desk) -> None:
    order_id = sold(desk, ("SKU-1", 3), ("SKU-2", 5))
    wanted = Wanted("damaged", (LineBack(1, 1),))

    def one(_: int) -> bool:
        try:
            run(desk.till.engine, lambda c: refunding.refund(c, CLERK, order_id, wanted))
        except Exception as error:  # noqa: BLE001 - whatever refuses
            assert "bad fields" in str(error), error
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 3
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id)[3] == "5.97"


def test_what_a_declined_refund_was_for_can_be_refunded_again(desk: Desk) -> None:
    order_id = sold(desk)
    desk.till.fake.break_next("refund", "declined")
    made = ask(desk, order_id, {"lines": [{"line_no": 1}]}).json()
    assert [each["status"] for each in made["refunds"]] == ["failed"]
    assert ask(desk, order_id, {"lines": [{"line_no": 1}]}).is_success
    assert desk.till.money(order_id)[3] == "5.97"


def test_a_line_that_was_refunded_and_is_cancelled_later_goes_back_once(desk: Desk) -> None:
    order_id = sold(desk, ("SKU-1", 1), ("SKU-2", 1))
    assert ask(desk, order_id, {"lines": [{"line_no": 1}]}).is_success
    gone = CancelledUnits(order_id, 1, 1)
    run(desk.till.engine, lambda c: cancel_units(c, CLERK, [gone], "no"))
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id)[3] == "1.99", "the other line was paid for and is sent"
    run(desk.till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id)[3] == "5.97"


def test_what_is_due_knows_what_went_back_before_it_was_cancelled(desk: Desk) -> None:
    order_id = sold(desk, ("SKU-1", 3), ("SKU-2", 1))
    ask(desk, order_id, {"lines": [{"line_no": 2, "quantity": 1}]})
    collecting.perform(desk.till.engine)
    run(desk.till.engine, lambda c: cancel_units(c, CLERK, [CancelledUnits(order_id, 2, 1)], "no"))
    more = {"lines": [{"line_no": 1, "quantity": 5}]}
    amended = desk.post(f"/orders/{number(order_id)}/amend", more).json()
    # What was paid covers three of five; what line 2 cost went back already.
    assert (amended["to_pay"], amended["order"]["totals"]["due"]) == ("3.98", "3.98")


@pytest.mark.parametrize("reason", ["order cancelled", "units cancelled"])
def test_a_reason_in_words_does_not_let_the_order_cost_less(desk: Desk, reason: str) -> None:
    order_id = sold(desk)
    payment_id = desk.till.payment(order_id)
    body = {"amount": "1.00", "reason": reason}
    assert desk.post(f"/payments/{payment_id}/refunds", body).is_success
    assert desk.till.money(order_id)[0] == "0.00"
    again = desk.post(f"/orders/{number(order_id)}/payments", {"method": "card"})
    assert again.status_code == 409, "nothing is to be paid again"


def test_an_order_that_nobody_paid_has_nothing_to_give_back(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 1))
    with pytest.raises(Conflict):
        run(
            desk.till.engine,
            lambda c: refunding.refund(c, CLERK, order_id, Wanted("x", everything=True)),
        )
