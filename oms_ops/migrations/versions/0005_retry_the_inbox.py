"""Retry the inbox: when a message that failed is tried again unasked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("inbox_messages", sa.Column("next_attempt_at", UtcDateTime(), nullable=True))
    op.create_index("ix_inbox_messages_status", "inbox_messages", ["status", "id"])
    op.create_index(
        "ix_inbox_messages_waiting",
        "inbox_messages",
        ["next_attempt_at"],
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    # Nothing tried these again until now.
    op.execute(
        "UPDATE inbox_messages SET next_attempt_at = received_at"
        " WHERE status IN ('received', 'failed')"
    )
