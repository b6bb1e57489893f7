"""Routes of the payments."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import ORDERS_READ, PAYMENTS_WRITE, Actor
from oms_ops.api.parts import Caller, Database, Key, Money, Once
from oms_ops.database import reading, run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.orders import collecting, queries, tenders
from oms_ops.payments import commands, operations, overview
from oms_ops.payments.commands import RefundRequest
from oms_ops.shapes import Body

router = APIRouter(tags=["payments"])


class PaymentBody(Body):
    """How an order, or ``amount`` of it, is going to be paid; ``code`` is a gift card's."""

    method: str
    amount: Money | None = None
    code: Annotated[str, Field(max_length=100)] | None = None


class AuthoriseBody(Body):
    """What stands for the customer's means of payment; it came from the gateway's own form.

    ``return_url`` is where the gateway sends her back to when she was asked something.
    """

    token: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    return_url: Annotated[str, Field(max_length=500, pattern="^https?://")] | None = None

    @field_validator("token")
    @classmethod
    def _no_card(cls, value: str | None) -> str | None:
        digits = "".join(c for c in value or "" if c not in " -")
        if digits.isdecimal() and 12 <= len(digits) <= 19:
            # It stands in no answer and no log.
            raise PydanticCustomError("card_number", "card numbers are not taken here")
        return value


class CaptureBody(Body):
    """How much is to be collected; all that is open if not said."""

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


@router.get("/orders/{number}/payments")
def list_payments(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show the tenders of an order, each with its events, refunds and what is asked of gateways."""
    with reading(engine) as connection:
        order_id = queries.named(connection, actor, ORDERS_READ, number)
        return {"data": overview.of_order(connection, actor, order_id)}


@router.post("/orders/{number}/payments", status_code=201)
def create_payment(
    engine: Database, actor: Caller, number: str, body: PaymentBody
) -> dict[str, Any]:
    """Record how an order is going to be paid: by default, all of it that is still open.

    A gift card and store credit pay at once.
    """

    def work(connection: Connection) -> dict[str, Any]:
        order_id = queries.named(connection, actor, PAYMENTS_WRITE, number)
        currency = queries.get(connection, number)["currency"]
        amount = None if body.amount is None else _minor(body.amount, currency)
        payment_id = tenders.add(connection, actor, order_id, body.method, amount, code=body.code)
        return overview.one(connection, actor, payment_id)

    return run(engine, work)


@router.post("/payments/{payment_id}/authorise")
def authorise_payment(
    engine: Database, actor: Caller, payment_id: Key, body: AuthoriseBody | None = None
) -> dict[str, Any]:
    """Ask the gateway to hold the money; ``action`` says what the customer has to do, if anything.

    What the gateway has not answered stands under ``operations`` and is asked again by the worker.
    """
    wanted = body or AuthoriseBody()

    def work(connection: Connection) -> None:
        actor.require(PAYMENTS_WRITE)
        commands.get(connection, payment_id)
        operations.authorise(
            connection, actor, payment_id, token=wanted.token, return_url=wanted.return_url
        )

    run(engine, work)
    return _carried_out(engine, actor, payment_id)


@router.post("/payments/{payment_id}/capture")
def capture_payment(
    engine: Database, actor: Caller, payment_id: Key, body: CaptureBody | None = None
) -> dict[str, Any]:
    """Collect the money that a gateway holds, or record that it has arrived."""

    def work(connection: Connection) -> None:
        actor.require(PAYMENTS_WRITE)
        payment = commands.get(connection, payment_id)
        asked = body.amount if body else None
        amount = None if asked is None else _minor(asked, payment["currency"])
        commands.capture(connection, actor, [payment_id], amount)

    run(engine, work)
    return _carried_out(engine, actor, payment_id)


@router.post("/payments/{payment_id}/void")
def void_payment(engine: Database, actor: Caller, payment_id: Key) -> dict[str, Any]:
    """Record that the money will not be collected; a gateway lets go of what it holds."""

    def work(connection: Connection) -> None:
        actor.require(PAYMENTS_WRITE)
        commands.get(connection, payment_id)
        commands.void(connection, actor, [payment_id])

    run(engine, work)
    return _carried_out(engine, actor, payment_id)


@router.post("/payments/{payment_id}/refunds", status_code=201)
def refund_payment(
    engine: Database, actor: Caller, payment_id: Key, body: RefundBody, once: Once
) -> dict[str, Any]:
    """Give money back, at most what was captured; with an Idempotency-Key, once however often."""

    def work(connection: Connection) -> dict[str, Any]:
        actor.require(PAYMENTS_WRITE)
        payment = commands.get(connection, payment_id)
        amount = _minor(body.amount, payment["currency"])
        commands.refund(connection, actor, [RefundRequest(payment_id, amount, body.reason)])
        return overview.one(connection, actor, payment_id)

    once.run(engine, actor, work)
    return _carried_out(engine, actor, payment_id)


def _carried_out(engine: Engine, actor: Actor, payment_id: int) -> dict[str, Any]:
    """Ask the gateway for what was reserved, and return the payment as it then is."""
    collecting.perform(engine, payment_ids=[payment_id])
    with reading(engine) as connection:
        return overview.one(connection, actor, payment_id)
