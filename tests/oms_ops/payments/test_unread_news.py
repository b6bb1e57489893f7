"""A gateway does not answer for long: what it tells meanwhile is seen, counted once, not lost."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops.database import run
from oms_ops.orders import claims, collecting
from oms_ops.orders.cancellation import cancel
from oms_ops.reconcile import reconcile
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk, codes, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import (
    charge_back,
    differences,
    only_capture,
    refund_at_the_gateway,
)
from tests.oms_ops.returns.desk import Desk as Returns
from tests.oms_ops.shop import CLERK

UNITS = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def unanswered(desk: Desk, *faults: str) -> tuple[int, int, int]:
    """Cancel a unit of a paid order; its refund stays out. Return order, payment, operation."""
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.deliver_events()
    desk.till.fake.break_next("refund", *faults)
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    collecting.perform(desk.till.engine)
    asked = desk.till.shop.rows("SELECT max(id) FROM payment_operations")[0][0]
    return order_id, payment_id, asked


def on_the_pages(desk: Desk, payment_id: int, amount: int) -> None:
    """Let staff refund on the gateway's own pages, of which the shop hears."""
    refund_at_the_gateway(desk.till.fake, only_capture(desk.till.shop, payment_id), amount)
    desk.till.deliver_events()


def needs(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.get("/payments/attention").json()["data"])


def kinds(desk: Desk) -> list[str]:
    return [each["kind"] for each in needs(desk)]


def settled(desk: Desk) -> list[tuple[int, bool]]:
    """Return amount, and whether it lowers the cost of what has gone back, the smallest first."""
    rows = desk.till.shop.rows(
        "SELECT amount_minor, lowers_cost FROM refunds WHERE status = 'settled'"
        " ORDER BY amount_minor, lowers_cost"
    )
    return [(row[0], bool(row[1])) for row in rows]


def inspected(returns: Returns, order_id: int) -> int:
    """Take a damaged unit back, up to the decision about its money; return the return."""
    return_id = returns.ask(order_id, Asked(1, 1, "damaged"))
    returns.receive(return_id)
    returns.inspect(return_id, Inspected(1, 1))
    return return_id


def later(desk: Desk, **delta: float) -> None:
    with desk.till.later(**delta):
        collecting.perform(desk.till.engine)
        collecting.hear(desk.till.engine)
        collecting.perform(desk.till.engine)


def test_a_refund_there_is_counted_at_once_where_the_unanswered_one_has_a_name(desk: Desk) -> None:
    """The gateway has said which refund is still to come: another one is not it."""
    _, payment_id, _ = unanswered(desk, "waiting")
    on_the_pages(desk, payment_id, 100)
    assert desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'") == []
    body = {"amount": "0.50", "reason": "sorry"}
    assert desk.post(f"/payments/{payment_id}/refunds", body).is_success
    assert settled(desk) == [(50, False), (100, False)]
    assert kinds(desk) == []


