"""What is to go back of orders and is not on its way, as it needs a person."""

from __future__ import annotations

from oms_ops.orders.claims import claims_sql
from oms_ops.payments.attention import Kind
from oms_ops.payments.messages import WAITING
from oms_ops.payments.operations import REFUNDABLE
from oms_ops.payments.refunds import LOWERS_COST

_FAILED = claims_sql(
    "SELECT f.order_id AS id FROM refunds AS f WHERE f.status = 'failed'"
    " UNION SELECT t.order_id FROM returns AS t WHERE t.status = 'refund_failed'"
    # Of which more was collected than they cost, as far as is seen without looking at their lines.
    " UNION SELECT o.id FROM orders AS o JOIN (SELECT p.order_id, sum(p.captured_minor) AS minor"
    "  FROM payments AS p WHERE p.captured_minor > 0 GROUP BY p.order_id) AS p ON p.order_id = o.id"
    " LEFT JOIN (SELECT f.order_id, sum(f.amount_minor) AS minor FROM refunds AS f"
    f"  WHERE {LOWERS_COST} GROUP BY f.order_id) AS b ON b.order_id = o.id"
    " LEFT JOIN (SELECT t.order_id, sum(t.forgiven_minor) AS minor FROM returns AS t"
    "  WHERE t.forgiven_minor > 0 GROUP BY t.order_id) AS g ON g.order_id = o.id"
    " WHERE p.minor - coalesce(b.minor, 0) + coalesce(g.minor, 0)"
    "  > o.total_minor - o.cancelled_minor"
)
#: Whether a gateway's message of the order waits to be read: nothing of it is refunded until then.
_WAITS = f"EXISTS (SELECT 1 {WAITING} AND w.order_id = o.id) AS waits"

KINDS: dict[str, Kind] = {
    "refund_failed": (
        f"{_FAILED} SELECT x.id AS operation, x.payment_id AS payment, o.number, x.kind AS what,"
        " a.due AS amount, x.currency, x.problem, x.code, x.attempts, x.requested_at AS since,"
        f" {_WAITS},"
        " a.order_id, CASE WHEN a.return_id IS NULL THEN x.refund_id END AS own_will,"
        f" (a.due >= x.amount_minor AND {REFUNDABLE} >= x.amount_minor) AS can_retry"
        " FROM attempts AS a JOIN payment_operations AS x ON x.id = a.operation"
        " JOIN payments AS p ON p.id = x.payment_id"
        " JOIN orders AS o ON o.id = a.order_id WHERE a.due > 0",
        ("retry", "dismiss"),
        "The customer has not got this money. Retry, or refund it of a payment of the order, which"
        " counts for it. Dismiss it when she has got this amount in a way that the shop's payments"
        " do not know.",
    ),
    "refund_missing": (
        f"{_FAILED} SELECT (SELECT min(p.id) FROM payments AS p WHERE p.order_id = c.order_id)"
        " AS payment, o.number, CASE WHEN t.id IS NULL THEN 'order' ELSE t.number END AS what,"
        " c.due - coalesce(a.due, 0) AS amount, o.currency,"
        " coalesce(t.changed_at, (SELECT max(f.changed_at) FROM refunds AS f"
        "  WHERE f.order_id = c.order_id), o.placed_at) AS since,"
        f" {_WAITS}"
        " FROM claims AS c JOIN orders AS o ON o.id = c.order_id"
        " LEFT JOIN returns AS t ON t.id = c.return_id LEFT JOIN (SELECT order_id, return_id,"
        "  CAST(sum(due) AS bigint) AS due FROM attempts GROUP BY order_id, return_id) AS a"
        "  ON a.order_id = c.order_id AND a.return_id = c.return_id"
        " WHERE c.due > coalesce(a.due, 0) AND NOT EXISTS (SELECT 1 FROM payment_operations AS x"
        "  JOIN payments AS p ON p.id = x.payment_id WHERE p.order_id = c.order_id"
        "  AND x.kind = 'refund' AND x.status IN ('pending', 'waiting', 'flagged'))",
        (),
        "The customer has not got this money, and nobody is asked for it. Resolve the return again,"
        " or refund it of a payment of the order, which counts for it; where it has gone back in a"
        " way that the payments do not know, with elsewhere.",
    ),
    "exchange_unfinished": (
        "SELECT (SELECT min(p.id) FROM payments AS p WHERE p.order_id = t.order_id) AS payment,"
        " o.number, t.number AS what, CAST((SELECT sum(l.refund_minor) FROM return_lines AS l"
        "  WHERE l.return_id = t.id) AS bigint) AS amount, o.currency, t.changed_at AS since"
        " FROM returns AS t JOIN orders AS o ON o.id = t.order_id WHERE t.status = 'exchanging'"
        " AND t.changed_at < :unmatched",
        (),
        "An exchange broke off: its replacement is not paid with what came back. Exchange the"
        " return again, which goes on where it stopped, before the replacement leaves.",
    ),
}
