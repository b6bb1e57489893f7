"""Gateways' webhooks over HTTP: verified, stored, answered; folded afterwards."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from oms_ops import clock
from oms_ops.orders import collecting
from oms_ops.payments.gateways.interface import NotNow
from tests.oms_ops.payments.desk import Desk
from tests.oms_ops.payments.till import Till


@pytest.fixture
def outside(till: Till) -> TestClient:
    """Return a client without a key."""
    return TestClient(Desk(till).app)


def test_a_message_is_stored_once_and_folded_by_the_worker(till: Till, outside: TestClient) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.fake.break_next("authorise", "lost_after")
    till.authorise(order_id)
    headers, body = till.fake.events()[0]
    first = outside.post("/v1/webhooks/fake", content=body, headers=headers)
    assert (first.status_code, first.json()) == (200, {"status": "stored"})
    again = outside.post("/v1/webhooks/fake", content=body, headers=headers)
    assert (again.status_code, again.json()) == (200, {"status": "known"})
    assert till.money(order_id)[1] == "0.00", "folding is the worker's"
    collecting.hear(till.engine)
    assert till.money(order_id)[1] == "3.98"


def test_what_is_not_the_gateways_is_refused_and_not_stored(
    till: Till, outside: TestClient
) -> None:
    till.authorise(till.sell(("SKU-1", 2)))
    headers, body = till.fake.events()[0]
    path = "/v1/webhooks/fake"
    assert outside.post(path, content=body).status_code == 401
    assert outside.post(path, content=body + b" ", headers=headers).status_code == 401
    with clock.at(clock.now() - timedelta(minutes=6)):
        headers, body = till.fake.signed("fe_1", body)
    assert outside.post(path, content=body, headers=headers).status_code == 401
    assert outside.post("/v1/webhooks/nobody", content=body).status_code == 404
    # An account that is not set up, or whose library is not there, is no gateway of this shop.
    for name in ("stripe", "paypal"):
        refusal = outside.post(f"/v1/webhooks/{name}", content=body)
        assert (refusal.status_code, refusal.json()["type"]) == (404, "urn:oms:problem:not_found")
    big = b"x" * 4_000_001
    assert outside.post(path, content=big, headers=headers).status_code == 422
    headers, body = till.fake.signed("fe_2", b"\x00\xff no json")
    assert outside.post(path, content=body, headers=headers).status_code == 422
    assert till.shop.count("gateway_messages") == 0


def test_a_message_that_cannot_be_verified_now_is_to_be_sent_again(
    till: Till, outside: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise NotNow("its certificate cannot be fetched")

    monkeypatch.setattr(till.fake, "verify", away)
    assert outside.post("/v1/webhooks/fake", content=b"{}").status_code == 503
    assert till.shop.count("gateway_messages") == 0


@pytest.mark.parametrize("at", ["yesterday", "2026-11-29T10:00:00", ""])
def test_a_message_without_a_moment_is_too_old(till: Till, outside: TestClient, at: str) -> None:
    body = b"{}"
    headers = {"fake-id": "fe_1", "fake-time": at}
    headers["fake-signature"] = till.fake._signature("fe_1", at, body)
    assert outside.post("/v1/webhooks/fake", content=body, headers=headers).status_code == 401
    assert till.shop.count("gateway_messages") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"amount": -100}, {"amount": 0}, {"amount": "100"}, {"amount": 1.5}, {"amount": True},
        {"amount": None}, {"kind": "doubled"}, {"kind": "refunded", "amount": -100},
    ],
)  # fmt: skip
def test_a_signed_event_that_means_nothing_is_shown_and_never_applied(
    till: Till, outside: TestClient, change: dict[str, object]
) -> None:
    order_id = till.sell(("SKU-1", 2))
    Desk(till).pay(order_id)
    before = till.money(order_id)
    [payment] = till.payments(order_id)
    event = {"kind": "captured", "reference": "fcx", "amount": 100, "currency": "USD",
             "at": clock.now().isoformat(), "payment": payment.gateway_reference,
             **change}  # fmt: skip
    headers, body = till.fake.signed("fe_9", json.dumps(event).encode())
    assert outside.post("/v1/webhooks/fake", content=body, headers=headers).status_code == 200
    collecting.hear(till.engine)
    assert till.money(order_id) == before
    [message] = till.shop.rows("SELECT status, reason FROM gateway_messages")
    assert message[0] == "flagged"
    assert "unreadable" in message[1]
