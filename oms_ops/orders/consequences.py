"""What follows when units are cancelled: codes, stock and promises for others, a message."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.money import to_text
from oms_ops.notifications import outbox
from oms_ops.orders import backorders, deadlines, promises
from oms_ops.orders.locks import lock_waiting
from oms_ops.orders.units import GivenBack
from oms_ops.stock import ledger


def give_codes_back(connection: Connection, parameters: dict[str, Any]) -> None:
    """Let the discount codes of cancelled orders be used again."""
    held = (
        "released_at IS NULL AND order_id IN (SELECT o.id FROM orders AS o"
        f" WHERE o.id IN ({ids(connection, 'ids')}) AND o.status = 'cancelled')"
    )
    rows = execute(
        connection,
        f"UPDATE discount_uses SET released_at = :now, version = version + 1,"
        f" changed_by = :actor, changed_at = :now WHERE {held} RETURNING discount_id",
        parameters,
    ).fetchall()
    if not rows:
        return
    released: dict[int, int] = {}
    for (discount_id,) in rows:
        released[discount_id] = released.get(discount_id, 0) + 1
    columns = {"id": "bigint", "uses": "bigint"}
    execute(
        connection,
        "UPDATE discounts AS d SET used = d.used - r.uses, version = d.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE d.id = r.id",
        {
            **parameters,
            "rows": as_rows({"id": i, "uses": uses} for i, uses in sorted(released.items())),
        },
    )


def give_units_back(
    connection: Connection,
    actor: Actor,
    given_back: GivenBack,
    *,
    sent_away: Collection[int] = (),
) -> None:
    """Release the stock; what was promised goes to whoever waits longest, not to the next buyer.

    Orders that are ``sent_away`` from where the units are do not get them back.
    """
    pairs = {(q.warehouse_id, q.sku_id) for q in given_back.freed}
    lock_waiting(connection, pairs | given_back.waited)
    ledger.release(connection, actor, given_back.freed)
    backorders.fill(connection, actor, pairs, sent_away=sent_away)
    deadlines.stop_waiting(connection, actor, given_back.order_ids)
    promises.update(
        connection,
        actor,
        given_back.waited - pairs,
        order_ids=given_back.order_ids,
        only_sooner=True,
    )


def tell(connection: Connection, order_ids: Sequence[int], kind: str, reason: str) -> None:
    """Tell customers what of their orders was cancelled, and what the orders cost now."""
    rows = connection.execute(
        sa.text(
            "SELECT o.number, c.email, o.status, o.currency, o.total_minor - o.cancelled_minor"
            " AS owed FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
            f" WHERE o.id IN ({ids(connection, 'ids')}) ORDER BY o.id"
        ),
        {"ids": as_ids(order_ids)},
    )
    outbox.post_many(
        connection,
        kind,
        [
            (
                row.email,
                {
                    "order": row.number,
                    "reason": reason,
                    "total": to_text(row.owed, row.currency),
                    "currency": row.currency,
                },
            )
            for row in rows
        ],
    )
