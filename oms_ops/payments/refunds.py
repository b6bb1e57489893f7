"""Give money back: reserved under the payment's lock, so that no two refunds take the same cent.

What was paid by hand or from a balance is settled at once. What a gateway captured is asked of it,
a capture at a time, and counts as refunded when the gateway says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, RETURNS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict
from oms_ops.payments import balances, ledger, operations
from oms_ops.payments.gateways.registry import BALANCE, GATEWAYS
from oms_ops.payments.operations import REFUNDABLE, Wanted

ORDER_CANCELLED = "order cancelled"
UNITS_CANCELLED = "units cancelled"
#: SQL on a refund: it lowers what the order costs, and is not given up.
LOWERS_COST = "(lowers_cost AND status <> 'failed')"
#: The destination of what a person says has gone back another way.
ELSEWHERE = "elsewhere"
#: The reason of a refund that was made at the gateway itself, and not by us.
MADE_AT_THE_GATEWAY = "made at the gateway"
_GATEWAYS = ", ".join(f"'{name}'" for name in GATEWAYS)
#: SQL on a refund ``f``: it was made at the gateway itself, and nobody here said what it is for.
MADE_THERE = (
    "(f.status = 'settled' AND f.destination = 'original' AND EXISTS (SELECT 1 FROM payments AS q"
    f" WHERE q.id = f.payment_id AND q.gateway IN ({_GATEWAYS})) AND NOT EXISTS (SELECT 1"
    " FROM payment_operations AS x WHERE x.refund_id = f.id))"
)
#: SQL on a payment ``p`` and what is asked of it in ``r``: so much can go back.
REFUND_GUARD = f"{REFUNDABLE} >= r.amount AND r.amount > 0"


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """``amount_minor`` to give back from one payment, for one return if there is one.

    ``destination`` is ``original``, ``store_credit`` for money that stays with the shop, or
    ``elsewhere`` for what a person says has gone back another way: that is only recorded.
    ``lowers_cost``: units were cancelled, and the order costs so much less. ``reference`` is the
    gateway's of one that was made there.
    """

    payment_id: int
    amount_minor: int
    reason: str
    return_id: int | None = None
    destination: str = "original"
    lowers_cost: bool = False
    reference: str | None = None


def refund(connection: Connection, actor: Actor, requests: Sequence[RefundRequest]) -> list[int]:
    """Give money back; return the ids of the refunds.

    Refunds never exceed captures, under any concurrency: also what is only on its way back counts.

    Raises:
        Conflict: a payment has less left to refund than asked; nothing is then changed.
        Forbidden: the role may neither write payments nor returns.
    """
    if not requests:
        return []
    actor.require(PAYMENTS_WRITE if any(r.return_id is None for r in requests) else RETURNS_WRITE)
    return give_back(connection, actor, requests)


def give_back(connection: Connection, actor: Actor, requests: Sequence[RefundRequest]) -> list[int]:
    """Do as :func:`refund` where the money follows from what the actor was permitted already."""
    if not requests:
        return []
    wanted: dict[int, int] = {}
    for request in requests:
        wanted[request.payment_id] = wanted.get(request.payment_id, 0) + request.amount_minor
    gateways = _reserve(connection, actor, wanted)
    asked = [r for r in requests if gateways[r.payment_id] in GATEWAYS]
    own = [r for r in requests if gateways[r.payment_id] not in GATEWAYS]
    kept = [r for r in asked if r.destination != "original"]
    done = _settle_at_once(connection, actor, [*own, *kept], gateways)
    parts = _by_capture(connection, [r for r in asked if r.destination == "original"])
    return done + _ask(connection, actor, parts)


def _reserve(connection: Connection, actor: Actor, wanted: dict[int, int]) -> dict[int, str]:
    """Hold back what goes back of each payment; return the payments' gateways."""
    columns = {"payment_id": "bigint", "amount": "bigint"}
    rows = execute(
        connection,
        "UPDATE payments AS p SET refunding_minor = p.refunding_minor + r.amount,"
        " version = p.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        f" WHERE p.id = r.payment_id AND {REFUND_GUARD}"
        # SQLite names what it returns without the table.
        " RETURNING id, gateway",
        {
            "rows": as_rows({"payment_id": k, "amount": v} for k, v in sorted(wanted.items())),
            **_stamp(connection, actor),
        },
    ).fetchall()
    if len(rows) != len(wanted):
        raise Conflict("A payment has less left to refund than asked.")
    return dict(rows)


