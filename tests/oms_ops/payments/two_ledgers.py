"""Our ledger beside the fake gateway's own books: do they say the same?"""

from __future__ import annotations

import json
from typing import Any

from oms_ops.payments.gateways.fake import Fake
from tests.oms_ops.shop import Shop

_SUM_OF = {"authorise": "authorised", "capture": "captured", "refund": "refunded"}


def differences(shop: Shop, fake: Fake) -> list[str]:
    """Return in what the two ledgers differ: by payment the sums, by operation what became of it.

    What was done at the gateway without us has an act of its own in the books, under a key that is
    no operation's.
    """
    acts, sums = _books(fake)
    found = []
    ours = shop.rows(
        "SELECT gateway_reference AS reference, authorised_minor AS authorised,"
        " captured_minor AS captured, refunded_minor AS refunded FROM payments"
        " WHERE gateway = 'fake' AND gateway_reference IS NOT NULL"
    )
    for row in ours:
        for kind, name in _SUM_OF.items():
            told = sums.pop((row.reference, kind), 0)
            if (mine := getattr(row, name)) != told:
                found.append(f"{row.reference}: {name} {mine} here, {told} at the gateway")
    found += [f"{key}: {amount} at the gateway is of no payment" for key, amount in sums.items()]
    for row in shop.rows(
        "SELECT key, kind, status, coalesce(told_minor, amount_minor) AS amount"
        " FROM payment_operations"
    ):
        act = acts.get(row.key)
        if (row.status == "settled") != (act is not None):
            found.append(f"{row.kind} {row.key} is {row.status} here, {act} at the gateway")
        elif act is not None and row.kind != "void" and act["amount"] != row.amount:
            found.append(f"{row.kind} {row.key} is {row.amount} here, {act['amount']} there")
    return found


def _books(fake: Fake) -> tuple[dict[str, Any], dict[tuple[str, str], int]]:
    with fake.books() as books:
        rows = books.execute("SELECT * FROM acts WHERE state = 'done'").fetchall()
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["kind"] in _SUM_OF:
            place = (row["payment"], row["kind"])
            sums[place] = sums.get(place, 0) + row["amount"]
    return {row["key"]: row for row in rows}, sums


def refund_at_the_gateway(fake: Fake, capture: str, amount: int) -> None:
    """Let somebody refund a part of a capture on the gateway's own pages."""
    with fake.books() as books:
        act = books.execute("SELECT * FROM acts WHERE reference = ?", (capture,)).fetchone()
        number = books.execute("SELECT count(*) FROM acts").fetchone()[0] + 1
        reference = f"fr_{number}"
        books.execute(
            "INSERT INTO acts VALUES (?, 'refund', ?, ?, ?, ?, ?, 'done')",
            (f"page-{number}", act["payment"], reference, capture, amount, act["currency"]),
        )
        fake.send(books, kind="refunded", payment=act["payment"], reference=reference,
                  target=capture, amount=amount, currency=act["currency"])  # fmt: skip


def only_capture(shop: Shop, payment_id: int) -> str:
    """Return the gateway's reference of the one capture of a payment."""
    (row,) = shop.rows(
        "SELECT gateway_reference FROM payment_events WHERE kind = 'captured' AND payment_id = :id",
        id=payment_id,
    )
    return str(row[0])


def charge_back(fake: Fake, payment: str, amount: int, *, reverse: bool) -> None:
    """Let the customer's bank take money back, and perhaps bring it again."""
    with fake.books() as books:
        for kind in ("charged_back", "charge_back_reversed")[: 2 if reverse else 1]:
            fake.send(books, kind=kind, payment=payment, reference=f"fd_{payment}",
                      amount=amount, currency="USD")  # fmt: skip


def sent(fake: Fake, payment: str | None = None) -> list[tuple[str, bytes]]:
    """Return the messages on their way (of a payment): id and body."""
    with fake.books() as books:
        rows = books.execute("SELECT id, body FROM events ORDER BY id").fetchall()
    return [
        (f"fe_{row['id']}", row["body"].encode())
        for row in rows
        if payment is None or json.loads(row["body"])["payment"] == payment
    ]
