"""A return follows its refunds: it is settled when all of them are, and says so when one failed.

News of refunds reach the orders, which the returns stand above; so this half of a return's life is
here, beside what else follows from such news.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_time, execute, ids
from oms_ops.money import to_text
from oms_ops.notifications import outbox

#: SQL on a return ``x``: what it is when all that it is to give back has gone back.
_SETTLED = (
    "CASE x.resolution WHEN 'store_credit' THEN 'credited'"
    " WHEN 'exchange' THEN 'exchanged' ELSE 'refunded' END"
)

#: How a customer is told where her money goes.
_WHERE = {"credited": "to your store credit", "elsewhere": "to you another way"}


def follow(
    connection: Connection, actor: Actor, order_ids: Sequence[int], *, notify: bool = True
) -> None:
    """Bring the returns of orders, whose rows are locked, to what their refunds say.

    One is ``refunding`` while a refund is under way, ``refund_failed`` when less is settled than is
    to go back and nothing is under way; that one can be resolved again. So can one whose money
    turns out to have gone back for something else.
    """
    paid = "coalesce(sum(CASE WHEN f.status = 'settled' THEN f.amount_minor ELSE 0 END), 0)"
    state = (
        "CASE WHEN coalesce(sum(CASE WHEN f.status = 'pending' THEN 1 ELSE 0 END), 0) > 0"
        f" THEN 'refunding' WHEN {paid} >= x.refund_minor THEN {_SETTLED}"
        " ELSE 'refund_failed' END"
    )
    changed = execute(
        connection,
        "UPDATE returns AS r SET status = t.state,"
        " resolved_at = CASE WHEN t.state IN ('refunding', 'refund_failed') THEN NULL"
        " ELSE :now END, version = r.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM (SELECT x.id AS return_id, {state} AS state FROM returns AS x"
        "  LEFT JOIN refunds AS f ON f.return_id = x.id"
        f"  WHERE x.order_id IN ({ids(connection, 'ids')})"
        "  AND x.status IN ('refunding', 'refund_failed', 'refunded', 'credited', 'exchanged')"
        "  GROUP BY x.id, x.status, x.resolution, x.refund_minor"
        f"  HAVING x.status IN ('refunding', 'refund_failed') OR {paid} < x.refund_minor) AS t"
        " WHERE r.id = t.return_id AND r.status <> t.state RETURNING id, status",
        {
            "ids": as_ids(order_ids),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    ).fetchall()
    settled = [row[0] for row in changed if row[1] in ("refunded", "credited")]
    if notify and settled:
        _tell(connection, settled)


def _tell(connection: Connection, return_ids: Sequence[int]) -> None:
    """Tell the customers of returns what has gone back; an exchange is told by itself."""
    rows = execute(
        connection,
        "SELECT o.number, r.number, c.email, r.refund_minor, o.currency, CASE WHEN EXISTS ("
        "SELECT 1 FROM refunds AS f WHERE f.return_id = r.id AND f.destination = 'elsewhere')"
        " THEN 'elsewhere' ELSE r.status END"
        " FROM returns AS r JOIN orders AS o ON o.id = r.order_id"
        " JOIN customers AS c ON c.id = o.customer_id"
        f" WHERE r.id IN ({ids(connection, 'ids')}) AND r.refund_minor > 0 ORDER BY r.id",
        {"ids": as_ids(return_ids)},
    )
    outbox.post_many(
        connection,
        "return.refunded",
        [
            (
                email,
                {
                    "order": order,
                    "return": number,
                    "amount": to_text(amount, currency),
                    "currency": currency,
                    "where": _WHERE.get(way, "to where it came from"),
                },
            )
            for order, number, email, amount, currency, way in rows.fetchall()
        ],
    )
