"""Runs localstripe on a free port of 127.0.0.1 and prints the port.

It is mended where it is behind the API that the SDK speaks; nothing is added that would make a call
succeed which it refuses for the shop's sake. What it cannot show stands in test_stripe.py.
"""

from __future__ import annotations

import socket
from typing import Any

from aiohttp import web
from localstripe import resources
from localstripe.resources import Charge, Event, PaymentIntent

# It would keep every object in /tmp and, run by anyone, come up with the last run's.
resources.Store.dump_to_disk = lambda self: None


def mend_intents() -> None:
    make, capture = PaymentIntent.__init__, Charge._capture

    def made(self: Any, *, allowed_payment_method_types: Any = None, **given: Any) -> None:
        # payment_method_types until the API of September 2026.
        make(self, **given)

    def captured(self: Any, amount: Any, on_success: Any = None) -> None:
        before = getattr(self, "_received", 0)
        self._received = self.amount if amount is None else int(amount)
        try:
            capture(self, amount, on_success)
        except BaseException:
            self._received = before
            raise

    PaymentIntent.__init__ = made
    Charge._capture = captured
    PaymentIntent.amount_received = property(
        lambda self: self.latest_charge._received if self.status == "succeeded" else 0
    )
    PaymentIntent.amount_capturable = property(
        lambda self: self.amount if self.status == "requires_capture" else 0
    )


def mend_captures() -> None:
    """Let a capture note metadata, as Stripe's does."""
    path = "/v1/payment_intents/{id}/capture"

    def capture(id: str, metadata: Any = None, **given: Any) -> Any:  # noqa: A002
        intent = PaymentIntent._api_retrieve(id)
        before = dict(intent.metadata)
        # First: the event is made while it captures.
        intent.metadata.update(metadata or {})
        try:
            return PaymentIntent._api_capture(id, **given)
        except BaseException:
            intent.metadata = before
            raise

    for place, (method, url, _) in enumerate(resources.extra_apis):
        if url == path:
            resources.extra_apis[place] = (method, url, capture)


def mend_events() -> None:
    make = Event.__init__

    def made(self: Any, *given: Any) -> None:
        make(self, *given)
        self.api_version = "2026-10-28.endive"

    Event.__init__ = made


if __name__ == "__main__":
    mend_intents()
    mend_captures()
    mend_events()
    # The routes are made of the functions as they are at this import.
    from localstripe.server import app

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    web.run_app(app, sock=listening, print=None)
