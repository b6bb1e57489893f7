"""What the customer gets for what came back: her money, store credit, or other goods.

The fee is taken and the shipping added here, when it is known what she gets; a failed refund leaves
the return as ``refund_failed``, and resolving it again gives back what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, RETURNS_WRITE, Actor
from oms_ops.database import as_rows, execute, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.returns import policy, queries
from oms_ops.returns.giving_back import Due, give_back
from oms_ops.returns.transitions import advance
from oms_ops.returns.worth import Worth
from oms_ops.rules import store
from oms_ops.stock.levels import stamp_of

#: The scope of the idempotency keys under which replacements are captured.
EXCHANGE = "exchange"


def resolve(connection: Connection, actor: Actor, return_id: int, resolution: str) -> None:
    """Give the money of an inspected return back (``refund``), or as ``store_credit``.

    What a gateway captured is asked of it, and the return is ``refunding`` until that is settled.
    One whose refund failed gets what is missing, on either way.

    Raises:
        ValidationFailed: another resolution; for an exchange see :mod:`oms_ops.returns.exchange`.
        Conflict: it is not inspected, money of its order is just being collected or given back and
            the rest does not cover it, or a gateway's news of the order wait to be read.
        Forbidden: the role may not write returns, or payments.
    """
    actor.require(RETURNS_WRITE)
    actor.require(PAYMENTS_WRITE)
    if resolution not in ("refund", "store_credit"):
        message = "one of refund, store_credit, exchange"
        fault = FieldError("resolution", "unknown_resolution", message)
        raise ValidationFailed("The resolution has bad fields.", [fault])
    head = queries.locked(connection, return_id)
    if head["exchange_order_id"] is None and replacement(connection, head["number"]):
        raise Conflict(f"A replacement was made for {head['number']}: go on with the exchange.")
    again = head["status"] == "refund_failed"
    # What was exchanged stays so, whichever way the rest of the money goes.
    kept = "exchange" if head["exchange_order_id"] else resolution
    advance(connection, actor.name, [return_id], "resolve", resolution=kept)
    if again:
        total = head["refund_minor"]
    else:
        total = charge(connection, actor, head, queries.lines(connection, return_id))
    credit = total if resolution == "store_credit" else 0
    give_back(connection, actor, [Due(return_id, head["order_id"], total, why(head), credit)])


def replacement(connection: Connection, number: str) -> str | None:
    """Return the number of the order that was captured for the return with this number, if any."""
    row = execute(
        connection,
        "SELECT response FROM idempotency_keys WHERE scope = :scope AND key = :key",
        {"scope": EXCHANGE, "key": number},
    ).fetchone()
    if row is None:
        return None
    answer = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    return str(answer["number"])


def why(head: Mapping[str, Any]) -> str:
    """Return the reason that stands on the refunds of a return."""
    return head["reason"] or f"return {head['number']}"


def charge(
    connection: Connection,
    actor: Actor,
    head: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
) -> int:
    """Take the fee off the lines of a return, grant its shipping; return what it gives back."""
    rules = store.current(connection).rules.returns
    came = [line for line in lines if line["received"]]
    worths = policy.with_fee(
        rules,
        [Worth(line["refund_minor"], line["tax_minor"]) for line in came],
        [line["reason"] for line in came],
    )
    reasons = {head["order_id"]: {line["reason"] for line in came}}
    shipping = policy.shipping(connection, rules, reasons)[head["order_id"]]
    columns = dict.fromkeys(("line_id", "refund", "tax", "fee"), "bigint")
    execute(
        connection,
        "UPDATE return_lines AS l SET refund_minor = r.refund, tax_minor = r.tax,"
        " fee_minor = r.fee, version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " WHERE l.id = r.line_id AND l.fee_minor <> r.fee",
        {
            "rows": as_rows(
                {"line_id": line["id"], "refund": w.refund, "tax": w.tax, "fee": w.fee}
                for line, w in zip(came, worths, strict=True)
            ),
            **stamp_of(connection, actor),
        },
    )
    execute(
        connection,
        "UPDATE returns SET shipping_minor = :shipping WHERE id = :id",
        {"id": head["id"], "shipping": shipping},
    )
    return sum(w.refund for w in worths) + shipping
