"""Give orders a day of delivery, and levels the average cost of what they received.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing was said to the customers of orders that are there."""
    op.add_column("orders", sa.Column("delivery_days", sa.Integer(), nullable=True))
    op.add_column("orders", sa.Column("deliver_by", sa.Date(), nullable=True))
    # The average began with the second revision: until the next receipt, what came before it had
    # none, although the ledger knows the costs.
    paid = (
        "FROM stock_moves AS m"
        " JOIN locations AS t ON t.id = m.to_location_id AND t.kind IN ('storage', 'bin')"
        " JOIN locations AS f ON f.id = m.from_location_id AND f.kind NOT IN ('storage', 'bin')"
        " WHERE m.unit_cost_minor IS NOT NULL AND t.warehouse_id = stock_levels.warehouse_id"
        " AND m.sku_id = stock_levels.sku_id"
    )
    op.execute(
        "UPDATE stock_levels SET average_cost_e4 = (SELECT CAST(round("
        "10000.0 * sum(m.quantity * m.unit_cost_minor) / sum(m.quantity)) AS bigint)"
        f" {paid}) WHERE average_cost_e4 IS NULL AND EXISTS (SELECT 1 {paid})"
    )
