"""What of an order is to go back and does not go by itself, since a gateway declined it.

That is what was collected beyond what the order costs, when units of it were cancelled, and what
its returns give back. Whatever staff give back another way, here or on the gateway's own pages,
counts for it first: nothing of it goes back twice.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import execute
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import return_refunds, tenders
from oms_ops.payments import refunds
from oms_ops.payments.refunds import RefundRequest
from oms_ops.payments.standing import standing

#: The reason of what a person says has gone back another way.
ELSEWHERE = "made another way"


def refund(
    connection: Connection,
    actor: Actor,
    order_id: int,
    request: RefundRequest,
    *,
    currency: str,
) -> list[int]:
    """Give money of one payment back; return the refunds, whose order is locked.

    It goes towards the return that the request names, and towards no more than what is left of it.
    Where none is named it goes towards what is outstanding, the oldest return first, and what is
    more than that is for the reason that is given.

    Raises:
        ValidationFailed: of the return that is named less is outstanding, or nothing.
        Conflict: the payment has less left to refund.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    if request.return_id is None:
        requests = towards(connection, order_id, request)
    else:
        left = of_returns(connection, order_id).get(request.return_id, 0)
        _check(request, left, currency)
        requests = [request]
    made = refunds.give_back(connection, actor, requests)
    return_refunds.follow(connection, actor, [order_id])
    return made


def towards(connection: Connection, order_id: int, request: RefundRequest) -> list[RefundRequest]:
    """Cut a refund into what goes towards the surplus, towards returns, and the rest of it.

    The order's row is locked.
    """
    returns = of_returns(connection, order_id)
    rest = request.amount_minor
    parts = []
    for part, owed in (
        (replace(request, lowers_cost=True), tenders.surplus(connection, order_id)),
        *((replace(request, return_id=each), left) for each, left in sorted(returns.items())),
        (request, rest),
    ):
        if amount := min(rest, owed):
            rest -= amount
            parts.append(replace(part, amount_minor=amount))
    return parts


def _check(request: RefundRequest, left: int, currency: str) -> None:
    if not left:
        fault = FieldError("return", "nothing_left", "nothing of it waits for another refund")
    elif request.amount_minor > left:
        message = f"{to_text(left, currency)} {currency} is left of the return"
        fault = FieldError("amount", "too_large", message)
    else:
        return
    raise ValidationFailed("The refund has bad fields.", [fault])


def of_returns(connection: Connection, order_id: int) -> dict[int, int]:
    """Return what is left to go back of an order's returns whose refund failed, in minor units."""
    rows = execute(
        connection,
        "SELECT t.id, CAST(t.refund_minor - coalesce((SELECT sum(f.amount_minor) FROM refunds AS f"
        " WHERE f.return_id = t.id AND f.status <> 'failed'), 0) AS bigint) FROM returns AS t"
        " WHERE t.order_id = :id AND t.status IN ('refunding', 'refund_failed')",
        {"id": order_id},
    ).fetchall()
    return {return_id: left for return_id, left in rows if left > 0}


def left_of(connection: Connection, refund_id: int) -> int | None:
    """Return what a refund that failed is still to give back, or None where no rule tells.

    That is the refund of a person's own will: she knows whether it is still wanted.
    """
    order_id, return_id, lowers_cost = _failed(connection, refund_id)[:3]
    if return_id is not None:
        return of_returns(connection, order_id).get(return_id, 0)
    return tenders.surplus(connection, order_id) if lowers_cost else None


def made_elsewhere(connection: Connection, actor: Actor, refund_id: int) -> None:
    """Record that what a failed refund is still to give back has gone back another way.

    It is of the tender that failed, then of the others: none of them gives it back again.
    """
    rest = left_of(connection, refund_id)
    if not rest:
        return
    order_id, return_id, lowers_cost, payment_id, amount = _failed(connection, refund_id)
    held = standing(connection, [order_id])[order_id].tenders
    due = min(rest, amount)
    requests = []
    for tender in sorted(held, key=lambda each: each.payment_id != payment_id):
        if part := max(0, min(due, tender.refundable)):
            due -= part
            requests.append(
                RefundRequest(
                    tender.payment_id, part, ELSEWHERE, return_id, "elsewhere", lowers_cost
                )
            )
    refunds.give_back(connection, actor, requests)


def _failed(connection: Connection, refund_id: int) -> tuple[int, int | None, bool, int, int]:
    row = execute(
        connection,
        "SELECT order_id, return_id, lowers_cost, payment_id, amount_minor FROM refunds"
        " WHERE id = :id",
        {"id": refund_id},
    ).fetchone()
    return row[0], row[1], bool(row[2]), row[3], row[4]
