"""Routes that other systems call: signed, not keyed."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse

from oms_ops.api.parts import Database
from oms_ops.errors import FieldError, Unauthorised, ValidationFailed
from oms_ops.exchange import inbox, webhooks
from oms_ops.payments import messages
from oms_ops.settings import settings

router = APIRouter(tags=["webhooks"])

#: Bytes; an order of 500 lines has a tenth of it.
LARGEST = 4_000_000


async def _raw(request: Request) -> bytes:
    """Return the body as it came: the signature is of its bytes."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            fault = FieldError("body", "too_large", f"more than {LARGEST} bytes")
            raise ValidationFailed("The message is too large.", [fault])
    return bytes(body)


@router.post("/webhooks/shopify", responses={202: {}, 401: {}})
def shopify(
    engine: Database,
    body: Annotated[bytes, Depends(_raw)],
    signature: Annotated[str, Header(alias="X-Shopify-Hmac-Sha256")] = "",
    topic: Annotated[str, Header(alias="X-Shopify-Topic")] = "",
    webhook_id: Annotated[str, Header(alias="X-Shopify-Webhook-Id")] = "",
) -> JSONResponse:
    """Take a webhook of Shopify: stored once, then captured, collected or cancelled.

    200: done (a repeat changes nothing), or of a topic that nothing is made of. 202: stored, but
    what it asks for could not be done; the problem is in the answer and in ``/v1/inbox``, and it is
    tried again.
    """
    if not webhooks.is_signed(body, signature, settings().shopify_secret):
        raise Unauthorised("The message is not signed with the shop's secret.")
    # Without an id, the same body is the same message.
    external_id = webhook_id or hashlib.sha256(topic.encode() + b"\n" + body).hexdigest()
    # JSON holds no NUL, and a text that does could not be stored.
    text = body.decode("utf-8", "replace").replace("\x00", "\ufffd")
    message = inbox.receive(engine, "shopify", external_id, topic, text)
    answer: dict[str, Any] = {"status": message.status, "order": message.document}
    if message.problem is not None:
        answer["problem"] = message.problem
    return JSONResponse(answer, 200 if message.is_done else 202)


@router.post("/webhooks/{gateway}", responses={401: {}, 404: {}, 503: {}})
def payment_gateway(
    request: Request,
    engine: Database,
    gateway: str,
    body: Annotated[bytes, Depends(_raw)],
) -> dict[str, Any]:
    """Take a message of a payment gateway: verified and stored now, folded by the worker.

    ``stored``, or ``known`` where it came before: whatever else is said, the gateway sends it
    again.
    """
    new = messages.receive(engine, gateway, dict(request.headers), body)
    return {"status": "stored" if new else "known"}
