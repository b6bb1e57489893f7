"""What of an order is to go back and does not go by itself, since a gateway declined it.

Whatever staff give back another way counts first for the claims of the order
(:mod:`oms_ops.orders.claims`): nothing of them goes back twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import execute
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import claims, refund_items, return_refunds
from oms_ops.orders.claims import Left
from oms_ops.orders.queries import number_of
from oms_ops.orders.refund_items import Item
from oms_ops.payments import ledger, messages, refunds
from oms_ops.payments.refunds import RefundRequest

#: The reason of what a person says has gone back another way.
_ANOTHER_WAY = "made another way"


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
    Where none is named it goes towards the order's surplus, then its returns, the oldest first, and
    what is more than that is for the reason that is given. One to ``elsewhere`` is only recorded: a
    person says that it has gone back in a way that the payments do not know.

    Raises:
        ValidationFailed: of the return that is named less is outstanding, or nothing.
        Conflict: the payment has less left to refund, or news of a refund wait to be read: what
            has gone elsewhere is recorded all the same.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    if request.destination != refunds.ELSEWHERE:
        refuse_while_news_wait(connection, [order_id])
    left = claims.left(connection, order_id)
    if request.return_id is None:
        requests = _towards(request, left)
    else:
        _check(request, left.returns.get(request.return_id, 0), currency)
        requests = [request]
    gone: list[int] = []
    if request.destination == refunds.ELSEWHERE:
        # What is to go back and has gone is kept, whatever the payment has room for.
        owed = [each for each in requests if each.lowers_cost or each.return_id is not None]
        requests = [each for each in requests if each not in owed]
        ledger.lock(connection, [request.payment_id])
        gone = refunds.promise(connection, actor, owed)
    made = gone + refunds.give_back(connection, actor, requests)
    return_refunds.follow(connection, actor, [order_id])
    return made


def refuse_while_news_wait(connection: Connection, order_ids: Collection[int]) -> None:
    """Raise Conflict while a gateway's message waits that may tell of a refund of an order."""
    if waiting := messages.waiting(connection, order_ids):
        numbers = ", ".join(number_of(order_id, "SO") for order_id in sorted(waiting))
        raise Conflict(
            f"The gateway has told of {numbers} what waits for the answer to another question; it"
            " may be this refund. Look again when that is settled, or count it if somebody made it"
            " at the gateway (message_waits of what needs a person)."
        )


