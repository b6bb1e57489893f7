"""What is asked of gateways: reserved in a row first, called outside any transaction, then settled.

The row holds the amount back from everybody else, and its key makes the call safe to repeat. A
process may die between any two steps: what is left is a row that the next round takes up again,
asking the gateway first what became of it (:mod:`oms_ops.payments.calling`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict, NotFound
from oms_ops.money import to_text
from oms_ops.payments import ledger
from oms_ops.payments.gateways.interface import Call, ShipTo
from oms_ops.payments.gateways.registry import GATEWAYS, captures_in_parts

#: Seconds until an operation is taken up again, doubled with every attempt: longer than any call.
_LEASE = 60
_LONGEST_WAIT = 3600
#: Hours after which a customer who was asked to do something is not waited for any more.
PATIENCE_HOURS = 24

#: SQL on a payment ``p``: what is still to be collected of it, and nobody collects yet.
OPEN = "(p.amount_minor - p.captured_minor - p.capturing_minor - p.voided_minor)"
#: SQL on a payment ``p``: what may still go back of it.
REFUNDABLE = (
    "(p.captured_minor - p.refunded_minor - p.refunding_minor - p.credited_minor"
    " - p.charged_back_minor)"
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An operation that this process takes its turn at."""

    id: int
    payment_id: int
    order_id: int
    gateway: str
    status: str
    attempts: int
    overdue: bool
    call: Call


@dataclass(frozen=True, slots=True)
class Wanted:
    """An operation to reserve; amounts are minor units of the payment's currency."""

    payment_id: int
    kind: str
    amount_minor: int
    refund_id: int | None = None
    target: str | None = None
    token: str | None = field(default=None, repr=False)
    return_url: str | None = None


def insert(connection: Connection, actor: Actor, wanted: Sequence[Wanted]) -> list[int]:
    """Write operations down; return their ids. What they need is reserved by the caller."""
    columns = {
        "payment_id": "bigint", "kind": "text", "amount": "bigint", "refund_id": "bigint",
        "target": "text", "token": "text", "return_url": "text", "key": "text",
    }  # fmt: skip
    rows = [
        {
            "payment_id": w.payment_id,
            "kind": w.kind,
            "amount": w.amount_minor,
            "refund_id": w.refund_id,
            "target": w.target,
            "token": w.token,
            "return_url": w.return_url,
            "key": f"oms-{secrets.token_hex(12)}",
        }
        for w in wanted
    ]
    if not rows:
        return []
    inserted = execute(
        connection,
        "INSERT INTO payment_operations (payment_id, kind, status, key, amount_minor, currency,"
        " refund_id, target, token, return_url, attempts, requested_at, version, changed_by,"
        " changed_at) SELECT p.id, r.kind, 'pending', r.key, r.amount, p.currency, r.refund_id,"
        " r.target, r.token, r.return_url, 0, :now, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " JOIN payments AS p ON p.id = r.payment_id RETURNING id",
        {"rows": as_rows(rows), **_stamp(connection, actor.name)},
    )
    return sorted(row[0] for row in inserted.fetchall())


