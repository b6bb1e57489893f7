"""The money of returns: reserved as refunds, within what was captured, over the tenders by rule.

What was not paid does not go back: it need not be paid any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError
from oms_ops.orders import claims, outstanding, return_refunds, tenders
from oms_ops.payments import refunds
from oms_ops.payments.refunds import RefundRequest
from oms_ops.payments.standing import Standing, standing
from oms_ops.rules import store
from oms_ops.stock.levels import stamp_of

_NOTHING = Standing([], 0)


@dataclass(frozen=True, slots=True)
class Due:
    """What a return, ``refunding`` now, gives back: ``total_minor`` in all, shipping and all.

    Of it, ``credit_minor`` goes into the customer's store credit.
    """

    return_id: int
    order_id: int
    total_minor: int
    reason: str
    credit_minor: int = 0


def give_back(
    connection: Connection, actor: Actor, dues: Sequence[Due], *, notify: bool = True
) -> None:
    """Refund returns, one an order, whose orders are locked; what has gone back already counts.

    Raises:
        Conflict: money of an order is just being collected or given back, and the rest does not
            cover its return; or a gateway's news of the order wait to be read.
    """
    order_ids = [due.order_id for due in dues]
    outstanding.refuse_while_news_wait(connection, order_ids)
    claims.settle_good_will(connection, actor, order_ids)
    found = standing(connection, order_ids)
    cost = tenders.owed(connection, order_ids)
    gone = _gone(connection, [due.return_id for due in dues])
    methods = store.current(connection).rules.payments.refund_order
    wanted: list[RefundRequest] = []
    rows, unpaid = [], []
    for due in dues:
        held = found.get(due.order_id, _NOTHING)
        before, credited = gone.get(due.return_id, (0, 0))
        rest = max(0, due.total_minor - before)
        parts = tenders.spread_back(held.tenders, rest, methods)
        covered = sum(part for _, part in parts)
        # What she was to pay and now need not; what went back for another reason is not paid twice.
        forgiven = min(rest - covered, max(0, cost[due.order_id] - held.collected))
        if forgiven:
            unpaid.append(due.order_id)
        rows.append({"return_id": due.return_id, "refund": before + covered, "forgiven": forgiven})
        if covered < rest:
            _refuse_in_flight(connection, due.order_id)
        wanted += _requests(due, parts, max(0, due.credit_minor - credited))
    _keep(connection, actor, rows)
    refunds.refund(connection, actor, wanted)
    if unpaid:
        tenders.settle(connection, actor, unpaid)
    return_refunds.follow(connection, actor, order_ids, notify=notify)


def _requests(due: Due, parts: Sequence[tuple[int, int]], credit: int) -> list[RefundRequest]:
    """Return the refunds of ``parts``: those back to where the money came from come first."""
    original = max(0, sum(part for _, part in parts) - credit)
    requests = []
    for payment_id, part in parts:
        for amount, destination in (
            (min(original, part), "original"),
            (part - min(original, part), "store_credit"),
        ):
            if amount:
                requests.append(
                    RefundRequest(payment_id, amount, due.reason, due.return_id, destination)
                )
        original -= min(original, part)
    return requests


def _gone(connection: Connection, return_ids: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return per return what went back or is under way, and the part of it that is credit."""
    rows = execute(
        connection,
        "SELECT return_id, CAST(sum(amount_minor) AS bigint), CAST(sum(CASE WHEN"
        " destination = 'store_credit' THEN amount_minor ELSE 0 END) AS bigint) FROM refunds"
        f" WHERE return_id IN ({ids(connection, 'ids')}) AND status <> 'failed' GROUP BY return_id",
        {"ids": as_ids(return_ids)},
    ).fetchall()
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def refuse_uncovered(connection: Connection, order_id: int, total_minor: int) -> None:
    """Object where an order's payments cannot give so much back while money is on its way.

    Raises:
        Conflict: as :func:`give_back` does.
    """
    outstanding.refuse_while_news_wait(connection, [order_id])
    held = standing(connection, [order_id]).get(order_id, _NOTHING)
    if sum(max(0, tender.refundable) for tender in held.tenders) < total_minor:
        _refuse_in_flight(connection, order_id)


def _refuse_in_flight(connection: Connection, order_id: int) -> None:
    """Object to money that is on its way: until it has come, what there is to give is not known."""
    capturing, refunding = execute(
        connection,
        "SELECT coalesce(sum(capturing_minor), 0), coalesce(sum(refunding_minor), 0) FROM payments"
        " WHERE order_id = :id",
        {"id": order_id},
    ).fetchone()
    for minor, code, what in (
        (capturing, "capture_in_flight", "is being collected"),
        (refunding, "refund_in_flight", "is on its way back already"),
    ):
        if minor:
            message = f"money of the order {what}: do this again when that is settled"
            raise Conflict("The refund cannot be made now.", [FieldError("order", code, message)])


def _keep(connection: Connection, actor: Actor, rows: Sequence[dict[str, Any]]) -> None:
    columns = dict.fromkeys(("return_id", "refund", "forgiven"), "bigint")
    execute(
        connection,
        "UPDATE returns AS x SET refund_minor = r.refund,"
        " forgiven_minor = x.forgiven_minor + r.forgiven, version = x.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE x.id = r.return_id",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )
