"""Whatever happens to an order's money, somebody sees it and there is something to be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops import clock
from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.money import to_text
from oms_ops.orders import collecting
from oms_ops.payments import folding, matching, messages
from oms_ops.payments.gateways import registry
from oms_ops.returns import exchange
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.test_unread_news import (
    UNITS,
    inspected,
    kinds,
    later,
    needs,
    on_the_pages,
    settled,
    unanswered,
)
from tests.oms_ops.payments.till import Till
from tests.oms_ops.returns.desk import Desk as Returns
from tests.oms_ops.shop import CLERK


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def listed(desk: Desk) -> list[tuple[str, str]]:
    return [(each["kind"], each["amount"]) for each in needs(desk)]


def test_what_goes_back_by_bank_in_two_parts_is_recorded_twice(desk: Desk) -> None:
    _, payment_id, failed = unanswered(desk, "declined")
    dismiss = f"/payment-operations/{failed}/dismiss"
    assert desk.post(dismiss, {"amount": "0.50"}).is_success
    assert listed(desk) == [("refund_missing", "1.49")]
    # It is dismissed: another amount would be told to nobody.
    assert desk.post(dismiss, {"amount": "1.49"}).status_code == 409
    body = {"amount": "1.49", "reason": "by bank", "elsewhere": True}
    made = desk.post(f"/payments/{payment_id}/refunds", body).json()["made"]
    assert [(each["destination"], each["status"]) for each in made] == [("elsewhere", "settled")]
    later(desk, hours=2)
    assert (listed(desk), settled(desk)) == ([], [(50, True), (149, True)])


def test_what_is_asked_for_again_is_not_dismissed(desk: Desk) -> None:
    _, _, failed = unanswered(desk, "declined", "lost_before")
    assert desk.post(f"/payment-operations/{failed}/retry").is_success
    assert desk.post(f"/payment-operations/{failed}/dismiss").status_code == 409
    later(desk, hours=2)
    assert settled(desk) == [(199, True)]


def failed_refund_of_lines(desk: Desk, *, units: int = 3) -> tuple[int, int, str]:
    """Let a refund of units fail that staff gave; return order, payment, how to dismiss it."""
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    wanted = {"reason": "x", "lines": [{"line_no": 1, "quantity": units}]}
    desk.post(f"/orders/{number(order_id)}/refunds", wanted)
    (failed,) = needs(desk)
    return order_id, payment_id, f"/payment-operations/{failed['operation']}/dismiss"


@pytest.mark.parametrize(
    ("amount", "kept"),
    [("3.98", [("line", 2, 398)]), ("1.00", [("line", 0, 100)]), ("9.00", [("line", 2, 398)])],
)
def test_what_staff_gave_and_sent_by_bank_is_for_what_it_was_for(
    desk: Desk, amount: str, kept: list[tuple[str, int, int]]
) -> None:
    order_id, _, dismiss = failed_refund_of_lines(desk, units=2)
    assert desk.post(dismiss, {"amount": amount}).is_success
    items = desk.till.shop.rows(
        "SELECT i.kind, i.quantity, i.amount_minor FROM refund_items AS i JOIN refunds AS f"
        " ON f.id = i.refund_id WHERE f.destination = 'elsewhere' AND f.status = 'settled'"
    )
    assert [tuple(row) for row in items] == kept
    assert listed(desk) == []
    # Of the line no more goes back than it was paid for.
    rest = desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "x", "everything": True})
    assert rest.json()["amount"] == to_text(597 - kept[0][2], "USD")


def test_what_was_sent_for_what_has_gone_back_since_is_good_will(desk: Desk) -> None:
    order_id, _, dismiss = failed_refund_of_lines(desk)
    wanted = {"reason": "x", "lines": [{"line_no": 1, "quantity": 2}]}
    assert desk.post(f"/orders/{number(order_id)}/refunds", wanted).status_code == 201
    assert desk.post(dismiss, {"amount": "5.97"}).is_success
    items = desk.till.shop.rows(
        "SELECT i.kind, i.quantity, i.amount_minor FROM refund_items AS i JOIN refunds AS f"
        " ON f.id = i.refund_id WHERE f.destination = 'elsewhere' ORDER BY i.id"
    )
    assert [tuple(row) for row in items] == [("line", 0, 199), ("goodwill", 0, 398)]


def test_what_was_given_for_a_line_elsewhere_is_not_given_for_its_return(desk: Desk) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    body = {
        "reason": "by bank", "destination": "elsewhere",
        "lines": [{"line_no": 1, "quantity": 3, "amount": "5.00"}],
    }  # fmt: skip
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    assert till.operations().count(("refund", "settled")) == 0
    returns.back(order_id, Asked(1, 3, "damaged"))
    collecting.perform(till.engine)
    assert sum(amount for amount, _ in settled(desk)) == 597
    assert listed(desk) == []


def test_a_transfer_for_what_staff_gave_themselves_is_a_refund_elsewhere(desk: Desk) -> None:
    order_id, payment_id, dismiss = failed_refund_of_lines(desk)
    body = {"amount": "5.97", "reason": "by bank", "elsewhere": True}
    assert desk.post(f"/payments/{payment_id}/refunds", body).is_success
    assert [each["can"] for each in needs(desk)] == [["dismiss"]]
    assert desk.post(dismiss).is_success
    assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
    assert (listed(desk), settled(desk)) == ([], [(597, False)])
    # More than came does not go back elsewhere either, where nothing is owed.
    assert desk.post(f"/payments/{payment_id}/refunds", body).status_code == 409


def test_what_a_gateway_that_captures_once_let_go_of_is_listed(desk: Desk) -> None:
    till = desk.till
    till.fake.captures_in_parts = False
    try:
        order_id = till.sell(("SKU-1", 3))
        payment_id = till.authorise(order_id)
        assert desk.post(f"/payments/{payment_id}/capture", {"amount": "1.00"}).is_success
        assert listed(desk) == [("authorisation_lost", "4.97")]
        till.ship(order_id)
        later(desk, hours=3)
        assert listed(desk) == [("shipped_unpaid", "4.97")]
        added = desk.post(f"/orders/{number(order_id)}/payments", {"method": "bank_transfer"})
        assert (added.status_code, added.json()["amount"]) == (201, "4.97")
    finally:
        till.fake.captures_in_parts = True


def test_a_settled_refund_that_fails_later_says_what_to_do(desk: Desk) -> None:
    till = desk.till
    order_id, payment_id, asked = unanswered(desk)
    till.deliver_events()
    (row,) = till.shop.rows(
        "SELECT key, gateway_reference FROM payment_operations WHERE id = :i", i=asked
    )
    (name,) = till.shop.rows("SELECT gateway_reference FROM payments")[0]
    with till.fake.books() as books:
        till.fake.send(books, kind="failed", key=row[0], payment=name, reference=row[1],
                       target=None, amount=199, currency="USD")  # fmt: skip
    till.deliver_events()
    (shown,) = needs(desk)
    assert (shown["kind"], shown["order"], shown["can"]) == (
        "message_flagged", number(order_id), ["dismiss"],
    )  # fmt: skip
    assert "of 1.99" in shown["problem"]
    assert "pay it another way" in shown["problem"]
    assert desk.post(f"/gateway-messages/{shown['message']}/dismiss").is_success
    # Paid by bank it is what the ledger says: once.
    body = {"amount": "1.99", "reason": "x"}
    later(desk, hours=2)
    assert (settled(desk), listed(desk)) == ([(199, True)], [])
    assert desk.post(f"/payments/{payment_id}/refunds", body).is_success
    assert settled(desk) == [(199, False), (199, True)]


def test_a_replacement_is_captured_only_where_its_return_can_pay_it(desk: Desk) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    till.fake.break_next("refund", "lost_before")
    body = {"reason": "x", "goodwill": "5.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    return_id = inspected(returns, order_id)
    with pytest.raises(Conflict, match="cannot be made now"):
        exchange.exchange(till.engine, CLERK, return_id)
    assert till.shop.rows("SELECT count(*) FROM orders")[0][0] == 1
    assert till.shop.rows("SELECT status FROM returns")[0][0] == "inspected"


def test_an_exchange_that_broke_off_is_listed_and_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_before")
    body = {"reason": "x", "goodwill": "0.10"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    return_id = inspected(returns, order_id)
    capture: Callable[..., Any] = exchange.capture.capture

    def news_come(*given: Any, **named: Any) -> Any:
        made = capture(*given, **named)
        on_the_pages(desk, payment_id, 20)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(exchange.capture, "capture", news_come)
        with pytest.raises(Conflict, match="has told of"):
            exchange.exchange(till.engine, CLERK, return_id)
    with till.later(hours=1):
        shown = [each for each in needs(desk) if each["kind"] == "exchange_unfinished"]
    assert [(each["order"], each["amount"]) for each in shown] == [(number(order_id), "1.99")]
    later(desk, hours=2)
    with till.later(hours=3):
        exchange.exchange(till.engine, CLERK, return_id)
        assert kinds(desk) == []


@pytest.mark.parametrize("why", ["a fault", "shut"])
def test_a_message_that_waits_goes_on_waiting_whatever_comes_between(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    _, payment_id, _ = unanswered(desk, *["lost_before"] * 9)
    on_the_pages(desk, payment_id, 100)
    (message,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")

    def breaks(*_: Any, **__: Any) -> Any:
        raise registry.NotFound("gone") if why == "shut" else RuntimeError("breaks")

    with monkeypatch.context() as patch, desk.till.later(minutes=10):
        patch.setattr(*((matching, "gateway") if why == "shut" else (folding, "fold")), breaks)
        collecting.hear(desk.till.engine)
    with desk.till.later(minutes=12):
        shown = [each for each in needs(desk) if each["message"] == message.id]
        assert [(each["kind"], each["can"]) for each in shown] == [
            ("message_waits", ["count", "retry"])
        ]
    assert desk.post(f"/gateway-messages/{message.id}/dismiss").status_code == 409
    assert desk.post(f"/gateway-messages/{message.id}/count").is_success
    assert settled(desk) == [(100, False)]


def test_where_its_gateway_is_gone_for_good_a_message_is_put_aside(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, payment_id, _ = unanswered(desk, "lost_before")
    on_the_pages(desk, payment_id, 100)
    (message,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "problem", lambda _: "it is not set up")
        assert desk.post(f"/gateway-messages/{message.id}/dismiss").is_success
    rows = desk.till.shop.rows("SELECT status FROM gateway_messages WHERE id = :i", i=message.id)
    assert rows[0][0] == "ignored"


def test_what_lost_its_room_can_only_be_dismissed(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    body = {"reason": "x", "goodwill": "1.00"}
    desk.post(f"/orders/{number(order_id)}/refunds", body)
    assert [each["can"] for each in needs(desk)] == [["retry", "dismiss"]]
    assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
    collecting.perform(desk.till.engine)
    (shown,) = needs(desk)
    assert (shown["can"], "Dismiss it" in shown["how"]) == (["dismiss"], True)


def test_a_card_that_is_over_is_good_again_when_money_comes_back(desk: Desk) -> None:
    until = (clock.now() + timedelta(days=2)).date().isoformat()
    body = {"currency": "USD", "amount": "5.97", "expires_on": until}
    code = desk.post("/gift-cards", body).json()["code"]
    order_id = desk.till.sell(("SKU-1", 3), payment=None)
    paid = {"method": "gift_card", "code": code}
    assert desk.post(f"/orders/{number(order_id)}/payments", paid).status_code == 201
    with desk.till.later(days=10):
        assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
        other = desk.till.sell(("SKU-1", 3), payment=None)
        assert desk.post(f"/orders/{number(other)}/payments", paid).status_code == 201
    with desk.till.later(days=200):
        assert desk.post(f"/orders/{number(other)}/cancel", {"reason": "x"}).is_success
        assert desk.post("/gift-cards/balance", {"code": code}).json()["balance"] == "5.97"


@pytest.mark.parametrize("kind", ["capture", "refund"])
def test_what_was_dismissed_and_was_done_after_all_is_counted_by_a_person(
    desk: Desk, kind: str
) -> None:
    """A gateway does another amount and tells so, and somebody says that it did nothing."""
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = till.authorise(order_id)
    if kind == "refund":
        desk.post(f"/payments/{payment_id}/capture")
    till.deliver_events()
    till.fake.break_next(kind, "wrong_amount")
    if kind == "capture":
        desk.post(f"/payments/{payment_id}/capture")
    else:
        desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "x", "goodwill": "1.00"})
    (flagged,) = needs(desk)
    till.deliver_events()
    assert desk.post(f"/payment-operations/{flagged['operation']}/dismiss").is_success
    (told,) = [each for each in needs(desk) if each["message"]]
    assert told["can"] == ["count", "dismiss"]
    counted = desk.post(f"/gateway-messages/{told['message']}/count")
    assert counted.json()["status"] == "applied"
    assert till.money(order_id)[2 if kind == "capture" else 3] == (
        "5.96" if kind == "capture" else "0.99"
    )


def test_a_message_is_not_counted_before_what_it_disagrees_with_is_decided(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "wrong_amount")
    desk.post(f"/orders/{number(order_id)}/refunds", {"reason": "x", "goodwill": "1.00"})
    till.deliver_events()
    (told,) = [each for each in needs(desk) if each["message"]]
    assert told["can"] == ["dismiss"]
    assert desk.post(f"/gateway-messages/{told['message']}/count").status_code == 409
    assert settled(desk) == []


def test_a_message_of_no_payment_that_is_known_is_not_counted(desk: Desk) -> None:
    with desk.till.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO gateway_messages (id, gateway, external_id, topic, body, status,"
                " reason, attempts, received_at) VALUES (7, 'fake', 'e', 't', '{}', 'flagged',"
                " 'asked to refund', 1, '2026-11-01T00:00:00Z')"
            )
        )
    (shown,) = needs(desk)
    assert (shown["message"], shown["can"]) == (7, ["dismiss"])
    refused = desk.post("/gateway-messages/7/count")
    assert (refused.status_code, "no payment" in refused.json()["detail"]) == (409, True)


def test_who_counts_a_message_before_the_worker_folds_it_has_counted_it(desk: Desk) -> None:
    order_id, payment_id, _ = unanswered(desk, *["lost_before"] * 4)
    on_the_pages(desk, payment_id, 100)
    with desk.till.later(minutes=20):
        claimed = run(desk.till.engine, lambda c: messages.claim(c, limit=10))
        (message,) = [each.id for each in claimed]
        assert desk.post(f"/gateway-messages/{message}/count").is_success
        run(desk.till.engine, lambda c: collecting._fold(c, claimed))
        rows = desk.till.shop.rows("SELECT status FROM gateway_messages WHERE id = :i", i=message)
        assert rows[0][0] == "applied"
        body = {"reason": "x", "goodwill": "0.10"}
        assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201


def test_an_amendment_of_nothing_decides_nothing_about_refunds(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    desk.till.deliver_events()
    on_the_pages(desk, payment_id, 100)
    for body in ({"lines": [{"line_no": 1, "quantity": 3}]}, {"note": "other"}):
        assert desk.post(f"/orders/{number(order_id)}/amend", body).is_success
    assert [tuple(row) for row in desk.till.shop.rows("SELECT version FROM refunds")] == [(1,)]
    assert desk.till.shop.rows("SELECT id FROM refund_items") == []


def test_a_unit_cancelled_while_a_refund_of_it_is_out_goes_back_once(desk: Desk) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_before", "declined")
    wanted = {"reason": "x", "lines": [{"line_no": 1, "quantity": 3}]}
    desk.post(f"/orders/{number(order_id)}/refunds", wanted)
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    later(desk, hours=2)
    later(desk, hours=9)
    back = sum(amount for amount, _ in settled(desk))
    owed = sum(round(float(each["amount"]) * 100) for each in needs(desk) if "retry" in each["can"])
    assert back + owed <= 597


def test_an_exchange_goes_on_with_what_was_captured_whoever_the_customer_is_now(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    return_id = inspected(returns, order_id)

    def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(exchange, "_finish", dies)
        with pytest.raises(RuntimeError):
            exchange.exchange(till.engine, CLERK, return_id)
    with till.engine.begin() as connection:
        connection.execute(sa.text("UPDATE customers SET name = 'Other'"))
    made = exchange.exchange(till.engine, CLERK, return_id)
    assert till.shop.rows("SELECT count(*) FROM orders")[0][0] == 2
    assert till.shop.rows("SELECT status FROM returns")[0][0] in ("exchanged", "refunding")
    assert made == till.shop.rows("SELECT max(number) FROM orders")[0][0]


def test_a_gateway_that_captures_once_has_let_go_also_when_our_capture_is_declined(
    desk: Desk,
) -> None:
    till = desk.till
    till.fake.captures_in_parts = False
    try:
        order_id = till.sell(("SKU-1", 3))
        payment_id = till.authorise(order_id)
        till.deliver_events()
        till.fake.break_next("capture", "lost_before", "declined")
        desk.post(f"/payments/{payment_id}/capture")
        (name,) = till.shop.rows("SELECT gateway_reference FROM payments")[0]
        with till.fake.books() as books:
            held = books.execute("SELECT reference FROM acts WHERE kind = 'authorise'").fetchone()
            till.fake.send(books, kind="captured", key=None, payment=name, reference="page",
                           target=held[0], amount=100, currency="USD")  # fmt: skip
        till.deliver_events()
        (message,) = till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
        desk.post(f"/gateway-messages/{message.id}/count")
        later(desk, hours=2)
        assert ("authorisation_lost", "4.97") in listed(desk)
        added = desk.post(f"/orders/{number(order_id)}/payments", {"method": "bank_transfer"})
        assert (added.status_code, added.json()["amount"]) == (201, "4.97")
    finally:
        till.fake.captures_in_parts = True


def test_a_refund_made_there_that_fails_later_is_told(desk: Desk) -> None:
    order_id, payment_id, _ = unanswered(desk, "declined")
    on_the_pages(desk, payment_id, 199)
    assert listed(desk) == []
    with desk.till.fake.books() as books:
        told = books.execute("SELECT body FROM events ORDER BY id DESC LIMIT 1").fetchone()
        event = {**json.loads(told["body"]), "kind": "failed"}
        event.pop("at")
        desk.till.fake.send(books, **event)
    desk.till.deliver_events()
    (shown,) = needs(desk)
    assert (shown["kind"], shown["order"]) == ("message_flagged", number(order_id))
    assert "pay it another way" in shown["problem"]


def test_an_old_transfer_hides_no_new_refund(desk: Desk) -> None:
    _, payment_id, failed = unanswered(desk, "declined")
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    with desk.till.later(days=100):
        on_the_pages(desk, payment_id, 597)
        assert listed(desk) == [("events_beyond_payment", "1.99")]


def test_who_was_paid_elsewhere_gets_no_letter_of_a_refund_here(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    body = {"amount": "1.00", "reason": "by bank", "elsewhere": True}
    assert desk.post(f"/payments/{payment_id}/refunds", body).is_success
    rows = desk.till.shop.rows("SELECT kind FROM outbox_messages WHERE kind LIKE 'payment.%'")
    assert rows == []


def test_it_has_let_go_also_when_our_flagged_capture_is_dismissed(desk: Desk) -> None:
    till = desk.till
    till.fake.captures_in_parts = False
    try:
        order_id = till.sell(("SKU-1", 3))
        payment_id = till.authorise(order_id)
        till.deliver_events()
        till.fake.break_next("capture", "wrong_amount")
        desk.post(f"/payments/{payment_id}/capture")
        (flagged,) = needs(desk)
        (name,) = till.shop.rows("SELECT gateway_reference FROM payments")[0]
        with till.fake.books() as books:
            till.fake.send(books, kind="captured", key=None, payment=name, reference="page",
                           target=None, amount=100, currency="USD")  # fmt: skip
        till.deliver_events(order=[-1])
        assert desk.post(f"/payment-operations/{flagged['operation']}/dismiss").is_success
        assert ("authorisation_lost", "4.97") in listed(desk)
    finally:
        till.fake.captures_in_parts = True
