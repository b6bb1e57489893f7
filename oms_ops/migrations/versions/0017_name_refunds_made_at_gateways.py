"""Name refunds made at gateways as these do, and note what they cannot be for.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

#: What was told of a refund when it was recorded: the parts of one share its moment.
_TOLD = (
    "FROM payment_events AS e WHERE e.payment_id = refunds.payment_id AND e.kind = 'refunded'"
    " AND e.occurred_at = refunds.requested_at AND NOT EXISTS (SELECT 1 FROM payment_operations"
    "  AS o WHERE o.payment_id = e.payment_id AND o.kind = 'refund' AND o.status = 'settled'"
    "  AND o.gateway_reference = e.gateway_reference)"
)

#: The name of a refund that only one event can be of.
NAME_THEM = (
    f"UPDATE refunds SET gateway_reference = (SELECT max(e.gateway_reference) {_TOLD})"
    " WHERE status = 'settled' AND reason = 'made at the gateway'"
    f" AND (SELECT count(*) {_TOLD}) = 1"
)


def upgrade() -> None:
    """Add the columns, and fill in the names that are known."""
    op.add_column("refunds", sa.Column("gateway_reference", sa.Text(), nullable=True))
    op.add_column("refunds", sa.Column("horizon_refund_id", sa.BigInteger(), nullable=True))
    op.add_column("refunds", sa.Column("horizon_payment_id", sa.BigInteger(), nullable=True))
    op.add_column("refunds", sa.Column("horizon_owed_minor", sa.BigInteger(), nullable=True))
    op.execute(NAME_THEM)
