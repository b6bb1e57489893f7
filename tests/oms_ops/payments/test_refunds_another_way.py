"""What a gateway declined to give back and staff give back another way goes back once."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.payments import settling
from oms_ops.payments.gateways.interface import Outcome
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, only_capture, refund_at_the_gateway


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def declined(desk: Desk, *, units: int = 1) -> tuple[int, int, int]:
    """Cancel units of an order that is paid; the refund fails. Return order, payment, operation."""
    order_id = desk.till.sell(("SKU-1", 3), ("SKU-2", 1))
    payment_id = desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    body = {"reason": "x", "lines": [{"line_no": 1, "quantity": units}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", body).is_success
    collecting.perform(desk.till.engine)
    return order_id, payment_id, needs(desk)[0]["operation"]


def needs(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.get("/payments/attention").json()["data"])


def news(desk: Desk, order_id: int) -> None:
    """Let all be done that follows from news of an order's payments."""
    for _ in range(2):
        run(desk.till.engine, lambda c: collecting.follow(c, [order_id]))
        collecting.perform(desk.till.engine)


def told(desk: Desk) -> list[str]:
    rows = desk.till.shop.rows("SELECT payload FROM outbox_messages WHERE kind = 'payment.refunded'"
                               " ORDER BY id")  # fmt: skip
    return [row.payload["amount"] if isinstance(row.payload, dict) else row.payload for row in rows]


def refunded(desk: Desk, order_id: int) -> tuple[str, str]:
    """Return what is due of an order, and what went back."""
    due, _, _, back = desk.till.money(order_id)
    return due, back


