"""Say who made and revoked a key; let a draft be on its way to an order."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATUSES = "status IN ('open', 'placing', 'placed', 'discarded')"
_CHECK = "ck_drafts_status_known"


def upgrade() -> None:
    """Apply the change."""
    for name in ("created_by", "revoked_by"):
        op.add_column("api_keys", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("drafts", sa.Column("attempt", sa.Integer(), server_default="0", nullable=False))
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_drafts()
    else:
        op.drop_constraint(op.f(_CHECK), "drafts")
        op.create_check_constraint(op.f(_CHECK), "drafts", _STATUSES)


def _rebuild_drafts() -> None:
    """Make the table anew: SQLite cannot change a constraint in place."""
    run: Any = op.get_bind().exec_driver_sql
    op.create_table(
        "new_drafts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'DR-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(_STATUSES, name=op.f(_CHECK)),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_drafts_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
    )
    kept = "id, status, document, order_id, attempt, created_at, version, changed_by, changed_at"
    run(f"INSERT INTO new_drafts ({kept}) SELECT {kept} FROM drafts")
    run("DROP TABLE drafts")
    run("ALTER TABLE new_drafts RENAME TO drafts")
