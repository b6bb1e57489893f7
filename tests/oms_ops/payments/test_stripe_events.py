"""Stripe's webhooks, written by hand: who signed them, and what each type tells the ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stripe import WebhookSignature

from oms_ops.errors import Unauthorised, ValidationFailed
from oms_ops.payments.gateways.interface import Arrival, Notice
from oms_ops.payments.gateways.stripe import StripeGateway, StripeSettings

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

INTENT: dict[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 5000,
    "amount_capturable": 0,
    "amount_received": 0,
    "capture_method": "manual",
    "currency": "usd",
    "client_secret": "pi_1_secret_xyz",
    "last_payment_error": None,
    "latest_charge": None,
    "metadata": {"order": "A-1", "oms_operation": "op-1"},
}
REFUND: dict[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 700,
    "charge": "ch_1",
    "currency": "usd",
    "metadata": {"order": "A-1", "oms_operation": "op-3"},
    "payment_intent": "pi_1",
    "status": "succeeded",
}
DISPUTE: dict[str, Any] = {
    "id": "dp_1",
    "object": "dispute",
    "amount": 3000,
    "charge": "ch_1",
    "currency": "usd",
    "payment_intent": "pi_1",
    "status": "needs_response",
}


@pytest.fixture
def gateway() -> StripeGateway:
    return StripeGateway(StripeSettings(api_key="sk_test_x", webhook_secret="new, old"))


def event(topic: str, found: dict[str, Any], **changes: Any) -> str:
    return json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": int(NOW.timestamp()),
            "type": topic,
            "data": {"object": found},
            **changes,
        }
    )


def told(kind: Any, reference: str, amount: int, **more: Any) -> Notice:
    return Notice(kind, reference, amount, "USD", NOW, payment="pi_1", **more)


AUTHORISED = INTENT | {"status": "requires_capture", "amount_capturable": 5000}
CAPTURED = INTENT | {
    "status": "succeeded",
    "amount_received": 3000,
    "latest_charge": "ch_1",
    "metadata": {"oms_operation": "op-1", "oms_capture": "op-2"},
}
RELEASED = INTENT | {"status": "canceled", "latest_charge": "ch_1"}
ABANDONED = RELEASED | {"last_payment_error": {"code": "card_declined"}}
CAPTURED_ON = {"target": "pi_1", "key": "op-2"}


@pytest.mark.parametrize(
    ("topic", "found", "expected"),
    [
        ("payment_intent.amount_capturable_updated", AUTHORISED,
         told("authorised", "pi_1", 5000, key="op-1")),
        ("payment_intent.amount_capturable_updated", AUTHORISED | {"amount_capturable": 0}, None),
        ("payment_intent.succeeded", CAPTURED, told("captured", "ch_1", 3000, **CAPTURED_ON)),
        ("payment_intent.succeeded", CAPTURED | {"latest_charge": {"id": "ch_1"}},
         told("captured", "ch_1", 3000, **CAPTURED_ON)),
        # Captured at once, by another system on the same account: no capture of ours.
        ("payment_intent.succeeded", CAPTURED | {"capture_method": "automatic", "metadata": {}},
         told("captured", "ch_1", 3000, target="pi_1")),
        # The same capture again, and the same refunds as a sum.
        ("charge.captured", {"id": "ch_1", "amount_captured": 3000}, None),
        ("charge.refunded", {"id": "ch_1", "amount_refunded": 700}, None),
        ("payment_intent.canceled", RELEASED, told("voided", "pi_1", 5000, target="pi_1")),
        ("payment_intent.canceled", ABANDONED, told("failed", "pi_1", 5000, key="op-1")),
        ("payment_intent.canceled", RELEASED | {"latest_charge": None},
         told("failed", "pi_1", 5000, key="op-1")),
        ("payment_intent.payment_failed", INTENT, told("failed", "pi_1", 5000, key="op-1")),
        ("refund.created", REFUND, told("refunded", "re_1", 700, target="ch_1", key="op-3")),
        ("refund.updated", REFUND, told("refunded", "re_1", 700, target="ch_1", key="op-3")),
        ("refund.created", REFUND | {"metadata": {}}, told("refunded", "re_1", 700, target="ch_1")),
        ("refund.created", REFUND | {"status": "pending"}, None),
        ("refund.updated", REFUND | {"status": "requires_action"}, None),
        ("refund.failed", REFUND | {"status": "failed"},
         told("failed", "re_1", 700, target="ch_1", key="op-3")),
        ("refund.updated", REFUND | {"status": "canceled"},
         told("failed", "re_1", 700, target="ch_1", key="op-3")),
        # An inquiry takes no money.
        ("charge.dispute.created", DISPUTE, None),
        ("charge.dispute.funds_withdrawn", DISPUTE,
         told("charged_back", "dp_1", 3000, target="ch_1")),
        ("charge.dispute.funds_reinstated", DISPUTE,
         told("charge_back_reversed", "dp_1", 3000, target="ch_1")),
        ("payment_intent.created", INTENT, None),
        ("customer.updated", {"id": "cus_1"}, None),
    ],
)  # fmt: skip
def test_each_type_tells_its_act_once(
    gateway: StripeGateway, topic: str, found: dict[str, Any], expected: Notice | None
) -> None:
    assert gateway.parse(event(topic, found)) == expected


def test_amounts_of_currencies_without_cents_and_with_three_decimals_stay_as_they_are(
    gateway: StripeGateway,
) -> None:
    for currency, amount in (("JPY", 5000), ("KWD", 5120)):
        found = REFUND | {"currency": currency.lower(), "amount": amount}
        notice = gateway.parse(event("refund.created", found))
        assert notice is not None
        assert (notice.amount_minor, notice.currency) == (amount, currency)


@pytest.mark.parametrize(
    "found",
    [
        {"id": "pi_1"},
        CAPTURED | {"latest_charge": None},
        CAPTURED | {"amount_received": "3000"},
        CAPTURED | {"currency": None},
        "pi_1",
        None,
    ],
)
def test_an_event_that_lacks_what_its_type_has_is_refused_not_guessed(
    gateway: StripeGateway, found: Any
) -> None:
    with pytest.raises(ValidationFailed, match="evt_1"):
        gateway.parse(event("payment_intent.succeeded", found))


def test_events_of_an_old_endpoint_are_refused(gateway: StripeGateway) -> None:
    # There, a refund may be what a void released.
    for version in ("2024-06-20", "2025-02-24.acacia", None):
        with pytest.raises(ValidationFailed, match="too old"):
            gateway.parse(event("refund.created", REFUND, api_version=version))
    assert gateway.parse(event("refund.created", REFUND, api_version="2025-03-31.basil"))


def signed(body: bytes, secret: str = "new", at: datetime = NOW) -> dict[str, str]:
    header = WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    return {"stripe-signature": header}


def test_either_secret_verifies_while_one_replaces_the_other(gateway: StripeGateway) -> None:
    body = event("refund.created", REFUND).encode()
    for secret in ("new", "old"):
        arrival = gateway.verify(signed(body, secret), body, NOW)
        assert arrival == Arrival("evt_1", "refund.created")
    both = signed(body, "other")["stripe-signature"] + "," + "v1=" + "0" * 64
    for header in (signed(body, "other")["stripe-signature"], both, signed(body, "")):
        with pytest.raises(Unauthorised):
            gateway.verify({"stripe-signature": str(header)}, body, NOW)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_age_is_measured_by_the_callers_clock(gateway: StripeGateway, seconds: int) -> None:
    body = event("refund.created", REFUND).encode()
    near = timedelta(seconds=300 if seconds > 0 else -300)
    assert gateway.verify(signed(body), body, NOW + near).id == "evt_1"
    with pytest.raises(Unauthorised):
        gateway.verify(signed(body), body, NOW + timedelta(seconds=seconds))


def test_a_younger_stamp_does_not_make_an_old_message_young(gateway: StripeGateway) -> None:
    body = event("refund.created", REFUND).encode()
    header = signed(body, at=NOW - timedelta(hours=1))["stripe-signature"]
    stamp = int(NOW.timestamp())
    for forged in (f"{header},t={stamp}", f"t={stamp},{header}", f"t={stamp}=1,{header}"):
        with pytest.raises(Unauthorised):
            gateway.verify({"stripe-signature": forged}, body, NOW)


@pytest.mark.parametrize(
    "header", ["", "t=1", "v1=abc", "t=x,v1=abc", "t=1,v1=\u00e9", "t=1,v0=abc", "t,v1", "\x00"]
)
def test_what_is_no_signature_is_refused(gateway: StripeGateway, header: str) -> None:
    for body in (b"{}", b"\xff\xfe", b""):
        with pytest.raises(Unauthorised):
            gateway.verify({"stripe-signature": header}, body, NOW)
    with pytest.raises(Unauthorised):
        gateway.verify({}, b"{}", NOW)


def test_without_a_secret_nothing_is_taken() -> None:
    gateway = StripeGateway(StripeSettings(api_key="sk_test_x", webhook_secret=" , "))
    body = event("refund.created", REFUND).encode()
    for secret in ("", " "):
        with pytest.raises(Unauthorised):
            gateway.verify(signed(body, secret), body, NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"7",
        b'{"object": "event"}',
        b'{"object": "event", "id": "evt_1", "type": 7}',
        b'{"object": "v2.core.event", "id": "evt_1", "type": "v1.refund.created"}',
        b"[" * 100_000,
    ],
)
def test_what_is_signed_and_no_event_is_unreadable(gateway: StripeGateway, body: bytes) -> None:
    with pytest.raises(ValidationFailed):
        gateway.verify(signed(body), body, NOW)
