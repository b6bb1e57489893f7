"""Orders that no payment collects any more what they cost: before the goods leave, and after.

A gateway lets go of what it held, or more was ordered than is paid for. What was charged back was
collected, and is seen as a charge back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.orders.amounts import earned_sql, owed_by_order_sql
from oms_ops.payments import attention
from oms_ops.payments.attention import Kind
from oms_ops.payments.gateways.registry import BALANCE, MANUAL
from oms_ops.payments.refunds import LOWERS_COST

_AT_GATEWAY = f"p.gateway NOT IN ('{MANUAL}', '{BALANCE}')"
_SHORT = "IN (SELECT id FROM short)"
#: Orders paid through gateways whose payments bring less than they cost (``lost``) or than has left
#: of them (``earned``). A payment by hand that a person voids is her word that she renounces it.
_UNCOLLECTED = (
    "WITH expected AS (SELECT p.order_id, CAST(sum(p.amount_minor - CASE WHEN"
    f"  {_AT_GATEWAY} THEN p.voided_minor ELSE 0 END) AS bigint) AS minor,"
    f" coalesce(max(CASE WHEN {_AT_GATEWAY} AND p.voided_minor > 0 THEN p.id END),"
    f"  max(CASE WHEN {_AT_GATEWAY} THEN p.id END)) AS payment"
    " FROM payments AS p GROUP BY p.order_id"
    "), lowered AS (SELECT order_id, CAST(sum(amount_minor) AS bigint) AS minor FROM refunds"
    f" WHERE {LOWERS_COST} GROUP BY order_id"
    "), short AS (SELECT o.id, x.payment, x.minor - coalesce(b.minor, 0) AS minor"
    " FROM orders AS o JOIN expected AS x ON x.order_id = o.id AND x.payment IS NOT NULL"
    " LEFT JOIN lowered AS b ON b.order_id = o.id WHERE o.status <> 'cancelled'"
    " AND x.minor - coalesce(b.minor, 0) < o.total_minor - o.cancelled_minor"
    f"), left_here AS ({earned_sql(_SHORT)}"
    "), uncollected AS (SELECT s.id, s.payment, CASE WHEN e.earned > s.minor"
    f"  THEN e.earned - s.minor ELSE 0 END AS earned, {owed_by_order_sql(_SHORT)} - s.minor AS lost"
    " FROM short AS s JOIN orders AS o ON o.id = s.id LEFT JOIN left_here AS e ON e.id = s.id)"
)

_KINDS: dict[str, Kind] = {
    "authorisation_lost": (
        f"{_UNCOLLECTED} SELECT u.payment, o.number, p.method AS what, u.lost - u.earned AS amount,"
        " o.currency, v.since FROM uncollected AS u JOIN orders AS o ON o.id = u.id"
        " JOIN payments AS p ON p.id = u.payment JOIN (SELECT q.order_id,"
        "  max(x.occurred_at) AS since FROM payment_events AS x JOIN payments AS q"
        "  ON q.id = x.payment_id AND q.gateway = x.changed_by WHERE x.kind = 'voided'"
        f"  AND q.order_id {_SHORT} GROUP BY q.order_id) AS v ON v.order_id = u.id"
        " WHERE u.lost > u.earned",
        (),
        "The gateway let go of the money before it was collected. Add a payment to the order before"
        " its goods leave, hold it, or cancel it.",
    ),
    "shipped_unpaid": (
        f"{_UNCOLLECTED} SELECT u.payment, o.number, p.method AS what, u.earned AS amount,"
        " o.currency, (SELECT max(x.shipped_at) FROM shipments AS x WHERE x.order_id = u.id)"
        " AS since FROM uncollected AS u JOIN orders AS o ON o.id = u.id"
        " JOIN payments AS p ON p.id = u.payment WHERE u.earned > 0",
        (),
        "Goods have left that no payment collects. Add a payment to the order; one by hand that is"
        " then voided writes it off.",
    ),
}


def listing(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return all of the money that needs a person (:func:`oms_ops.payments.attention.listing`).

    Raises:
        Forbidden: the role may not see payments.
    """
    return attention.listing(connection, actor, _KINDS)
