"""Let refunds made at gateways be good will that no claim needed, and fold captures told twice anew.

What went back without its gateway gives back nothing that was captured there beyond the payment.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

#: Payments with more captured than they are for and refunds of a shop's own that no gateway made.
_CAPTURED_TWICE = (
    "SELECT p.id, p.captured_minor - p.credited_minor AS room,"
    " t.captured - p.amount_minor AS beyond, t.refunded, t.elsewhere, t.charged_back"
    " FROM payments AS p JOIN (SELECT e.payment_id,"
    "  sum(CASE WHEN e.kind = 'captured' THEN e.amount_minor ELSE 0 END) AS captured,"
    "  sum(CASE WHEN e.kind = 'refunded' THEN e.amount_minor ELSE 0 END) AS refunded,"
    "  sum(CASE WHEN e.kind = 'refunded' AND NOT EXISTS (SELECT 1 FROM payment_operations AS o"
    "   WHERE o.payment_id = e.payment_id AND o.kind = 'refund'"
    "   AND o.gateway_reference = e.gateway_reference) AND NOT EXISTS (SELECT 1 FROM refunds AS f"
    "   WHERE f.payment_id = e.payment_id AND e.gateway_reference = 'refund-' || f.id)"
    "   THEN e.amount_minor ELSE 0 END) AS elsewhere,"
    "  sum(CASE e.kind WHEN 'charged_back' THEN e.amount_minor"
    "   WHEN 'charge_back_reversed' THEN -e.amount_minor ELSE 0 END) AS charged_back"
    "  FROM payment_events AS e GROUP BY e.payment_id) AS t ON t.payment_id = p.id"
    " WHERE t.captured > p.amount_minor AND EXISTS (SELECT 1 FROM refunds AS x"
    "  WHERE x.payment_id = p.id AND x.status = 'settled' AND x.destination = 'elsewhere')"
)

#: What nobody needed of refunds made at gateways, where all of them counts, was good will.
_GOOD_WILL = (
    "INSERT INTO refund_items (refund_id, kind, quantity, amount_minor, version, changed_by,"
    " changed_at) SELECT f.id, 'goodwill', 0, f.amount_minor, 1, f.changed_by, f.changed_at"
    " FROM refunds AS f JOIN payments AS p ON p.id = f.payment_id"
    " WHERE f.reason = 'made at the gateway' AND f.status = 'settled'"
    " AND f.destination = 'original' AND f.return_id IS NULL AND NOT f.lowers_cost"
    " AND p.gateway IN ('stripe', 'paypal', 'fake')"
    " AND NOT EXISTS (SELECT 1 FROM payment_operations AS o WHERE o.refund_id = f.id)"
    " AND NOT EXISTS (SELECT 1 FROM refund_items AS i WHERE i.refund_id = f.id)"
    " AND p.refunded_minor = (SELECT sum(e.amount_minor) FROM payment_events AS e"
    "  WHERE e.payment_id = p.id AND e.kind = 'refunded')"
)


def upgrade() -> None:
    """Set what was refunded and charged back of such payments, and say what was good will."""
    connection = op.get_bind()
    for row in connection.execute(sa.text(_CAPTURED_TWICE)).all():
        refunded = min(row.refunded - min(row.elsewhere, row.beyond), row.room)
        charged_back = max(0, min(row.charged_back, row.room - refunded))
        connection.execute(
            sa.text(
                "UPDATE payments SET refunded_minor = :refunded, charged_back_minor = :charged_back"
                " WHERE id = :id"
            ),
            {"id": row.id, "refunded": int(refunded), "charged_back": int(charged_back)},
        )
    connection.execute(sa.text(_GOOD_WILL))
