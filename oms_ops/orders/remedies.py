"""What a person does about an operation that went wrong: accept, dismiss, retry; then what follows.

The order's row is locked first, as by everything that changes the payments of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, as_time, execute, ids
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import claims, collecting, outstanding, return_refunds
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import attention, folding, ledger, messages, operations, refunds, settling


def accept(connection: Connection, actor: Actor, operation_id: int) -> int:
    """Count what the gateway did though it was asked for something else; return the payment.

    Raises:
        NotFound: there is no such operation.
        Conflict: it is not flagged.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    operation = _locked(connection, operation_id)
    settling.accept(connection, actor, operation_id)
    collecting.follow(connection, [operation["order_id"]])
    return int(operation["payment_id"])


def dismiss(
    connection: Connection, actor: Actor, operation_id: int, amount: int | None = None
) -> int:
    """Put an operation aside that failed, or that did nothing; return the payment.

    What did nothing was flagged, or its gateway does not answer: it has failed then, and is seen as
    such. What was done late is seen no more. What a refund that failed was still to give back has
    then gone back another way: all of it, or ``amount`` minor units. Where less of it was left, its
    ``problem`` says so. Of one that staff made of their own will only an amount that is given has.

    Raises:
        NotFound: there is no such operation.
        ValidationFailed: an amount is given of what is no refund that failed.
        Conflict: it is settled, or the gateway was asked only lately; it was retried, or dismissed
            and an amount is given; or it is a refund, no amount is given, and news of another one
            wait to be read or a charge back took some of it.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    operation = _locked(connection, operation_id)
    if amount is not None and (operation["kind"], operation["status"]) != ("refund", "failed"):
        fault = FieldError("amount", "not_a_refund", "is for a refund that failed")
        raise ValidationFailed("The dismissal has bad fields.", [fault])
    if operation["status"] == "failed":
        recorded = None
        is_over = operation["code"] in ("retried", "dismissed")
        if operation["code"] == "retried" or (is_over and amount is not None):
            raise Conflict(
                f"Operation {operation_id} is {operation['code']} already; what has gone back"
                " another way is a refund of a payment, elsewhere."
            )
        if operation["refund_id"] and not is_over:
            order_id = operation["order_id"]
            if amount is None:
                outstanding.refuse_while_news_wait(connection, [order_id])
            recorded = outstanding.made_elsewhere(connection, actor, order_id, operation, amount)
        note = ""
        if recorded == 0:
            note = "; nothing of it was left, and nothing is recorded"
        elif recorded is not None and recorded < (amount or 0):
            text = to_text(recorded, operation["currency"])
            note = f"; {text} of it was left, and only that is recorded"
        _mark(connection, actor, operation_id, "dismissed", note)
    elif not settling.seen(connection, actor, operation_id):
        settling.dismiss(connection, actor, operation_id)
        collecting.let_go(connection, [operation["order_id"]])
        claims.attribute(connection, actor, [operation["order_id"]])
        own_will = not claims.attempt(connection, operation["order_id"], operation_id).is_claim
        if own_will and operation["status"] == "flagged":
            # It was given back of a person's own will, and she does not want it any more.
            _mark(connection, actor, operation_id, "dismissed")
    return_refunds.follow(connection, actor, [operation["order_id"]])
    return int(operation["payment_id"])


def retry(connection: Connection, actor: Actor, operation_id: int) -> int:
    """Ask again for what failed, under a new key, or at once for what waits; return the payment.

    A refund is asked for again only where its money is still to go back: not where the same was
    refunded since.

    Raises:
        NotFound: there is no such operation.
        Conflict: it is settled or flagged, was retried or dismissed, is not wanted any more, or
            news of a refund of its order wait to be read.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    operation = _locked(connection, operation_id)
    payment_id = int(operation["payment_id"])
    if operations.hurry(connection, operation_id):
        return payment_id
    if operation["status"] != "failed" or operation["code"] in ("retried", "dismissed"):
        state = operation["code"] if operation["status"] == "failed" else operation["status"]
        raise Conflict(f"Operation {operation_id} is {state}: there is nothing to retry.")
    if operation["kind"] == "authorise":
        raise Conflict("The customer's means of payment is not kept: authorise the payment again.")
    if operation["kind"] == "refund":
        _still_due(connection, operation)
        refunds.ask_again(connection, actor, operation["refund_id"])
    elif operation["kind"] == "capture":
        operations.capture(connection, actor, [(payment_id, operation["amount_minor"])])
    elif not operations.release(connection, actor, [payment_id]):
        raise Conflict("The gateway holds nothing for the payment that is to be let go of.")
    _mark(connection, actor, operation_id, "retried")
    return_refunds.follow(connection, actor, [operation["order_id"]])
    return payment_id


