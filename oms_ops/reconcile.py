"""The promises of the write path, asked of the whole database: a query counts what breaks one."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.database import reading


@dataclass(frozen=True, slots=True)
class Finding:
    """How many rows break the rule ``name``."""

    name: str
    count: int


_RULES = {
    "a level is the sum of its moves": """
        WITH net AS (
            SELECT warehouse_id, sku_id, sum(quantity) AS units FROM (
                SELECT f.warehouse_id, m.sku_id, -m.quantity AS quantity FROM stock_moves AS m
                JOIN locations AS f ON f.id = m.from_location_id AND f.kind IN ('storage', 'bin')
                UNION ALL
                SELECT t.warehouse_id, m.sku_id, m.quantity FROM stock_moves AS m
                JOIN locations AS t ON t.id = m.to_location_id AND t.kind IN ('storage', 'bin')
            ) AS moves GROUP BY warehouse_id, sku_id
        )
        SELECT count(*) FROM stock_levels AS l
        LEFT JOIN net AS n ON n.warehouse_id = l.warehouse_id AND n.sku_id = l.sku_id
        WHERE l.on_hand <> coalesce(n.units, 0)""",
    "allocated is what unshipped shipments and basket holds promise": """
        WITH held AS (
            SELECT s.warehouse_id, sl.sku_id, sum(sl.quantity) AS units FROM shipment_lines AS sl
            JOIN shipments AS s ON s.id = sl.shipment_id
            WHERE s.status IN ('allocated', 'picked', 'packed') GROUP BY s.warehouse_id, sl.sku_id
        ), baskets AS (
            SELECT warehouse_id, sku_id, sum(quantity) AS units FROM basket_holds
            GROUP BY warehouse_id, sku_id
        )
        SELECT count(*) FROM stock_levels AS l
        LEFT JOIN held AS h ON h.warehouse_id = l.warehouse_id AND h.sku_id = l.sku_id
        LEFT JOIN baskets AS b ON b.warehouse_id = l.warehouse_id AND b.sku_id = l.sku_id
        WHERE l.allocated <> coalesce(h.units, 0) + coalesce(b.units, 0)""",
    "nothing is oversold": """
        SELECT count(*) FROM stock_levels WHERE allocated > on_hand OR allocated < 0""",
    "every unit of a line is accounted for": """
        SELECT count(*) FROM order_lines
        WHERE quantity <> allocated + backordered + shipped + cancelled""",
    "a line's units are in its shipments": """
        WITH parts AS (
            SELECT sl.order_line_id,
                sum(CASE WHEN s.status IN ('allocated', 'picked', 'packed') THEN sl.quantity
                    ELSE 0 END) AS allocated,
                sum(CASE WHEN s.status IN ('shipped', 'delivered', 'delivery_failed', 'returned')
                    THEN sl.quantity ELSE 0 END) AS shipped
            FROM shipment_lines AS sl JOIN shipments AS s ON s.id = sl.shipment_id
            GROUP BY sl.order_line_id
        )
        SELECT count(*) FROM order_lines AS l LEFT JOIN parts AS p ON p.order_line_id = l.id
        WHERE l.allocated <> coalesce(p.allocated, 0) OR l.shipped <> coalesce(p.shipped, 0)""",
    "pickers were sent for what the shipments of waves hold": """
        WITH sent AS (
            SELECT shipment_line_id, sum(coalesce(picked, quantity)) AS units FROM picks
            GROUP BY shipment_line_id
        )
        SELECT count(*) FROM shipment_lines AS sl JOIN shipments AS s ON s.id = sl.shipment_id
        LEFT JOIN sent AS k ON k.shipment_line_id = sl.id
        WHERE s.status = 'allocated'
            AND CASE WHEN s.wave_id IS NULL THEN 0 ELSE sl.quantity END <> coalesce(k.units, 0)""",
    "an order's total is the sum of its lines": """
        WITH sums AS (
            SELECT order_id, sum(gross_minor) AS gross, sum(discount_minor) AS discount,
                sum(tax_minor) AS tax, sum(cancelled_minor) AS cancelled,
                sum(CASE WHEN cancelled < quantity THEN 1 ELSE 0 END) AS kept
            FROM order_lines GROUP BY order_id
        )
        SELECT count(*) FROM orders AS o JOIN sums AS s ON s.order_id = o.id
        WHERE o.gross_minor <> s.gross OR o.discount_minor <> s.discount
            OR o.tax_minor <> s.tax + o.shipping_tax_minor
            OR o.total_minor <> o.gross_minor - o.discount_minor + o.shipping_minor
                + o.rounding_minor + CASE WHEN o.tax_included THEN 0 ELSE o.tax_minor END
            OR (s.kept > 0 AND o.cancelled_minor <> s.cancelled)
            OR (s.kept = 0 AND o.cancelled_minor <> o.total_minor)""",
    "a place's content is the sum of its moves": """
        WITH net AS (
            SELECT location_id, sku_id, sum(quantity) AS units FROM (
                SELECT m.from_location_id AS location_id, m.sku_id, -m.quantity AS quantity
                FROM stock_moves AS m JOIN locations AS p ON p.id = m.from_location_id
                WHERE p.kind IN ('bin', 'quarantine', 'transit')
                UNION ALL
                SELECT m.to_location_id, m.sku_id, m.quantity
                FROM stock_moves AS m JOIN locations AS p ON p.id = m.to_location_id
                WHERE p.kind IN ('bin', 'quarantine', 'transit')
            ) AS moves GROUP BY location_id, sku_id
        )
        SELECT (SELECT count(*) FROM location_levels AS l
                LEFT JOIN net AS n ON n.location_id = l.location_id AND n.sku_id = l.sku_id
                WHERE l.quantity <> coalesce(n.units, 0))
            + (SELECT count(*) FROM net AS n WHERE n.units <> 0 AND NOT EXISTS (
                SELECT 1 FROM location_levels AS l
                WHERE l.location_id = n.location_id AND l.sku_id = n.sku_id))""",
    "bins hold no more than the warehouse has": """
        WITH binned AS (
            SELECT p.warehouse_id, l.sku_id, sum(l.quantity) AS units FROM location_levels AS l
            JOIN locations AS p ON p.id = l.location_id AND p.kind = 'bin'
            GROUP BY p.warehouse_id, l.sku_id
        )
        SELECT count(*) FROM binned AS b LEFT JOIN stock_levels AS l
        ON l.warehouse_id = b.warehouse_id AND l.sku_id = b.sku_id
        WHERE b.units > coalesce(l.on_hand, 0)""",
    "transit holds what transfers sent and did not receive": """
        WITH travelling AS (
            SELECT sku_id, sum(sent - received - lost) AS units FROM transfer_lines GROUP BY sku_id
        ), held AS (
            SELECT l.sku_id, sum(l.quantity) AS units FROM location_levels AS l
            JOIN locations AS p ON p.id = l.location_id AND p.kind = 'transit' GROUP BY l.sku_id
        )
        SELECT (SELECT count(*) FROM travelling AS t LEFT JOIN held AS h ON h.sku_id = t.sku_id
                WHERE t.units <> coalesce(h.units, 0))
            + (SELECT count(*) FROM held AS h WHERE h.units <> 0 AND NOT EXISTS (
                SELECT 1 FROM travelling AS t WHERE t.sku_id = h.sku_id))""",
    "a discount code is used as often as orders hold it": """
        WITH held AS (
            SELECT discount_id, count(*) AS uses FROM discount_uses
            WHERE released_at IS NULL GROUP BY discount_id
        )
        SELECT count(*) FROM discounts AS d LEFT JOIN held AS h ON h.discount_id = d.id
        WHERE d.used <> coalesce(h.uses, 0)""",
    # The clipping is that of oms_ops.payments.ledger.fold.
    "a payment is the fold of its events": """
        WITH told AS (
            SELECT payment_id,
                sum(CASE WHEN kind = 'authorised' THEN amount_minor ELSE 0 END) AS authorised,
                sum(CASE WHEN kind = 'captured' THEN amount_minor ELSE 0 END) AS captured,
                sum(CASE WHEN kind = 'refunded' THEN amount_minor ELSE 0 END) AS refunded,
                sum(CASE WHEN kind = 'credited' THEN amount_minor ELSE 0 END) AS credited,
                sum(CASE WHEN kind = 'voided' THEN amount_minor ELSE 0 END) AS voided,
                sum(CASE kind WHEN 'charged_back' THEN amount_minor
                    WHEN 'charge_back_reversed' THEN -amount_minor ELSE 0 END) AS charged_back
            FROM payment_events GROUP BY payment_id
        ), beyond AS (
            -- Captured beyond the payment, and refunded by nobody here.
            SELECT p.id, t.captured - p.amount_minor AS captured, (
                SELECT coalesce(sum(e.amount_minor), 0) FROM payment_events AS e
                WHERE e.payment_id = p.id AND e.kind = 'refunded' AND NOT EXISTS (
                    SELECT 1 FROM payment_operations AS o WHERE o.payment_id = p.id
                    AND o.kind = 'refund' AND o.gateway_reference = e.gateway_reference)
                AND NOT EXISTS (SELECT 1 FROM refunds AS f WHERE f.payment_id = p.id
                    AND e.gateway_reference = 'refund-' || f.id)
                ) AS refunded
            FROM payments AS p JOIN told AS t ON t.payment_id = p.id
            WHERE t.captured > p.amount_minor AND t.refunded > 0
        ), folded AS (
            SELECT p.id, p.amount_minor AS amount, coalesce(t.authorised, 0) AS authorised,
                CASE WHEN t.captured > p.amount_minor THEN p.amount_minor
                    ELSE coalesce(t.captured, 0) END AS captured,
                coalesce(t.refunded, 0) - CASE WHEN b.refunded < b.captured THEN b.refunded
                    ELSE coalesce(b.captured, 0) END AS refunded,
                coalesce(t.credited, 0) AS credited, coalesce(t.voided, 0) AS voided,
                CASE WHEN t.charged_back > 0 THEN t.charged_back ELSE 0 END AS charged_back
            FROM payments AS p LEFT JOIN told AS t ON t.payment_id = p.id
            LEFT JOIN beyond AS b ON b.id = p.id
        )
        SELECT count(*) FROM payments AS p JOIN folded AS f ON f.id = p.id
        WHERE p.captured_minor <> f.captured
            OR p.authorised_minor <> CASE WHEN f.authorised > f.amount THEN f.amount
                ELSE f.authorised END
            OR p.credited_minor <> CASE WHEN f.credited > f.captured THEN f.captured
                ELSE f.credited END
            OR p.refunded_minor <> CASE WHEN f.refunded > f.captured - p.credited_minor
                THEN f.captured - p.credited_minor ELSE f.refunded END
            OR p.charged_back_minor <> CASE
                WHEN f.charged_back > f.captured - p.credited_minor - p.refunded_minor
                THEN f.captured - p.credited_minor - p.refunded_minor ELSE f.charged_back END
            OR p.voided_minor <> CASE WHEN f.voided > f.amount - f.captured
                THEN f.amount - f.captured ELSE f.voided END""",
    "what is reserved of a payment is what its open operations ask for": """
        WITH open AS (
            SELECT payment_id,
                sum(CASE WHEN kind = 'capture' THEN amount_minor ELSE 0 END) AS capturing,
                sum(CASE WHEN kind = 'refund' THEN amount_minor ELSE 0 END) AS refunding
            FROM payment_operations WHERE status IN ('pending', 'waiting', 'flagged')
            GROUP BY payment_id
        )
        SELECT count(*) FROM payments AS p LEFT JOIN open AS o ON o.payment_id = p.id
        WHERE p.capturing_minor <> coalesce(o.capturing, 0)
            OR p.refunding_minor <> coalesce(o.refunding, 0)""",
    "refunds are settled when their payments say so": """
        WITH settled AS (
            SELECT payment_id, sum(amount_minor) AS amount FROM refunds WHERE status = 'settled'
            GROUP BY payment_id
        ), told AS (
            SELECT payment_id, sum(amount_minor) AS amount FROM payment_events
            WHERE kind IN ('refunded', 'credited') GROUP BY payment_id
        )
        SELECT count(*) FROM payments AS p LEFT JOIN settled AS s ON s.payment_id = p.id
        LEFT JOIN told AS t ON t.payment_id = p.id
        WHERE coalesce(s.amount, 0) <> coalesce(t.amount, 0)""",
    "what a refund is for sums to its amount": """
        WITH items AS (
            SELECT refund_id, sum(amount_minor) AS amount FROM refund_items GROUP BY refund_id
        )
        SELECT count(*) FROM refunds AS r JOIN items AS i ON i.refund_id = r.id
        WHERE i.amount <> r.amount_minor""",
    "no line is refunded more than it was paid for": """
        WITH items AS (
            SELECT x.order_line_id, sum(x.amount_minor) AS amount FROM refund_items AS x
            JOIN refunds AS r ON r.id = x.refund_id AND r.status <> 'failed'
            WHERE x.kind = 'line' GROUP BY x.order_line_id
        )
        SELECT count(*) FROM items AS i JOIN order_lines AS l ON l.id = i.order_line_id
        JOIN orders AS o ON o.id = l.order_id
        WHERE i.amount > l.net_minor + CASE WHEN o.tax_included THEN 0 ELSE l.tax_minor END""",
    "a line's returned units are those that its returns received": """
        WITH came AS (
            SELECT order_line_id, sum(coalesce(received, 0)) AS units FROM return_lines
            GROUP BY order_line_id
        )
        SELECT count(*) FROM order_lines AS l LEFT JOIN came AS c ON c.order_line_id = l.id
        WHERE l.returned <> coalesce(c.units, 0)""",
    "an inspected return decided about every unit": """
        SELECT count(*) FROM return_lines AS l JOIN returns AS r ON r.id = l.return_id
        WHERE r.inspected_at IS NOT NULL
            AND l.restocked + l.quarantined + l.scrapped <> coalesce(l.received, 0)""",
    "a return gives back no more than its lines and its shipping": """
        WITH sums AS (
            SELECT return_id, sum(refund_minor) AS amount FROM return_lines GROUP BY return_id
        )
        SELECT count(*) FROM returns AS r JOIN sums AS s ON s.return_id = r.id
        WHERE r.refund_minor + r.forgiven_minor > s.amount + r.shipping_minor""",
    # What a person accepted although the gateway did something else is as it is.
    "a return's refunds are what it gives back": """
        WITH sums AS (
            SELECT f.return_id,
                sum(CASE WHEN f.status = 'settled' THEN f.amount_minor ELSE 0 END) AS settled,
                sum(CASE WHEN f.status <> 'failed' THEN f.amount_minor ELSE 0 END) AS whole,
                sum(CASE WHEN f.status = 'pending' THEN 1 ELSE 0 END) AS pending,
                max(CASE WHEN EXISTS (SELECT 1 FROM payment_operations AS o
                    WHERE o.refund_id = f.id AND o.told_minor IS NOT NULL) THEN 1 ELSE 0 END) AS odd
            FROM refunds AS f WHERE f.return_id IS NOT NULL GROUP BY f.return_id
        )
        SELECT count(*) FROM returns AS r LEFT JOIN sums AS s ON s.return_id = r.id
        WHERE (r.status IN ('refunded', 'credited', 'exchanged')
                AND coalesce(s.settled, 0) < r.refund_minor)
            OR (r.status = 'refunding' AND coalesce(s.pending, 0) = 0)
            OR (r.status = 'refund_failed'
                AND (s.pending > 0 OR coalesce(s.whole, 0) >= r.refund_minor))
            OR (coalesce(s.whole, 0) > r.refund_minor AND coalesce(s.odd, 0) = 0)""",
    "a ticket is what was written in it": """
        WITH told AS (
            SELECT ticket_id, min(sent_at) AS opened_at,
                min(CASE WHEN author = 'agent' AND NOT is_internal THEN sent_at END) AS answered_at,
                sum(CASE WHEN step = 'opened' THEN 1 ELSE 0 END) AS openings,
                sum(CASE WHEN step = 'reopened' THEN 1 ELSE 0 END) AS reopened,
                max(CASE WHEN step = 'solved' THEN sent_at END) AS solved_at,
                max(CASE WHEN step = 'closed' THEN sent_at END) AS closed_at
            FROM ticket_messages GROUP BY ticket_id
        )
        SELECT count(*) FROM tickets AS t LEFT JOIN told AS m ON m.ticket_id = t.id
        WHERE m.ticket_id IS NULL OR m.openings <> 1 OR t.reopened <> m.reopened
            OR t.opened_at <> m.opened_at
            OR (t.first_responded_at IS NULL) <> (m.answered_at IS NULL)
            OR t.first_responded_at <> m.answered_at
            OR t.solved_at <> m.solved_at OR (t.solved_at IS NOT NULL AND m.solved_at IS NULL)
            OR t.closed_at <> m.closed_at OR (t.closed_at IS NOT NULL AND m.closed_at IS NULL)
            OR t.first_response_due_at <= t.opened_at OR t.resolution_due_at <= t.opened_at""",
    "a ticket and feedback are of the order's customer": """
        SELECT (SELECT count(*) FROM tickets AS t JOIN orders AS o ON o.id = t.order_id
                WHERE t.customer_id IS NULL OR t.customer_id <> o.customer_id)
            + (SELECT count(*) FROM feedback AS f JOIN orders AS o ON o.id = f.order_id
                WHERE f.customer_id <> o.customer_id)""",
    "a balance is the sum of its entries": """
        WITH entered AS (
            SELECT balance_id, sum(amount_minor) AS amount FROM balance_entries GROUP BY balance_id
        )
        SELECT count(*) FROM balances AS b LEFT JOIN entered AS e ON e.balance_id = b.id
        WHERE b.balance_minor <> coalesce(e.amount, 0)""",
    "refunds never exceed captures": """
        SELECT count(*) FROM payments
        WHERE refunded_minor + credited_minor + charged_back_minor > captured_minor""",
    "a purchase order line received what its receipts say": """
        WITH arrived AS (
            SELECT purchase_order_line_id, sum(quantity) AS units FROM receipt_lines
            GROUP BY purchase_order_line_id
        )
        SELECT count(*) FROM purchase_order_lines AS l
        LEFT JOIN arrived AS a ON a.purchase_order_line_id = l.id
        WHERE l.received <> coalesce(a.units, 0)""",
    # It is a mean: between the lowest and the highest cost at which units came in.
    "an average cost lies among the costs of what came in": """
        WITH paid AS (
            SELECT t.warehouse_id, m.sku_id, min(m.unit_cost_minor) AS least,
                max(m.unit_cost_minor) AS most
            FROM stock_moves AS m
            JOIN locations AS t ON t.id = m.to_location_id AND t.kind IN ('storage', 'bin')
            JOIN locations AS f ON f.id = m.from_location_id AND f.kind NOT IN ('storage', 'bin')
            WHERE m.unit_cost_minor IS NOT NULL GROUP BY t.warehouse_id, m.sku_id
        )
        SELECT count(*) FROM stock_levels AS l
        LEFT JOIN paid AS p ON p.warehouse_id = l.warehouse_id AND p.sku_id = l.sku_id
        WHERE (l.average_cost_e4 IS NULL AND l.on_hand > 0 AND p.least IS NOT NULL)
            OR (l.average_cost_e4 IS NOT NULL AND p.least IS NULL)
            OR l.average_cost_e4 NOT BETWEEN 10000 * p.least AND 10000 * p.most
            OR l.average_cost_e4 <> CAST(l.average_cost_e4 AS bigint)""",
}


def reconcile(engine: Engine) -> list[Finding]:
    """Count, in one snapshot, what breaks each promise; all counts are 0 in a sound database."""
    with reading(engine) as connection:
        return [
            Finding(name, int(connection.execute(sa.text(query)).scalar_one()))
            for name, query in _RULES.items()
        ]
