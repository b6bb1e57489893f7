"""Gift cards and store credit over HTTP: issued once, corrected, closed, never told again."""

from __future__ import annotations

import re

import pytest

from tests.oms_ops.payments.desk import Desk, codes, number
from tests.oms_ops.payments.till import Till


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def test_a_code_is_told_once(desk: Desk) -> None:
    body = {"currency": "USD", "amount": "50", "reason": "birthday"}
    first = desk.post("/gift-cards", body, key="c1").json()
    assert re.fullmatch(r"[A-Z2-9]{4}(-[A-Z2-9]{4}){3}", first["code"])
    again = desk.post("/gift-cards", body, key="c1").json()
    assert again == {**first, "code": None}
    assert desk.till.shop.count("balances") == 1
    shown = desk.get(f"/gift-cards/{first['number']}", role="support").json()
    assert (shown["balance"], shown["code_end"]) == ("50.00", first["code"][-4:])
    assert "code" not in shown


def test_a_card_is_looked_up_by_its_code_however_it_is_written(desk: Desk) -> None:
    code = desk.post("/gift-cards", {"currency": "USD", "amount": "50"}).json()["code"]
    for written in (code, code.lower(), code.replace("-", " ")):
        found = desk.post("/gift-cards/balance", {"code": written}, role="support")
        assert found.json()["balance"] == "50.00"
    assert desk.post("/gift-cards/balance", {"code": "AAAA-AAAA"}).status_code == 404
    assert desk.post("/gift-cards/balance", {"code": code}, role="warehouse").status_code == 403


def test_a_card_is_corrected_and_closed(desk: Desk) -> None:
    card = desk.post("/gift-cards", {"currency": "USD", "amount": "50"}).json()
    path = f"/gift-cards/{card['number']}"
    lower = {"amount": "-20", "reason": "typed wrong"}
    assert desk.post(f"{path}/adjust", lower, key="a").json()["balance"] == "30.00"
    assert desk.post(f"{path}/adjust", lower, key="a").json()["balance"] == "30.00"
    assert desk.post(f"{path}/adjust", {"amount": "-31", "reason": "x"}).status_code == 409
    assert codes(desk.post(f"{path}/adjust", {"amount": "0", "reason": "x"})) == {"amount": "zero"}
    closed = desk.post(f"{path}/close").json()
    assert closed["is_active"] is False
    assert [each["amount"] for each in closed["entries"]] == ["50.00", "-20.00"]
    assert desk.post(f"{path}/close").status_code == 409
    order_id = desk.till.sell(("SKU-1", 1), payment=None)
    paid = desk.post(
        f"/orders/{number(order_id)}/payments", {"method": "gift_card", "code": card["code"]}
    )
    assert paid.status_code == 409
    assert desk.get("/gift-cards/BA-99999999").status_code == 404


def test_bad_fields_have_their_codes(desk: Desk) -> None:
    def refused(**body: str) -> dict[str, str]:
        return codes(desk.post("/gift-cards", {"currency": "USD", "amount": "5", **body}))

    assert refused(currency="XYZ") == {"amount": "invalid_amount"}
    assert refused(amount="0.001") == {"amount": "invalid_amount"}
    assert refused(expires_on="2020-01-01") == {"expires_on": "invalid"}
    assert refused(customer="nobody@example.com") == {"customer": "unknown"}
    assert refused(code="MINE-MINE") == {"code": "unknown_field"}


def test_credit_is_given_told_corrected_and_never_negative(desk: Desk) -> None:
    desk.till.sell(("SKU-1", 1))
    path = "/customers/Bob@Example.com/credit"
    body = {"currency": "USD", "amount": "7.50", "reason": "sorry"}
    for _ in range(2):
        given = desk.post(path, body, key="k")
        assert given.status_code == 201
        assert given.json()["credits"][0]["balance"] == "7.50"
    told = desk.till.shop.rows("SELECT recipient FROM outbox_messages WHERE kind = 'credit.issued'")
    assert [row[0] for row in told] == ["bob@example.com"]
    lower = {"currency": "USD", "amount": "-7", "reason": "too much"}
    assert desk.post(f"{path}/adjust", lower).json()["credits"][0]["balance"] == "0.50"
    assert desk.post(f"{path}/adjust", lower).status_code == 409
    assert desk.post(f"{path}/adjust", {**lower, "currency": "EUR"}).status_code == 409
    assert desk.get("/customers/nobody@example.com/credit").status_code == 404


def test_money_that_comes_back_to_a_closed_card_is_told_and_can_be_used_again(desk: Desk) -> None:
    card = desk.post("/gift-cards", {"currency": "USD", "amount": "50"}).json()
    path = f"/gift-cards/{card['number']}"
    order_id = desk.till.sell(("SKU-1", 1), payment=None)
    pay = f"/orders/{number(order_id)}/payments"
    assert codes(desk.post(pay, {"method": "gift_card"})) == {"code": "required"}
    assert desk.post(pay, {"method": "gift_card", "code": card["code"]}).is_success
    assert desk.post(f"{path}/close").is_success
    assert desk.post(f"/orders/{number(order_id)}/cancel", {"reason": "x"}).is_success
    letters = "SELECT count(*) FROM outbox_messages WHERE kind = 'payment.refunded'"
    assert desk.till.shop.rows(letters)[0][0] == 1
    second = desk.till.sell(("SKU-1", 1), payment=None)
    pay = f"/orders/{number(second)}/payments"
    refused = desk.post(pay, {"method": "gift_card", "code": card["code"]})
    assert refused.json()["detail"] == f"Gift card {card['number']} is closed."
    much = {"amount": "-51", "reason": "x"}
    refused = desk.post(f"{path}/adjust", much)
    assert refused.json()["detail"] == (
        f"Gift card {card['number']} has 50.00 USD, less than asked."
    )
    assert desk.post(f"{path}/reopen", role="warehouse").status_code == 403
    assert desk.post(f"{path}/reopen").json()["balance"] == "50.00"
    assert desk.post(f"{path}/reopen").status_code == 409
    assert desk.post(pay, {"method": "gift_card", "code": card["code"]}).is_success
