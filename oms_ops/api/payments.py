"""Routes of the payments: tenders of an order, and what is done with each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.api.money_bodies import AuthoriseBody, CaptureBody, PaymentBody, RefundBody, minor
from oms_ops.api.once import IdempotencyKey, once
from oms_ops.api.parts import Caller, Database, Key
from oms_ops.database import reading, run
from oms_ops.orders import collecting, outstanding, queries, tenders
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands, operations, overview, refunds, settling
from oms_ops.payments.commands import RefundRequest
from oms_ops.returns.queries import return_id

router = APIRouter(tags=["payments"])


@router.get("/orders/{number}/payments")
def list_payments(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Show the payments of an order: sums, events, what was asked of gateways, refunds."""
    overview.permit(actor)
    with reading(engine) as connection:
        order_id = queries.order_id(connection, number)
        return {"data": overview.of_order(connection, actor, order_id), "next": None}


@router.post("/orders/{number}/payments", status_code=201)
def create_payment(
    engine: Database,
    actor: Caller,
    number: str,
    body: PaymentBody,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Record how an order is going to be paid: by default, all of it that is still open.

    A gift card (by its ``code``) and store credit pay at once.
    """

    def work(connection: Connection) -> dict[str, Any]:
        order_id = queries.named(connection, actor, PAYMENTS_WRITE, number)
        order = queries.get(connection, number)
        amount = None if body.amount is None else minor(body.amount, order["currency"])
        payment_id = tenders.add(connection, actor, order_id, body.method, amount, code=body.code)
        return overview.of_payment(connection, actor, payment_id)

    asked = body.model_dump(mode="json")
    return once(engine, actor, idempotency_key, (f"orders/{number}/payments", asked), work)


@router.post("/payments/{payment_id}/authorise")
def authorise_payment(
    engine: Database, actor: Caller, payment_id: Key, body: AuthoriseBody
) -> dict[str, Any]:
    """Ask the gateway to hold the money; ``action`` is what the customer has to do, if anything.

    ``status`` is that of the question: ``settled`` (held), ``waiting`` (for the customer),
    ``pending`` (the gateway has not answered yet and is asked again), ``failed`` or ``flagged``.
    """

    def work(connection: Connection) -> int:
        _locked(connection, actor, payment_id)
        return operations.authorise(
            connection, actor, payment_id, token=body.token, return_url=body.return_url
        )

    operation_id = run(engine, work)
    answer = performed(engine, actor, payment_id)
    asked = next(each for each in answer["operations"] if each["id"] == operation_id)
    told = {name: asked.get(name) for name in ("status", "action", "code", "problem")}
    return {**answer, "operation": operation_id, **told}


@router.post("/payments/{payment_id}/capture")
def capture_payment(
    engine: Database,
    actor: Caller,
    payment_id: Key,
    body: CaptureBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Collect what a gateway holds, or record that the money has arrived; all, or ``amount``."""
    wanted = body or CaptureBody()

    def work(connection: Connection) -> dict[str, Any]:
        payment = _locked(connection, actor, payment_id)
        amount = None if wanted.amount is None else minor(wanted.amount, payment["currency"])
        commands.capture(connection, actor, [payment_id], amount)
        return overview.of_payment(connection, actor, payment_id)

    asked = (f"payments/{payment_id}/capture", wanted.model_dump(mode="json"))
    return once(
        engine, actor, idempotency_key, asked, work,
        finish=lambda _: performed(engine, actor, payment_id),
    )  # fmt: skip


@router.post("/payments/{payment_id}/void")
def void_payment(engine: Database, actor: Caller, payment_id: Key) -> dict[str, Any]:
    """Record that the money will not be collected; a gateway is asked to let go of it."""

    def work(connection: Connection) -> None:
        _locked(connection, actor, payment_id)
        commands.void(connection, actor, [payment_id])

    run(engine, work)
    return performed(engine, actor, payment_id)


@router.post("/payments/{payment_id}/refunds", status_code=201)
def refund_payment(
    engine: Database,
    actor: Caller,
    payment_id: Key,
    body: RefundBody,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Give money back, at most what was captured.

    It goes towards ``return``, or else first towards what a gateway declined to give back of the
    order. ``made`` are the refunds, one a capture and what it goes towards: ``settled``;
    ``pending`` while the gateway has not said so; ``failed`` where it declined.
    """

    def work(connection: Connection) -> dict[str, Any]:
        payment = _locked(connection, actor, payment_id)
        amount = minor(body.amount, payment["currency"])
        named = None if body.return_ is None else return_id(connection, body.return_)
        destination = refunds.ELSEWHERE if body.elsewhere else "original"
        request = RefundRequest(payment_id, amount, body.reason, named, destination)
        refund_ids = outstanding.refund(
            connection, actor, payment["order_id"], request, currency=payment["currency"]
        )
        settling.tell_refunded(connection, refund_ids)
        return _with_made(overview.of_payment(connection, actor, payment_id), refund_ids)

    def finish(answer: dict[str, Any]) -> dict[str, Any]:
        refund_ids = [each["id"] for each in answer["made"]]
        return _with_made(performed(engine, actor, payment_id), refund_ids)

    told = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    asked = (f"payments/{payment_id}/refunds", told)
    return once(engine, actor, idempotency_key, asked, work, finish=finish)


def performed(engine: Engine, actor: Actor, payment_id: int) -> dict[str, Any]:
    """Carry out now what is asked of the payment's gateway; return the payment as it is then.

    What the gateway does not answer is pending; the worker asks again.
    """
    collecting.perform(engine, payment_ids=[payment_id])
    with reading(engine) as connection:
        return overview.of_payment(connection, actor, payment_id)


def _locked(connection: Connection, actor: Actor, payment_id: int) -> dict[str, Any]:
    """Lock the payment's order, as all do who change payments; return the payment."""
    actor.require(PAYMENTS_WRITE)
    lock_orders(connection, [commands.get(connection, payment_id)["order_id"]])
    return commands.get(connection, payment_id)


def _with_made(payment: dict[str, Any], refund_ids: list[int]) -> dict[str, Any]:
    made = [each for each in payment["refunds"] if each["id"] in refund_ids]
    return {**payment, "made": made}
