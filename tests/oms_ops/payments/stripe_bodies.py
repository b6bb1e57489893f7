"""What is asked of Stripe in the tests, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from oms_ops.payments.gateways.interface import Call
from oms_ops.payments.gateways.stripe import StripeGateway
from tests.oms_ops.payments.http_servers import Answer, Asked, Server

KEY = "sk_test_4242key"
PAID = {"payment": "pi_1", "target": "ch_1"}
#: Makes a gateway whose server gives the answers one by one, the last for ever.
Given: TypeAlias = Callable[..., tuple[StripeGateway, Server]]


def asking(kind: Any, amount: int = 5000, currency: str = "USD", **more: Any) -> Call:
    return Call("op-1", kind, amount, currency, "A-1001", **more)


CALLS = [
    asking("authorise", token="pm_1"),
    asking("capture", payment="pi_1", target="pi_1"),
    asking("void", payment="pi_1", target="pi_1"),
    asking("refund", **PAID),
]


def intent(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 5000,
        "amount_capturable": 5000 if status == "requires_capture" else 0,
        "amount_received": 5000 if status == "succeeded" else 0,
        "client_secret": "pi_1_secret_hush",
        "currency": "usd",
        "latest_charge": {"id": "ch_1", "object": "charge", "status": "succeeded"},
        "metadata": {"oms_operation": "op-1"},
        "status": status,
        **more,
    }


def refund(**more: Any) -> dict[str, Any]:
    given = {"id": "re_1", "object": "refund", "amount": 700, "currency": "usd"}
    rest = {"payment_intent": "pi_1", "status": "succeeded", "metadata": {"oms_operation": "op-1"}}
    return {**given, **rest, **more}


def error(status: int, **fields: str) -> Answer:
    return Answer(status, {"error": {"type": "invalid_request_error", **fields}})


def found(*things: Any, **more: Any) -> Answer:
    return Answer(
        200, {"object": "list", "url": "/v1/x", "data": things, "has_more": False, **more}
    )


NOTHING = found(object="search_result")


def posts(server: Server) -> list[Asked]:
    return [asked for asked in server.asked if asked.method == "POST"]
