"""What was given up, counted or sent another way and then happened after all: once, and seen."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops.database import run
from oms_ops.orders import collecting, queries, tenders
from oms_ops.orders.capture import capture
from oms_ops.payments import commands as payments
from oms_ops.payments import operations
from oms_ops.payments.gateways.interface import Outcome
from oms_ops.payments.settling import MANY_ATTEMPTS
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.test_dead_ends import listed
from tests.oms_ops.payments.test_late_answers import (
    answered,
    broken,
    owed,
    stuck,
    waiting_message,
)
from tests.oms_ops.payments.test_unread_news import (
    UNITS,
    inspected,
    later,
    needs,
    on_the_pages,
    settled,
    unanswered,
)
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences
from tests.oms_ops.returns.desk import Desk as Returns
from tests.oms_ops.shop import CLERK, order


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def send(desk: Desk, kind: str, reference: str, amount: int, key: str | None = None) -> None:
    """Let the gateway tell of something of the only payment, and the shop fold it."""
    (payment,) = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0]
    with desk.till.fake.books() as books:
        desk.till.fake.send(books, kind=kind, key=key, payment=payment, reference=reference,
                            target=None, amount=amount, currency="USD")  # fmt: skip
    desk.till.deliver_events()


def without_keys(desk: Desk, body: str = "body") -> None:
    """Let the gateway tell of what it was asked as if it had done so by itself."""
    with desk.till.fake.books() as books:
        books.execute(f"UPDATE events SET body = replace({body}, '\"key\"', '\"nothing\"')")
    desk.till.deliver_events()


def in_flight(desk: Desk, *faults: str) -> tuple[Any, Any]:
    """Ask the gateway for the operation that is due; return it and the answer, not settled yet."""
    (claimed,) = run(desk.till.engine, operations.claim)
    desk.till.fake.break_next("refund", *faults)
    return claimed, desk.till.fake.call(claimed.call)


def settle(desk: Desk, claimed: Any, answer: Any) -> None:
    run(desk.till.engine, lambda c: collecting._settle(c, [(claimed, answer)]))


def two_cards(desk: Desk, *amounts: int) -> tuple[int, list[int]]:
    """Sell goods that two cards pay; return the order and the payments."""
    till = desk.till
    till.shop.stock("SKU-1", 3)
    captured = capture(till.engine, CLERK, order(("SKU-1", 3), payment=None))
    order_id = queries.id_of(captured["number"], "SO")
    cards = []
    for amount in amounts:
        card = run(till.engine, lambda c, m=amount: tenders.add(c, CLERK, order_id, "card", m))
        run(till.engine, lambda c, p=card: operations.authorise(c, CLERK, p, token="tok"))
        collecting.perform(till.engine)
        run(till.engine, lambda c, p=card: payments.capture(c, CLERK, [p]))
        collecting.perform(till.engine)
        cards.append(card)
    return order_id, cards


def test_older_good_will_stays_when_what_was_counted_opens_a_claim(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.deliver_events()
    on_the_pages(desk, payment_id, 199)
    till.fake.break_next("refund", "declined", "lost_after")
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    collecting.perform(till.engine)
    body = {"reason": "x", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    without_keys(desk)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    later(desk, hours=2)
    later(desk, hours=5)
    assert sum(amount for amount, _ in settled(desk)) + owed(desk) == 199 + 199 + 100


def test_what_was_paid_in_since_is_no_claim_of_before(desk: Desk) -> None:
    till = desk.till
    order_id, payment_id, _ = unanswered(desk, "lost_before")
    on_the_pages(desk, payment_id, 100)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    more = {"lines": [{"line_no": 1, "quantity": 3}]}
    assert desk.post(f"/orders/{number(order_id)}/amend", more).is_success
    added = desk.post(f"/orders/{number(order_id)}/payments", {"method": "card"}).json()["id"]
    assert desk.post(f"/payments/{added}/authorise", {"token": "tok"}).is_success
    assert desk.post(f"/payments/{added}/capture").is_success
    till.deliver_events()
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    with till.later(hours=2):
        answered(desk)
        answered(desk, "declined")
    assert owed(desk) == 199


@pytest.mark.parametrize("is_wait", [False, True])
def test_the_books_hold_when_a_gateway_names_what_was_counted(desk: Desk, *, is_wait: bool) -> None:
    """There is money that was captured twice, which what was made there gives back first."""
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.deliver_events()
    send(desk, "captured", "twice", 100)
    till.fake.break_next("refund", "lost_before" if is_wait else "lost_after")
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    collecting.perform(till.engine)
    if is_wait:
        send(desk, "refunded", "named", 199)
    else:
        without_keys(desk, "replace(body, '\"amount\": 199', '\"amount\": 100')")
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    with till.later(hours=2):
        if is_wait:
            (claimed,) = run(till.engine, operations.claim)
            settle(desk, claimed, Outcome("waiting", "named"))
        else:
            collecting.perform(till.engine)
            assert "operation_flagged" in [each["kind"] for each in needs(desk)]
        assert broken(desk) == []


def test_a_declined_refund_that_was_told_as_less_before_counts_as_that(desk: Desk) -> None:
    _, _, failed = unanswered(desk, "declined")
    (row,) = desk.till.shop.rows("SELECT key FROM payment_operations WHERE id = :i", i=failed)
    for key, amount in ((None, 100), (row[0], 199)):
        send(desk, "refunded", "late", amount, key)
    assert broken(desk) == []
    assert settled(desk) == [(100, True)]


def test_a_late_answer_counts_as_what_it_says(desk: Desk) -> None:
    _, operation = stuck(desk)
    with desk.till.later(hours=9):
        claimed, answer = in_flight(desk, "wrong_amount")
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        settle(desk, claimed, answer)
        assert [amount for amount, _ in settled(desk)] == [198]
        assert ("operation_late", "1.99") in listed(desk)
        desk.till.deliver_events()
    assert broken(desk) == []
    assert differences(desk.till.shop, desk.till.fake) == []


def test_a_late_answer_counts_as_what_was_told_of_it_before(desk: Desk) -> None:
    _, operation = stuck(desk)
    with desk.till.later(hours=9):
        claimed, answer = in_flight(desk)
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        without_keys(desk, "replace(body, '\"amount\": 199', '\"amount\": 100')")
        settle(desk, claimed, answer)
    assert [amount for amount, _ in settled(desk)] == [100]
    rows = desk.till.shop.rows("SELECT told_minor FROM payment_operations WHERE kind = 'refund'")
    assert [row[0] for row in rows] == [100]
    assert broken(desk) == []


@pytest.mark.parametrize("way", ["retry", "resolve"])
def test_what_was_made_twice_since_it_was_given_up_is_seen(desk: Desk, way: str) -> None:
    return_id, operation = stuck(desk)
    with desk.till.later(hours=9):
        claimed, answer = in_flight(desk)
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        if way == "retry":
            assert desk.post(f"/payment-operations/{operation}/retry").is_success
        else:
            Returns(desk.till.shop).resolve(return_id)
            collecting.perform(desk.till.engine)
        settle(desk, claimed, answer)
        collecting.perform(desk.till.engine)
        desk.till.deliver_events()
        assert [amount for amount, _ in settled(desk)] == [199, 199]
        assert [(each["kind"], each["can"]) for each in needs(desk)] == [
            ("operation_late", ["dismiss"])
        ]
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        assert needs(desk) == []
    assert differences(desk.till.shop, desk.till.fake) == []
    assert broken(desk) == []


def test_what_staff_gave_and_was_given_up_is_listed(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.fake.break_next("refund", *["lost_before"] * MANY_ATTEMPTS)
    wanted = {"reason": "x", "lines": [{"line_no": 1, "quantity": 3}]}
    assert desk.post(f"/orders/{number(order_id)}/refunds", wanted).status_code == 201
    for hours in range(MANY_ATTEMPTS):
        with till.later(hours=hours):
            collecting.perform(till.engine)
    with till.later(hours=9):
        (shown,) = needs(desk)
        assert desk.post(f"/payment-operations/{shown['operation']}/dismiss").is_success
        assert listed(desk) == [("refund_failed", "5.97")]


def test_what_was_sent_for_goods_that_came_back_counts_for_their_return(desk: Desk) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 1), ("SKU-2", 1))
    desk.pay(order_id)
    till.fake.break_next("refund", "declined")
    wanted = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    desk.post(f"/orders/{number(order_id)}/refunds", wanted)
    (failed,) = needs(desk)
    till.ship(order_id)
    return_id = inspected(returns, order_id)
    dismiss = f"/payment-operations/{failed['operation']}/dismiss"
    assert desk.post(dismiss, {"amount": "1.99"}).is_success
    returns.resolve(return_id)
    collecting.perform(till.engine)
    assert [amount for amount, _ in settled(desk)] == [199]
    assert till.shop.rows("SELECT status FROM returns")[0][0] == "refunded"
    assert (listed(desk), broken(desk)) == ([], [])


def all_retries_succeed(desk: Desk) -> bool:
    """Do every retry and count that is offered; tell whether none was refused."""
    done = []
    for each in needs(desk):
        if "retry" in each["can"]:
            done.append(desk.post(f"/payment-operations/{each['operation']}/retry").status_code)
        if "count" in each["can"]:
            done.append(desk.post(f"/gateway-messages/{each['message']}/count").status_code)
    return all(code < 400 for code in done)


def test_no_retry_is_offered_of_more_than_is_due(desk: Desk) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "declined")
    returns.back(order_id, Asked(1, 1, "damaged"))
    collecting.perform(till.engine)
    on_the_pages(desk, payment_id, 100)
    assert [each["can"] for each in needs(desk)] == [["dismiss"]]


@pytest.mark.parametrize("is_return", [False, True])
def test_no_retry_is_offered_of_a_card_that_has_no_room(desk: Desk, *, is_return: bool) -> None:
    till = desk.till
    order_id, cards = two_cards(desk, 397, 200)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "declined")
    if is_return:
        Returns(till.shop).back(order_id, Asked(1, 1, "damaged"))
        collecting.perform(till.engine)
        desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "x", "goodwill": "3.00"})
    else:
        for amount in ("3.97", "3.00"):
            body = {"amount": amount, "reason": "x"}
            assert desk.post(f"/payments/{cards[0]}/refunds", body).is_success
    assert [each["can"] for each in needs(desk)] == [["dismiss"]]


def test_no_retry_is_offered_of_a_capture_that_is_not_open_any_more(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = till.authorise(order_id)
    till.deliver_events()
    till.fake.break_next("capture", "declined")
    for amount in ("5.00", "3.00"):
        assert desk.post(f"/payments/{payment_id}/capture", {"amount": amount}).is_success
    assert [each["can"] for each in needs(desk)] == [["dismiss"]]


def test_no_count_is_offered_while_the_answer_is_out_or_another_one_settled(desk: Desk) -> None:
    _, _, asked = unanswered(desk, "lost_before")
    (row,) = desk.till.shop.rows("SELECT key FROM payment_operations WHERE id = :i", i=asked)
    send(desk, "refunded", "odd", 100, row[0])
    assert all_retries_succeed(desk)
    later(desk, hours=2)
    assert all_retries_succeed(desk)


def test_who_asks_again_and_again_does_not_make_it_old(desk: Desk) -> None:
    _, _, operation = unanswered(desk, *["lost_before"] * 9)
    for _ in range(MANY_ATTEMPTS):
        assert desk.post(f"/payment-operations/{operation}/retry").is_success
    assert [each["can"] for each in needs(desk)] == [["retry"]]
    assert desk.post(f"/payment-operations/{operation}/dismiss").status_code == 409


def test_an_authorisation_is_not_given_up(desk: Desk) -> None:
    """It may hold the customer's money, beside another one."""
    till = desk.till
    payment_id = till.payment(till.sell(("SKU-1", 3)))
    till.fake.break_next("authorise", *["lost_before"] * MANY_ATTEMPTS)
    assert desk.post(f"/payments/{payment_id}/authorise", {"token": "tok"}).is_success
    for hours in range(MANY_ATTEMPTS):
        with till.later(hours=hours):
            collecting.perform(till.engine)
    with till.later(hours=9):
        (shown,) = needs(desk)
        assert (shown["kind"], shown["can"]) == ("operation_stuck", ["retry"])
        assert desk.post(f"/payment-operations/{shown['operation']}/dismiss").status_code == 409


def test_what_was_counted_and_named_before_the_upgrade_counts_once(desk: Desk) -> None:
    """The migration fills in the name of what an operation that is not settled has as well."""
    till = desk.till
    unanswered(desk, "lost_before")
    send(desk, "refunded", "named", 199)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    module = "oms_ops.migrations.versions.0017_name_refunds_made_at_gateways"
    migration: Any = importlib.import_module(module)
    with till.later(hours=2):
        (claimed,) = run(till.engine, operations.claim)
        settle(desk, claimed, Outcome("waiting", "named"))
        with till.engine.begin() as connection:
            connection.execute(sa.text("UPDATE refunds SET gateway_reference = NULL"))
            connection.execute(sa.text(migration.NAME_THEM))
        settle(desk, claimed, Outcome("done", "named", None, 199, "USD"))
    assert broken(desk) == []
    assert [amount for amount, _ in settled(desk)] == [199]
