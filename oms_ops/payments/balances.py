"""Gift cards and store credit: the shop's own ledgers, which never go negative.

A balance is the sum of its entries; the guard is in the UPDATE and in the table's CHECK. A code of
a gift card is shown once and stored as a hash, as API keys are: it opens the card to whoever has
it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import BALANCES_WRITE, PAYMENTS_READ, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, read_time, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.money import EXPONENTS, to_text
from oms_ops.notifications import outbox
from oms_ops.settings import settings

#: Letters and digits that are not taken for one another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_GROUPS, _GROUP = 4, 4

#: Days for which a card that is over is good again when money comes back to it.
GOOD_AGAIN_DAYS = 90

#: SQL on a balance ``b`` and what changes it in ``r``: it never goes negative.
BALANCE_GUARD = "b.balance_minor + r.amount >= 0"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new gift card or credit; ``code`` is told this once, None for a credit."""

    id: int
    code: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Back:
    """Money of a refund that goes into a balance: the payment's own, or the customer's credit."""

    payment_id: int
    refund_id: int
    amount_minor: int
    destination: str


def issue_card(
    connection: Connection,
    actor: Actor,
    currency: str,
    amount_minor: int,
    *,
    customer_id: int | None = None,
    expires_on: date | None = None,
    reason: str = "issued",
) -> Issued:
    """Issue a gift card over ``amount_minor``; its last shop day is ``expires_on``.

    Raises:
        ValidationFailed: with every bad field.
        Forbidden: the role may not write balances.
    """
    actor.require(BALANCES_WRITE)
    _check(currency, amount_minor, expires_on)
    code = "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
    )
    row = execute(
        connection,
        "INSERT INTO balances (kind, customer_id, code_hash, code_end, currency, balance_minor,"
        " expires_on, is_active, created_at, version, changed_by, changed_at) VALUES"
        " ('gift_card', :customer_id, :hash, :end, :currency, :amount, :expires_on, true, :now, 1,"
        " :actor, :now) RETURNING id",
        {
            "customer_id": customer_id,
            "hash": _hash(code),
            "end": code[-_GROUP:],
            "currency": currency,
            "amount": amount_minor,
            "expires_on": expires_on.isoformat() if expires_on else None,
            **_stamp(connection, actor),
        },
    ).fetchone()
    _enter(connection, actor, [_Entry(row[0], "issued", amount_minor, reason=reason)])
    return Issued(row[0], code)


def issue_credit(
    connection: Connection,
    actor: Actor,
    customer_id: int,
    currency: str,
    amount_minor: int,
    reason: str,
) -> Issued:
    """Give a customer store credit, and tell her; a customer has one credit a currency.

    Raises:
        ValidationFailed: with every bad field.
        Forbidden: the role may not write balances.
    """
    actor.require(BALANCES_WRITE)
    _check(currency, amount_minor, None)
    credit = _credits(connection, actor, {(customer_id, currency)})[customer_id, currency]
    _add(connection, actor, [_Entry(credit, "issued", amount_minor, reason=reason)])
    (email,) = execute(
        connection, "SELECT email FROM customers WHERE id = :id", {"id": customer_id}
    ).fetchone()
    payload = {"amount": to_text(amount_minor, currency), "currency": currency, "reason": reason}
    outbox.post(connection, "credit.issued", email, payload)
    return Issued(credit, None)


def adjust(
    connection: Connection, actor: Actor, balance_id: int, amount_minor: int, reason: str
) -> None:
    """Correct a balance by signed minor units, which are not zero.

    Raises:
        Conflict: it would become negative.
        Forbidden: the role may not write balances.
    """
    actor.require(BALANCES_WRITE)
    _add(connection, actor, [_Entry(balance_id, "adjusted", amount_minor, reason=reason)])


def close(connection: Connection, actor: Actor, balance_id: int) -> None:
    """Let a gift card pay nothing any more; what is on it stays, to be corrected or looked at.

    Raises:
        Conflict: it is closed already.
        Forbidden: the role may not write balances.
    """
    _set_active(connection, actor, balance_id, active=False)


def reopen(connection: Connection, actor: Actor, balance_id: int) -> None:
    """Let a closed gift card pay again: money may have come back to it.

    Raises:
        Conflict: it is open.
        Forbidden: the role may not write balances.
    """
    _set_active(connection, actor, balance_id, active=True)


def _set_active(connection: Connection, actor: Actor, balance_id: int, *, active: bool) -> None:
    actor.require(BALANCES_WRITE)
    changed = execute(
        connection,
        f"UPDATE balances SET is_active = {'true' if active else 'false'}, version = version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" WHERE id = :id AND {'NOT ' if active else ''}is_active",
        {"id": balance_id, **_stamp(connection, actor)},
    ).rowcount
    if not changed:
        raise Conflict("The gift card is open." if active else "The gift card is closed already.")


