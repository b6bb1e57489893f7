"""Find out what a gateway's message is about: its payment, and what was asked of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.errors import OmsError
from oms_ops.payments import messages
from oms_ops.payments.gateways.interface import Notice
from oms_ops.payments.gateways.registry import gateway
from oms_ops.payments.messages import Claimed


@dataclass(frozen=True, slots=True)
class Match:
    """The payment that a message is about, and the operation where it can be told."""

    payment_id: int
    order_id: int
    notice: Notice


def match(connection: Connection, message: Claimed) -> Match | None:
    """Return what a message is about; None where it tells nothing or its payment is not known.

    A message that tells nothing, or cannot be read, is settled here.
    """
    try:
        opened = gateway(message.gateway)
    except OmsError as error:
        # Its secrets are missing, since it came: it is read when they are back.
        messages.settle(connection, message, "unmatched", error.message)
        return None
    try:
        notice = opened.parse(message.body)
    except Exception as error:  # noqa: BLE001 - it is kept, and shown to people
        messages.settle(
            connection, message, "flagged", f"unreadable: {type(error).__name__}: {error}"
        )
        return None
    if notice is None:
        messages.settle(connection, message, "ignored", None)
        return None
    row = execute(
        connection,
        "SELECT p.id, p.order_id FROM payments AS p WHERE p.gateway = :gateway AND p.id IN ("
        "SELECT o.payment_id FROM payment_operations AS o WHERE o.key = :key"
        " UNION SELECT q.id FROM payments AS q WHERE q.gateway_reference = :payment)"
        " ORDER BY p.id LIMIT 1",
        {"gateway": message.gateway, "key": notice.key, "payment": notice.payment},
    ).fetchone()
    if row is None:
        about = notice.payment or notice.key or notice.reference
        messages.settle(connection, message, "unmatched", f"no payment is known as {about}")
        return None
    return Match(row[0], row[1], notice)


def named(connection: Connection, found: Match, kind: str | None) -> dict[str, Any] | None:
    """Return the operation (of a kind) that a notice names by its key, or else by what was done.

    Never one that it merely resembles: somebody may have done the same at the gateway itself, and
    which of the two is heard of first must make no difference.
    """
    of_kind = "" if kind is None else " AND kind = :kind"
    rows = execute(
        connection,
        "SELECT id, kind, status, code, CASE WHEN status = 'settled'"
        " THEN coalesce(told_minor, amount_minor) ELSE amount_minor END FROM payment_operations"
        f" WHERE payment_id = :payment AND (key = :key OR gateway_reference = :reference){of_kind}"
        " ORDER BY CASE WHEN key = :key THEN 0 ELSE 1 END,"
        " CASE WHEN status = 'failed' THEN 1 ELSE 0 END, id DESC LIMIT 1",
        {
            "payment": found.payment_id,
            "key": found.notice.key or "",
            "reference": found.notice.reference,
            **({} if kind is None else {"kind": kind}),
        },
    ).fetchall()
    names = ("id", "kind", "status", "code", "amount_minor")
    return dict(zip(names, rows[0], strict=True)) if rows else None


def may_be_asked(connection: Connection, found: Match, *kinds: str) -> bool:
    """Tell whether a notice that names no operation may be the news of one that is open.

    Of one whose reference the gateway has told, other references are not.
    """
    named = ", ".join(f"'{kind}'" for kind in kinds)
    row = execute(
        connection,
        "SELECT count(*) FROM payment_operations WHERE payment_id = :payment"
        f" AND status IN ('pending', 'waiting') AND attempts > 0 AND kind IN ({named})"
        " AND gateway_reference IS NULL",
        {"payment": found.payment_id},
    ).fetchone()
    return bool(row[0])


def gave_back(connection: Connection, found: Match) -> bool:
    """Tell whether what a notice names was told as a refund before."""
    row = execute(
        connection,
        "SELECT count(*) FROM payment_events WHERE payment_id = :payment AND kind = 'refunded'"
        " AND gateway_reference = :reference",
        {"payment": found.payment_id, "reference": found.notice.reference},
    ).fetchone()
    return bool(row[0])


def told_before(connection: Connection, found: Match) -> int | None:
    """Return what the same act was told as before, where that is another amount."""
    row = execute(
        connection,
        "SELECT amount_minor FROM payment_events WHERE payment_id = :payment AND kind = :kind"
        " AND gateway_reference = :reference AND amount_minor <> :amount",
        {
            "payment": found.payment_id,
            "kind": found.notice.kind,
            "reference": found.notice.reference,
            "amount": found.notice.amount_minor,
        },
    ).fetchone()
    return int(row[0]) if row else None
