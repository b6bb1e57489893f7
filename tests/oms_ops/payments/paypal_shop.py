"""What the tests of PayPal ask of the gateway, and what the customer does in between."""

from __future__ import annotations

from typing import Any

from oms_ops.payments.gateways.interface import Call
from oms_ops.payments.gateways.paypal import PayPalGateway
from oms_ops.payments.gateways.paypal_client import PayPalSettings
from tests.oms_ops.payments.paypal_server import CLIENT, SECRET, WEBHOOK, PayPalServer

BACK = "https://shop.example/checkout/done"
#: Seconds that the gateway waits for an answer in the tests; a slow one takes longer.
PATIENCE = 0.4


def opened(url: str, **settings: Any) -> PayPalGateway:
    known: dict[str, Any] = {
        "client_id": CLIENT,
        "client_secret": SECRET,
        "webhook_id": WEBHOOK,
        "base_url": url,
        "timeout_seconds": PATIENCE,
    }
    return PayPalGateway(PayPalSettings(**(known | settings)))


def asked(key: str, kind: Any, minor: int = 10_000, **more: Any) -> Call:
    known: dict[str, Any] = {"currency": "USD", "order": "1001", "return_url": BACK}
    return Call(key, kind, minor, **(known | more))


class Paid:
    """An order that the customer approved and that was authorised, and what is asked of it then."""

    def __init__(self, gateway: PayPalGateway, paypal: PayPalServer, minor: int = 10_000) -> None:
        call = asked("op-1", "authorise", minor)
        self.payment = str(gateway.call(call).payment)
        paypal.books.approve(self.payment)
        done = gateway.look_up(asked("op-1", "authorise", minor, payment=self.payment))
        assert done is not None and done.state == "done"
        self.authorisation = str(done.reference)

    def capture(self, key: str, minor: int, *, final: bool = False) -> Call:
        more: dict[str, Any] = {"payment": self.payment, "target": self.authorisation}
        return asked(key, "capture", minor, final=final, **more)

    def void(self, key: str, minor: int = 10_000) -> Call:
        return asked(key, "void", minor, payment=self.payment, target=self.authorisation)

    def refund(self, key: str, minor: int, capture: str | None) -> Call:
        return asked(key, "refund", minor, payment=self.payment, target=capture)


def by_button(
    paypal: PayPalServer, value: str, currency: str = "USD", intent: str = "AUTHORIZE"
) -> str:
    unit = {"amount": {"currency_code": currency, "value": value}}
    order = paypal.books.create({"intent": intent, "purchase_units": [unit]})["id"]
    paypal.books.approve(order)
    return str(order)
