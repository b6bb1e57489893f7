"""Let a refund have gone back another way than through the payment it is of.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime
from oms_ops.migrations.sqlite import rebuild

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_DESTINATIONS = "destination IN ('original', 'store_credit', 'elsewhere')"


def upgrade() -> None:
    """Widen what a refund's destination may be."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild()
        return
    name = op.f("ck_refunds_destination_known")
    op.drop_constraint(name, "refunds", type_="check")
    op.create_check_constraint(name, "refunds", _DESTINATIONS)


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=nullable)


def _rebuild() -> None:
    rebuild(
        "refunds",
        _id("id"),
        _id("payment_id"),
        _id("order_id"),
        _id("return_id", nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), server_default="original", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("refunded_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("lowers_cost", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint(
            "(status = 'settled') = (refunded_at IS NOT NULL)",
            name=op.f("ck_refunds_settled_has_a_moment"),
        ),
        sa.CheckConstraint(_DESTINATIONS, name=op.f("ck_refunds_destination_known")),
        sa.CheckConstraint(
            "status IN ('pending', 'settled', 'failed')", name=op.f("ck_refunds_status_known")
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_refunds_amount_positive")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_refunds_order_id")),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_refunds_payment_id")
        ),
        sa.ForeignKeyConstraint(["return_id"], ["returns.id"], name=op.f("fk_refunds_return_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
    )