def by_number(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return a gift card by its number, which opens nothing.

    Raises:
        NotFound: there is no such card.
        Forbidden: the role may not see payments.
    """
    actor.require(PAYMENTS_READ)
    found = _select(connection, "b.number = :number AND b.kind = 'gift_card'", number=number)
    if not found:
        raise NotFound(f"There is no gift card {number!r}.")
    return found[0]


def by_id(connection: Connection, balance_id: int) -> dict[str, Any]:
    """Return a balance that is there."""
    return _select(connection, "b.id = :id", id=balance_id)[0]


def find_card(connection: Connection, code: str) -> dict[str, Any]:
    """Return a gift card by its code, however it is written.

    Raises:
        NotFound: there is no such card.
    """
    found = _select(connection, "b.code_hash = :hash", hash=_hash(code))
    if not found:
        raise NotFound("There is no gift card with this code.")
    return found[0]


def credits_of(connection: Connection, customer_id: int) -> list[dict[str, Any]]:
    """Return a customer's credits, one a currency."""
    return _select(
        connection, "b.kind = 'store_credit' AND b.customer_id = :customer", customer=customer_id
    )


def entries(connection: Connection, balance_id: int) -> list[dict[str, Any]]:
    """Return the entries of a balance, the oldest first."""
    cursor = execute(
        connection,
        "SELECT kind, amount_minor, payment_id, refund_id, reason, occurred_at, changed_by"
        " FROM balance_entries WHERE balance_id = :id ORDER BY id",
        {"id": balance_id},
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def redeem(
    connection: Connection, actor: Actor, balance_id: int, payment_id: int, amount_minor: int
) -> None:
    """Take what a payment costs out of its balance.

    Raises:
        Conflict: the balance has less, is closed, or is over.
    """
    _add(
        connection,
        actor,
        [_Entry(balance_id, "redeemed", -amount_minor, payment_id=payment_id)],
        usable=True,
    )


def give_back(connection: Connection, actor: Actor, backs: Sequence[Back]) -> None:
    """Put refunded money into balances; also into cards that are over: the money is hers.

    A card that is over is good again for a time, so that she can spend what came back.
    """
    if not backs:
        return
    rows = execute(
        connection,
        "SELECT p.id, p.balance_id, o.customer_id, p.currency FROM payments AS p"
        f" JOIN orders AS o ON o.id = p.order_id WHERE p.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(back.payment_id for back in backs)},
    )
    known = {row[0]: row[1:] for row in rows.fetchall()}
    to_credit = [b for b in backs if b.destination == "store_credit"]
    credit = _credits(connection, actor, {known[b.payment_id][1:] for b in to_credit})
    _add(
        connection,
        actor,
        [
            _Entry(
                credit[known[b.payment_id][1:]]
                if b.destination == "store_credit"
                else known[b.payment_id][0],
                "refunded",
                b.amount_minor,
                payment_id=b.payment_id,
                refund_id=b.refund_id,
            )
            for b in backs
        ],
    )
    today = clock.now().astimezone(settings().zone).date()
    execute(
        connection,
        "UPDATE balances AS b SET expires_on = :until, version = b.version + 1,"
        f" changed_by = :actor, changed_at = :now WHERE b.id IN ({ids(connection, 'ids')})"
        " AND b.expires_on < :today",
        {
            "ids": as_ids(known[b.payment_id][0] for b in backs if b.destination != "store_credit"),
            "until": (today + timedelta(days=GOOD_AGAIN_DAYS)).isoformat(),
            "today": today.isoformat(),
            **_stamp(connection, actor),
        },
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    balance_id: int
    kind: str
    amount_minor: int
    payment_id: int | None = None
    refund_id: int | None = None
    reason: str | None = None


def _add(
    connection: Connection, actor: Actor, wanted: Sequence[_Entry], *, usable: bool = False
) -> None:
    """Change balances by entries, all or none; ``usable`` asks that cards are open and not over."""
    totals: dict[int, int] = {}
    for entry in wanted:
        totals[entry.balance_id] = totals.get(entry.balance_id, 0) + entry.amount_minor
    guard = " AND b.is_active AND (b.expires_on IS NULL OR b.expires_on >= :today)"
    columns = {"id": "bigint", "amount": "bigint"}
    changed = execute(
        connection,
        "UPDATE balances AS b SET balance_minor = b.balance_minor + r.amount,"
        " version = b.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        f" WHERE b.id = r.id AND {BALANCE_GUARD}{guard if usable else ''}",
        {
            "rows": as_rows({"id": i, "amount": amount} for i, amount in sorted(totals.items())),
            "today": clock.now().astimezone(settings().zone).date().isoformat(),
            **_stamp(connection, actor),
        },
    ).rowcount
    if changed != len(totals):
        raise Conflict(_why_not(connection, totals))
    _enter(connection, actor, wanted)


def _why_not(connection: Connection, totals: Mapping[int, int]) -> str:
    """Say what stands in the way of a change of balances that was refused."""
    today = clock.now().astimezone(settings().zone).date().isoformat()
    for balance_id, amount in sorted(totals.items()):
        balance = by_id(connection, balance_id)
        name = f"Gift card {balance['number']}" if balance["number"] else "The store credit"
        if balance["balance_minor"] + amount < 0:
            left = to_text(balance["balance_minor"], balance["currency"])
            return f"{name} has {left} {balance['currency']}, less than asked."
        if not balance["is_active"]:
            return f"{name} is closed."
        if balance["expires_on"] is not None and str(balance["expires_on"]) < today:
            return f"{name} was good until {balance['expires_on']}."
    return "A balance changed in between; look again."


def _enter(connection: Connection, actor: Actor, wanted: Sequence[_Entry]) -> None:
    columns = {
        "balance_id": "bigint",
        "kind": "text",
        "amount": "bigint",
        "payment_id": "bigint",
        "refund_id": "bigint",
        "reason": "text",
    }
    execute(
        connection,
        "INSERT INTO balance_entries (balance_id, kind, amount_minor, payment_id, refund_id,"
        " reason, occurred_at, changed_by) SELECT balance_id, kind, amount, payment_id, refund_id,"
        f" reason, :now, :actor FROM ({rowset(connection, 'rows', columns)}) AS r",
        {
            "rows": as_rows(
                {
                    "balance_id": e.balance_id,
                    "kind": e.kind,
                    "amount": e.amount_minor,
                    "payment_id": e.payment_id,
                    "refund_id": e.refund_id,
                    "reason": e.reason,
                }
                for e in wanted
            ),
            **_stamp(connection, actor),
        },
    )


def _credits(
    connection: Connection, actor: Actor, owners: set[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    """Return the id of each (customer, currency)'s credit, made where there is none."""
    if not owners:
        return {}
    source = f"({rowset(connection, 'rows', {'customer_id': 'bigint', 'currency': 'text'})}) AS r"
    rows = as_rows({"customer_id": c, "currency": currency} for c, currency in sorted(owners))
    execute(
        connection,
        "INSERT INTO balances (kind, customer_id, currency, balance_minor, is_active, created_at,"
        " version, changed_by, changed_at) SELECT 'store_credit', r.customer_id, r.currency, 0,"
        f" true, :now, 1, :actor, :now FROM {source} WHERE true ON CONFLICT DO NOTHING",
        {"rows": rows, **_stamp(connection, actor)},
    )
    found = execute(
        connection,
        f"SELECT b.customer_id, b.currency, b.id FROM {source} JOIN balances AS b"
        " ON b.customer_id = r.customer_id AND b.currency = r.currency"
        " AND b.kind = 'store_credit'",
        {"rows": rows},
    )
    return {(row[0], row[1]): row[2] for row in found.fetchall()}


def _select(connection: Connection, condition: str, **parameters: Any) -> list[dict[str, Any]]:
    cursor = execute(
        connection,
        "SELECT b.id, b.number, b.kind, b.customer_id, b.code_end, b.currency, b.balance_minor,"
        f" b.expires_on, b.is_active FROM balances AS b WHERE {condition} ORDER BY b.id",
        parameters,
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _check(currency: str, amount_minor: int, expires_on: date | None) -> None:
    faults = []
    if currency not in EXPONENTS:
        faults.append(FieldError("currency", "invalid", f"{currency!r} is not accepted"))
    if amount_minor <= 0:
        faults.append(FieldError("amount", "not_positive", "more than zero"))
    if expires_on is not None and expires_on < clock.now().astimezone(settings().zone).date():
        faults.append(FieldError("expires_on", "invalid", "is in the past"))
    if faults:
        raise ValidationFailed("The balance has bad fields.", faults)


def shown_entry(entry: dict[str, Any], currency: str) -> dict[str, Any]:
    """Return an entry of a balance as callers see it."""
    moment = read_time(entry["occurred_at"])
    return {
        "kind": entry["kind"],
        "amount": to_text(entry["amount_minor"], currency),
        "payment": entry["payment_id"],
        "refund": entry["refund_id"],
        "reason": entry["reason"],
        "at": moment.isoformat() if moment else None,
        "by": entry["changed_by"],
    }


def shown(balance: dict[str, Any]) -> dict[str, Any]:
    """Return a balance as callers see it, without what opens it."""
    return {
        "number": balance["number"],
        "kind": balance["kind"],
        "code_end": balance["code_end"],
        "currency": balance["currency"],
        "balance": to_text(balance["balance_minor"], balance["currency"]),
        "expires_on": str(balance["expires_on"]) if balance["expires_on"] else None,
        "is_active": bool(balance["is_active"]),
    }


def _hash(code: str) -> str:
    plain = "".join(c for c in code.upper() if c.isalnum())
    return hashlib.sha256(f"gift-card:{plain}".encode()).hexdigest()


def _stamp(connection: Connection, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.name, "now": as_time(connection, clock.now())}
