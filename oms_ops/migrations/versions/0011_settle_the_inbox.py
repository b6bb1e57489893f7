"""Keep who settled a message of another system, and what she said of it.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody has settled anything yet."""
    op.add_column("inbox_messages", sa.Column("settled_by", sa.Text(), nullable=True))
    op.add_column("inbox_messages", sa.Column("settled_note", sa.Text(), nullable=True))