def _settle_at_once(
    connection: Connection,
    actor: Actor,
    requests: Sequence[RefundRequest],
    gateways: dict[int, str],
) -> list[int]:
    if not requests:
        return []
    refund_ids = _insert(connection, actor.name, requests, "settled")
    back = [
        balances.Back(r.payment_id, refund_id, r.amount_minor, r.destination)
        for r, refund_id in zip(requests, refund_ids, strict=True)
        if r.destination == "store_credit"
        or (gateways[r.payment_id] == BALANCE and r.destination == "original")
    ]
    balances.give_back(connection, actor, back)
    columns = {"id": "bigint", "amount": "bigint"}
    totals: dict[int, int] = {}
    for r in requests:
        totals[r.payment_id] = totals.get(r.payment_id, 0) + r.amount_minor
    execute(
        connection,
        "UPDATE payments AS p SET refunding_minor = p.refunding_minor - r.amount"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE p.id = r.id",
        {"rows": as_rows({"id": i, "amount": amount} for i, amount in sorted(totals.items()))},
    )
    _settled(connection, actor, requests, refund_ids)
    return refund_ids


def _settled(
    connection: Connection,
    actor: Actor,
    requests: Sequence[RefundRequest],
    refund_ids: Sequence[int],
) -> None:
    events = [
        ledger.Event(
            r.payment_id,
            "credited" if r.destination == "store_credit" else "refunded",
            r.amount_minor,
            f"refund-{refund_id}",
        )
        for r, refund_id in zip(requests, refund_ids, strict=True)
    ]
    ledger.record(connection, actor.name, events)


@dataclass(frozen=True, slots=True)
class _Part:
    request: RefundRequest
    capture: str


def _by_capture(connection: Connection, requests: Sequence[RefundRequest]) -> list[_Part]:
    """Spread refunds over the captures of their payments, the oldest first: gateways refund those.

    Raises:
        Conflict: the gateway has less left of the captures than the payment.
    """
    left = _left_of_captures(connection, {r.payment_id for r in requests})
    parts = []
    for request in requests:
        due = request.amount_minor
        for capture in left.get(request.payment_id, []):
            if part := min(due, capture[1]):
                capture[1] -= part
                due -= part
                parts.append(_Part(replace(request, amount_minor=part), capture[0]))
        if due:
            raise Conflict("The captures of a payment have less left to refund than asked.")
    return parts


def _left_of_captures(
    connection: Connection, payment_ids: Iterable[int]
) -> dict[int, list[list[Any]]]:
    """Return per payment [reference, minor units left] of each capture."""
    gone = (
        "(SELECT coalesce(sum(x.amount_minor), 0) FROM payment_events AS x"
        "  WHERE x.payment_id = e.payment_id AND x.kind = 'refunded'"
        "  AND x.target_reference = e.gateway_reference)"
        " + (SELECT coalesce(sum(o.amount_minor), 0) FROM payment_operations AS o"
        "  WHERE o.payment_id = e.payment_id AND o.kind = 'refund'"
        "  AND o.target = e.gateway_reference AND o.status IN ('pending', 'waiting', 'flagged'))"
    )
    rows = execute(
        connection,
        f"SELECT e.payment_id, e.gateway_reference, CAST(e.amount_minor - ({gone}) AS bigint)"
        f" FROM payment_events AS e WHERE e.payment_id IN ({ids(connection, 'ids')})"
        " AND e.kind = 'captured' ORDER BY e.id",
        {"ids": as_ids(payment_ids)},
    )
    left: dict[int, list[list[Any]]] = {}
    for payment_id, reference, rest in rows.fetchall():
        left.setdefault(payment_id, []).append([reference, max(0, rest)])
    return left


def _ask(connection: Connection, actor: Actor, parts: Sequence[_Part]) -> list[int]:
    if not parts:
        return []
    refund_ids = _insert(connection, actor.name, [part.request for part in parts], "pending")
    operations.insert(
        connection,
        actor,
        [
            Wanted(
                part.request.payment_id,
                "refund",
                part.request.amount_minor,
                refund_id=refund_id,
                target=part.capture,
            )
            for part, refund_id in zip(parts, refund_ids, strict=True)
        ],
    )
    return refund_ids


def record(
    connection: Connection, by: str, requests: Sequence[RefundRequest], *, at: datetime
) -> None:
    """Keep refunds that were made at ``at`` without us, as the gateway ``by`` says."""
    _insert(connection, by, requests, "settled", at=at)


