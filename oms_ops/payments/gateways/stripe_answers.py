"""What Stripe's objects say about an operation: PaymentIntents and Refunds, read without its SDK.

The answer to a call and a later look-up are read here by the same functions, so that one act has
one reference however we learn of it; :mod:`.stripe_events` keeps to the same references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from oms_ops.money import EXPONENTS
from oms_ops.payments.gateways.interface import Call, Outcome

Json: TypeAlias = Mapping[str, Any]

#: Metadata: the order's number; the key of the operation that made the intent or the refund; the
#: key of the one that captured the intent. Stripe forgets idempotency keys after a day, not these.
ORDER, OPERATION, CAPTURE = "order", "oms_operation", "oms_capture"

# An API key, a client secret, a number as long as a card's.
_SECRETS = re.compile(r"\b(?:sk|rk|whsec)_\w+|_secret_\w+|\b\d(?:[ -]?\d){11,18}\b")


def ident(value: Any) -> str | None:
    """Return the id of an object that Stripe sends as its id, or whole where it was expanded."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) and found else None


def noted(found: Json, name: str) -> str | None:
    """Return what we noted in the metadata of an object under ``name``."""
    metadata = found.get("metadata")
    value = metadata.get(name) if isinstance(metadata, Mapping) else None
    return str(value) if value else None


def plain(message: str | None) -> str | None:
    """Return a sentence of Stripe's without anything in it that must not be kept."""
    return _SECRETS.sub("[hidden]", message)[:300] if message else None


def declined(code: str, message: str | None, *, intent: str | None = None) -> Outcome:
    """Return that it did not happen, with the intent that it did not happen to."""
    return Outcome("declined", reference=intent, payment=intent, code=code, message=plain(message))


def unfit(call: Call) -> Outcome | None:
    """Return the refusal of an amount that cannot be sent to Stripe, None where it can.

    Stripe's minor units are ours; but of currencies with three decimals it takes only amounts that
    end in 0, and rounding would settle another amount than was asked for.
    """
    if EXPONENTS.get(call.currency) == 3 and call.amount_minor % 10:
        sentence = f"Stripe takes {call.currency} only with a 0 as the third decimal."
        return declined("amount_not_supported", sentence)
    return None


def authorised(intent: Json, call: Call) -> Outcome:
    """Return what became of an authorisation; its reference is the intent's id.

    ``call.token`` tells a decline from a wait: an intent that we confirmed is over when its means
    of payment failed, one that is confirmed in the browser takes another try there.
    """
    status, name = intent["status"], intent["id"]
    if status in ("requires_capture", "succeeded") or _was_authorised(intent):
        # What can be captured is 0 again after the capture.
        amount = intent.get("amount_capturable") or intent["amount"]
        return _outcome("done", intent, name, amount)
    if status == "canceled":
        code = intent.get("cancellation_reason") or "canceled"
        return declined(code, "The payment was cancelled before it was authorised.", intent=name)
    error = intent.get("last_payment_error")
    if status == "requires_payment_method" and call.token and isinstance(error, Mapping):
        code = error.get("decline_code") or error.get("code") or "declined"
        return declined(code, error.get("message"), intent=name)
    action = None if status == "processing" else _action(intent)
    return _outcome("waiting", intent, name, intent["amount"], action)


def captured(intent: Json, call: Call) -> Outcome | None:
    """Return what became of a capture, None where there is none; its reference is the charge.

    An intent is captured once, and the capture writes its key on it: another's capture is not taken
    for this one. A capture without a key was made at Stripe itself: it is this one if as large.
    """
    status = intent["status"]
    if status == "processing":
        return _outcome("waiting", intent, ident(intent.get("latest_charge")), intent["amount"])
    if status == "canceled":
        return declined("canceled", "The authorisation was released.", intent=intent["id"])
    if status != "succeeded":
        return None
    received, key = intent["amount_received"], noted(intent, CAPTURE)
    if key == call.key or (key is None and received == call.amount_minor):
        return _outcome("done", intent, ident(intent["latest_charge"]), received)
    return declined("already_captured", "The payment was captured otherwise.", intent=intent["id"])


def voided(intent: Json) -> Outcome | None:
    """Return what became of a void, None where it is not done; its reference is the intent's id.

    The amount is what was released: 0 where the customer had not authorised anything yet.
    """
    status = intent["status"]
    if status == "canceled":
        released = intent["amount"] if _was_authorised(intent) else 0
        return _outcome("done", intent, intent["id"], released)
    if status == "succeeded":
        return declined("already_captured", "The payment was captured.", intent=intent["id"])
    return None


def refunded(refund: Json) -> Outcome:
    """Return what became of a refund; its reference is the refund's id."""
    status, name, payment = refund["status"], refund["id"], ident(refund.get("payment_intent"))
    if status in ("failed", "canceled"):
        code = refund.get("failure_reason") or status
        sentence = "The refund did not reach the customer."
        return Outcome("declined", reference=name, payment=payment, code=code, message=sentence)
    return Outcome(
        "done" if status == "succeeded" else "waiting",
        reference=name,
        payment=payment,
        amount_minor=refund["amount"],
        currency=refund["currency"].upper(),
    )


def _was_authorised(intent: Json) -> bool:
    """Tell whether a cancelled intent held money before; ``latest_charge`` is to be expanded."""
    charge = intent.get("latest_charge")
    return (
        intent["status"] == "canceled"
        and isinstance(charge, Mapping)
        and charge["status"] == "succeeded"
    )


def _action(intent: Json) -> Mapping[str, str] | None:
    step = intent.get("next_action")
    if isinstance(step, Mapping) and step.get("type") == "redirect_to_url":
        return {"redirect_url": step["redirect_to_url"]["url"]}
    secret = intent.get("client_secret")
    return {"client_secret": secret} if secret else None


def _outcome(
    state: Any,
    intent: Json,
    reference: str | None,
    amount: int,
    action: Mapping[str, str] | None = None,
) -> Outcome:
    return Outcome(
        state,
        reference=reference,
        payment=intent["id"],
        amount_minor=amount,
        currency=intent["currency"].upper(),
        action=action,
    )
