"""The payment ledger: events come in, in any order and any number of times; sums come out.

An event is stored once (by payment, kind and the gateway's reference) and never changed. The sums
of a payment are :func:`fold` of the set of its events, so neither the order in which they are heard
nor a repetition makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_ids, as_rows, as_time, execute, for_update, ids, rowset


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a payment, in minor units of its currency."""

    payment_id: int
    kind: str
    amount_minor: int
    reference: str
    occurred_at: datetime | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What the events of a payment come to, in minor units."""

    authorised: int
    captured: int
    voided: int
    refunded: int
    credited: int
    charged_back: int


def fold(amount: int, totals: dict[str, int]) -> Sums:
    """Return the sums of a payment of ``amount`` whose events come to ``totals`` a kind.

    No more is captured than the payment is for, and no more goes back than was captured: what a
    gateway tells beyond that (a refund heard of before its capture, say) counts as soon as there is
    room for it, and is shown as a difference until then (:mod:`oms_ops.payments.attention`).

    ``refunded_here`` is the part of ``refunded`` that was asked for here. The rest was made at the
    gateway itself, and gives back first what was captured there beyond the payment.
    """
    told = totals.get
    captured = min(told("captured", 0), amount)
    credited = min(told("credited", 0), captured)
    elsewhere = told("refunded", 0) - told("refunded_here", 0)
    undone = min(elsewhere, told("captured", 0) - captured)
    refunded = min(told("refunded", 0) - undone, captured - credited)
    charged_back = told("charged_back", 0) - told("charge_back_reversed", 0)
    return Sums(
        authorised=min(told("authorised", 0), amount),
        captured=captured,
        voided=min(told("voided", 0), amount - captured),
        refunded=refunded,
        credited=credited,
        charged_back=max(0, min(charged_back, captured - credited - refunded)),
    )


#: SQL on an event ``e``, a refund: it was asked for here, and is for what it says here.
REFUNDED_HERE = (
    "(EXISTS (SELECT 1 FROM payment_operations AS o WHERE o.payment_id = e.payment_id"
    " AND o.kind = 'refund' AND o.gateway_reference = e.gateway_reference)"
    # What went back without its gateway is named after the refund.
    " OR EXISTS (SELECT 1 FROM refunds AS f WHERE f.payment_id = e.payment_id"
    "  AND e.gateway_reference = 'refund-' || f.id))"
)

_EVENT = {
    "payment_id": "bigint",
    "kind": "text",
    "amount": "bigint",
    "reference": "text",
    "target": "text",
    "at": "timestamptz",
}
_SUMS = ("authorised", "captured", "voided", "refunded", "credited", "charged_back")


def lock(connection: Connection, payment_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Lock payments for the rest of the transaction; return their columns by id."""
    cursor = execute(
        connection,
        f"SELECT * FROM payments WHERE id IN ({ids(connection, 'ids')})"
        f" ORDER BY id {for_update(connection)}",
        {"ids": as_ids(payment_ids)},
    )
    names = [column[0] for column in cursor.description]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def record(connection: Connection, by: str, events: Sequence[Event]) -> int:
    """Store events and fold their payments, which the caller has locked; return how many were new.

    ``by`` is who told of them: an actor's or a gateway's name.
    """
    if not events:
        return 0
    now = clock.now()
    rows = as_rows(
        {
            "payment_id": e.payment_id,
            "kind": e.kind,
            "amount": e.amount_minor,
            "reference": e.reference,
            "target": e.target,
            "at": as_time(connection, e.occurred_at or now),
        }
        for e in events
    )
    stored = execute(
        connection,
        "INSERT INTO payment_events (payment_id, kind, amount_minor, currency, gateway_reference,"
        " target_reference, occurred_at, changed_by)"
        " SELECT p.id, r.kind, r.amount, p.currency, r.reference, r.target, r.at, :by"
        f" FROM ({rowset(connection, 'rows', _EVENT)}) AS r JOIN payments AS p"
        # SQLite would take ON CONFLICT for the join's condition without a WHERE.
        " ON p.id = r.payment_id WHERE true"
        " ON CONFLICT (payment_id, kind, gateway_reference) DO NOTHING",
        {"rows": rows, "by": by},
    ).rowcount
    refold(connection, by, {e.payment_id for e in events})
    return int(stored)


def refold(connection: Connection, by: str, payment_ids: Iterable[int]) -> None:
    """Set the sums of payments to the fold of their events."""
    wanted = as_ids(payment_ids)
    found = execute(
        connection,
        "SELECT p.id, p.amount_minor, e.kind, CAST(sum(e.amount_minor) AS bigint),"
        f" CAST(sum(CASE WHEN e.kind = 'refunded' AND {REFUNDED_HERE} THEN e.amount_minor ELSE 0"
        " END) AS bigint)"
        " FROM payments AS p LEFT JOIN payment_events AS e ON e.payment_id = p.id"
        f" WHERE p.id IN ({ids(connection, 'ids')}) GROUP BY p.id, p.amount_minor, e.kind",
        {"ids": wanted},
    )
    amounts: dict[int, int] = {}
    totals: dict[int, dict[str, int]] = {}
    for payment_id, amount, kind, told, here in found.fetchall():
        amounts[payment_id] = amount
        of_payment = totals.setdefault(payment_id, {})
        of_payment[kind] = told or 0
        if kind == "refunded":
            of_payment["refunded_here"] = here
    rows = as_rows(
        {"id": payment_id, **asdict(fold(amount, totals[payment_id]))}
        for payment_id, amount in sorted(amounts.items())
    )
    columns = dict.fromkeys(("id", *_SUMS), "bigint")
    changed = " OR ".join(f"p.{name}_minor <> r.{name}" for name in _SUMS)
    execute(
        connection,
        f"UPDATE payments AS p SET {', '.join(f'{n}_minor = r.{n}' for n in _SUMS)},"
        " version = p.version + 1, changed_by = :by, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        f" WHERE p.id = r.id AND ({changed})",
        {"rows": rows, "by": by, "now": as_time(connection, clock.now())},
    )