def authorise(
    connection: Connection,
    actor: Actor,
    payment_id: int,
    *,
    token: str | None = None,
    return_url: str | None = None,
) -> int:
    """Ask the payment's gateway to hold all that is still to be collected; return the operation.

    Raises:
        Conflict: the payment has no gateway to ask, is authorised, or nothing of it is open.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    payment = ledger.lock(connection, [payment_id])[payment_id]
    if payment["gateway"] not in GATEWAYS:
        raise Conflict(f"Payment {payment_id} is settled by hand: there is nothing to authorise.")
    amount = open_amount(payment)
    busy = execute(
        connection,
        "SELECT count(*) FROM payment_operations WHERE payment_id = :id AND kind = 'authorise'"
        " AND status IN ('pending', 'waiting', 'flagged')",
        {"id": payment_id},
    ).fetchone()[0]
    if amount <= 0:
        state = "voided" if payment["voided_minor"] else "captured, or being captured"
        raise Conflict(f"Payment {payment_id} is {state}: add another payment to its order.")
    if busy or payment["authorised_minor"] > payment["captured_minor"]:
        raise Conflict(f"Payment {payment_id} is authorised, or being authorised.")
    wanted = Wanted(payment_id, "authorise", amount, token=token, return_url=return_url)
    return insert(connection, actor, [wanted])[0]


def capture(connection: Connection, actor: Actor, parts: Sequence[tuple[int, int]]) -> list[int]:
    """Reserve parts (payment id, minor units) of what is authorised; return the operations.

    Raises:
        Conflict: less of a payment is open or authorised, or it was captured and its gateway
            captures once; nothing is then reserved.
    """
    payments = ledger.lock(connection, [payment_id for payment_id, _ in parts])
    for payment_id, amount in parts:
        if not 0 < amount <= capturable(payments[payment_id]):
            room = to_text(
                max(0, capturable(payments[payment_id])), payments[payment_id]["currency"]
            )
            raise Conflict(f"Of payment {payment_id}, {room} can be captured: the rest is not open,"
                           " not authorised, or the gateway captures once.")  # fmt: skip
    _reserve(connection, actor, "capturing_minor", dict(parts))
    return insert(connection, actor, [Wanted(p, "capture", amount) for p, amount in parts])


def capturable(payment: dict[str, Any]) -> int:
    """Return the minor units of a payment (its columns) that its gateway would capture now."""
    taken = payment["captured_minor"] + payment["capturing_minor"]
    if payment["gateway"] not in GATEWAYS:
        return 0
    if taken and captures_once(payment):
        return 0
    return int(min(open_amount(payment), payment["authorised_minor"] - taken))


def captures_once(payment: dict[str, Any]) -> bool:
    """Tell whether the gateway lets go of what a first capture of a payment leaves."""
    return not captures_in_parts(payment["gateway"])


def open_amount(payment: dict[str, Any]) -> int:
    """Return the minor units of a payment (its columns) that are open: OPEN in Python."""
    names = ("captured_minor", "capturing_minor", "voided_minor")
    return int(payment["amount_minor"] - sum(payment[name] for name in names))


def release(connection: Connection, actor: Actor, payment_ids: Iterable[int]) -> list[int]:
    """Ask gateways to let go of what they hold for payments of which nothing is to be collected.

    Payments that are still being authorised have their turn when the authorisation is heard of;
    what nobody has asked a gateway for yet is not asked any more.
    """
    wanted_ids = as_ids(payment_ids)
    execute(
        connection,
        "UPDATE payment_operations AS o SET status = 'failed', code = 'voided',"
        " settled_at = :now, token = NULL, version = o.version + 1, changed_by = :actor,"
        " changed_at = :now WHERE o.kind = 'authorise' AND o.status = 'pending'"
        f" AND o.attempts = 0 AND o.payment_id IN (SELECT p.id FROM payments AS p"
        f" WHERE p.id IN ({ids(connection, 'ids')}) AND {OPEN} = 0)",
        {"ids": wanted_ids, **_stamp(connection, actor.name)},
    )
    rows = execute(
        connection,
        "SELECT p.id, p.gateway, p.authorised_minor - p.captured_minor, p.captured_minor"
        f" FROM payments AS p WHERE p.id IN ({ids(connection, 'ids')}) AND {OPEN} = 0"
        " AND p.authorised_minor > p.captured_minor + p.capturing_minor AND NOT EXISTS ("
        "SELECT 1 FROM payment_operations AS o WHERE o.payment_id = p.id AND o.kind = 'void'"
        " AND o.status <> 'failed') ORDER BY p.id",
        {"ids": wanted_ids},
    ).fetchall()
    wanted = [
        Wanted(payment_id, "void", held)
        for payment_id, name, held, captured in rows
        # A gateway that captures once lets go of the rest by itself.
        if name in GATEWAYS and (not captured or captures_in_parts(name))
    ]
    return insert(connection, actor, wanted)


def _reserve(connection: Connection, actor: Actor, column: str, units: dict[int, int]) -> None:
    execute(
        connection,
        f"UPDATE payments AS p SET {column} = p.{column} + r.amount, version = p.version + 1,"
        " changed_by = :actor, changed_at = :now FROM"
        f" ({rowset(connection, 'rows', {'id': 'bigint', 'amount': 'bigint'})}) AS r"
        " WHERE p.id = r.id",
        {
            "rows": as_rows({"id": i, "amount": amount} for i, amount in sorted(units.items())),
            **_stamp(connection, actor.name),
        },
    )


def claim(
    connection: Connection, *, limit: int = 50, payment_ids: Iterable[int] | None = None
) -> list[Claimed]:
    """Take a turn at operations that are due; nobody else does until their lease is over.

    The operations of one payment are done one after the other; one that waits for the customer
    does not keep others from their turn.
    """
    now = clock.now()
    mine = "" if payment_ids is None else f" AND o.payment_id IN ({ids(connection, 'ids')})"
    skip = "" if connection.dialect.name == "sqlite" else " FOR UPDATE OF o SKIP LOCKED"
    rows = execute(
        connection,
        "SELECT o.id, o.payment_id, p.order_id, p.gateway, o.status, o.attempts, o.kind, o.key,"
        " o.amount_minor, o.currency, s.number, p.gateway_reference, o.token, o.return_url,"
        f" {OPEN} = 0, o.requested_at < :abandoned, coalesce(o.target, (SELECT"
        "  e.gateway_reference FROM payment_events AS e WHERE e.payment_id = p.id"
        "  AND e.kind = 'authorised' AND o.kind IN ('capture', 'void')"
        "  ORDER BY e.id DESC LIMIT 1)), s.ship_name, s.ship_line1, s.ship_country, s.ship_line2,"
        " s.ship_city, s.ship_region, s.ship_postal_code"
        " FROM payment_operations AS o JOIN payments AS p ON p.id = o.payment_id"
        " JOIN orders AS s ON s.id = p.order_id WHERE o.status IN ('pending', 'waiting')"
        f" AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= :now){mine} AND NOT EXISTS ("
        "SELECT 1 FROM payment_operations AS b WHERE b.payment_id = o.payment_id"
        " AND b.id < o.id AND b.status = 'pending')"
        f" ORDER BY o.id LIMIT :limit{skip}",
        {
            "now": as_time(connection, now),
            "abandoned": as_time(connection, now - timedelta(hours=PATIENCE_HOURS)),
            "limit": limit,
            "ids": as_ids(payment_ids or ()),
        },
    ).fetchall()
    if not rows:
        return []
    again = {
        row[0]: as_time(
            connection, now + timedelta(seconds=min(_LEASE * 2 ** min(row[5], 8), _LONGEST_WAIT))
        )
        for row in rows
    }
    execute(
        connection,
        "UPDATE payment_operations AS o SET attempts = o.attempts + 1, next_attempt_at = r.again"
        f" FROM ({rowset(connection, 'rows', {'id': 'bigint', 'again': 'timestamptz'})}) AS r"
        " WHERE o.id = r.id",
        {"rows": as_rows({"id": i, "again": moment} for i, moment in again.items())},
    )
    return [_claimed(row) for row in rows]


def _claimed(row: Any) -> Claimed:
    return Claimed(
        id=row[0],
        payment_id=row[1],
        order_id=row[2],
        gateway=row[3],
        status=row[4],
        attempts=row[5] + 1,
        overdue=bool(row[15]),
        call=Call(
            kind=row[6],
            key=row[7],
            amount_minor=row[8],
            currency=row[9],
            order=row[10],
            payment=row[11],
            token=row[12],
            return_url=row[13],
            final=bool(row[14]),
            target=row[16],
            ship_to=ShipTo(*row[17:]) if row[6] == "authorise" else None,
        ),
    )


def postpone(connection: Connection, operation_id: int, problem: str) -> None:
    """Keep why an operation was not settled; its lease says when it is taken up again."""
    execute(
        connection,
        "UPDATE payment_operations SET problem = :problem WHERE id = :id"
        " AND status IN ('pending', 'waiting')",
        {"id": operation_id, "problem": problem[:500]},
    )


def currency(connection: Connection, operation_id: int) -> str:
    """Return the currency of an operation.

    Raises:
        NotFound: there is no such operation.
    """
    row = execute(
        connection, "SELECT currency FROM payment_operations WHERE id = :id", {"id": operation_id}
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no payment operation {operation_id}.")
    return str(row[0])


def hurry(connection: Connection, operation_id: int) -> bool:
    """Let an open operation be taken up at once; tell whether it is open."""
    return bool(
        execute(
            connection,
            "UPDATE payment_operations SET next_attempt_at = NULL WHERE id = :id"
            " AND status IN ('pending', 'waiting')",
            {"id": operation_id},
        ).rowcount
    )


def _stamp(connection: Connection, by: str) -> dict[str, Any]:
    return {"actor": by, "now": as_time(connection, clock.now())}
