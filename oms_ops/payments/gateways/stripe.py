"""Stripe: cards, authorised now and captured later, through Stripe's own SDK.

An authorisation is a PaymentIntent with ``capture_method=manual``. ``token`` is a PaymentMethod
(``pm_...``) that Stripe's form made in the customer's browser; no card data comes here. With a
token the intent is confirmed at once; without, the browser confirms it with the client secret that
the outcome carries.

References, the same in answers, look-ups and events:

- authorised, voided and a failed authorisation: the intent (``pi_...``), which is the payment too;
- captured: the intent's charge (``ch_...``), the target of its refunds;
- refunded and a failed refund: the refund (``re_...``);
- charged back and reversed: the dispute (``dp_...``).

**Once per key.** ``call.key`` is the idempotency key of every POST: Stripe answers a repeat with
the first answer, a 500 too, and forgets the key after a day at the earliest. So the key is also
noted on what it made, and look-ups rest on that: ``authorise`` searches for its intent,
``capture`` and ``void`` read theirs, ``refund`` goes through the refunds of its charge. The search
is a minute behind: what it does not find is asked for again under the same key, which makes nothing
new within the day, and after a day it would have been found. (Accounts without the search, those of
India, have to look within the day.) So look a call up before it is asked again after a day, and as
it was first asked, ``token`` and ``return_url`` included.

Retries are the caller's: the SDK's own are off.

Settings, from the environment or from files of the same names in small letters in the folder that
``OMS_SECRETS_DIR`` names: ``OMS_STRIPE_API_KEY``, ``OMS_STRIPE_WEBHOOK_SECRET``,
``OMS_STRIPE_API_BASE``, ``OMS_STRIPE_TIMEOUT_SECONDS``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from oms_ops.errors import NotFound
from oms_ops.payments.gateways import stripe_answers as answers
from oms_ops.payments.gateways.interface import Arrival, Call, Notice, Outcome, Uncertain
from oms_ops.payments.gateways.stripe_answers import CAPTURE, OPERATION, ORDER, Json

try:
    import stripe
except ModuleNotFoundError as error:
    raise NotFound("Stripe's library is not installed: install order-platform[stripe].") from error

from oms_ops.payments.gateways import stripe_events
from oms_ops.payments.gateways.stripe_errors import answered, refusal

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, RefundCreateParams, RefundListParams


class StripeSettings(BaseSettings):
    """What the shop's account at Stripe needs, one value per environment variable or file."""

    # A value that is refused is not shown: it may be a secret in the wrong place.
    model_config = SettingsConfigDict(
        env_prefix="OMS_STRIPE_", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    api_key: str = Field(default="", repr=False)
    #: Signs the webhooks; two, separated by a comma, while a new one replaces the old.
    webhook_secret: str = Field(default="", repr=False)
    #: Another server that speaks Stripe's API, for tests.
    api_base: str = ""
    timeout_seconds: float = Field(default=20, gt=0)

    @field_validator("api_base")
    @classmethod
    def _safe(cls, value: str) -> str:
        parts = urlsplit(value)
        is_local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if value and parts.scheme != "https" and not (parts.scheme == "http" and is_local):
            raise ValueError("must be https: the API key travels with every call")
        return value.rstrip("/")

    @classmethod
    def read(cls) -> StripeSettings:
        """Return the settings of the environment; its variables win over the files."""
        # Pydantic's own parameter, which the signature that type checkers see does not have.
        folder: dict[str, Any] = {"_secrets_dir": os.environ.get("OMS_SECRETS_DIR") or None}
        return cls(**folder)


def open_gateway() -> StripeGateway:
    """Return the gateway for the account that the environment names.

    Raises:
        NotFound: the account's key is not set.
    """
    given = StripeSettings.read()
    if not given.api_key:
        raise NotFound(
            "Stripe is not set up: OMS_STRIPE_API_KEY is not set, and there is no file"
            " oms_stripe_api_key in the folder that OMS_SECRETS_DIR names."
        )
    return StripeGateway(given)


class StripeGateway:
    """Stripe, as a :class:`~oms_ops.payments.gateways.interface.Gateway`."""

    #: Stripe captures a PaymentIntent once, and releases the rest with that.
    captures_in_parts = False

    def __init__(self, given: StripeSettings) -> None:
        """Make the SDK's client; nothing is sent yet."""
        # At level DEBUG the SDK logs whole answers, and client secrets with them.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        # It keeps an id in the home folder, and reports how long calls take.
        stripe.enable_telemetry = False
        self._secrets = [part.strip() for part in given.webhook_secret.split(",") if part.strip()]
        client = stripe.StripeClient(
            given.api_key,
            base_addresses={"api": given.api_base} if given.api_base else None,
            http_client=stripe.RequestsClient(timeout=given.timeout_seconds),
            max_network_retries=0,
        )
        self._intents, self._refunds = client.v1.payment_intents, client.v1.refunds

    def call(self, call: Call) -> Outcome:
        """Do what ``call`` asks for, once per key."""
        if fault := answers.unfit(call):
            return fault
        with answered():
            try:
                return self._asked(call)
            except (stripe.CardError, stripe.IdempotencyError) as error:
                return refusal(error)
            except stripe.InvalidRequestError as error:
                # Stripe may have forgotten the key of a capture or void that it did.
                done = self._intent_says(call)
                return done if done and done.state == "done" else refusal(error)

    def look_up(self, call: Call) -> Outcome | None:
        """Return what became of ``call``, None where Stripe knows of nothing.

        An authorisation that never reached Stripe is made by this: see the module.
        """
        if fault := answers.unfit(call):
            return fault
        with answered():
            if call.kind == "authorise":
                return self._authorisation(call)
            if call.kind == "refund":
                return self._refund(call)
            return self._intent_says(call)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Arrival:
        """Return the id and type of an event that Stripe signed."""
        return stripe_events.verify(headers, body, now, self._secrets)

    def parse(self, body: str) -> Notice | None:
        """Return what a verified event tells."""
        return stripe_events.parse(body)

    def _asked(self, call: Call) -> Outcome:
        if call.kind == "authorise":
            return answers.authorised(self._create(call), call)
        if call.kind == "refund":
            return self._give_back(call)
        intent, once = _payment(call), _once(call)
        if call.kind == "void":
            made = self._intents.cancel(intent, {"expand": ["latest_charge"]}, once)
            outcome = answers.voided(_json(made))
        else:
            made = self._intents.capture(
                intent,
                {"amount_to_capture": call.amount_minor, "metadata": {CAPTURE: call.key}},
                once,
            )
            outcome = answers.captured(_json(made), call)
        if outcome is None:
            raise Uncertain("Stripe took the call and does not show that it is done.")
        return outcome

    def _create(self, call: Call) -> Json:
        params: PaymentIntentCreateParams = {
            "amount": call.amount_minor,
            "currency": call.currency.lower(),
            "capture_method": "manual",
            # Other means that the account allows may not wait for a capture.
            "allowed_payment_method_types": ["card"],
            "metadata": {ORDER: call.order, OPERATION: call.key},
        }
        if call.token:
            params["payment_method"] = call.token
            params["confirm"] = True
            if call.return_url:
                params["return_url"] = call.return_url
        return _json(self._intents.create(params, _once(call)))

    def _give_back(self, call: Call) -> Outcome:
        params: RefundCreateParams = {
            "amount": call.amount_minor,
            "metadata": {ORDER: call.order, OPERATION: call.key},
        }
        if call.target:
            params["charge"] = call.target
        else:
            params["payment_intent"] = _payment(call)
        return answers.refunded(_json(self._refunds.create(params, _once(call))))

    def _authorisation(self, call: Call) -> Outcome | None:
        if call.payment:
            intent = self._intent(call.payment)
            if intent is None:
                return None
            if answers.noted(intent, OPERATION) == call.key:
                return answers.authorised(intent, call)
            # The payment's id is of an earlier attempt, which made another intent.
        name = self._search(call.key)
        if name is None:
            try:
                name = self._create(call)["id"]
            except stripe.IdempotencyError:
                raise Uncertain("Stripe knows the key; the search will find its intent.") from None
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                return refusal(error)
        # The answer to a repeat, and what the search finds, are as old as they may be.
        intent = self._intent(name)
        return answers.authorised(intent, call) if intent else None

    def _search(self, key: str) -> str | None:
        quoted = key.replace("\\", "\\\\").replace("'", "\\'")
        try:
            found = self._intents.search({"query": f"metadata['{OPERATION}']:'{quoted}'"})
        except stripe.InvalidRequestError:
            return None
        return next((answers.ident(intent) for intent in _json(found)["data"]), None)

    def _intent_says(self, call: Call) -> Outcome | None:
        """Return what the intent says of a capture or a void, None of other calls."""
        if call.kind not in ("capture", "void"):
            return None
        intent = self._intent(_payment(call))
        if intent is None:
            return None
        return answers.captured(intent, call) if call.kind == "capture" else answers.voided(intent)

    def _intent(self, name: str) -> Json | None:
        try:
            return _json(self._intents.retrieve(name, {"expand": ["latest_charge"]}))
        except stripe.InvalidRequestError as error:
            if error.http_status == 404:
                return None
            raise

    def _refund(self, call: Call) -> Outcome | None:
        params: RefundListParams = {"limit": 100}
        if call.target:
            params["charge"] = call.target
        else:
            params["payment_intent"] = _payment(call)
        try:
            page: Any = self._refunds.list(params)
            if not isinstance(page, stripe.ListObject) or "data" not in page:
                # The SDK would take it for an empty list, or ask without the account's key.
                raise TypeError("Stripe's answer is no list")
            for refund in page.auto_paging_iter():
                if answers.noted(_json(refund), OPERATION) == call.key:
                    return answers.refunded(_json(refund))
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
        return None


def _once(call: Call) -> stripe.RequestOptions:
    return {"idempotency_key": call.key}


def _payment(call: Call) -> str:
    if call.payment is None:
        raise ValueError(f"a {call.kind} needs the payment that it is of")
    return call.payment


def _json(answer: Any) -> Json:
    # A page that some proxy answers with is no object.
    if not isinstance(answer, stripe.StripeObject):
        raise TypeError("Stripe's answer is no object")
    return answer.to_dict()
