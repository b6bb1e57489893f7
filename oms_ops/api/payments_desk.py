"""Routes of whoever looks after the money: refunds of orders, what went wrong, messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import Actor
from oms_ops.api.money_bodies import DismissBody, OrderRefundBody, minor
from oms_ops.api.once import IdempotencyKey, once
from oms_ops.api.parts import Caller, Cursor, Database, Key, Limit
from oms_ops.api.payments import performed
from oms_ops.database import reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.orders import collecting, queries, refunding, remedies, uncollected
from oms_ops.orders.refunding import LineBack, Wanted
from oms_ops.payments import attention, operations, overview

router = APIRouter(tags=["payments"])


@router.post("/orders/{number}/refunds", status_code=201)
def refund_order(
    engine: Database,
    actor: Caller,
    number: str,
    body: OrderRefundBody,
    response: Response,
    preview: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Give a part of an order back: lines, shipping, good will, or everything that is left.

    ``preview=true`` shows what would go back, to which tenders, and changes nothing. ``refunds``
    are one a tender and capture: ``settled``; ``pending`` while a gateway has not said so;
    ``failed`` where it declined.
    """
    overview.permit(actor)

    def look(connection: Connection) -> dict[str, Any]:
        order_id, wanted = _wanted(connection, number, body)
        return {
            "order": number,
            "preview": True,
            **refunding.shown(refunding.plan(connection, actor, order_id, wanted)),
            "refunds": [],
        }

    def work(connection: Connection) -> dict[str, Any]:
        order_id, wanted = _wanted(connection, number, body)
        plan, refund_ids = refunding.refund(connection, actor, order_id, wanted)
        made = _refunds(connection, actor, order_id, refund_ids)
        return {"order": number, "preview": False, **refunding.shown(plan), "refunds": made}

    def finish(answer: dict[str, Any]) -> dict[str, Any]:
        refund_ids = [each["id"] for each in answer["refunds"]]
        payment_ids = [each["payment"] for each in answer["tenders"]]
        collecting.perform(engine, payment_ids=payment_ids)
        with reading(engine) as connection:
            order_id = queries.order_id(connection, number)
            return {**answer, "refunds": _refunds(connection, actor, order_id, refund_ids)}

    if preview:
        response.status_code = 200
        return run(engine, look)
    asked = (f"orders/{number}/refunds", body.model_dump(mode="json"))
    return once(engine, actor, idempotency_key, asked, work, finish=finish)


def _wanted(connection: Connection, number: str, body: OrderRefundBody) -> tuple[int, Wanted]:
    """Read the body in the order's currency; every amount that is wrong is named."""
    currency = queries.get(connection, number)["currency"]
    faults: list[FieldError] = []

    def units(amount: Any, field: str) -> int | None:
        if amount is None:
            return None
        try:
            return to_minor(amount, currency)
        except ValueError as error:
            faults.append(FieldError(field, "invalid_amount", str(error)))
            return None

    lines = tuple(
        LineBack(line.line_no, line.quantity, units(line.amount, f"lines[{index}].amount"))
        for index, line in enumerate(body.lines)
    )
    shipping = body.shipping if body.shipping is True else units(body.shipping, "shipping")
    goodwill = units(body.goodwill, "goodwill")
    if body.everything and (body.lines or body.shipping is not None or body.goodwill is not None):
        faults.append(FieldError("everything", "not_alone", "holds lines and shipping already"))
    if faults:
        raise ValidationFailed("The refund has bad fields.", faults)
    wanted = Wanted(
        body.reason, lines, shipping, goodwill, body.destination, everything=body.everything
    )
    return queries.order_id(connection, number), wanted


def _refunds(
    connection: Connection, actor: Actor, order_id: int, refund_ids: list[int]
) -> list[dict[str, Any]]:
    return [
        {"payment": payment["id"], "method": payment["method"], **refund}
        for payment in overview.of_order(connection, actor, order_id)
        for refund in payment["refunds"]
        if refund["id"] in refund_ids
    ]


@router.get("/payments/attention")
def list_attention(engine: Database, actor: Caller) -> dict[str, Any]:
    """Show what of the money needs a person, and what can be done about each."""
    with reading(engine) as connection:
        return {"data": uncollected.listing(connection, actor), "next": None}


@router.post("/payment-operations/{operation_id}/accept")
def accept_operation(engine: Database, actor: Caller, operation_id: Key) -> dict[str, Any]:
    """Count what the gateway did, though it was asked for another amount."""
    return _remedied(engine, actor, remedies.accept, operation_id)


@router.post("/payment-operations/{operation_id}/dismiss")
def dismiss_operation(
    engine: Database, actor: Caller, operation_id: Key, body: DismissBody | None = None
) -> dict[str, Any]:
    """Put aside what failed; what is flagged is treated as not done.

    Of a refund, all that is listed or ``amount`` has gone back another way.
    """

    def work(connection: Connection, actor: Actor, operation_id: int) -> int:
        amount = None
        if body is not None and body.amount is not None:
            amount = minor(body.amount, operations.currency(connection, operation_id))
        return remedies.dismiss(connection, actor, operation_id, amount)

    return _remedied(engine, actor, work, operation_id)


@router.post("/payment-operations/{operation_id}/retry")
def retry_operation(engine: Database, actor: Caller, operation_id: Key) -> dict[str, Any]:
    """Ask the gateway again for what failed, if it is still wanted; for what waits, at once."""
    return _remedied(engine, actor, remedies.retry, operation_id)


def _remedied(engine: Engine, actor: Actor, remedy: Any, operation_id: int) -> dict[str, Any]:
    payment_id = run(engine, lambda connection: remedy(connection, actor, operation_id))
    return performed(engine, actor, payment_id)


@router.get("/gateway-messages")
def list_messages(
    engine: Database,
    actor: Caller,
    after: Cursor = 0,
    limit: Limit = 50,
    status: Annotated[
        Literal["received", "applied", "ignored", "unmatched", "flagged"] | None, Query()
    ] = None,
) -> dict[str, Any]:
    """List what gateways have told, newest first; ``next`` is the cursor for ``after``."""
    with reading(engine) as connection:
        page, cursor = attention.messages(
            connection, actor, status=status, before=after, limit=limit
        )
    return {"data": page, "next": cursor}


@router.post("/gateway-messages/{message_id}/count")
def count_message(engine: Database, actor: Caller, message_id: Key) -> dict[str, Any]:
    """Count what a message tells as made at the gateway itself: it was not what was asked."""
    status, payment_ids = run(
        engine, lambda connection: remedies.count_message(connection, actor, message_id)
    )
    collecting.perform(engine, payment_ids=payment_ids)
    return {"id": message_id, "status": status}


@router.post("/gateway-messages/{message_id}/dismiss")
def dismiss_message(engine: Database, actor: Caller, message_id: Key) -> dict[str, Any]:
    """Put a message aside that was flagged or belongs to no payment of ours."""
    payment_ids = run(
        engine, lambda connection: remedies.dismiss_message(connection, actor, message_id)
    )
    collecting.perform(engine, payment_ids=payment_ids)
    return {"id": message_id, "status": "ignored"}
