"""PayPal's events in the terms of the ledger.

One event an act, the one that carries ids and amount:

====================================  ========================  ====================
event                                 kind                      reference
====================================  ========================  ====================
``PAYMENT.AUTHORIZATION.CREATED``     authorised                the authorisation
``PAYMENT.AUTHORIZATION.VOIDED``      voided                    the authorisation
``PAYMENT.CAPTURE.COMPLETED``         captured                  the capture
``PAYMENT.CAPTURE.DENIED, DECLINED``  failed                    the capture
``PAYMENT.CAPTURE.REFUNDED``,         refunded                  the refund
``PAYMENT.REFUND.COMPLETED``
``PAYMENT.REFUND.FAILED, CANCELLED``  failed                    the refund
``PAYMENT.CAPTURE.REVERSED``          charged_back              the reversal
``CUSTOMER.DISPUTE.RESOLVED``         charge_back_reversed      the dispute
====================================  ========================  ====================

``CHECKOUT.ORDER.APPROVED`` moves no money: the worker's look-up of the waiting authorise sees the
approval and completes it. Nor do disputes (``CUSTOMER.DISPUTE...``) while they are open: PayPal
holds the money, and a loss comes as a reversal or a refund of its own; counting the dispute too
would take the money twice. One that is resolved in our favour, after it went beyond an inquiry (in
which nothing is taken), brings back what its reversal took; it names the capture's key as the
invoice number. One of several captures says of none how much came back: a person looks.

PayPal's list of events names no ``PAYMENT.REFUND...``; shops report to get them. They are told by
the refund's id as ``PAYMENT.CAPTURE.REFUNDED`` is, so that both together count once.

A void's amount is of the whole authorisation, also where a part was captured before; PayPal sends
the same event when an authorisation lapses after its 29 days.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.payments.gateways.interface import EventKind, Notice

#: event -> what it is to the ledger, and PayPal's kind of resource that it must carry. A refund
#: must come as a refund: a capture in its place would name the wrong amount.
KINDS: dict[str, tuple[EventKind, str]] = {
    "PAYMENT.AUTHORIZATION.CREATED": ("authorised", "authorization"),
    "PAYMENT.AUTHORIZATION.VOIDED": ("voided", "authorization"),
    "PAYMENT.CAPTURE.COMPLETED": ("captured", "capture"),
    "PAYMENT.CAPTURE.DENIED": ("failed", "capture"),
    "PAYMENT.CAPTURE.DECLINED": ("failed", "capture"),
    "PAYMENT.CAPTURE.REFUNDED": ("refunded", "refund"),
    "PAYMENT.REFUND.COMPLETED": ("refunded", "refund"),
    "PAYMENT.REFUND.FAILED": ("failed", "refund"),
    "PAYMENT.REFUND.CANCELLED": ("failed", "refund"),
    "PAYMENT.CAPTURE.REVERSED": ("charged_back", "refund"),
}
RESOLVED = "CUSTOMER.DISPUTE.RESOLVED"
#: What a resource was made from, as PayPal names it in related ids and in links.
SOURCES = {"capture": "authorization", "refund": "capture"}


def name_of(body: bytes) -> tuple[str, str]:
    """Return the id and the type of an event.

    Raises:
        ValidationFailed: it cannot be read.
    """
    event = _read(body)
    return _text(event, "id"), _text(event, "event_type")


def notice_of(body: str) -> Notice | None:
    """Return what an event tells the ledger, None where it changes nothing.

    Raises:
        ValidationFailed: it should tell something and cannot be read.
    """
    event = _read(body)
    name = _text(event, "event_type")
    if name == RESOLVED:
        return _resolved(event)
    if name not in KINDS:
        return None
    kind, expected = KINDS[name]
    resource = event.get("resource")
    if not isinstance(resource, Mapping):
        raise _unreadable("resource", "is missing")
    if event.get("resource_type") != expected:
        raise _unreadable("resource_type", f"is not {expected!r}")
    if kind in ("authorised", "refunded") and resource.get("status") == "PENDING":
        return None  # not yet; another event or a look-up tells
    reference = _text(resource, "id", "resource.id")
    related = _related(resource)
    amount, currency = _amount(resource)
    return Notice(
        kind=kind,
        reference=reference,
        amount_minor=amount,
        currency=currency,
        occurred_at=_moment(event, resource),
        payment=related.get("order_id"),
        # An authorisation is itself what is voided.
        target=_source(resource, related, expected) if expected in SOURCES else reference,
        # An authorisation goes on showing the key that it was made under: the void's is another.
        key=None if kind in ("voided", "charged_back") else resource.get("invoice_id"),
    )


def _resolved(event: Mapping[str, Any]) -> Notice | None:
    """Return that money came back which a dispute had taken, None where none did."""
    dispute = event.get("resource")
    if not isinstance(dispute, Mapping):
        raise _unreadable("resource", "is missing")
    outcome = dispute.get("dispute_outcome")
    code = outcome.get("outcome_code") if isinstance(outcome, Mapping) else None
    if code != "RESOLVED_SELLER_FAVOUR" or dispute.get("dispute_life_cycle_stage") == "INQUIRY":
        return None
    disputed = dispute.get("disputed_transactions")
    if not isinstance(disputed, list) or len(disputed) != 1 or not isinstance(disputed[0], Mapping):
        raise _unreadable("resource.disputed_transactions", "is not one transaction")
    amount, currency = _amount(dispute, "dispute_amount")
    return Notice(
        kind="charge_back_reversed",
        reference=_text(dispute, "dispute_id", "resource.dispute_id"),
        amount_minor=amount,
        currency=currency,
        occurred_at=_moment(event, dispute),
        target=disputed[0].get("seller_transaction_id"),
        key=disputed[0].get("invoice_number"),
    )


def _read(body: bytes | str) -> Mapping[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:  # no JSON, or no UTF-8
        event = None
    if not isinstance(event, Mapping):
        raise _unreadable("body", "is no JSON object")
    return event


def _text(document: Mapping[str, Any], name: str, field: str | None = None) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise _unreadable(field or name, "is missing")
    return value


def _amount(resource: Mapping[str, Any], name: str = "amount") -> tuple[int, str]:
    field = f"resource.{name}"
    amount = resource.get(name)
    if not isinstance(amount, Mapping):
        raise _unreadable(field, "is missing")
    currency = _text(amount, "currency_code", f"{field}.currency_code")
    try:
        return to_minor(_text(amount, "value", f"{field}.value"), currency), currency
    except ValueError as error:
        raise _unreadable(field, str(error)) from None


def _moment(event: Mapping[str, Any], resource: Mapping[str, Any]) -> datetime:
    # A voided authorisation still shows when it was made: its last change is what is meant.
    said = resource.get("update_time") or resource.get("create_time") or event.get("create_time")
    try:
        moment = datetime.fromisoformat(said)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _unreadable("resource.update_time", "is no moment with a time zone")
    return moment


def _related(resource: Mapping[str, Any]) -> dict[str, str]:
    extra = resource.get("supplementary_data")
    related = extra.get("related_ids") if isinstance(extra, Mapping) else None
    if not isinstance(related, Mapping):
        return {}
    return {key: value for key, value in related.items() if isinstance(value, str)}


def _source(resource: Mapping[str, Any], related: Mapping[str, str], made: str) -> str | None:
    """Return the id of what the resource was made from: a refund's capture, say."""
    source = SOURCES[made]
    if f"{source}_id" in related:
        return related[f"{source}_id"]
    links = resource.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "up":
            *_, folder, last = ["", "", *urlsplit(str(link.get("href"))).path.split("/")]
            if folder == f"{source}s":  # a capture's may lead to its order
                return last
    return None


def _unreadable(field: str, message: str) -> ValidationFailed:
    fault = FieldError(field, "unreadable", message)
    return ValidationFailed("The message cannot be read.", [fault])
