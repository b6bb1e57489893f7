"""PayPal: orders that the customer approves, authorised at once and captured at shipment.

Ids: the payment is PayPal's order; the reference of an authorise and of a void is the
authorisation, of a capture the capture, of a refund the refund. Our operation's key travels twice
with each request: as ``PayPal-Request-Id``, so that a repeat gives the first answer (PayPal keeps
these 45 days for captures, voids and refunds, six hours for orders and their authorisation), and as
``invoice_id`` of what it makes, which stays for good: PayPal's order lists it and its events carry
it. A void makes nothing that could bear a key. Our order's number is the ``custom_id``.

Looking up only reads: an order lists what was made of it, each with its key. There is one
exception: an authorise whose customer has approved is completed by looking it up, because nothing
else of ours notices the approval. What PayPal never heard of is None, and so is an order whose
making's answer was lost: PayPal cannot be asked for it, nobody can pay it without its link, and to
ask again under the same key is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from oms_ops.payments.gateways import paypal_events
from oms_ops.payments.gateways.interface import (
    Arrival,
    Call,
    Notice,
    NotNow,
    Outcome,
    Uncertain,
)
from oms_ops.payments.gateways.paypal_client import (
    UNDECIDED,
    PayPalClient,
    PayPalSettings,
    Refused,
    read_settings,
)
from oms_ops.payments.gateways.paypal_documents import (
    CAPTURES,
    REFUNDS,
    amount_of,
    authorised,
    capture_body,
    captured_of,
    declined,
    made_of,
    mark_body,
    mismatch,
    order_body,
    order_id_of,
    outcome_of,
    refund_body,
    unit_of,
    waiting,
)
from oms_ops.payments.gateways.paypal_signature import Signature

#: Those of :data:`oms_ops.money.EXPONENTS` that PayPal takes, with as many decimals.
CURRENCIES = frozenset({"AUD", "CAD", "CHF", "EUR", "GBP", "JPY", "USD"})
#: Answer with the whole thing, not its id alone.
WHOLE = "return=representation"


def open_gateway() -> PayPalGateway:
    """Open PayPal with what the environment or the folder of secrets says.

    Raises:
        NotFound: a credential or the library is missing.
    """
    return PayPalGateway(read_settings())


class PayPalGateway:
    """The adapter; see the module for what its ids are and what looking up does."""

    captures_in_parts = True

    def __init__(self, settings: PayPalSettings) -> None:
        """Connect nothing yet: the first request does."""
        self._client = PayPalClient(settings)
        self._signature = Signature(settings)

    def call(self, call: Call) -> Outcome:
        """Do what ``call`` asks for; see :class:`~oms_ops.payments.gateways.interface.Gateway`."""
        _check(call)
        if call.currency not in CURRENCIES:
            return declined("CURRENCY_NOT_SUPPORTED", f"PayPal takes no {call.currency}.")
        act = {
            "authorise": self._authorise,
            "capture": self._capture,
            "void": self._void,
            "refund": self._refund,
        }[call.kind]
        return self._settled(call, act)

    def look_up(self, call: Call) -> Outcome | None:
        """Return what became of ``call``, None where PayPal does not know of it.

        None does not say that it will never be done: an order may list what was just made a moment
        later. Asked again under its key, it still is done once.
        """
        _check(call)
        if call.kind == "authorise" and call.payment:
            return self._settled(call, self._authorise)
        return self._listed(call)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Arrival:
        """Return the id and type of an event; raises ``NotNow`` without PayPal's certificate."""
        self._signature.check(headers, body, now)
        return Arrival(*paypal_events.name_of(body))

    def parse(self, body: str) -> Notice | None:
        """Return what an event tells; see :mod:`oms_ops.payments.gateways.paypal_events`."""
        return paypal_events.notice_of(body)

    def _settled(self, call: Call, act: Callable[[Call], Outcome]) -> Outcome:
        try:
            with _understood():
                return act(call)
        except Refused as refusal:
            # "Already captured" may be the echo of this very call, done when its answer was lost.
            with _in_doubt():
                earlier = self._listed(call)
            if earlier is not None:
                return earlier
            if refusal.code in UNDECIDED:
                raise Uncertain(f"PayPal is not sure about {call.key} ({refusal.code}).") from None
            return declined(refusal.code, refusal.message, payment=call.payment)

    # Authorise

    def _authorise(self, call: Call) -> Outcome:
        approved = call.payment or call.token
        if approved is None:
            options = {"body": order_body(call), "paypal_request_id": call.key, "prefer": WHOLE}
            return waiting(self._client.ask(lambda sdk: sdk.orders.create_order(options)))
        order = self._order(approved)
        if (fault := mismatch(call, order)) is not None:
            return fault
        if (known := authorised(call, order)) is not None:
            return known
        status = order["status"]
        if status == "APPROVED":
            return self._complete(call, order)
        if status in ("COMPLETED", "VOIDED"):
            # Completed, and not by this call: one approval must not pay two of our orders.
            message = "The PayPal order was used or cancelled before."
            return declined(f"ORDER_{status}", message, payment=order["id"])
        return waiting(order)

    def _complete(self, call: Call, order: dict[str, Any]) -> Outcome:
        payment = order["id"]
        if unit_of(order).get("invoice_id") != call.key:
            # The storefront's button made it. With our key it tells later which call it paid.
            marks = {"id": payment, "body": mark_body(call)}
            self._client.ask(lambda sdk: sdk.orders.patch_order(marks))
        options = {"id": payment, "paypal_request_id": f"{call.key}-authorise", "prefer": WHOLE}
        self._client.ask(lambda sdk: sdk.orders.authorize_order(options))
        # What was authorised under which key stands in the order, whatever the answer shows.
        with _in_doubt():
            outcome = authorised(call, self._order(payment))
        if outcome is not None:
            return outcome
        # Another call marked and used the same approval in between.
        return declined("ORDER_COMPLETED", "The PayPal order was used before.", payment=payment)

    # Capture, void, refund

    def _capture(self, call: Call) -> Outcome:
        options = {"authorization_id": call.target, "body": capture_body(call), **_once(call)}
        answer = self._client.ask(lambda sdk: sdk.payments.capture_authorized_payment(options))
        return outcome_of(CAPTURES, answer, call.payment)

    def _refund(self, call: Call) -> Outcome:
        options = {"capture_id": call.target, "body": refund_body(call), **_once(call)}
        answer = self._client.ask(lambda sdk: sdk.payments.refund_captured_payment(options))
        return outcome_of(REFUNDS, answer, call.payment)

    def _void(self, call: Call) -> Outcome:
        options = {"authorization_id": call.target, **_once(call)}
        self._client.ask(lambda sdk: sdk.payments.void_payment(options))
        with _in_doubt():
            outcome = self._voided(call)
        if outcome is None:
            raise Uncertain(f"PayPal does not show {call.target} as voided yet.")
        return outcome

    # What PayPal lists

    def _listed(self, call: Call) -> Outcome | None:
        try:
            with _understood():
                if call.kind == "void":
                    return self._voided(call)
                order = self._order_of(call)
                if order is None:
                    return None
                if call.kind == "authorise":
                    return authorised(call, order)
                return _bearing(call, order)
        except Refused:
            return None

    def _voided(self, call: Call) -> Outcome | None:
        """Return the void of an authorisation, whoever voided it: it has one state."""
        target = {"authorization_id": call.target}
        found = self._client.ask(lambda sdk: sdk.payments.get_authorized_payment(target))
        if found["status"] != "VOIDED":
            return None
        payment = call.payment or order_id_of(found)
        amount, currency = amount_of(found)
        try:
            # What was captured before stays captured: the void is of the rest.
            rest = None if payment is None else amount - captured_of(self._order(payment))
        except Refused:
            rest = None  # PayPal shows the order no more; voided it is all the same
        return Outcome("done", call.target, payment, rest, None if rest is None else currency)

    def _order_of(self, call: Call) -> dict[str, Any] | None:
        payment = call.payment or (call.token if call.kind == "authorise" else None)
        if payment is None and call.kind == "capture":
            source = {"authorization_id": call.target}
            payment = order_id_of(
                self._client.ask(lambda sdk: sdk.payments.get_authorized_payment(source))
            )
        elif payment is None and call.kind == "refund":
            source = {"capture_id": call.target}
            payment = order_id_of(
                self._client.ask(lambda sdk: sdk.payments.get_captured_payment(source))
            )
        return None if payment is None else self._order(payment)

    def _order(self, payment: str) -> dict[str, Any]:
        order = self._client.ask(lambda sdk: sdk.orders.get_order({"id": payment}))
        if order["id"] != payment or not order["status"]:
            # "Lists nothing" would be read as "never done".
            raise Uncertain("PayPal's answer is not the order that was asked for.")
        return order


def _check(call: Call) -> None:
    if call.kind != "authorise" and not call.target:
        raise ValueError(f"A {call.kind} needs the id of what it is about.")


def _once(call: Call) -> dict[str, str]:
    return {"paypal_request_id": call.key, "prefer": WHOLE}


def _bearing(call: Call, order: Mapping[str, Any]) -> Outcome | None:
    """Return the capture or refund of the order that bears the call's key."""
    name, states = ("captures", CAPTURES) if call.kind == "capture" else ("refunds", REFUNDS)
    for made in made_of(order, name):
        if made.get("invoice_id") == call.key:
            return outcome_of(states, made, order["id"])
    return None


@contextmanager
def _understood() -> Iterator[None]:
    """Turn an answer without what was expected in it into an unknown outcome, not a crash."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Uncertain(f"PayPal's answer lacks something ({type(error).__name__}).") from None


@contextmanager
def _in_doubt() -> Iterator[None]:
    """Say, of a look after an act, that the act may be done: only of the look it is certain."""
    try:
        yield
    except NotNow as error:
        raise Uncertain(str(error)) from None
