"""Stripe's webhooks: whether it signed them, and what each type tells the ledger.

One act is one event here, though Stripe tells it in several: a capture is
``payment_intent.succeeded`` (``charge.captured`` would tell it again, and stays away where a
payment is captured automatically); a refund is told by the events that carry that one refund, not
by ``charge.refunded``, which carries the charge with the sum of all; a dispute counts when the
money goes (``funds_withdrawn``): one that is only created may be an inquiry that takes none.

``failed`` is not the end of an intent that is confirmed in the browser: the customer may try again
there, and an ``authorised`` of the same reference then outweighs it.

The endpoint has to be created with an API version of 2025-03-31 or later: before, Stripe made a
refund of whatever was released without having been captured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stripe import SignatureVerificationError, WebhookSignature

from oms_ops.errors import FieldError, Unauthorised, ValidationFailed
from oms_ops.payments.gateways.interface import Arrival, EventKind, Notice
from oms_ops.payments.gateways.stripe_answers import CAPTURE, OPERATION, Json, ident, noted

#: Seconds that a message may be away from our clock: older ones may be replays.
TOLERANCE = 300

#: The first API version whose refunds are all refunds.
SINCE = "2025-03-31"


def verify(
    headers: Mapping[str, str], body: bytes, now: datetime, secrets: Sequence[str]
) -> Arrival:
    """Return the id and type of an event that is signed with one of ``secrets``.

    Raises:
        Unauthorised: it is not, or was signed too long ago.
        ValidationFailed: it is signed and is no event.
    """
    header = headers.get("stripe-signature", "")
    # All secrets are tried, whichever fits: the time taken tells nothing.
    signed = [_is_signed(header, body, secret) for secret in secrets]
    if not any(signed):
        raise Unauthorised("The message is not signed by Stripe.")
    # The SDK compares with the clock of the machine; the caller's is the one that counts.
    if abs(now.timestamp() - _signed_at(header)) > TOLERANCE:
        raise Unauthorised("The message was signed too long ago.")
    event = _read(body)
    return Arrival(event["id"], event["type"])


def parse(body: str) -> Notice | None:
    """Return what an event tells the ledger, None where it tells nothing.

    Raises:
        ValidationFailed: it is of a type that is understood and lacks what that type has, or the
            endpoint is set to an API version that is too old.
    """
    event = _read(body)
    understood = _TYPES.get(event["type"])
    if understood is None:
        return None
    version = str(event.get("api_version") or "0")
    if version[:10] < SINCE:
        fault = FieldError("api_version", "too_old", f"is {version}, not {SINCE} or later")
        raise ValidationFailed(f"The event {event['id']} is of an endpoint too old.", [fault])
    try:
        occurred_at = datetime.fromtimestamp(event["created"], UTC)
        return understood(event["data"]["object"], occurred_at)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        fault = FieldError("data.object", "unreadable", f"{type(error).__name__}: {error}")
        raise ValidationFailed(f"The event {event['id']} cannot be read.", [fault]) from None


def _is_signed(header: str, body: bytes, secret: str) -> bool:
    try:
        return bool(WebhookSignature.verify_header(body, header, secret))
    except (SignatureVerificationError, UnicodeDecodeError, TypeError):
        # TypeError: a signature that is not ASCII cannot be compared.
        return False


def _signed_at(header: str) -> int:
    # The first, as the SDK takes it: the signature covers that one alone.
    stamp = next(part[2:] for part in header.split(",") if part.startswith("t="))
    try:
        return int(stamp)
    except ValueError:
        raise Unauthorised("The message's time of signing cannot be read.") from None


def _read(body: bytes | str) -> Json:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        fault = FieldError("body", "not_json", str(error))
        raise ValidationFailed("The message cannot be read.", [fault]) from None
    if not isinstance(event, dict) or event.get("object") != "event":
        fault = FieldError("object", "not_an_event", "is no event of Stripe's")
        raise ValidationFailed("The message cannot be read.", [fault])
    wrong = [name for name in ("id", "type") if not ident(event.get(name))]
    if wrong:
        faults = [FieldError(name, "required", "is missing") for name in wrong]
        raise ValidationFailed("The message cannot be read.", faults)
    return event


def _notice(
    kind: EventKind,
    reference: Any,
    amount: Any,
    found: Json,
    at: datetime,
    *,
    payment: Any = None,
    target: Any = None,
    key: str | None = None,
) -> Notice:
    named = ident(reference)
    if named is None or not isinstance(amount, int):
        raise ValueError(f"no reference or no amount of what was {kind}")
    return Notice(
        kind=kind,
        reference=named,
        amount_minor=amount,
        currency=found["currency"].upper(),
        occurred_at=at,
        payment=ident(payment),
        target=ident(target),
        key=key,
    )


def _authorised(intent: Json, at: datetime) -> Notice | None:
    name, amount = intent["id"], intent["amount_capturable"]
    if not amount:
        return None
    key = noted(intent, OPERATION)
    return _notice("authorised", name, amount, intent, at, payment=name, key=key)


def _captured(intent: Json, at: datetime) -> Notice:
    # Stripe releases what was not captured without an event of its own.
    name, key = intent["id"], noted(intent, CAPTURE)
    charge, amount = intent["latest_charge"], intent["amount_received"]
    return _notice("captured", charge, amount, intent, at, payment=name, target=name, key=key)


def _failed(intent: Json, at: datetime) -> Notice:
    name, key = intent["id"], noted(intent, OPERATION)
    return _notice("failed", name, intent["amount"], intent, at, payment=name, key=key)


def _cancelled(intent: Json, at: datetime) -> Notice:
    # The charge is there as its id alone. It held money unless the last attempt to pay failed.
    if not intent.get("latest_charge") or intent.get("last_payment_error"):
        return _failed(intent, at)
    name, released = intent["id"], intent["amount"] - intent["amount_received"]
    return _notice("voided", name, released, intent, at, payment=name, target=name)


def _refunded(refund: Json, at: datetime) -> Notice | None:
    kinds: dict[Any, EventKind] = {
        "succeeded": "refunded",
        "failed": "failed",
        "canceled": "failed",
    }
    kind = kinds.get(refund["status"])
    if kind is None:
        return None
    return _notice(
        kind,
        refund["id"],
        refund["amount"],
        refund,
        at,
        payment=refund.get("payment_intent"),
        target=refund.get("charge"),
        key=noted(refund, OPERATION),
    )


def _disputed(kind: EventKind) -> Callable[[Json, datetime], Notice]:
    # The dispute's amount is in the currency of the charge; its balance transactions, which a part
    # reinstated would show in, are in that of the payout.
    def understood(dispute: Json, at: datetime) -> Notice:
        payment, charge = dispute.get("payment_intent"), dispute["charge"]
        name, amount = dispute["id"], dispute["amount"]
        return _notice(kind, name, amount, dispute, at, payment=payment, target=charge)

    return understood


_TYPES: dict[str, Callable[[Json, datetime], Notice | None]] = {
    "payment_intent.amount_capturable_updated": _authorised,
    "payment_intent.succeeded": _captured,
    "payment_intent.payment_failed": _failed,
    "payment_intent.canceled": _cancelled,
    "refund.created": _refunded,
    "refund.updated": _refunded,
    "refund.failed": _refunded,
    "charge.dispute.funds_withdrawn": _disputed("charged_back"),
    "charge.dispute.funds_reinstated": _disputed("charge_back_reversed"),
}
