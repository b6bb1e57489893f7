"""Stripe when it fails, through its own SDK, against a server that answers as each test says."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from oms_ops.payments.gateways.interface import Call, NotNow, Uncertain
from oms_ops.payments.gateways.stripe import StripeGateway, StripeSettings
from tests.oms_ops.payments.http_servers import Answer, serving
from tests.oms_ops.payments.stripe_bodies import (
    CALLS,
    KEY,
    PAID,
    Given,
    asking,
    error,
    intent,
    refund,
)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.kind)
def test_every_post_carries_the_operations_key(given: Given, call: Call) -> None:
    bodies = {
        "authorise": intent("requires_capture"),
        "capture": intent("succeeded", metadata={"oms_capture": "op-1"}),
        "void": intent("canceled"),
        "refund": refund(),
    }
    gateway, server = given(Answer(200, bodies[call.kind]))

    assert gateway.call(call).state == "done"
    assert gateway.call(call).state == "done"

    assert [asked.headers["idempotency-key"] for asked in server.asked] == ["op-1", "op-1"]
    assert server.asked[0].body == server.asked[1].body


def test_what_is_sent_is_what_was_asked(given: Given) -> None:
    gateway, server = given(Answer(200, intent("requires_capture")))
    gateway.call(asking("authorise", token="pm_1", return_url="https://shop.example/back"))
    noted = {"metadata[order]": "A-1001", "metadata[oms_operation]": "op-1"}
    assert server.asked[-1].path == "/v1/payment_intents"
    assert server.asked[-1].headers["authorization"] == f"Bearer {KEY}"
    assert server.asked[-1].form == noted | {
        "amount": "5000",
        "currency": "usd",
        "capture_method": "manual",
        "allowed_payment_method_types[0]": "card",
        "payment_method": "pm_1",
        "confirm": "true",
        "return_url": "https://shop.example/back",
    }

    gateway, server = given(Answer(200, intent("succeeded")))
    gateway.call(asking("capture", 3000, payment="pi_1", target="pi_1"))
    assert server.asked[-1].path == "/v1/payment_intents/pi_1/capture"
    assert server.asked[-1].form == {"amount_to_capture": "3000", "metadata[oms_capture]": "op-1"}

    gateway, server = given(Answer(200, refund()))
    gateway.call(asking("refund", 700, **PAID))
    assert server.asked[-1].path == "/v1/refunds"
    assert server.asked[-1].form == noted | {"amount": "700", "charge": "ch_1"}


LOST = {
    "500": error(500, type="api_error"),
    "502, a page": Answer(502, "<html>Bad Gateway</html>"),
    "409, locked": error(409, code="lock_timeout"),
    "409, key in use": error(409, type="idempotency_error", code="idempotency_key_in_use"),
    "400, key in use": error(400, type="idempotency_error", code="idempotency_key_in_use"),
    "424": error(424, type="api_error"),
    "slow": Answer(200, intent("requires_capture"), slow=0.8),
    "cut": Answer(cut=True),
    "200, a page": Answer(200, "<html>Welcome to the hotel</html>"),
    "200, a list": Answer(200, [1]),
    "200, something else": Answer(200, {"object": "payment_intent"}),
    "200, a list of nothing": Answer(200, {"object": "list", "url": "/v1/x", "has_more": False}),
    "200, empty": Answer(200, ""),
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.kind)
@pytest.mark.parametrize("answer", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_is_uncertain_and_not_retried(
    given: Given, answer: Answer, call: Call
) -> None:
    gateway, server = given(answer)
    with pytest.raises(Uncertain):
        gateway.call(call)
    assert len(server.asked) == 1
    with pytest.raises(Uncertain):
        gateway.look_up(call)


def test_a_server_that_is_away_is_uncertain() -> None:
    with serving(lambda _: Answer()) as server:
        pass
    gateway = StripeGateway(StripeSettings(api_key=KEY, api_base=server.url))
    with pytest.raises(Uncertain, match="ConnectionError"):
        gateway.call(CALLS[0])


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.kind)
@pytest.mark.parametrize("status", [401, 403, 429])
def test_what_stripe_does_not_take_can_be_asked_later(
    given: Given, status: int, call: Call
) -> None:
    gateway, server = given(error(status, message=f"Invalid API Key provided: {KEY}"))
    with pytest.raises(NotNow) as raised:
        gateway.call(call)
    assert len(server.asked) == 1
    assert KEY not in str(raised.value)
    with pytest.raises(NotNow):
        gateway.look_up(call)


def test_a_decline_has_the_issuers_code_and_the_intent(given: Given) -> None:
    fields = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
    body: Any = {**fields, "message": "Your card has insufficient funds."}
    body["payment_intent"] = intent("requires_payment_method")
    gateway, _ = given(Answer(402, {"error": body}))

    outcome = gateway.call(CALLS[0])

    assert (outcome.state, outcome.code) == ("declined", "insufficient_funds")
    assert outcome.message == "Your card has insufficient funds."
    assert (outcome.reference, outcome.payment) == ("pi_1", "pi_1")


@pytest.mark.parametrize("status", [400, 402, 404])
def test_a_refused_request_is_declined_with_its_code(given: Given, status: int) -> None:
    gateway, _ = given(error(status, code="amount_too_small", message="Too small."))
    for call in (CALLS[0], CALLS[3]):
        outcome = gateway.call(call)
        assert (outcome.state, outcome.code) == ("declined", "amount_too_small")


def test_a_key_that_was_used_for_something_else_is_declined_and_says_so(given: Given) -> None:
    gateway, _ = given(error(400, type="idempotency_error", message="Keys can only be used once"))
    outcome = gateway.call(CALLS[0])
    assert (outcome.state, outcome.code) == ("declined", "idempotency_key_reused")


def test_messages_and_logs_hold_no_secret(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"No such key {KEY} for pi_1_secret_hush and the card 4242 4242 4242 4242, order 1001."
    gateway, _ = given(error(400, code="x", message=said), Answer(200, intent("requires_action")))

    message = gateway.call(CALLS[0]).message
    gateway.call(CALLS[0])

    assert message == "No such key [hidden] for pi_1[hidden] and the card [hidden], order 1001."
    assert "hush" not in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("step", "action"),
    [
        ({"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}},
         {"redirect_url": "https://bank.example/3ds"}),
        ({"type": "use_stripe_sdk", "use_stripe_sdk": {}}, {"client_secret": "pi_1_secret_hush"}),
    ],
)  # fmt: skip
def test_what_the_customer_has_to_do_is_passed_on(given: Given, step: Any, action: Any) -> None:
    gateway, _ = given(Answer(200, intent("requires_action", next_action=step)))
    outcome = gateway.call(CALLS[0])
    assert (outcome.state, outcome.reference, outcome.action) == ("waiting", "pi_1", action)


@pytest.mark.parametrize("status", ["pending", "requires_action"])
def test_a_refund_that_takes_its_time_waits(given: Given, status: str) -> None:
    gateway, _ = given(Answer(200, refund(status=status)))
    outcome = gateway.call(CALLS[3])
    assert (outcome.state, outcome.reference) == ("waiting", "re_1")


def test_amounts_that_stripe_would_round_are_not_sent(given: Given) -> None:
    gateway, server = given(Answer(200, intent("requires_capture", currency="kwd", amount=5120)))
    outcome = gateway.call(asking("authorise", 5124, "KWD", token="pm_1"))
    assert (outcome.state, outcome.code) == ("declined", "amount_not_supported")
    assert gateway.look_up(asking("authorise", 5124, "KWD", token="pm_1")) == outcome
    assert server.asked == []
    assert gateway.call(asking("authorise", 5120, "KWD", token="pm_1")).currency == "KWD"
    assert server.asked[0].form["amount"] == "5120"