def _towards(request: RefundRequest, left: Left) -> list[RefundRequest]:
    """Cut a refund into what goes towards the surplus, towards returns, and the rest of it.

    What is due comes before what would be to go back if a charge back were won.
    """
    rest = request.amount_minor
    surplus = replace(request, lowers_cost=True)
    parts = []
    for part, owed in (
        (surplus, left.surplus),
        *((replace(request, return_id=each), due) for each, due in sorted(left.returns.items())),
        (surplus, left.won - left.surplus),
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


def made_elsewhere(
    connection: Connection,
    actor: Actor,
    order_id: int,
    operation: dict[str, Any],
    amount: int | None = None,
) -> int | None:
    """Record that what a failed refund stands for has gone back another way; return how much.

    ``amount`` is how much went back, in minor units: where none is given, all of it. It is of the
    payment that failed, then of the others, and if need be beyond what they have left: that is seen
    there, and none of them gives it back again. Of what staff gave of their own will nothing is
    recorded, and None is returned, where no amount is given: it may not be wanted any more.

    Raises:
        Conflict: no amount is given, and a bank's charge back has taken some of it meanwhile.
    """
    found = claims.attempt(connection, order_id, operation["id"])
    if not found.is_claim:
        return None if amount is None else _own_will(connection, actor, operation, amount)
    if not found.won:
        return 0
    if amount is None and found.due < found.won:
        due, won = (to_text(m, operation["currency"]) for m in (found.due, found.won))
        raise Conflict(
            f"{won} of it was to go back, and without what the bank took {due}: say which amount"
            " she has got."
        )
    gone = found.won if amount is None else min(amount, found.won)
    return_id, lowers_cost = execute(
        connection,
        "SELECT return_id, lowers_cost FROM refunds WHERE id = :id",
        {"id": operation["refund_id"]},
    ).fetchone()
    rooms: dict[int, int] = dict(
        execute(
            connection,
            "SELECT id, captured_minor - refunded_minor - credited_minor FROM payments"
            " WHERE order_id = :id ORDER BY CASE WHEN id = :first THEN 0 ELSE 1 END, id",
            {"id": order_id, "first": operation["payment_id"]},
        ).fetchall()
    )
    ledger.lock(connection, rooms)
    rooms[operation["payment_id"]] += max(0, gone - sum(rooms.values()))
    rest, requests = gone, []
    for payment_id, room in rooms.items():
        if part := min(rest, room):
            rest -= part
            requests.append(
                RefundRequest(
                    payment_id, part, _ANOTHER_WAY, return_id, refunds.ELSEWHERE, bool(lowers_cost)
                )
            )
    refunds.promise(connection, actor, requests)
    return gone


def _own_will(connection: Connection, actor: Actor, operation: dict[str, Any], amount: int) -> int:
    """Record what staff gave of their own will and has gone back elsewhere; return how much.

    It is for what the refund that failed was for, as far as that has not gone back since.
    """
    gone: int = min(amount, operation["amount_minor"])
    payment_id = operation["payment_id"]
    payment = ledger.lock(connection, [payment_id])[payment_id]
    room = _room(connection, payment["order_id"])
    came = _came_back(connection, payment["order_id"])
    items: list[Item] = []
    of_returns: dict[int, int] = {}
    rest = gone
    for item in refund_items.of_refund(connection, operation["refund_id"]):
        if part := min(rest, item.amount, room.get(item.line_id, 0)) if _is_of(item) else 0:
            rest -= part
            room[item.line_id] -= part
            units = item.units if part == item.amount else 0
            items.append(replace(item, amount=part, units=units))
        left = item.amount - part
        for return_id in came.get(item.line_id, {}):
            if share := min(rest, left, came[item.line_id][return_id]):
                rest, left = rest - share, left - share
                came[item.line_id][return_id] -= share
                of_returns[return_id] = of_returns.get(return_id, 0) + share
    if rest:
        items.append(Item("goodwill", rest))
    refunds.promise(connection, actor, [
        RefundRequest(payment_id, amount, _ANOTHER_WAY, return_id, refunds.ELSEWHERE)
        for return_id, amount in sorted(of_returns.items())
    ])  # fmt: skip
    if by_hand := sum(item.amount for item in items):
        request = RefundRequest(payment_id, by_hand, _ANOTHER_WAY, destination=refunds.ELSEWHERE)
        refund_items.store(connection, actor, items, refunds.promise(connection, actor, [request]))
    return gone


def _came_back(connection: Connection, order_id: int) -> dict[int | None, dict[int, int]]:
    """Return per line what returns that are not resolved yet are going to give back for it."""
    rows = execute(
        connection,
        "SELECT y.order_line_id, t.id, y.refund_minor FROM return_lines AS y"
        " JOIN returns AS t ON t.id = y.return_id WHERE t.order_id = :order"
        " AND t.status IN ('received', 'inspected') AND y.refund_minor > 0 ORDER BY t.id",
        {"order": order_id},
    ).fetchall()
    found: dict[int | None, dict[int, int]] = {}
    for line_id, return_id, amount in rows:
        found.setdefault(line_id, {})[return_id] = int(amount)
    return found


def _is_of(item: Item) -> bool:
    """Tell whether an item is of a line, or of shipping: these have only so much to give back."""
    return item.kind != "goodwill"


def _room(connection: Connection, order_id: int) -> dict[int | None, int]:
    """Return what the lines of an order have left to go back, by their ids; None for shipping."""
    paid = refund_items.paid(connection, order_id)
    room: dict[int | None, int] = {line.id: line.left for line in paid.lines.values()}
    room[None] = paid.shipping_left
    return room


def is_due(connection: Connection, refund_id: int) -> bool:
    """Tell whether all of a refund is still to go back, now that its gateway says it has."""
    order_id, return_id, lowers_cost, amount, status, code = execute(
        connection,
        "SELECT f.order_id, f.return_id, f.lowers_cost, f.amount_minor, f.status, (SELECT x.code"
        "  FROM payment_operations AS x WHERE x.refund_id = f.id ORDER BY x.id DESC LIMIT 1)"
        " FROM refunds AS f WHERE f.id = :id",
        {"id": refund_id},
    ).fetchone()
    if status != "failed":
        return bool(status == "pending")
    if return_id is None and not lowers_cost:
        return code != "dismissed" and has_room(connection, order_id, refund_id)
    left = claims.left(connection, order_id)
    return bool((left.won if lowers_cost else left.returns.get(return_id, 0)) >= amount)


def can_go_back(connection: Connection, order_id: int, refund_id: int) -> bool:
    """Tell whether a failed refund could go back now: of what it was for, and of its payments."""
    amount, left = execute(
        connection,
        # What is on its way back, or was charged back, may come again.
        "SELECT f.amount_minor, (SELECT CAST(sum(p.captured_minor - p.refunded_minor"
        "  - p.credited_minor) AS bigint) FROM payments AS p WHERE p.order_id = f.order_id)"
        " FROM refunds AS f WHERE f.id = :id",
        {"id": refund_id},
    ).fetchone()
    return bool(left >= amount) and has_room(connection, order_id, refund_id)


def has_room(connection: Connection, order_id: int, refund_id: int) -> bool:
    """Tell whether the lines and the shipping that a failed refund was for have so much left."""
    wanted: dict[int | None, int] = {}
    for item in refund_items.of_refund(connection, refund_id):
        if _is_of(item):
            wanted[item.line_id] = wanted.get(item.line_id, 0) + item.amount
    room = _room(connection, order_id)
    return all(part <= room.get(line_id, 0) for line_id, part in wanted.items())
