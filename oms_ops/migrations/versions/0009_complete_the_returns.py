"""Give returns their whole life: asked for, decided, received, inspected, resolved."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime
from oms_ops.migrations.sqlite import rebuild

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STATUSES = (
    "status IN ('requested', 'approved', 'refused', 'cancelled', 'expired', 'received',"
    " 'inspected', 'refunding', 'refund_failed', 'refunded', 'credited', 'exchanging',"
    " 'exchanged')"
)
_REASONS = (
    "reason IN ('damaged', 'wrong_item', 'not_as_described', 'changed_mind', 'too_late',"
    " 'undelivered', 'other')"
)
_DISPOSITIONS = "disposition IN ('restock', 'quarantine', 'scrap', 'mixed')"
_INSPECTED = (
    "restocked >= 0 AND quarantined >= 0 AND scrapped >= 0"
    " AND restocked + quarantined + scrapped <= coalesce(received, 0)"
)
_REFUND = "refund_minor >= 0 AND fee_minor >= 0 AND tax_minor BETWEEN 0 AND refund_minor"
_AMOUNTS = "shipping_minor >= 0 AND refund_minor >= 0 AND forgiven_minor >= 0"
_ASKERS = "asked_by IN ('shop', 'customer')"
_RESOLUTIONS = "resolution IN ('refund', 'store_credit', 'exchange')"


def upgrade() -> None:
    """Apply the change."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        _rebuild_tables()
    else:
        _alter_tables()
    _complete_old_rows()
    if not sqlite:
        _check()
    op.create_index(
        "ix_returns_awaited",
        "returns",
        ["expires_at"],
        sqlite_where=sa.text("status = 'approved'"),
        postgresql_where=sa.text("status = 'approved'"),
    )


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=nullable)


def _sum(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _tracked() -> list[sa.Column[Any]]:
    return [
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
    ]


def _new_of_returns() -> list[sa.Column[Any]]:
    return [
        sa.Column("asked_by", sa.Text(), server_default="shop", nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        *map(_sum, ("shipping_minor", "refund_minor", "forgiven_minor")),
        _id("exchange_order_id", nullable=True),
        *(
            sa.Column(name, UtcDateTime(), nullable=True)
            for name in ("decided_at", "expires_at", "inspected_at", "resolved_at")
        ),
    ]


def _new_of_lines() -> list[sa.Column[Any]]:
    return [
        sa.Column("reason", sa.Text(), server_default="other", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=True),
        *map(_sum, ("restocked", "quarantined", "scrapped", "tax_minor", "fee_minor")),
    ]


def _alter_tables() -> None:
    for column in _new_of_returns():
        op.add_column("returns", column)
    for column in _new_of_lines():
        op.add_column("return_lines", column)
    op.create_foreign_key(
        op.f("fk_returns_exchange_order_id"), "returns", "orders", ["exchange_order_id"], ["id"]
    )


def _check() -> None:
    op.execute("ALTER TABLE return_lines DROP CONSTRAINT ck_return_lines_refund_not_negative")
    for table, name, condition in (
        ("returns", "status_known", _STATUSES),
        ("returns", "asked_by_known", _ASKERS),
        ("returns", "resolution_known", _RESOLUTIONS),
        ("returns", "amounts_not_negative", _AMOUNTS),
        ("return_lines", "disposition_known", _DISPOSITIONS),
        ("return_lines", "reason_known", _REASONS),
        ("return_lines", "inspected_within_received", _INSPECTED),
        ("return_lines", "refund_adds_up", _REFUND),
    ):
        constraint = f"ck_{table}_{name}"
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}")
        op.create_check_constraint(op.f(constraint), table, condition)
    op.create_unique_constraint(
        op.f("uq_return_lines_return_id_order_line_id"),
        "return_lines",
        ["return_id", "order_line_id"],
    )


def _complete_old_rows() -> None:
    """Returns were received, inspected and refunded at once; their tax was that in the price."""
    op.execute(
        "UPDATE return_lines SET received = quantity,"
        " restocked = CASE WHEN disposition = 'scrap' THEN 0 ELSE quantity END,"
        " scrapped = CASE WHEN disposition = 'scrap' THEN quantity ELSE 0 END,"
        " tax_minor = coalesce((SELECT l.tax_minor * return_lines.refund_minor / l.net_minor"
        "  FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
        "  WHERE l.id = return_lines.order_line_id AND l.net_minor > 0 AND o.tax_included), 0)"
    )
    op.execute(
        "UPDATE returns SET resolution = 'refund', decided_at = requested_at,"
        " inspected_at = received_at, resolved_at = received_at,"
        " refund_minor = coalesce((SELECT CAST(sum(f.amount_minor) AS bigint) FROM refunds AS f"
        "  WHERE f.return_id = returns.id AND f.status <> 'failed'), 0)"
        " WHERE status = 'refunded'"
    )


def _rebuild_tables() -> None:
    """Make tables anew whose constraints changed: SQLite alters none."""
    rebuild(
        "returns",
        _id("id"),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'RM-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        _id("order_id"),
        _id("warehouse_id"),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=True),
        *_new_of_returns(),
        *_tracked(),
        sa.CheckConstraint(_STATUSES, name=op.f("ck_returns_status_known")),
        sa.CheckConstraint(_ASKERS, name=op.f("ck_returns_asked_by_known")),
        sa.CheckConstraint(_RESOLUTIONS, name=op.f("ck_returns_resolution_known")),
        sa.CheckConstraint(_AMOUNTS, name=op.f("ck_returns_amounts_not_negative")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_returns_order_id")),
        sa.ForeignKeyConstraint(
            ["exchange_order_id"], ["orders.id"], name=op.f("fk_returns_exchange_order_id")
        ),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_returns_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returns")),
    )
    rebuild(
        "return_lines",
        _id("id"),
        _id("return_id"),
        _id("order_line_id"),
        _id("sku_id"),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("refund_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("disposition", sa.Text(), nullable=True),
        *_new_of_lines(),
        *_tracked(),
        sa.CheckConstraint(_DISPOSITIONS, name=op.f("ck_return_lines_disposition_known")),
        sa.CheckConstraint(_REASONS, name=op.f("ck_return_lines_reason_known")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_return_lines_quantity_positive")),
        sa.CheckConstraint(_INSPECTED, name=op.f("ck_return_lines_inspected_within_received")),
        sa.CheckConstraint(_REFUND, name=op.f("ck_return_lines_refund_adds_up")),
        sa.ForeignKeyConstraint(
            ["order_line_id"], ["order_lines.id"], name=op.f("fk_return_lines_order_line_id")
        ),
        sa.ForeignKeyConstraint(
            ["return_id"], ["returns.id"], name=op.f("fk_return_lines_return_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_return_lines_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_return_lines")),
        sa.UniqueConstraint(
            "return_id", "order_line_id", name=op.f("uq_return_lines_return_id_order_line_id")
        ),
    )