def test_a_message_that_waits_names_its_order_and_what_can_be_done(desk: Desk) -> None:
    order_id, payment_id, _ = unanswered(desk, "lost_before")
    on_the_pages(desk, payment_id, 100)
    (message,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    with desk.till.later(minutes=20):
        (shown,) = needs(desk)
    assert (shown["kind"], shown["order"], shown["message"], shown["can"]) == (
        "message_waits", number(order_id), message.id, ["count", "retry"],
    )  # fmt: skip
    # To dismiss it would lose money that has gone back.
    assert desk.post(f"/gateway-messages/{message.id}/dismiss").status_code == 409
    assert desk.post(f"/gateway-messages/{message.id}/count", role="support").status_code == 403
    counted = desk.post(f"/gateway-messages/{message.id}/count")
    assert counted.json() == {"id": message.id, "status": "applied"}
    assert settled(desk) == [(100, False)]
    assert desk.post(f"/gateway-messages/{message.id}/count").status_code == 409
    assert desk.post("/gateway-messages/999999/count").status_code == 404
    # What was asked for goes on, and what was made there was beside it.
    later(desk, hours=2)
    assert settled(desk) == [(100, False), (199, True)]
    assert (kinds(desk), differences(desk.till.shop, desk.till.fake)) == ([], [])


@pytest.mark.parametrize("is_return", [False, True])
def test_what_was_counted_and_was_the_answer_after_all_counts_once(
    desk: Desk, *, is_return: bool
) -> None:
    """The gateway did what it was asked, told of it without the key, and answers days later."""
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_after")
    if is_return:
        Returns(till.shop).back(order_id, Asked(1, 1, "damaged"))
    else:
        body = {"reason": "x", "goodwill": "1.99"}
        assert desk.post(f"/orders/{number(order_id)}/refunds", body).is_success
    collecting.perform(till.engine)
    with till.fake.books() as books:
        books.execute("UPDATE events SET body = replace(body, '\"key\"', '\"nothing\"')")
    till.deliver_events()
    (message,) = till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    assert desk.post(f"/gateway-messages/{message.id}/count").is_success
    assert [amount for amount, _ in settled(desk)] == [199]
    later(desk, hours=2)
    assert [amount for amount, _ in settled(desk)] == [199]
    assert (kinds(desk), differences(till.shop, till.fake)) == ([], [])
    assert [each for each in reconcile(till.engine) if each.count] == []


def test_a_failed_refund_says_that_it_has_to_wait(desk: Desk) -> None:
    order_id, payment_id, _ = unanswered(desk, "declined", "lost_before")
    body = {"reason": "x", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    failed = [each for each in needs(desk) if each["kind"] == "refund_failed"]
    assert [each["can"] for each in failed] == [["retry", "dismiss"]]
    on_the_pages(desk, payment_id, 100)
    (failed,) = [each for each in needs(desk) if each["kind"] == "refund_failed"]
    assert (failed["can"], "message_waits" in failed["how"]) == (["dismiss"], True)
    dismiss = f"/payment-operations/{failed['operation']}/dismiss"
    assert desk.post(dismiss).status_code == 409
    # What she has got by bank is true whatever the gateway tells.
    assert desk.post(dismiss, {"amount": "1.99"}).is_success
    assert settled(desk) == [(199, True)]


def test_what_has_gone_back_elsewhere_is_recorded_while_news_wait(desk: Desk) -> None:
    """Or it would be asked of the gateway as soon as they are read."""
    order_id, payment_id, _ = unanswered(desk, "declined", "lost_before")
    body = {"reason": "x", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    on_the_pages(desk, payment_id, 100)
    body = {"amount": "1.99", "reason": "by bank", "elsewhere": True}
    assert desk.post(f"/payments/{payment_id}/refunds", body).status_code == 201
    (message,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    assert desk.post(f"/gateway-messages/{message.id}/count").is_success
    later(desk, hours=2)
    assert settled(desk) == [(100, False), (100, False), (199, True)]


def test_no_refund_of_an_order_is_made_while_its_news_wait(desk: Desk) -> None:
    order_id, payment_id, _ = unanswered(desk, "lost_before")
    on_the_pages(desk, payment_id, 100)
    body = {"reason": "x", "goodwill": "1.00"}
    refused = desk.post(f"/orders/{number(order_id)}/refunds", body)
    assert (refused.status_code, number(order_id) in refused.json()["detail"]) == (409, True)
    assert desk.post(f"/orders/{number(order_id)}/refunds?preview=true", body).is_success
    # What is cancelled whole is cancelled, and its money follows when the news are read.
    run(desk.till.engine, lambda c: cancel(c, CLERK, [order_id], "x"))
    assert desk.till.operations().count(("refund", "pending")) == 1
    later(desk, hours=2)
    assert desk.till.money(order_id)[3] == "5.97"
    assert (kinds(desk), differences(desk.till.shop, desk.till.fake)) == ([], [])


def test_no_return_is_refunded_while_news_of_its_order_wait(desk: Desk) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.ship(order_id)
    till.deliver_events()
    return_id = inspected(returns, order_id)
    till.fake.break_next("refund", "lost_before")
    desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "x", "goodwill": "1.00"})
    on_the_pages(desk, payment_id, 50)
    with pytest.raises(Exception, match="has told of"):
        returns.resolve(return_id)
    later(desk, hours=2)
    returns.resolve(return_id)
    collecting.perform(till.engine)
    assert [amount for amount, _ in settled(desk)] == [50, 100, 199]


def test_a_return_is_not_cut_by_what_is_only_on_its_way(desk: Desk) -> None:
    """All that is left is asked for as good will, not answered, then declined: the return waits."""
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    till.fake.break_next("refund", "declined")
    return_id = inspected(returns, order_id)
    returns.resolve(return_id)
    collecting.perform(till.engine)
    assert kinds(desk) == ["refund_failed"]
    till.fake.break_next("refund", "waiting", "lost_before")
    body = {"reason": "x", "goodwill": "5.97"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    with pytest.raises(Exception, match="cannot be made now") as refusal:
        returns.resolve(return_id)
    assert refusal.value.errors[0].code == "refund_in_flight"
    rows = till.shop.rows("SELECT refund_minor, status FROM returns WHERE id = :i", i=return_id)
    assert tuple(rows[0]) == (199, "refund_failed")


@pytest.mark.parametrize("fault", ["declined", None])
def test_good_will_before_a_cancellation_is_no_part_of_it_though_a_capture_is_out(
    desk: Desk, fault: str | None
) -> None:
    till = desk.till
    till.shop.stock("SKU-1", 3, "ATL")
    order_id = till.sell(("SKU-1", 3), ("SKU-2", 2))
    payment_id = till.authorise(order_id)
    desk.post(f"/payments/{payment_id}/capture", {"amount": "5.97"})
    till.deliver_events()
    on_the_pages(desk, payment_id, 100)
    # A second capture is asked for, and not answered.
    till.fake.break_next("capture", "lost_before")
    desk.post(f"/payments/{payment_id}/capture", {"amount": "1.00"})
    before = till.money(order_id)
    if fault:
        till.fake.break_next("refund", fault)
    gone = {"reason": "x", "lines": [{"line_no": 2, "quantity": 2}, {"line_no": 1, "quantity": 2}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", gone).is_success
    collecting.perform(till.engine)
    later(desk, hours=2)
    due = [each["amount"] for each in needs(desk) if each["kind"] == "refund_failed"]
    back = sum(amount for amount, _ in settled(desk)) + sum(round(float(a) * 100) for a in due)
    # 6.97 came, the order costs 1.99 now, and 1.00 was good will.
    assert back == 697 - 199 + 100, (before, till.money(order_id), settled(desk), due)


def in_dispute(desk: Desk) -> tuple[int, int, dict[str, Any]]:
    """Let a refund of 1.99 fail, a bank take 1.00 of it, and the refund of the rest fail.

    Return the order, the first refund, and the second as it is listed.
    """
    order_id, _, first = unanswered(desk, "declined", "declined")
    (name,) = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0]
    charge_back(desk.till.fake, name, 100, reverse=False)
    desk.till.deliver_events()
    collecting.perform(desk.till.engine)
    (failed,) = [each for each in needs(desk) if each["kind"] == "refund_failed"]
    return order_id, first, failed


def test_what_was_transferred_during_a_dispute_is_what_she_says(desk: Desk) -> None:
    order_id, first, failed = in_dispute(desk)
    assert failed["amount"] == "0.99"
    # Of the first nothing is to go back now, and perhaps 1.00 when the dispute is over.
    refused = desk.post(f"/payment-operations/{first}/dismiss")
    assert (refused.status_code, "1.00" in refused.json()["detail"]) == (409, True)
    path = f"/payment-operations/{failed['operation']}/dismiss"
    assert desk.post(path, {"amount": "0.99"}).is_success
    assert settled(desk) == [(99, True)]
    # The bank brings back the rest of it, which is still the customer's.
    (name,) = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0]
    charge_back(desk.till.fake, name, 100, reverse=True)
    desk.till.deliver_events()
    later(desk, hours=2)
    assert settled(desk) == [(99, True), (100, True)]
    assert kinds(desk) == []
    assert desk.till.money(order_id)[0] == "0.00"


def test_more_than_was_left_is_recorded_as_what_was_left(desk: Desk) -> None:
    _, _, failed = unanswered(desk, "declined")
    path = f"/payment-operations/{failed}/dismiss"
    assert codes(desk.post(path, {"amount": "0"}))
    shown = desk.post(path, {"amount": "5.00"}).json()
    assert settled(desk) == [(199, True)]
    assert "1.99 of it was left" in shown["operations"][-1]["problem"]
    (capture,) = [each["id"] for each in shown["operations"] if each["kind"] == "capture"]
    wrong = desk.post(f"/payment-operations/{capture}/dismiss", {"amount": "1.00"})
    assert codes(wrong) == {"amount": "not_a_refund"}
    assert desk.post("/payment-operations/999999/dismiss", {"amount": "1.00"}).status_code == 404


def test_what_went_back_elsewhere_beyond_the_payment_is_told_for_a_time(desk: Desk) -> None:
    """More has gone back than came, one way and another: somebody has to know."""
    order_id, _, failed = unanswered(desk, "declined")
    desk.post(f"/payment-operations/{failed}/dismiss", {"amount": "1.99"})
    (name,) = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0]
    on_the_pages(desk, desk.till.payment(order_id), 398)
    with desk.till.fake.books() as books:
        desk.till.fake.send(books, kind="refunded", payment=name, reference="beyond",
                            target=None, amount=50, currency="USD")  # fmt: skip
    desk.till.deliver_events()
    assert [(each["kind"], each["amount"]) for each in needs(desk)] == [
        ("events_beyond_payment", "0.50")
    ]
    with desk.till.later(days=91):
        assert needs(desk) == []


def test_an_order_whose_surplus_nobody_asks_for_is_listed(desk: Desk) -> None:
    """Whatever led there: more was collected than it costs, and no refund of it failed."""
    order_id = desk.till.sell(("SKU-1", 3))
    desk.pay(order_id)
    for minor in (199, 0):
        with desk.till.engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE orders SET cancelled_minor = :minor WHERE id = :i"),
                {"i": order_id, "minor": minor},
            )
        if minor:
            (shown,) = needs(desk)
    assert (shown["kind"], shown["order"], shown["amount"]) == (
        "refund_missing", number(order_id), "1.99",
    )  # fmt: skip


def test_a_part_may_have_gone_back_another_way(desk: Desk) -> None:
    _, _, failed = unanswered(desk, "declined")
    path = f"/payment-operations/{failed}/dismiss"
    assert desk.post(path, {"amount": "0.50"}).is_success
    assert settled(desk) == [(50, True)]
    assert [(each["kind"], each["amount"]) for each in needs(desk)] == [("refund_missing", "1.49")]


@pytest.mark.parametrize("what", ["cancellation", "amendment", "return"])
def test_good_will_before_is_no_part_of_what_a_person_gives_back_then(
    desk: Desk, what: str
) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3), ("SKU-2", 1))
    payment_id = desk.pay(order_id)
    till.deliver_events()
    if what == "return":
        till.ship(order_id)
    on_the_pages(desk, payment_id, 100)
    till.fake.break_next("refund", "declined")
    if what == "cancellation":
        assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    elif what == "amendment":
        body = {"lines": [{"line_no": 1, "quantity": 2}]}
        assert desk.post(f"/orders/{number(order_id)}/amend", body).is_success
    else:
        returns = Returns(till.shop)
        returns.resolve(inspected(returns, order_id))
    collecting.perform(till.engine)
    run(till.engine, lambda c: claims.attribute(c, CLERK, [order_id]))
    assert [(each["kind"], each["amount"]) for each in needs(desk)] == [("refund_failed", "1.99")]
