"""What an error of Stripe's SDK means for a call: not done, perhaps done, or never to be done.

Messages hold the code and the id of the request, by which it is found in Stripe's own log, and
nothing of the request or of the answer: they are kept and shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import stripe

from oms_ops.payments.gateways.interface import NotNow, Outcome, Uncertain
from oms_ops.payments.gateways.stripe_answers import Json, declined, ident

#: The first call under this key is still running.
_IN_USE = "idempotency_key_in_use"


@contextmanager
def answered() -> Iterator[None]:
    """Turn the errors that are no answer to a call into the two that a gateway raises.

    A decline, a refused request and a key that was used for another pass in a call; where nobody
    takes them, as in a look-up, nothing is known.
    """
    try:
        yield
    except (stripe.RateLimitError, stripe.AuthenticationError, stripe.PermissionError) as error:
        raise NotNow(_sentence("Stripe did not take the call", error)) from None
    except stripe.APIConnectionError as error:
        cause = type(error.__cause__ or error).__name__
        raise Uncertain(f"Stripe's answer was lost ({cause}).") from None
    except stripe.StripeError as error:
        # 5xx; 409, another call on the object or under the key is running; a page of a proxy's.
        raise Uncertain(_sentence("Stripe gave no answer", error)) from None
    except (AttributeError, KeyError, TypeError) as error:
        raise Uncertain("Stripe's answer cannot be read.") from error


def refusal(error: stripe.StripeError) -> Outcome:
    """Return the outcome of a call that Stripe refused for good.

    Raises:
        Uncertain: it did not refuse it, the first call under the key is still running.
    """
    if isinstance(error, stripe.IdempotencyError):
        if _told(error, "code") == _IN_USE:
            raise Uncertain(_sentence("The first call under the key is still running", error))
        sentence = "The key of the operation was used before with other parameters."
        return declined("idempotency_key_reused", sentence)
    code = _told(error, "decline_code") or _told(error, "code") or _told(error, "type")
    intent = ident(_body(error).get("payment_intent"))
    return declined(code or "refused", error.user_message, intent=intent)


def _body(error: stripe.StripeError) -> Json:
    # Of the JSON itself: the SDK drops the code of some kinds of errors.
    body = error.json_body.get("error") if isinstance(error.json_body, Mapping) else None
    return body if isinstance(body, Mapping) else {}


def _told(error: stripe.StripeError, name: str) -> str | None:
    return ident(_body(error).get(name))


def _sentence(what: str, error: stripe.StripeError) -> str:
    code = _told(error, "code") or _told(error, "type") or "no code"
    return f"{what}: HTTP {error.http_status}, {code}, request {error.request_id or 'unknown'}."
