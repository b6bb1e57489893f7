"""Shopify's webhooks: whether it signed them, and what each topic asks for.

Deliveries come late, twice and out of order. An order that is cancelled before it was created here
leaves a mark first; whoever captures it then looks for the mark after the capture, so that one of
the two always sees the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.database import reading
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import seen, shopify
from oms_ops.exchange.seen import Taken

#: The marks of orders that were cancelled in Shopify.
CANCELLED = "shopify/cancelled"
CREATE, CANCEL = "orders/create", "orders/cancelled"


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
    if topic not in (CREATE, CANCEL):
        return None
    document = _parsed(body)
    number = shopify.number_of(engine, document)
    if topic == CANCEL:
        return _cancelled(engine, document)
    fault = shopify.refusal(document)
    if number is None:
        if fault and fault.code in ("test_order", "cancelled"):
            return None
        if _is_marked(engine, document):
            return None
        number = shopify.take(engine, document)
    if _is_marked(engine, document):
        shopify.cancel(engine, number, document)
    return number


def _parsed(body: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        fault = FieldError("body", "not_json", str(error))
        raise ValidationFailed("The message cannot be read.", [fault]) from None
    if not isinstance(document, dict) or not document.get("id"):
        fault = FieldError("id", "required", "is no order of Shopify's")
        raise ValidationFailed("The message cannot be read.", [fault])
    return document


def _cancelled(engine: Engine, document: dict[str, Any]) -> str | None:
    _mark(engine, document)
    number = shopify.number_of(engine, document)
    if number is not None:
        shopify.cancel(engine, number, document)
    return number


def _mark(engine: Engine, document: dict[str, Any]) -> None:
    key = (CANCELLED, str(document["id"]))

    def work(connection: Connection) -> None:
        if not seen.known(connection, [(0, key)]):
            seen.remember(connection, [(*key, Taken("", ""))])

    seen.settle(engine, work)


def _is_marked(engine: Engine, document: dict[str, Any]) -> bool:
    with reading(engine) as connection:
        return bool(seen.known(connection, [(0, (CANCELLED, str(document["id"])))]))
