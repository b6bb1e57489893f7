"""Fold payments anew that were captured twice at their gateway and refunded there.

Such a refund gives back first what was captured beyond the payment.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: Payments with more captured than they are for and refunds that nobody here asked for.
_CAPTURED_TWICE = (
    "SELECT p.id, p.captured_minor - p.credited_minor AS room,"
    " t.captured - p.amount_minor AS beyond, t.refunded, t.elsewhere, t.charged_back"
    " FROM payments AS p JOIN (SELECT e.payment_id,"
    "  sum(CASE WHEN e.kind = 'captured' THEN e.amount_minor ELSE 0 END) AS captured,"
    "  sum(CASE WHEN e.kind = 'refunded' THEN e.amount_minor ELSE 0 END) AS refunded,"
    "  sum(CASE WHEN e.kind = 'refunded' AND NOT EXISTS (SELECT 1 FROM payment_operations AS o"
    "   WHERE o.payment_id = e.payment_id AND o.kind = 'refund'"
    "   AND o.gateway_reference = e.gateway_reference) THEN e.amount_minor ELSE 0 END)"
    "   AS elsewhere,"
    "  sum(CASE e.kind WHEN 'charged_back' THEN e.amount_minor"
    "   WHEN 'charge_back_reversed' THEN -e.amount_minor ELSE 0 END) AS charged_back"
    "  FROM payment_events AS e GROUP BY e.payment_id) AS t ON t.payment_id = p.id"
    " WHERE t.captured > p.amount_minor AND t.elsewhere > 0"
)


def upgrade() -> None:
    """Set what was refunded and charged back of them; there are few."""
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
