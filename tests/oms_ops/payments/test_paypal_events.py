"""What PayPal's events tell the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from oms_ops.errors import ValidationFailed
from oms_ops.payments.gateways.interface import Notice
from tests.oms_ops.payments.paypal_server import PayPalServer
from tests.oms_ops.payments.paypal_shop import Paid, opened

MOMENT = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
RELATED = {"order_id": "ORD-1", "authorization_id": "AUT-1"}


@pytest.fixture
def server() -> Iterator[PayPalServer]:
    """Run a server in PayPal's place."""
    with PayPalServer() as running:
        yield running


def event(name: str, made: str, **resource: Any) -> str:
    """Return an event; its resource is a ``made`` (authorization, capture, refund)."""
    known: dict[str, Any] = {
        "id": f"{made[:3].upper()}-1",
        "status": "COMPLETED",
        "amount": {"currency_code": "USD", "value": "25.00"},
        "invoice_id": "op-7",
        "custom_id": "1001",
        "create_time": "2026-10-30T08:00:00Z",
        "update_time": "2026-11-02T10:00:00Z",
        "supplementary_data": {"related_ids": RELATED},
    }
    document = {
        "id": "WH-1",
        "event_type": name,
        "resource_type": made,
        "create_time": "2026-11-02T10:00:05.123Z",
        "resource": {k: v for k, v in (known | resource).items() if v is not None},
    }
    return json.dumps(document)


def up(folder: str, key: str) -> list[dict[str, str]]:
    base = "https://api.paypal.com/v2/payments"
    return [
        {"rel": "self", "href": f"{base}/refunds/REF-1"},
        {"rel": "up", "href": f"{base}/{folder}/{key}"},
    ]


def dispute(outcome: str = "RESOLVED_SELLER_FAVOUR", **changes: Any) -> str:
    """Return the event of a dispute that is resolved."""
    resource: dict[str, Any] = {
        "dispute_id": "PP-D-1",
        "status": "RESOLVED",
        "dispute_life_cycle_stage": "CHARGEBACK",
        "dispute_amount": {"currency_code": "USD", "value": "25.00"},
        "dispute_outcome": {"outcome_code": outcome},
        "disputed_transactions": [{"seller_transaction_id": "CAP-1", "invoice_number": "op-7"}],
        "update_time": "2026-11-02T10:00:00Z",
        **changes,
    }
    return json.dumps(
        {"id": "WH-1", "event_type": "CUSTOMER.DISPUTE.RESOLVED", "resource_type": "dispute",
         "resource": resource}
    )  # fmt: skip


TOLD: list[tuple[str, Notice]] = [
    (
        event("PAYMENT.AUTHORIZATION.CREATED", "authorization", status="CREATED"),
        Notice("authorised", "AUT-1", 2_500, "USD", MOMENT, "ORD-1", "AUT-1", "op-7"),
    ),
    (
        event("PAYMENT.AUTHORIZATION.VOIDED", "authorization", status="VOIDED"),
        Notice("voided", "AUT-1", 2_500, "USD", MOMENT, "ORD-1", "AUT-1", None),
    ),
    (
        event("PAYMENT.CAPTURE.COMPLETED", "capture"),
        Notice("captured", "CAP-1", 2_500, "USD", MOMENT, "ORD-1", "AUT-1", "op-7"),
    ),
    (
        event(
            "PAYMENT.CAPTURE.COMPLETED",
            "capture",
            supplementary_data=None,
            links=up("authorizations", "AUT-9"),
            invoice_id=None,
            amount={"currency_code": "JPY", "value": "25"},
        ),
        Notice("captured", "CAP-1", 25, "JPY", MOMENT, None, "AUT-9", None),
    ),
    (
        event("PAYMENT.CAPTURE.DENIED", "capture", status="DECLINED"),
        Notice("failed", "CAP-1", 2_500, "USD", MOMENT, "ORD-1", "AUT-1", "op-7"),
    ),
    (
        event("PAYMENT.CAPTURE.DECLINED", "capture", status="DECLINED"),
        Notice("failed", "CAP-1", 2_500, "USD", MOMENT, "ORD-1", "AUT-1", "op-7"),
    ),
    (
        event(
            "PAYMENT.CAPTURE.REFUNDED", "refund", links=up("captures", "CAP-1"), update_time=None
        ),
        Notice(
            "refunded",
            "REF-1",
            2_500,
            "USD",
            MOMENT.replace(day=30, month=10, hour=8),
            "ORD-1",
            "CAP-1",
            "op-7",
        ),
    ),
    (
        event("PAYMENT.REFUND.COMPLETED", "refund", links=up("captures", "CAP-1")),
        Notice("refunded", "REF-1", 2_500, "USD", MOMENT, "ORD-1", "CAP-1", "op-7"),
    ),
    (
        event("PAYMENT.REFUND.FAILED", "refund", links=up("captures", "CAP-1"), status="FAILED"),
        Notice("failed", "REF-1", 2_500, "USD", MOMENT, "ORD-1", "CAP-1", "op-7"),
    ),
    (
        event("PAYMENT.CAPTURE.REVERSED", "refund", links=up("captures", "CAP-1")),
        Notice("charged_back", "REF-1", 2_500, "USD", MOMENT, "ORD-1", "CAP-1", None),
    ),
    (
        dispute(),
        Notice("charge_back_reversed", "PP-D-1", 2_500, "USD", MOMENT, None, "CAP-1", "op-7"),
    ),
]


