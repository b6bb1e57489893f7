"""Payments over HTTP: held, collected and given back; gift cards; what gateways send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.api.app import create_app
from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.payments import balances
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK


@pytest.fixture
def client(till: Till) -> Iterator[TestClient]:
    key = run(till.engine, lambda c: keys.create(c, "clerk", "carla"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(create_app(till.engine), headers=headers) as made:
        yield made


def test_a_card_is_held_collected_and_refunded(till: Till, client: TestClient) -> None:
    order_id = till.sell(("SKU-1", 2))
    path = f"/v1/payments/{till.payment(order_id)}"
    held = client.post(f"{path}/authorise", json={"token": "tok_1"}).json()
    assert (held["authorised"], held["open"]) == ("3.98", "3.98")
    taken = client.post(f"{path}/capture", json={"amount": "1.00"}).json()
    assert (taken["captured"], taken["open"]) == ("1.00", "2.98")
    wanted = {"amount": "0.40", "reason": "late"}
    headers = {"Idempotency-Key": "r-1"}
    for _ in range(2):
        back = client.post(f"{path}/refunds", json=wanted, headers=headers).json()
        assert back["refunded"] == "0.40"
    assert client.post(f"{path}/void").status_code == 409
    listed = client.get(f"/v1/orders/SO-{10_000_000 + order_id}/payments").json()["data"]
    assert [e["kind"] for e in listed[0]["events"]] == ["authorised", "captured", "refunded"]


def test_who_has_to_do_something_is_told_what(till: Till, client: TestClient) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.fake.break_next("authorise", "waiting")
    answer = client.post(f"/v1/payments/{till.payment(order_id)}/authorise").json()
    assert answer["action"] == {"redirect_url": "https://fake.example/fp_1"}
    logged = till.shop.rows("SELECT payload FROM change_log WHERE entity = 'payment_operations'")
    assert logged
    assert "fake.example" not in str([row[0] for row in logged])


@pytest.mark.parametrize("number", ["4242424242424242", "4242 4242 4242 4242"])
def test_no_card_number_is_taken(till: Till, client: TestClient, number: str) -> None:
    order_id = till.sell(("SKU-1", 2))
    path = f"/v1/payments/{till.payment(order_id)}/authorise"
    refused = client.post(path, json={"token": number})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["code"] == "card_number"
    assert number not in refused.text
    assert client.post(path, json={"card": {"number": number}}).status_code == 422


def test_a_gift_card_pays_its_part_and_gets_it_back(till: Till, client: TestClient) -> None:
    order_id = till.sell(("SKU-1", 2), payment=None)
    card = run(till.engine, lambda c: balances.issue_card(c, CLERK, "USD", 150))
    path = f"/v1/orders/SO-{10_000_000 + order_id}"
    wanted = {"method": "gift_card", "code": card.code}
    paid = client.post(f"{path}/payments", json=wanted).json()
    assert (paid["amount"], paid["captured"]) == ("1.50", "1.50")
    assert client.post(f"{path}/payments", json=wanted).status_code == 409
    rest = client.post(f"{path}/payments", json={"method": "invoice"}).json()
    assert (rest["amount"], rest["due_on"] is not None) == ("2.48", True)
    assert client.post(f"{path}/cancel", json={"reason": "no"}).status_code == 200
    with till.engine.connect() as connection:
        assert balances.find_card(connection, card.code or "")["balance_minor"] == 150


def test_a_message_is_stored_before_it_is_answered_and_folded_later(
    till: Till, client: TestClient
) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.fake.break_next("authorise", "lost_after")
    till.authorise(order_id)
    ((headers, body),) = till.fake.events()
    forged = {**headers, "fake-signature": "0"}
    assert client.post("/v1/webhooks/fake", content=body, headers=forged).status_code == 401
    assert client.post("/v1/webhooks/nobody", content=body, headers=headers).status_code == 404
    answers = [client.post("/v1/webhooks/fake", content=body, headers=headers) for _ in range(2)]
    assert [answer.json()["status"] for answer in answers] == ["stored", "known"]
    assert till.money(order_id)[1] == "0.00"
    collecting.hear(till.engine)
    assert till.money(order_id)[1] == "3.98"
