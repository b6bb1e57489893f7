"""Payments over HTTP: what the desk asks for, what it is told, what it is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.orders import collecting
from tests.oms_ops.payments.desk import Desk, codes, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import order

CARD = "4242424242424242"


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def test_a_card_is_authorised_captured_and_refunded_within_the_requests(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.payment(order_id)
    held = desk.post(f"/payments/{payment_id}/authorise", {"token": "tok_1"}).json()
    assert (held["status"], held["action"], held["authorised"]) == ("settled", None, "3.98")
    taken = desk.post(f"/payments/{payment_id}/capture", {"amount": "3.00"}).json()
    assert (taken["captured"], taken["open"]) == ("3.00", "0.98")
    back = desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.00", "reason": "late"})
    assert back.status_code == 201
    assert [each["status"] for each in back.json()["made"]] == ["settled"]
    (shown,) = desk.get(f"/orders/{number(order_id)}/payments", role="support").json()["data"]
    assert (shown["refunded"], shown["method"], shown["gateway"]) == ("1.00", "card", "fake")
    assert [each["kind"] for each in shown["events"]] == ["authorised", "captured", "refunded"]
    assert [each["kind"] for each in shown["operations"]] == ["authorise", "capture", "refund"]


def test_what_the_gateway_has_not_said_is_shown_as_pending(desk: Desk) -> None:
    payment_id = desk.pay(desk.till.sell(("SKU-1", 2)))
    desk.till.fake.break_next("refund", "lost_after")
    back = desk.post(f"/payments/{payment_id}/refunds", {"amount": "1.00", "reason": "late"}).json()
    assert [each["status"] for each in back["made"]] == ["pending"]
    assert (back["refunded"], back["refunding"]) == ("0.00", "1.00")
    with desk.till.later(minutes=5):
        collecting.perform(desk.till.engine)


def test_what_the_customer_has_to_do_is_told_only_to_who_takes_payments(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.till.fake.break_next("authorise", "waiting")
    payment_id = desk.till.payment(order_id)
    asked = desk.post(
        f"/payments/{payment_id}/authorise",
        {"token": "tok_1", "return_url": "https://shop.example/back"},
    ).json()
    assert asked["status"] == "waiting"
    assert "redirect_url" in asked["action"]
    path = f"/orders/{number(order_id)}/payments"
    assert "redirect_url" in desk.get(path).text
    for role in ("support", "analyst", "engineer"):
        shown = desk.get(path, role=role)
        assert shown.is_success
        assert "redirect_url" not in shown.text
    assert desk.get(path, role="warehouse").status_code == 403


def test_a_void_lets_go_of_what_the_gateway_holds(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.authorise(order_id)
    assert desk.post(f"/payments/{payment_id}/void").json()["voided"] == "3.98"
    assert desk.till.operations()[-1] == ("void", "settled")


def test_an_order_is_paid_by_gift_card_credit_and_invoice(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 10), payment=None)
    path = f"/orders/{number(order_id)}/payments"
    card = desk.post("/gift-cards", {"currency": "USD", "amount": "5"}).json()
    used = desk.post(path, {"method": "gift_card", "code": card["code"].lower()})
    assert used.status_code == 201
    assert (used.json()["captured"], used.json()["balance"]) == ("5.00", card["number"])
    credit = {"currency": "USD", "amount": "4", "reason": "sorry"}
    assert desk.post("/customers/bob@example.com/credit", credit).status_code == 201
    paid = desk.post(path, {"method": "store_credit", "amount": "3"}).json()
    assert paid["captured"] == "3.00"
    invoice = desk.post(path, {"method": "invoice"}).json()
    assert invoice["amount"] == "11.90"
    assert invoice["due_on"] is not None
    left = desk.get("/customers/bob@example.com/credit", role="support").json()
    assert left["credits"][0]["balance"] == "1.00"
    assert [each["amount"] for each in left["credits"][0]["entries"]] == ["4.00", "-3.00"]


@pytest.mark.parametrize("at_once", [False, True])
def test_the_same_key_gets_the_first_answer_and_doubles_nothing(
    desk: Desk, *, at_once: bool
) -> None:
    order_id = desk.till.sell(("SKU-1", 4))
    payment_id = desk.pay(order_id)
    body = {"amount": "1.00", "reason": "late"}

    def ask(_: int) -> Any:
        return desk.post(f"/payments/{payment_id}/refunds", body, key="k1")

    if at_once:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(6)))
    else:
        answers = [ask(0), ask(1)]
        assert answers[0].json() == answers[1].json()
    assert {answer.status_code for answer in answers} == {201}
    assert desk.till.money(order_id)[3] == "1.00"
    other = desk.post(f"/payments/{payment_id}/refunds", {**body, "amount": "2"}, key="k1")
    assert other.json()["type"].endswith("idempotency_key_reused")
    # A refusal leaves no key behind.
    path = f"/payments/{payment_id}/refunds"
    assert desk.post(path, {**body, "amount": "99"}, key="k2").status_code == 409
    assert desk.post(path, body, key="k2").status_code == 201


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"token": CARD}, {"token": "card_number"}),
        ({"token": "4242 4242-4242 4242"}, {"token": "card_number"}),
        ({"token": f"tok_{CARD}"}, {"token": "card_number"}),
        ({"token": "tok_1", "number": CARD}, {"number": "card_number"}),
        ({"token": "tok_1", "card": {"no": CARD}, "return_url": "x"},
         {"card.no": "card_number", "card": "unknown_field",
          "return_url": "string_pattern_mismatch"}),
        ({"token": "tok_1", CARD: "x"}, {"body": "card_number"}),
        ({"token": "tok_1", "cvc": "123"}, {"cvc": "unknown_field"}),
    ],
)  # fmt: skip
def test_no_card_data_is_taken(
    desk: Desk, caplog: pytest.LogCaptureFixture, body: Any, expected: Any
) -> None:
    caplog.set_level("DEBUG")
    payment_id = desk.till.payment(desk.till.sell(("SKU-1", 2)))
    refused = desk.post(f"/payments/{payment_id}/authorise", body)
    assert codes(refused) == expected
    assert CARD not in refused.text.replace(" ", "").replace("-", "")
    assert CARD not in caplog.text
    assert desk.till.operations() == []


def test_a_token_that_is_no_card_number_is_taken(desk: Desk) -> None:
    for token in ("pm_1NqX2eLkdIwHu7ixraBm864M", "4242424242424241", "5O190127TN364715T"):
        payment_id = desk.till.payment(desk.till.sell(("SKU-1", 1)))
        asked = desk.post(f"/payments/{payment_id}/authorise", {"token": token})
        assert asked.is_success, asked.text


@pytest.mark.parametrize(
    "payment",
    [{"method": "card", "number": CARD}, {"method": CARD}, CARD, {CARD: 1, "method": "card"}],
)
def test_an_order_with_card_data_is_refused_with_a_code_of_its_own(
    desk: Desk, payment: Any
) -> None:
    submitted = order(("SKU-1", 1), payment=payment)
    refused = desk.post("/orders", submitted)
    assert "card_number" in codes(refused).values()
    assert CARD not in refused.text
    draft = desk.post("/drafts", submitted)
    assert "card_number" in codes(draft).values()
    assert desk.till.shop.count("drafts") == 0
    assert desk.till.shop.count("orders") == 0


def test_who_may_not_is_refused_by_the_service(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.pay(order_id)
    asked: list[tuple[str, Any]] = [
        (f"/orders/{number(order_id)}/payments", {"method": "cash"}),
        (f"/payments/{payment_id}/authorise", {"token": "t"}),
        (f"/payments/{payment_id}/capture", None),
        (f"/payments/{payment_id}/void", None),
        (f"/payments/{payment_id}/refunds", {"amount": "1", "reason": "x"}),
        (f"/orders/{number(order_id)}/refunds", {"reason": "x", "goodwill": "1"}),
        ("/gift-cards", {"currency": "USD", "amount": "1"}),
        ("/customers/bob@example.com/credit", {"currency": "USD", "amount": "1", "reason": "x"}),
        ("/payment-operations/1/accept", None),
        ("/payment-operations/1/dismiss", None),
        ("/payment-operations/1/retry", None),
    ]
    for role in ("support", "engineer", "warehouse"):
        for path, body in asked:
            assert desk.post(path, body, role=role).status_code == 403, (role, path)


def test_a_key_with_one_scope_does_only_that(desk: Desk) -> None:
    from fastapi.testclient import TestClient

    from oms_ops.access import keys
    from oms_ops.database import run

    order_id = desk.till.sell(("SKU-1", 2), payment=None)
    key = run(
        desk.till.engine, lambda c: keys.create(c, "clerk", "narrow", scopes=["payments:write"])
    )
    narrow = TestClient(desk.app, headers={"Authorization": f"Bearer {key}"})
    path = f"/v1/orders/{number(order_id)}/payments"
    assert narrow.post(path, json={"method": "cash"}).status_code == 201
    gift = narrow.post("/v1/gift-cards", json={"currency": "USD", "amount": "1"})
    assert gift.status_code == 403


def test_what_an_amended_order_costs_more_is_paid_through_the_gateway_too(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 1))
    body = {
        "lines": [{"line_no": 1, "quantity": 2}],
        "payment": {"method": "card"},
    }
    amended = desk.post(f"/orders/{number(order_id)}/amend", body)
    assert amended.is_success, amended.text
    assert [row.gateway for row in desk.till.payments(order_id)] == ["fake", "fake"]