def promise(connection: Connection, actor: Actor, requests: Sequence[RefundRequest]) -> list[int]:
    """Record what a person says has gone back ``elsewhere``, whatever the payments have room for.

    Return the ids of the refunds.

    What was charged back, or is on its way back, may come back or stay: the money has gone, and
    must not go once more. The caller holds the order's row and its payments.
    """
    refund_ids = _insert(connection, actor.name, requests, "settled") if requests else []
    _settled(connection, actor, requests, refund_ids)
    return refund_ids


def _insert(
    connection: Connection,
    by: str,
    requests: Sequence[RefundRequest],
    status: str,
    *,
    at: datetime | None = None,
) -> list[int]:
    """Store refunds of now, or of ``at``; return their ids in the order of ``requests``."""
    now = clock.now()
    columns = {
        "payment_id": "bigint",
        "amount": "bigint",
        "reason": "text",
        "return_id": "bigint",
        "destination": "text",
        "lowers_cost": "boolean",
        "reference": "text",
    }
    rows = as_rows(
        {
            "payment_id": r.payment_id,
            "amount": r.amount_minor,
            "reason": r.reason,
            "return_id": r.return_id,
            "destination": r.destination,
            "lowers_cost": r.lowers_cost,
            "reference": r.reference,
        }
        for r in requests
    )
    settled = "CAST(:at AS text)" if connection.dialect.name == "sqlite" else ":at"
    stored = execute(
        connection,
        "INSERT INTO refunds (payment_id, order_id, return_id, status, destination, reason,"
        " currency, amount_minor, lowers_cost, gateway_reference, requested_at, refunded_at,"
        " version, changed_by, changed_at)"
        " SELECT p.id, p.order_id, r.return_id, :status, r.destination, r.reason, p.currency,"
        f" r.amount, r.lowers_cost, r.reference, :at,"
        f" CASE WHEN :is_settled = 1 THEN {settled} END, 1, :by, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " JOIN payments AS p ON p.id = r.payment_id"
        " RETURNING id, payment_id, amount_minor, return_id, destination, reason",
        {
            "rows": rows,
            "status": status,
            "is_settled": int(status == "settled"),
            "at": as_time(connection, at or now),
            "by": by,
            "now": as_time(connection, now),
        },
    ).fetchall()
    # The rows come back in no promised order: each request takes one that is like it.
    alike: dict[Any, list[int]] = {}
    for row in sorted(stored, reverse=True):
        alike.setdefault(tuple(row[1:]), []).append(row[0])
    return [
        alike[r.payment_id, r.amount_minor, r.return_id, r.destination, r.reason].pop()
        for r in requests
    ]


def ask_again(connection: Connection, actor: Actor, refund_id: int) -> int:
    """Ask the gateway again for a refund that it declined; return the new operation.

    The caller holds the order's row, and has checked that the money is still to go back.

    Raises:
        Conflict: the refund is not failed, or its payment or capture has less left.
    """
    row = execute(
        connection,
        "SELECT payment_id, amount_minor, reason, return_id, status FROM refunds WHERE id = :id",
        {"id": refund_id},
    ).fetchone()
    if row is None or row[4] != "failed":
        raise Conflict(f"Refund {refund_id} did not fail.")
    payment_id, amount = row[0], row[1]
    _reserve(connection, actor, {payment_id: amount})
    # A refund is of one capture: what no single one has left is to be refunded anew, in parts.
    roomy = [c for c in _left_of_captures(connection, [payment_id])[payment_id] if c[1] >= amount]
    if not roomy:
        raise Conflict("No capture of the payment has so much left to refund.")
    execute(
        connection,
        "UPDATE refunds SET status = 'pending', version = version + 1, changed_by = :actor,"
        " changed_at = :now WHERE id = :id",
        {"id": refund_id, **_stamp(connection, actor)},
    )
    wanted = Wanted(payment_id, "refund", amount, refund_id=refund_id, target=roomy[0][0])
    return operations.insert(connection, actor, [wanted])[0]


def refundable(
    connection: Connection, order_ids: Sequence[int]
) -> dict[int, list[tuple[int, int]]]:
    """Return per order its payments (id, minor units left to refund), the largest rest first."""
    rows = connection.execute(
        sa.text(
            f"SELECT p.order_id, p.id, {REFUNDABLE} AS rest FROM payments AS p"
            f" WHERE p.order_id IN ({ids(connection, 'ids')}) AND {REFUNDABLE} > 0"
            " ORDER BY p.order_id, rest DESC, p.id"
        ),
        {"ids": as_ids(order_ids)},
    )
    result: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        result.setdefault(row.order_id, []).append((row.id, row.rest))
    return result


def _stamp(connection: Connection, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.name, "now": as_time(connection, clock.now())}
