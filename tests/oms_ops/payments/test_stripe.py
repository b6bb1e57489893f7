"""Stripe, through its own SDK and over HTTP, against localstripe: what a payment goes through.

What this fake cannot show (test_stripe_errors.py shows what the adapter does about some of it):
- that one key is one act: it knows no idempotency keys;
- the search by metadata, return_url, redirects, expiry of authorisations, disputes;
- refusals of a refund beyond what was captured, or of a payment that is not captured;
- decline codes of issuers, rate limits, locks, and the errors' real codes;
- events of authorisations, voids and refunds: it sends payment_intent.succeeded and
  payment_intent.payment_failed only, once, in order, and with the charge expanded;
- amount_received, amount_capturable, metadata of captures, allowed_payment_method_types and a
  current api_version of events: localstripe_server.py adds these.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from oms_ops.errors import Unauthorised
from oms_ops.payments.gateways.interface import Call, Outcome
from oms_ops.payments.gateways.stripe import StripeGateway, open_gateway
from tests.oms_ops.payments.http_servers import Answer, Asked, Server, serving

GOOD, DECLINED = "pm_card_visa", "pm_card_chargeCustomerFail"
ASKS_THE_CUSTOMER = "4000002500003155"
SECRET = "whsec_current"
numbers = itertools.count(1)


def asking(kind: Any, amount: int, **more: Any) -> Call:
    return Call(f"key-{next(numbers)}", kind, amount, "USD", "A-1001", **more)


def authorise(gateway: StripeGateway, amount: int = 5000, token: str | None = GOOD) -> Outcome:
    return gateway.call(asking("authorise", amount, token=token))


def capture(gateway: StripeGateway, authorised: Outcome, amount: int) -> Outcome:
    parts = {"payment": authorised.payment, "target": authorised.reference}
    return gateway.call(asking("capture", amount, **parts))


def refund(captured: Outcome, amount: int) -> Call:
    return asking("refund", amount, payment=captured.payment, target=captured.reference)


@pytest.fixture
def gateway(localstripe: str, monkeypatch: pytest.MonkeyPatch) -> StripeGateway:
    monkeypatch.setenv("OMS_STRIPE_API_KEY", "sk_test_localstripe")
    monkeypatch.setenv("OMS_STRIPE_WEBHOOK_SECRET", f"{SECRET}, whsec_old")
    monkeypatch.setenv("OMS_STRIPE_API_BASE", localstripe)
    return open_gateway()


@pytest.fixture
def events(localstripe: str) -> Iterator[Server]:
    with serving(lambda _: Answer(200, {})) as receiver:
        hook = {"url": receiver.url, "secret": SECRET}
        httpx.post(f"{localstripe}/_config/webhooks/shop", json=hook).raise_for_status()
        yield receiver


def arrival_of(events: Server, key: str) -> Asked:
    """Wait for the event that names ``key``: those of earlier tests may still be coming in."""
    while True:
        asked = events.arrived.get(timeout=10)
        if f'"{key}"'.encode() in asked.body:
            return asked


def stored(localstripe: str, path: str) -> Any:
    key = {"Authorization": "Bearer sk_test_localstripe"}
    return httpx.get(f"{localstripe}/v1/{path}", headers=key).raise_for_status().json()


def test_an_authorisation_holds_the_amount_and_takes_nothing(
    gateway: StripeGateway, localstripe: str
) -> None:
    call = asking("authorise", 5000, token=GOOD)
    outcome = gateway.call(call)

    assert (outcome.state, outcome.amount_minor, outcome.currency) == ("done", 5000, "USD")
    assert outcome.reference == outcome.payment
    assert str(outcome.payment).startswith("pi_")
    intent = stored(localstripe, f"payment_intents/{outcome.payment}")
    assert (intent["status"], intent["capture_method"]) == ("requires_capture", "manual")
    assert intent["metadata"] == {"order": "A-1001", "oms_operation": call.key}


def test_a_declined_card_is_an_outcome_with_its_code(gateway: StripeGateway) -> None:
    outcome = authorise(gateway, token=DECLINED)

    assert (outcome.state, outcome.code) == ("declined", "card_declined")
    assert outcome.message == "Your card was declined."


def test_without_a_token_the_browser_gets_the_client_secret(gateway: StripeGateway) -> None:
    outcome = authorise(gateway, token=None)

    assert outcome.state == "waiting"
    assert outcome.action is not None
    assert outcome.action["client_secret"].startswith(f"{outcome.payment}_secret_")


def test_a_bank_that_asks_the_customer_is_waited_for_and_looked_up(
    gateway: StripeGateway, localstripe: str
) -> None:
    card = {"number": ASKS_THE_CUSTOMER, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
    made = httpx.post(
        f"{localstripe}/v1/payment_methods",
        json={"type": "card", "card": card},
        headers={"Authorization": "Bearer sk_test_localstripe"},
    ).json()
    call = asking("authorise", 5000, token=made["id"])
    waiting = gateway.call(call)
    assert waiting.state == "waiting"
    assert waiting.action is not None

    seen = Call(call.key, "authorise", 5000, "USD", "A-1001", waiting.payment, token=call.token)
    assert gateway.look_up(seen) == waiting

    answer = httpx.post(
        f"{localstripe}/v1/payment_intents/{waiting.payment}/_authenticate",
        json={"client_secret": waiting.action["client_secret"], "success": True, "key": "pk_test"},
    )
    answer.raise_for_status()
    done = gateway.look_up(seen)
    assert done is not None
    assert (done.state, done.reference, done.amount_minor) == ("done", waiting.reference, 5000)


def test_a_capture_in_part_is_told_with_its_charge_and_found_again(
    gateway: StripeGateway, localstripe: str
) -> None:
    authorised = authorise(gateway)
    call = asking("capture", 3000, payment=authorised.payment, target=authorised.reference)
    assert gateway.look_up(call) is None

    captured = gateway.call(call)

    assert (captured.state, captured.amount_minor, captured.currency) == ("done", 3000, "USD")
    assert captured.payment == authorised.payment
    intent = stored(localstripe, f"payment_intents/{authorised.payment}")
    assert captured.reference == intent["latest_charge"]["id"]
    assert intent["amount_received"] == 3000
    assert gateway.look_up(call) == captured


def test_a_second_capture_is_declined(gateway: StripeGateway) -> None:
    authorised = authorise(gateway)
    assert capture(gateway, authorised, 3000).state == "done"

    again = capture(gateway, authorised, 3000)

    assert again.state == "declined"
    assert not gateway.captures_in_parts


def test_a_payment_is_refunded_in_parts_each_found_by_its_key(gateway: StripeGateway) -> None:
    captured = capture(gateway, authorise(gateway), 3000)
    first, second, never = refund(captured, 1000), refund(captured, 500), refund(captured, 7)

    outcomes = [gateway.call(call) for call in (first, second)]

    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert [outcome.amount_minor for outcome in outcomes] == [1000, 500]
    assert all(str(outcome.reference).startswith("re_") for outcome in outcomes)
    assert len({outcome.reference for outcome in outcomes}) == 2
    assert [gateway.look_up(call) for call in (first, second)] == outcomes
    assert gateway.look_up(never) is None


def test_a_void_releases_the_authorisation_and_is_done_when_it_is_done(
    gateway: StripeGateway, localstripe: str
) -> None:
    authorised = authorise(gateway)
    call = asking("void", 5000, payment=authorised.payment, target=authorised.reference)
    assert gateway.look_up(call) is None

    voided = gateway.call(call)

    assert (voided.state, voided.amount_minor) == ("done", 5000)
    assert voided.reference == authorised.payment
    assert stored(localstripe, f"payment_intents/{authorised.payment}")["status"] == "canceled"
    # The fake refuses to cancel twice, as Stripe does once it has forgotten the key.
    assert gateway.call(call) == voided
    assert gateway.look_up(call) == voided
    assert capture(gateway, authorised, 5000).state == "declined"


def test_a_captured_payment_is_not_voided(gateway: StripeGateway) -> None:
    authorised = authorise(gateway)
    capture(gateway, authorised, 5000)
    call = asking("void", 5000, payment=authorised.payment, target=authorised.reference)

    assert gateway.call(call).state == "declined"
    found = gateway.look_up(call)
    assert found is not None
    assert (found.state, found.code) == ("declined", "already_captured")


def test_what_stripe_never_heard_of_is_unknown(gateway: StripeGateway) -> None:
    for kind in ("authorise", "capture", "void", "refund"):
        assert gateway.look_up(asking(kind, 100, payment="pi_nobody")) is None, kind
    for kind in ("capture", "void", "refund"):
        assert gateway.call(asking(kind, 100, payment="pi_nobody")).state == "declined", kind


def test_a_capture_is_told_by_one_signed_event_of_the_same_reference(
    gateway: StripeGateway, events: Server
) -> None:
    authorised = authorise(gateway)
    call = asking("capture", 3000, payment=authorised.payment, target=authorised.reference)
    captured = gateway.call(call)

    asked = arrival_of(events, call.key)
    now = datetime.now(UTC)
    arrival = gateway.verify(asked.headers, asked.body, now)
    assert arrival.id.startswith("evt_")
    assert arrival.topic == "payment_intent.succeeded"
    notice = gateway.parse(asked.body.decode())
    assert notice is not None
    assert (notice.kind, notice.amount_minor, notice.currency) == ("captured", 3000, "USD")
    assert (notice.reference, notice.payment) == (captured.reference, captured.payment)
    assert (notice.target, notice.key) == (authorised.reference, call.key)

    tampered = asked.body.replace(b'"amount_received": 3000', b'"amount_received": 3001')
    assert tampered != asked.body
    with pytest.raises(Unauthorised):
        gateway.verify(asked.headers, tampered, now)
    with pytest.raises(Unauthorised, match="too long ago"):
        gateway.verify(asked.headers, asked.body, now + timedelta(seconds=330))


def test_a_decline_is_told_by_an_event(gateway: StripeGateway, events: Server) -> None:
    call = asking("authorise", 5000, token=DECLINED)
    gateway.call(call)

    asked = arrival_of(events, call.key)
    gateway.verify(asked.headers, asked.body, datetime.now(UTC))
    notice = gateway.parse(asked.body.decode())
    assert notice is not None
    assert (notice.kind, notice.key, notice.amount_minor) == ("failed", call.key, 5000)
