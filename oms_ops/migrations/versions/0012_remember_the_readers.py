"""Remember who reads the feed, and how far its log was pruned.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the readers' places, and the place below which the log may be empty: its start."""
    for name, kind in (
        ("pruned_epoch", sa.Integer()),
        ("pruned_xid", sa.BigInteger()),
        ("pruned_seq", sa.BigInteger()),
    ):
        op.add_column("feed_state", sa.Column(name, kind, nullable=False, server_default="0"))
    moment = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
    op.add_column("feed_state", sa.Column("changed_by", sa.Text(), nullable=True))
    op.add_column("feed_state", sa.Column("changed_at", moment, nullable=True))
    op.create_table(
        "feed_consumers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feed_consumers")),
    )