def test_a_refund_of_a_payment_counts_for_what_was_cancelled(desk: Desk) -> None:
    order_id, payment_id, failed = declined(desk)
    made = desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.99", "reason": "again"})
    assert [each["status"] for each in made.json()["made"]] == ["settled"]
    news(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert len(told(desk)) == 1
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    news(desk, order_id)
    assert (refunded(desk, order_id), needs(desk)) == (("0.00", "1.99"), [])


def test_only_what_is_still_to_go_back_counts_and_the_rest_is_good_will(desk: Desk) -> None:
    order_id, payment_id, _ = declined(desk)
    body = {"amount": "2.50", "reason": "again, and sorry"}
    made = desk.post(f"/payments/{payment_id}/refunds", body).json()["made"]
    assert {each["amount"] for each in made} == {"1.99", "0.51"}
    news(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "2.50")
    # Of what is cancelled next, all goes back by itself again.
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    assert refunded(desk, order_id) == ("0.00", "4.49")


def test_a_part_is_refunded_and_the_news_give_back_the_rest(desk: Desk) -> None:
    order_id, payment_id, _ = declined(desk)
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "0.99", "reason": "a part"})
    news(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")


def test_what_is_dismissed_as_done_another_way_does_not_go_back_again(desk: Desk) -> None:
    order_id, payment_id, failed = declined(desk)
    payment = desk.post(f"/payment-operations/{failed}/dismiss").json()
    assert [(r["status"], r["amount"], r["destination"]) for r in payment["refunds"]] == [
        ("failed", "1.99", "original"), ("settled", "1.99", "elsewhere"),
    ]  # fmt: skip
    assert (refunded(desk, order_id), told(desk)) == (("0.00", "1.99"), [])
    goodwill = {"reason": "sorry", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", goodwill).status_code == 201
    news(desk, order_id)
    assert (refunded(desk, order_id), needs(desk)) == (("0.00", "2.99"), [])
    # Another click changes nothing, also not when more is to go back.
    desk.till.fake.break_next("refund", "declined")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    assert refunded(desk, order_id) == ("0.00", "2.99")
    assert desk.post(f"/payments/{payment_id}/refunds", {"amount": "9.99", "reason": "x"}).is_error


def test_what_the_gateway_did_after_all_went_back_beside_what_was_dismissed(desk: Desk) -> None:
    order_id, _, failed = declined(desk)
    desk.post(f"/payment-operations/{failed}/dismiss")
    outcome = Outcome("done", "re_late", None)
    run(desk.till.engine, lambda c: settling.revive(c, "fake", failed, outcome))
    news(desk, order_id)
    assert refunded(desk, order_id)[1] == "3.98"


def test_a_cancelled_order_that_was_refunded_another_way_keeps_the_rest(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
    collecting.perform(desk.till.engine)
    (failed,) = needs(desk)
    desk.post(f"/payment-operations/{failed['operation']}/dismiss")
    news(desk, order_id)
    assert (refunded(desk, order_id)[1], needs(desk)) == ("5.97", [])
    assert desk.till.seen(order_id)["payment_status"] == "refunded"


def at_the_gateway(desk: Desk, payment_id: int, amount: int) -> None:
    """Let staff refund on the gateway's own pages; the shop hears of it."""
    refund_at_the_gateway(desk.till.fake, only_capture(desk.till.shop, payment_id), amount)
    desk.till.deliver_events(times=2)
    collecting.perform(desk.till.engine)


def test_what_staff_refund_on_the_gateways_pages_counts_for_what_was_cancelled(desk: Desk) -> None:
    order_id, payment_id, failed = declined(desk)
    at_the_gateway(desk, payment_id, 199)
    news(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert desk.post(f"/payment-operations/{failed}/retry").status_code == 409
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    news(desk, order_id)
    assert (refunded(desk, order_id), needs(desk)) == (("0.00", "1.99"), [])
    assert differences(desk.till.shop, desk.till.fake) == []


@pytest.mark.parametrize(("amount", "back"), [(99, "1.99"), (250, "2.50")])
def test_of_a_refund_on_the_gateways_pages_counts_what_is_still_to_go_back(
    desk: Desk, amount: int, back: str
) -> None:
    order_id, payment_id, _ = declined(desk)
    at_the_gateway(desk, payment_id, amount)
    news(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", back)
    # What was more than that was good will: of what is cancelled next, all goes back.
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    assert refunded(desk, order_id)[1] == f"{float(back) + 1.99:.2f}"


def test_a_cancelled_order_refunded_on_the_gateways_pages_is_refunded(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
    collecting.perform(desk.till.engine)
    at_the_gateway(desk, payment_id, 300)
    at_the_gateway(desk, payment_id, 297)
    news(desk, order_id)
    assert refunded(desk, order_id)[1] == "5.97"
    assert desk.till.seen(order_id)["payment_status"] == "refunded"


def test_good_will_on_the_gateways_pages_does_not_lower_what_an_order_costs(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    at_the_gateway(desk, payment_id, 100)
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    assert refunded(desk, order_id) == ("0.00", "2.99")


def test_what_gives_back_a_double_capture_counts_for_nothing_else(desk: Desk) -> None:
    order_id, payment_id, _ = declined(desk)
    whole = desk.till.payments(order_id)[0].amount_minor
    capture = only_capture(desk.till.shop, payment_id)
    with desk.till.fake.books() as books:
        act = books.execute("SELECT * FROM acts WHERE reference = ?", (capture,)).fetchone()
        desk.till.fake.send(books, kind="captured", payment=act["payment"], reference="twice",
                            amount=whole, currency="USD")  # fmt: skip
    refund_at_the_gateway(desk.till.fake, capture, 199)
    desk.till.deliver_events()
    news(desk, order_id)
    # The refund gave back a part of the second capture, and the shop what was cancelled.
    assert refunded(desk, order_id) == ("0.00", "1.99")
    rows = desk.till.shop.rows("SELECT reason, lowers_cost FROM refunds WHERE status = 'settled'"
                               " ORDER BY reason")  # fmt: skip
    assert [tuple(row) for row in rows] == [("made at the gateway", False),
                                            ("units cancelled", True)]  # fmt: skip
