"""Shopify's orders in our shop: captured once, paid once, cancelled when Shopify cancels them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, ids, reading, run
from oms_ops.errors import Conflict, FieldError, Forbidden, KeyReused, ValidationFailed
from oms_ops.exchange.shopify_order import CHANNEL, essence, refusal, submission
from oms_ops.orders import cancellation, queries
from oms_ops.orders.capture import capture
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands as payments

#: Who makes what Shopify reports; its webhooks are signed, not keyed.
ACTOR = Actor("shopify", "clerk")


@dataclass(frozen=True, slots=True)
class Taken:
    """The number of an order, whether it was here before, and what was left undone with it."""

    number: str
    repeated: bool
    note: str | None = None


def take(engine: Engine, actor: Actor, document: Any) -> Taken:
    """Capture an order, and its payment once Shopify collected it.

    The same order again gives the same number; what was paid meanwhile is collected then, also
    where the rest of it differs. Who may not write payments leaves the money uncollected.

    Raises:
        ValidationFailed: with every bad field; also for tests and for what is cancelled.
        Conflict: the order came before with another content (``differs``).
    """
    if fault := refusal(document):
        raise ValidationFailed("The order is not captured.", [fault])
    known = number_of(engine, document)
    note = _settled(engine, actor, known, document) if known else None
    number = _captured(engine, actor, document)
    if not known:
        note = _settled(engine, actor, number, document)
    return Taken(number, known is not None, note)


def _captured(engine: Engine, actor: Actor, document: dict[str, Any]) -> str:
    submitted = submission(document)
    try:
        answer = capture(
            engine,
            actor,
            submitted,
            idempotency_key=str(document["id"]),
            key_scope=CHANNEL,
            compared=essence(submitted),
        )
    except KeyReused as error:
        message = "was captured before with another content; it is not changed"
        raise Conflict("The order differs.", [FieldError("id", "differs", message)]) from error
    return str(answer["number"])


def number_of(engine: Engine, document: dict[str, Any]) -> str | None:
    """Return our number of an order that was captured, None where it was not."""
    with reading(engine) as connection:
        found = connection.execute(
            sa.text("SELECT number FROM orders WHERE channel = :channel AND external_id = :id"),
            {"channel": CHANNEL, "id": str(document.get("id"))},
        ).scalar()
    return None if found is None else str(found)


def is_paid(document: dict[str, Any]) -> bool:
    """Tell whether Shopify has collected all of the money."""
    return document.get("financial_status") == "paid"


def collect(engine: Engine, actor: Actor, number: str) -> str | None:
    """Record that Shopify collected the money; a repeat finds nothing left to collect.

    Returns why it was left uncollected, None where it was not.
    """

    def work(connection: Connection) -> str | None:
        # Two deliveries of one order collect one after the other.
        order_ids = list(lock_orders(connection, [queries.order_id(connection, number)]))
        waiting: sa.ScalarResult[int] = connection.execute(
            sa.text(
                f"SELECT id FROM payments WHERE order_id IN ({ids(connection, 'orders')})"
                " AND captured_minor = 0 AND voided_minor < amount_minor"
            ),
            {"orders": as_ids(order_ids)},
        ).scalars()
        found: list[int] = list(waiting)
        if not found:
            return None
        try:
            actor.require(PAYMENTS_WRITE)
        except Forbidden as error:
            return f"paid in Shopify, but not collected here: {error}"
        payments.capture(connection, actor, found)
        return None

    return run(engine, work)


def cancel(engine: Engine, number: str, document: dict[str, Any]) -> None:
    """Cancel an order that Shopify cancelled; one that is cancelled already stays as it is.

    Raises:
        Conflict: it is being picked, or has left: a person has to stop it.
    """

    def work(connection: Connection) -> None:
        if queries.get(connection, number)["status"] == "cancelled":
            return
        reason = f"cancelled in Shopify: {document.get('cancel_reason') or 'no reason given'}"
        cancellation.cancel(connection, ACTOR, [queries.order_id(connection, number)], reason)

    run(engine, work)


def _settled(engine: Engine, actor: Actor, number: str, document: dict[str, Any]) -> str | None:
    return collect(engine, actor, number) if is_paid(document) else None
