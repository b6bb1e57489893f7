"""A gateway does not answer for long: what it tells meanwhile is seen, counted once, not lost."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.orders.cancellation import cancel
from oms_ops.reconcile import reconcile
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, only_capture, refund_at_the_gateway
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
        "message_waits", number(order_id), message.id, ["count"],
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
    assert (failed["can"], "message_waits" in failed["how"]) == ([], True)
    assert desk.post(f"/payment-operations/{failed['operation']}/dismiss").status_code == 409


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
