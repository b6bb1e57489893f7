"""What a gateway declined to give back and staff give back another way goes back once."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.orders import collecting, outstanding
from oms_ops.payments import matching, settling
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
    run(
        desk.till.engine,
        lambda c: settling.revive(c, "fake", failed, outcome, is_due=outstanding.is_due),
    )
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


def key_of(desk: Desk, operation: int) -> str:
    rows = desk.till.shop.rows("SELECT key FROM payment_operations WHERE id = :i", i=operation)
    return str(rows[0][0])


def send(desk: Desk, payment_id: int, kind: str, reference: str, amount: int, **more: Any) -> None:
    """Let the gateway send a message of a payment that it does not send by itself."""
    (row,) = desk.till.shop.rows(
        "SELECT gateway_reference FROM payments WHERE id = :i", i=payment_id
    )
    event = {"key": None, "target": None, "currency": "USD", "payment": row[0], **more}
    with desk.till.fake.books() as books:
        desk.till.fake.send(books, kind=kind, reference=reference, amount=amount, **event)


def hear(desk: Desk, order_id: int) -> None:
    desk.till.deliver_events()
    collecting.perform(desk.till.engine)
    news(desk, order_id)


def done_after_all(desk: Desk, order_id: int, payment_id: int, operation: int) -> None:
    """Let the gateway tell that it gave 1.99 back though it had said that it declined."""
    capture = only_capture(desk.till.shop, payment_id)
    named = {"key": key_of(desk, operation), "target": capture}
    send(desk, payment_id, "refunded", "re_late", 199, **named)
    hear(desk, order_id)


def listed(desk: Desk) -> list[tuple[str, str]]:
    return [(each["kind"], each["amount"]) for each in needs(desk)]


def test_what_went_back_by_itself_since_is_not_listed(desk: Desk) -> None:
    order_id, _, failed = declined(desk)
    assert listed(desk) == [("refund_failed", "1.99")]
    goodwill = {"reason": "sorry", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", goodwill).is_success
    collecting.perform(desk.till.engine)
    assert (refunded(desk, order_id), listed(desk)) == (("0.00", "2.99"), [])
    shown = desk.post(f"/payment-operations/{failed}/dismiss").json()
    assert "nothing of it was left" in shown["operations"][-3]["problem"], shown["operations"]
    assert refunded(desk, order_id) == ("0.00", "2.99")


def test_the_list_tells_what_is_left(desk: Desk) -> None:
    order_id, payment_id, _ = declined(desk, units=2)
    desk.till.fake.break_next("refund", "declined")
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.00", "reason": "a part"})
    assert listed(desk) == [("refund_failed", "2.98"), ("refund_failed", "1.00")]
    # What is given back is news of the order, and the rest follows.
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.00", "reason": "a part"})
    assert (refunded(desk, order_id), listed(desk)) == (("0.00", "3.98"), [])


def test_dismissing_one_refund_leaves_what_another_stands_for(desk: Desk) -> None:
    order_id, payment_id, first = declined(desk)
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.99", "reason": "again"})
    desk.till.fake.break_next("refund", "declined")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    (second,) = needs(desk)
    assert second["operation"] != first
    assert desk.post(f"/payment-operations/{first}/dismiss").is_success
    assert (refunded(desk, order_id), listed(desk)) == (
        ("0.00", "1.99"), [("refund_failed", "1.99")],
    )  # fmt: skip
    assert desk.post(f"/payment-operations/{second['operation']}/retry").is_success
    assert (refunded(desk, order_id), listed(desk)) == (("0.00", "3.98"), [])


@pytest.mark.parametrize("second", ["declined", "lost_before"])
def test_a_refund_asked_for_twice_is_settled_by_the_first_that_was_done(
    desk: Desk, second: str
) -> None:
    order_id, payment_id, first = declined(desk)
    desk.till.fake.break_next("refund", second)
    assert desk.post(f"/payment-operations/{first}/retry").is_success
    done_after_all(desk, order_id, payment_id, first)
    if second == "lost_before":
        again = desk.till.shop.rows("SELECT max(id) FROM payment_operations")[0][0]
        send(desk, payment_id, "failed", "re_2", 199, key=key_of(desk, again))
        hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert [kind for kind, _ in listed(desk)] == ["message_flagged"]


@pytest.mark.parametrize("second", ["before", "after"])
def test_what_both_questions_gave_back_is_counted_twice(desk: Desk, second: str) -> None:
    order_id, payment_id, first = declined(desk)
    desk.till.fake.break_next("refund", "lost_before")
    assert desk.post(f"/payment-operations/{first}/retry").is_success
    if second == "after":
        done_after_all(desk, order_id, payment_id, first)
    with desk.till.later(hours=2):
        collecting.perform(desk.till.engine)
        if second == "before":
            done_after_all(desk, order_id, payment_id, first)
    assert refunded(desk, order_id) == ("0.00", "3.98")
    rows = desk.till.shop.rows("SELECT lowers_cost FROM refunds WHERE status = 'settled'")
    assert sorted(bool(row[0]) for row in rows) == [False, True]


def test_what_was_refunded_here_and_done_after_all_is_good_will(desk: Desk) -> None:
    order_id, payment_id, failed = declined(desk)
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.99", "reason": "again"})
    done_after_all(desk, order_id, payment_id, failed)
    assert refunded(desk, order_id) == ("0.00", "3.98")
    rows = desk.till.shop.rows("SELECT lowers_cost FROM refunds WHERE status = 'settled'")
    assert sorted(bool(row[0]) for row in rows) == [False, True]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("turn", [("captured", "refunded"), ("refunded", "captured")])
def test_what_staff_capture_and_refund_there_goes_back_once(
    desk: Desk, turn: tuple[str, str], *, together: bool
) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.till.authorise(order_id)
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    told = {"captured": ("cap_x", 597, None), "refunded": ("ref_x", 199, "cap_x")}
    for kind in turn:
        reference, amount, target = told[kind]
        send(desk, payment_id, kind, reference, amount, target=target)
        if not together:
            hear(desk, order_id)
    hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    if together or turn[0] == "refunded":
        assert "refund" not in dict(desk.till.operations())


@pytest.mark.parametrize("turn", [("captured", "refunded"), ("refunded", "captured")])
def test_what_gave_back_a_double_capture_is_for_nothing_else_in_either_order(
    desk: Desk, turn: tuple[str, str]
) -> None:
    order_id, payment_id, _ = declined(desk)
    told = {"captured": ("twice", 995, None), "refunded": ("ref_x", 199, "twice")}
    for kind in turn:
        reference, amount, target = told[kind]
        send(desk, payment_id, kind, reference, amount, target=target)
        hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert desk.till.operations()[-1] == ("refund", "settled")
    assert listed(desk) == [("events_beyond_payment", "7.96")]


def test_good_will_there_counts_for_what_a_double_capture_leaves_open(desk: Desk) -> None:
    """Two cards: what was for the claim gave back a double capture, what was beyond it counts."""
    order_id = desk.till.sell(("SKU-1", 3), payment=None)
    made = number(order_id)
    cards = []
    for amount in ("1.99", "3.98"):
        body = {"method": "card", "amount": amount}
        cards.append(desk.post(f"/orders/{made}/payments", body).json()["id"])
        desk.post(f"/payments/{cards[-1]}/authorise", {"token": "t"})
        desk.post(f"/payments/{cards[-1]}/capture")
    desk.till.fake.break_next("refund", "declined")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{made}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    for card in cards:
        refund_at_the_gateway(desk.till.fake, only_capture(desk.till.shop, card), 199)
        hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "3.98")
    send(desk, cards[0], "captured", "twice", 199)
    hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert listed(desk) == []


@pytest.mark.parametrize("other", [False, True])
def test_nothing_is_asked_while_news_of_a_refund_wait(desk: Desk, *, other: bool) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.deliver_events()
    desk.till.fake.break_next("refund", "lost_before")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    asked = desk.till.shop.rows("SELECT max(id) FROM payment_operations")[0][0]
    refund_at_the_gateway(desk.till.fake, only_capture(desk.till.shop, payment_id), 199)
    desk.till.deliver_events()
    body = {"amount": "1.00", "reason": "x"}
    assert desk.post(f"/payments/{payment_id}/refunds", body).status_code == 409
    send(desk, payment_id, "failed", "re_f", 199, key=key_of(desk, asked))
    if other:
        send(desk, payment_id, "charged_back", "fd", 1)
    hear(desk, order_id)
    assert refunded(desk, order_id)[1] == "1.99"
    assert [kind for kind, _ in listed(desk)] == (["charge_back"] if other else [])
    assert desk.till.operations().count(("refund", "failed")) == 1


def test_what_waited_for_a_message_follows_when_it_is_counted(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.deliver_events()
    desk.till.fake.break_next("refund", *["lost_before"] * 3)
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    refund_at_the_gateway(desk.till.fake, only_capture(desk.till.shop, payment_id), 100)
    desk.till.deliver_events()
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    assert desk.till.operations().count(("refund", "pending")) == 1
    (message,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    assert desk.post(f"/gateway-messages/{message.id}/count").is_success
    assert desk.till.operations().count(("refund", "pending")) == 2


def test_news_that_wait_go_on_waiting_while_their_gateway_cannot_be_opened(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_before")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(till.engine)
    refund_at_the_gateway(till.fake, only_capture(till.shop, payment_id), 199)
    till.deliver_events()

    def shut(name: str) -> Any:
        raise Conflict(f"{name} has no secret")

    with till.later(hours=7), monkeypatch.context() as patch:
        patch.setattr(matching, "gateway", shut)
        collecting.hear(till.engine)
    body = {"amount": "1.00", "reason": "x"}
    assert desk.post(f"/payments/{payment_id}/refunds", body).status_code == 409


def test_what_waited_for_a_message_follows_though_it_tells_nothing_new(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_after")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(till.engine)
    with till.fake.books() as books:
        (act,) = books.execute("SELECT reference FROM acts WHERE kind = 'refund'").fetchall()
    # Without our key, and before we know its reference: it may be of another refund.
    send(desk, payment_id, "refunded", act["reference"], 199)
    till.deliver_events(order=[-1])
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    assert [kind for kind, _ in till.operations()].count("refund") == 1
    with till.later(hours=7):
        for _ in range(2):
            collecting.perform(till.engine)
            collecting.hear(till.engine)
    assert refunded(desk, order_id)[1] == "3.98"


@pytest.mark.parametrize("amount", [995, 199])
@pytest.mark.parametrize("how", ["dismissed", "refunded"])
def test_what_went_back_during_a_charge_back_does_not_go_back_when_it_is_won(
    desk: Desk, how: str, amount: int
) -> None:
    order_id, payment_id, failed = declined(desk)
    send(desk, payment_id, "charged_back", "fd", amount)
    hear(desk, order_id)
    if how == "dismissed":
        dismissed = f"/payment-operations/{failed}/dismiss"
        # The bank has taken of it what may come back: she has to say how much the customer got.
        assert desk.post(dismissed).status_code == 409
        assert desk.post(dismissed, {"amount": "1.99"}).is_success
    else:
        body = {"amount": "1.99", "reason": "again"}
        made = desk.post(f"/payments/{payment_id}/refunds", body)
        # The gateway has no more to give than the bank left.
        assert made.status_code == (409 if amount == 995 else 201)
    asked = len(desk.till.operations())
    send(desk, payment_id, "charge_back_reversed", "fd", amount)
    hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert listed(desk) == []
    if how == "dismissed" or amount == 199:
        assert len(desk.till.operations()) == asked


def test_what_was_dismissed_is_kept_whole_beside_a_refund_on_its_way(desk: Desk) -> None:
    order_id, payment_id, failed = declined(desk)
    desk.till.fake.break_next("refund", "lost_before")
    goodwill = {"reason": "sorry", "goodwill": "9.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", goodwill).is_success
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    assert refunded(desk, order_id) == ("0.00", "1.99")
    asked = desk.till.shop.rows("SELECT max(id) FROM payment_operations")[0][0]
    send(desk, payment_id, "failed", "x1", 900, key=key_of(desk, asked))
    hear(desk, order_id)
    assert refunded(desk, order_id) == ("0.00", "1.99")
    assert listed(desk) == [("refund_failed", "9.00")]


def test_a_flagged_refund_that_did_nothing_has_failed(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "wrong_amount")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(desk.till.engine)
    (flagged,) = needs(desk)
    assert desk.post(f"/payment-operations/{flagged['operation']}/dismiss").is_success
    assert listed(desk) == [("refund_failed", "1.99")]
    assert desk.post(f"/payment-operations/{flagged['operation']}/dismiss").is_success
    assert (refunded(desk, order_id), listed(desk)) == (("0.00", "1.99"), [])


def test_who_paid_by_transfer_is_told_what_goes_back(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3), payment={"method": "bank_transfer"})
    desk.post(f"/payments/{desk.till.payment(order_id)}/capture")
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    (message,) = told(desk)
    assert "1.99" in str(message)
