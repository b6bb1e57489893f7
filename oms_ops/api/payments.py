"""Routes of the payments."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fastapi import APIRouter

from oms_ops.api.parts import Caller, Database, Key, Money
from oms_ops.database import run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor, to_text
from oms_ops.orders import queries, tenders
from oms_ops.payments import commands
from oms_ops.payments.commands import RefundRequest
from oms_ops.shapes import Body

router = APIRouter(tags=["payments"])


class PaymentBody(Body):
    """How an order, or ``amount`` of it, is going to be paid."""

    method: str
    amount: Money | None = None


class RefundBody(Body):
    """How much goes back, and why."""

    amount: Money
    reason: str


def _minor(amount: Decimal, currency: str) -> int:
    try:
        minor = to_minor(amount, currency)
    except ValueError as error:
        raise ValidationFailed(
            "The amount is wrong.", [FieldError("amount", "invalid_amount", str(error))]
        ) from None
    if minor <= 0:
        raise ValidationFailed(
            "The amount is wrong.", [FieldError("amount", "not_positive", "more than zero")]
        )
    return minor


def _render(payment: dict[str, Any]) -> dict[str, Any]:
    currency = payment["currency"]
    return {
        **{key: payment[key] for key in ("id", "gateway", "method", "currency")},
        **{
            key: to_text(payment[f"{key}_minor"], currency)
            for key in ("amount", "captured", "refunded", "voided")
        },
    }


@router.post("/orders/{number}/payments", status_code=201)
def create_payment(
    engine: Database, actor: Caller, number: str, body: PaymentBody
) -> dict[str, Any]:
    """Record how an order is going to be paid: by default, all of it that is still open."""

    def work(connection: Any) -> dict[str, Any]:
        order = queries.get(connection, number)
        amount = None if body.amount is None else _minor(body.amount, order["currency"])
        order_id = queries.order_id(connection, number)
        payment_id = tenders.add(connection, actor, order_id, body.method, amount)
        return _render(commands.get(connection, payment_id))

    return run(engine, work)


@router.post("/payments/{payment_id}/capture")
def capture_payment(engine: Database, actor: Caller, payment_id: Key) -> dict[str, Any]:
    """Record that the money has arrived."""

    def work(connection: Any) -> dict[str, Any]:
        commands.get(connection, payment_id)
        commands.capture(connection, actor, [payment_id])
        return _render(commands.get(connection, payment_id))

    return run(engine, work)


@router.post("/payments/{payment_id}/void")
def void_payment(engine: Database, actor: Caller, payment_id: Key) -> dict[str, Any]:
    """Record that the money will not be collected."""

    def work(connection: Any) -> dict[str, Any]:
        commands.get(connection, payment_id)
        commands.void(connection, actor, [payment_id])
        return _render(commands.get(connection, payment_id))

    return run(engine, work)


@router.post("/payments/{payment_id}/refunds", status_code=201)
def refund_payment(
    engine: Database, actor: Caller, payment_id: Key, body: RefundBody
) -> dict[str, Any]:
    """Give money back, at most what was captured."""

    def work(connection: Any) -> dict[str, Any]:
        payment = commands.get(connection, payment_id)
        amount = _minor(body.amount, payment["currency"])
        commands.refund(connection, actor, [RefundRequest(payment_id, amount, body.reason)])
        return _render(commands.get(connection, payment_id))

    return run(engine, work)