def count_message(connection: Connection, actor: Actor, message_id: int) -> tuple[str, list[int]]:
    """Count what a message tells as made at the gateway itself, though an answer is still awaited.

    So is what a gateway did of which a person had said before that it had failed. Return the status
    of the message (``flagged`` where it does not fit the payment), and the payments of its order:
    what is asked of them now is to be carried out.

    That is a person's word, who has looked at the gateway's own pages. Should the answer name the
    same act after all, it counts once.

    Raises:
        NotFound: there is no such message.
        Conflict: it does not wait for the answer to another question.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    order_ids = messages.orders_of(connection, message_id)
    if not order_ids:
        raise Conflict(f"Message {message_id} is of no payment that is known.")
    lock_orders(connection, order_ids)
    status = folding.count(connection, message_id, outstanding.is_due)
    collecting.follow(connection, order_ids)
    return status, _payments(connection, order_ids)


def dismiss_message(connection: Connection, actor: Actor, message_id: int) -> list[int]:
    """Put a gateway's message aside; what had to wait until it was read follows.

    Return the payments of its order: what is asked of them now is to be carried out.

    Raises:
        NotFound, Conflict, Forbidden: as :func:`oms_ops.payments.attention.dismiss_message` does.
    """
    actor.require(PAYMENTS_WRITE)
    order_ids = messages.orders_of(connection, message_id)
    lock_orders(connection, order_ids)
    waited = messages.waiting(connection, order_ids)
    attention.dismiss_message(connection, actor, message_id)
    if waited - messages.waiting(connection, order_ids):
        collecting.follow(connection, order_ids)
    return _payments(connection, order_ids)


def _payments(connection: Connection, order_ids: Sequence[int]) -> list[int]:
    rows = execute(
        connection,
        f"SELECT id FROM payments WHERE order_id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(order_ids)},
    )
    return [row[0] for row in rows.fetchall()]


def _locked(connection: Connection, operation_id: int) -> dict[str, Any]:
    """Lock an operation's order and payment; return the operation as it is then."""
    found = execute(
        connection,
        "SELECT p.id, p.order_id FROM payment_operations AS x"
        " JOIN payments AS p ON p.id = x.payment_id WHERE x.id = :id",
        {"id": operation_id},
    ).fetchone()
    if found is None:
        raise NotFound(f"There is no payment operation {operation_id}.")
    payment_id, order_id = found
    lock_orders(connection, [order_id])
    ledger.lock(connection, [payment_id])
    columns = "kind, status, code, amount_minor, currency, refund_id"
    row = execute(
        connection,
        f"SELECT {columns} FROM payment_operations WHERE id = :id",
        {"id": operation_id},
    ).fetchone()
    operation = dict(zip(columns.split(", "), row, strict=True))
    return {**operation, "id": operation_id, "payment_id": payment_id, "order_id": order_id}


def _still_due(connection: Connection, operation: dict[str, Any]) -> None:
    """Refuse to give back what has gone back another way since the refund failed."""
    order_id, amount = operation["order_id"], operation["amount_minor"]
    outstanding.refuse_while_news_wait(connection, [order_id])
    found = claims.attempt(connection, order_id, operation["id"])
    if found.due < amount:
        text = to_text(found.due, operation["currency"])
        raise Conflict(f"{text} of it is still to go back: refund that, and dismiss this.")
    if not outstanding.has_room(connection, order_id, operation["refund_id"]):
        raise Conflict("What it was for was refunded another way since: dismiss it.")


def _mark(
    connection: Connection, actor: Actor, operation_id: int, code: str, note: str = ""
) -> None:
    """Say what became of a failed operation; why it failed stays in its problem."""
    execute(
        connection,
        "UPDATE payment_operations SET problem = substr(code || coalesce(': ' || problem, '')"
        " || :note, 1, 500), code = :code, version = version + 1, changed_by = :by,"
        " changed_at = :now WHERE id = :id",
        {
            "id": operation_id,
            "code": code,
            "note": note,
            "by": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
