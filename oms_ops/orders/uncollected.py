"""Orders that no payment collects any more what they cost: before the goods leave, and after.

A gateway lets go of what it held, or more was ordered than is paid for. What was charged back was
collected, and is seen as a charge back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.orders import outstanding, owed_back
from oms_ops.orders.amounts import earned_sql, owed_by_order_sql
from oms_ops.payments import attention
from oms_ops.payments.attention import Kind
from oms_ops.payments.commands import RENOUNCED
from oms_ops.payments.gateways.registry import BALANCE, MANUAL
from oms_ops.payments.refunds import LOWERS_COST

_AT_GATEWAY = f"p.gateway NOT IN ('{MANUAL}', '{BALANCE}')"
_SHORT = "IN (SELECT id FROM short)"
#: What a payment ``p`` at a gateway brings when its goods leave: no more than it holds, or is just
#: being asked to hold.
_HELD = (
    "CASE WHEN p.authorised_minor > p.captured_minor OR p.captured_minor > 0 OR EXISTS (SELECT 1"
    "  FROM payment_operations AS y WHERE y.payment_id = p.id AND y.kind = 'authorise'"
    "  AND y.status IN ('pending', 'waiting', 'flagged')) THEN p.amount_minor ELSE p.voided_minor"
    " END"
)
#: Orders paid through gateways whose payments bring less than they cost (``lost``) or than has left
#: of them (``earned``). What was charged back and collected anew is paid once. A payment by hand
#: that a person voids when goods have left unpaid is her word that she renounces it: later than
#: they left, than a gateway let go, and than the last payment through a gateway was added.
_UNCOLLECTED = (
    "WITH at_gateway AS (SELECT p.order_id, max(p.created_at) AS added, coalesce(max(CASE WHEN"
    "  p.voided_minor > 0 THEN p.id END), max(p.id)) AS payment FROM payments AS p"
    f" WHERE {_AT_GATEWAY} GROUP BY p.order_id"
    "), expected AS (SELECT p.order_id, CAST(sum(p.amount_minor - p.voided_minor) AS bigint)"
    f"  AS minor, CAST(sum(CASE WHEN {_AT_GATEWAY} THEN p.amount_minor - {_HELD} ELSE 0 END)"
    "  AS bigint) AS not_held"
    " FROM payments AS p GROUP BY p.order_id"
    "), lowered AS (SELECT order_id, CAST(sum(amount_minor) AS bigint) AS minor FROM refunds"
    f" WHERE {LOWERS_COST} GROUP BY order_id"
    "), taken AS (SELECT p.order_id, CAST(sum(p.charged_back_minor) AS bigint) AS minor,"
    "  min(e.at) AS since FROM payments AS p JOIN (SELECT payment_id, min(occurred_at) AS at"
    "   FROM payment_events WHERE kind = 'charged_back' GROUP BY payment_id) AS e"
    "  ON e.payment_id = p.id WHERE p.charged_back_minor > 0 GROUP BY p.order_id"
    "), anew AS (SELECT t.order_id, CAST(sum(p.amount_minor - p.voided_minor) AS bigint) AS minor"
    "  FROM taken AS t JOIN payments AS p ON p.order_id = t.order_id AND p.created_at > t.since"
    "  GROUP BY t.order_id"
    "), brought AS (SELECT x.order_id, g.added, g.payment, x.not_held, x.minor"
    "  - coalesce(b.minor, 0) - CASE WHEN a.minor IS NULL THEN 0 WHEN a.minor < t.minor"
    "   THEN a.minor ELSE t.minor END AS minor FROM expected AS x"
    "  JOIN at_gateway AS g ON g.order_id = x.order_id"
    "  LEFT JOIN lowered AS b ON b.order_id = x.order_id"
    "  LEFT JOIN taken AS t ON t.order_id = x.order_id"
    "  LEFT JOIN anew AS a ON a.order_id = x.order_id"
    "), short AS (SELECT o.id, x.payment, x.minor, x.not_held, x.added FROM orders AS o"
    "  JOIN brought AS x ON x.order_id = o.id WHERE o.status <> 'cancelled'"
    "  AND x.minor - x.not_held < o.total_minor - o.cancelled_minor"
    "), left_at AS (SELECT s.order_id, min(s.shipped_at) AS moment FROM shipments AS s"
    f"  WHERE s.shipped_at IS NOT NULL AND s.order_id {_SHORT} GROUP BY s.order_id"
    "), let_go AS (SELECT p.order_id, max(e.occurred_at) AS moment FROM payment_events AS e"
    "  JOIN payments AS p ON p.id = e.payment_id AND p.gateway = e.changed_by"
    f"  WHERE e.kind = 'voided' AND p.order_id {_SHORT} GROUP BY p.order_id"
    "), renounced AS (SELECT p.order_id, CAST(sum(e.amount_minor) AS bigint) AS minor"
    "  FROM payment_events AS e JOIN payments AS p ON p.id = e.payment_id"
    f"  JOIN short AS s ON s.id = p.order_id JOIN left_at AS l ON l.order_id = s.id"
    "  LEFT JOIN let_go AS g ON g.order_id = s.id WHERE e.kind = 'voided'"
    f"  AND p.gateway = '{MANUAL}' AND e.gateway_reference LIKE '{RENOUNCED}-%'"
    "  AND e.occurred_at >= l.moment AND e.occurred_at >= s.added"
    "  AND (g.moment IS NULL OR e.occurred_at >= g.moment) GROUP BY p.order_id"
    f"), left_here AS ({earned_sql(_SHORT)}"
    "), missing AS (SELECT s.id, s.payment, CASE WHEN s.not_held > 0 THEN s.not_held ELSE 0 END"
    "  AS not_held, s.minor + coalesce(r.minor, 0) AS minor, coalesce(e.earned, 0) AS earned,"
    f"  {owed_by_order_sql(_SHORT)} AS owed FROM short AS s JOIN orders AS o ON o.id = s.id"
    "  LEFT JOIN left_here AS e ON e.id = s.id LEFT JOIN renounced AS r ON r.order_id = s.id"
    "), uncollected AS (SELECT id, payment, CASE WHEN earned > minor - not_held"
    "  THEN earned - minor + not_held ELSE 0 END AS earned, CASE WHEN earned > minor THEN"
    "  earned - minor ELSE 0 END AS lost_here, owed - minor AS lost FROM missing)"
)

_KINDS: dict[str, Kind] = {
    "authorisation_lost": (
        f"{_UNCOLLECTED} SELECT u.payment, o.number, p.method AS what,"
        " u.lost - u.lost_here AS amount, o.currency, v.since"
        " FROM uncollected AS u JOIN orders AS o ON o.id = u.id"
        " JOIN payments AS p ON p.id = u.payment JOIN (SELECT q.order_id,"
        "  max(x.occurred_at) AS since FROM payment_events AS x JOIN payments AS q"
        "  ON q.id = x.payment_id AND q.gateway = x.changed_by WHERE x.kind = 'voided'"
        f"  AND q.order_id {_SHORT} GROUP BY q.order_id) AS v ON v.order_id = u.id"
        " WHERE u.lost > u.lost_here",
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


#: What is said of a refund that staff made of their own will and that can go back no more.
_NOT_LEFT = (
    "It was made of staff's own will and failed; what it was for has gone back since, has come back"
    " as a return, or is cancelled. Dismiss it, with the amount if she has got it another way; or"
    " refund what is still wanted anew."
)


def listing(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return all of the money that needs a person (:func:`oms_ops.payments.attention.listing`).

    Raises:
        Forbidden: the role may not see payments.
    """

    def judge(row: dict[str, Any]) -> tuple[tuple[str, ...], str] | None:
        refund = row.get("own_will")
        if refund is None or outstanding.can_go_back(connection, row["order_id"], refund):
            return None
        return ("dismiss",), _NOT_LEFT

    return attention.listing(connection, actor, first=owed_back.KINDS, more=_KINDS, judge=judge)
