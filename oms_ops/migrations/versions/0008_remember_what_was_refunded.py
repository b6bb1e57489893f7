"""Remember what refunds are for, line by line, and which of them lower what an order costs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "refunds", sa.Column("lowers_cost", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    # Until now the reason told.
    op.execute(
        "UPDATE refunds SET lowers_cost = true WHERE return_id IS NULL"
        " AND reason IN ('order cancelled', 'units cancelled')"
    )
    op.create_table(
        "refund_items",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "refund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "order_line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("quantity", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'line') = (order_line_id IS NOT NULL)",
            name=op.f("ck_refund_items_line_is_named"),
        ),
        sa.CheckConstraint(
            "kind IN ('line', 'shipping', 'goodwill')", name=op.f("ck_refund_items_kind_known")
        ),
        sa.CheckConstraint(
            "quantity >= 0 AND amount_minor > 0", name=op.f("ck_refund_items_amount_positive")
        ),
        sa.ForeignKeyConstraint(
            ["order_line_id"], ["order_lines.id"], name=op.f("fk_refund_items_order_line_id")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["refunds.id"], name=op.f("fk_refund_items_refund_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_items")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_refund_items_refund_id"), "refund_items", ["refund_id"])
    op.create_index(op.f("ix_refund_items_order_line_id"), "refund_items", ["order_line_id"])