@pytest.mark.parametrize(("body", "told"), TOLD, ids=[t.kind for _, t in TOLD])
def test_what_an_event_tells(body: str, told: Notice) -> None:
    assert opened("").parse(body) == told


@pytest.mark.parametrize(
    "body",
    [
        event("CHECKOUT.ORDER.APPROVED", "checkout-order"),
        event("PAYMENT.CAPTURE.PENDING", "capture", status="PENDING"),
        event("PAYMENT.AUTHORIZATION.CREATED", "authorization", status="PENDING"),
        event("PAYMENT.CAPTURE.REFUNDED", "refund", status="PENDING"),
        event("PAYMENT.REFUND.PENDING", "refund", status="PENDING"),
        event("CUSTOMER.DISPUTE.CREATED", "dispute"),
        event("CUSTOMER.DISPUTE.RESOLVED", "dispute"),
        dispute("RESOLVED_BUYER_FAVOUR"),
        # Nothing was taken in an inquiry.
        dispute(dispute_life_cycle_stage="INQUIRY"),
        event("BILLING.PLAN.CREATED", "plan"),
    ],
)
def test_what_moves_no_money_tells_the_ledger_nothing(body: str) -> None:
    assert opened("").parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        event("PAYMENT.CAPTURE.REFUNDED", "capture"),  # its amount is not the refund's
        event("PAYMENT.CAPTURE.COMPLETED", "capture", amount=None),
        event("PAYMENT.CAPTURE.COMPLETED", "capture", id=None),
        event(
            "PAYMENT.CAPTURE.COMPLETED",
            "capture",
            amount={"currency_code": "USD", "value": "1.005"},
        ),
        event(
            "PAYMENT.CAPTURE.COMPLETED", "capture", amount={"currency_code": "XXX", "value": "1.00"}
        ),
        event("PAYMENT.CAPTURE.COMPLETED", "capture", update_time="2026-11-02"),
        '{"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED"}',
        dispute(dispute_id=None),
        dispute(dispute_amount=None),
        dispute(disputed_transactions=[{}, {}]),
    ],
)
def test_an_event_about_money_that_cannot_be_read_is_not_passed_over(body: str) -> None:
    with pytest.raises(ValidationFailed):
        opened("").parse(body)


def test_what_the_server_keeps_is_what_its_events_tell(
    server: PayPalServer,
) -> None:
    gateway = opened(server.url)
    paid = Paid(gateway, server)
    done = gateway.call(paid.capture("op-2", 4_000))
    back = gateway.call(paid.refund("op-3", 1_000, done.reference))
    for outcome, kind, made, key in (
        (done, "PAYMENT.CAPTURE.COMPLETED", server.books.captures, "op-2"),
        (back, "PAYMENT.CAPTURE.REFUNDED", server.books.refunds, "op-3"),
    ):
        resource = made[str(outcome.reference)]
        name = "capture" if key == "op-2" else "refund"
        told = gateway.parse(
            json.dumps({"event_type": kind, "resource_type": name, "resource": resource})
        )
        assert told is not None
        assert (told.reference, told.key, told.amount_minor) == (
            outcome.reference,
            key,
            outcome.amount_minor,
        )
        assert told.target == (paid.authorisation if name == "capture" else done.reference)
