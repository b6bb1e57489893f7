"""Shopify's webhooks: whether it signed them, and what each topic asks for.

Deliveries come late, twice and out of order, and each carries the whole order. What is told of an
order that is not here yet, that it is cancelled or paid, leaves a mark first; whoever captures it
looks for the marks after the capture, so that one of the two always sees the other.

``orders/create`` and ``orders/paid`` capture what is not here, unless it left already;
``orders/updated`` never does: it comes for orders from before the shop was connected, too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.database import reading
from oms_ops.errors import ValidationFailed
from oms_ops.exchange import seen, shopify, shopify_order
from oms_ops.exchange.seen import Taken
from oms_ops.exchange.shopify_json import loads
from oms_ops.exchange.shopify_order import refusal
from oms_ops.orders import idempotency

#: The marks of orders that were cancelled, or paid, in Shopify.
CANCELLED, PAID_FOR = "shopify/cancelled", "shopify/paid"
CREATE, PAID, UPDATED, CANCEL = (
    "orders/create", "orders/paid", "orders/updated", "orders/cancelled",
)  # fmt: skip


def is_signed(body: bytes, signature: str, secrets: str) -> bool:
    """Tell whether Shopify signed ``body``: HMAC-SHA256 in base64 with the app's secret.

    ``secrets`` may hold two, separated by a comma, while a new one replaces the old.
    """
    given = signature.encode("utf-8", "replace")
    signed = False
    for secret in filter(None, (part.strip() for part in secrets.split(","))):
        ours = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest())
        signed |= hmac.compare_digest(ours, given)
    return signed


def handle_shopify(engine: Engine, topic: str, body: str) -> str | None:
    """Do what a message asks for; return the number of the order, None where nothing is to be done.

    Raises:
        OmsError: it cannot be done now.
    """
    if topic not in (CREATE, PAID, UPDATED, CANCEL):
        return None
    document = _parsed(body)
    if document.get("test"):
        return None
    if topic == CANCEL or document.get("cancelled_at"):
        return _cancelled(engine, document)
    number = shopify.number_of(engine, document)
    if number is None:
        number = _new(engine, topic, document)
    else:
        shopify.take(engine, shopify.ACTOR, document)
    if number is not None and _is_marked(engine, CANCELLED, document):
        shopify.cancel(engine, number, document)
    return number


def accept_shopify(connection: Connection, body: str) -> None:
    """Know the order of a message by what it says now, whatever it said when it was taken."""
    document = _parsed(body)
    told = idempotency.digest(shopify_order.essence(shopify_order.submission(document)))
    idempotency.retell(connection, shopify_order.CHANNEL, str(document["id"]), told)


def _parsed(body: str) -> dict[str, Any]:
    document = loads(body, "body")
    fault = refusal(document)
    if fault and fault.field == "id":
        raise ValidationFailed("The message cannot be read.", [fault])
    known: dict[str, Any] = document
    return known


def _new(engine: Engine, topic: str, document: dict[str, Any]) -> str | None:
    """Capture an order that is not here yet, where the topic asks for it."""
    if _is_marked(engine, CANCELLED, document):
        return None
    left = document.get("fulfillment_status") in ("fulfilled", "partial")
    if topic == UPDATED or (topic == PAID and left):
        return _noted(engine, document)
    number = shopify.take(engine, shopify.ACTOR, document).number
    if _is_marked(engine, PAID_FOR, document):
        shopify.collect(engine, shopify.ACTOR, number)
    return number


def _noted(engine: Engine, document: dict[str, Any]) -> str | None:
    """Keep that an order is paid for who captures it; return its number if somebody just did."""
    if not shopify.is_paid(document):
        return None
    _mark(engine, PAID_FOR, document)
    number = shopify.number_of(engine, document)
    if number is not None:
        shopify.collect(engine, shopify.ACTOR, number)
    return number


def _cancelled(engine: Engine, document: dict[str, Any]) -> str | None:
    _mark(engine, CANCELLED, document)
    number = shopify.number_of(engine, document)
    if number is not None:
        shopify.cancel(engine, number, document)
    return number


def _mark(engine: Engine, mark: str, document: dict[str, Any]) -> None:
    key = (mark, str(document["id"]))

    def work(connection: Connection) -> None:
        if not seen.known(connection, [(0, key)]):
            seen.remember(connection, [(*key, Taken("", ""))])

    seen.settle(engine, work)


def _is_marked(engine: Engine, mark: str, document: dict[str, Any]) -> bool:
    with reading(engine) as connection:
        return bool(seen.known(connection, [(0, (mark, str(document["id"])))]))
