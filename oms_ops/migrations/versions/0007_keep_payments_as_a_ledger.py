"""Keep payments as a ledger of gateways' events: operations, messages, balances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime
from oms_ops.migrations.sqlite import rebuild

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SUMS = (
    "authorised_minor",
    "capturing_minor",
    "refunding_minor",
    "credited_minor",
    "charged_back_minor",
)


def upgrade() -> None:
    """Apply the change."""
    _create_balances()
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_tables()
    else:
        _alter_tables()
    _create_tables()
    op.create_index(op.f("ix_payments_balance_id"), "payments", ["balance_id"])
    op.create_index(
        "ix_payments_gateway_reference",
        "payments",
        ["gateway_reference"],
        sqlite_where=sa.text("gateway_reference IS NOT NULL"),
        postgresql_where=sa.text("gateway_reference IS NOT NULL"),
    )


def _alter_tables() -> None:
    for name in _SUMS:
        op.add_column(
            "payments", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        )
    op.add_column("payments", sa.Column("gateway_reference", sa.Text(), nullable=True))
    op.add_column("payments", sa.Column("balance_id", sa.BigInteger(), nullable=True))
    op.add_column("payments", sa.Column("due_on", sa.Date(), nullable=True))
    op.create_foreign_key(
        op.f("fk_payments_balance_id"), "payments", "balances", ["balance_id"], ["id"]
    )
    op.add_column("payment_events", sa.Column("target_reference", sa.Text(), nullable=True))
    op.add_column(
        "refunds", sa.Column("destination", sa.Text(), server_default="original", nullable=False)
    )
    for table, name, condition in (
        (
            "payments",
            "ck_payments_method_known",
            "method IN ('card', 'paypal', 'bank_transfer', 'cash', 'invoice', 'gift_card', 'store_credit')",
        ),
        (
            "payments",
            "ck_payments_refunded_within_captured",
            "refunded_minor >= 0 AND credited_minor >= 0 AND charged_back_minor >= 0 AND refunded_minor + credited_minor + charged_back_minor <= captured_minor",
        ),
        (
            "payments",
            "ck_payments_reserved_not_negative",
            "capturing_minor >= 0 AND refunding_minor >= 0",
        ),
        (
            "payment_events",
            "ck_payment_events_kind_known",
            "kind IN ('authorised', 'captured', 'voided', 'refunded', 'credited', 'failed', 'charged_back', 'charge_back_reversed')",
        ),
        ("refunds", "ck_refunds_destination_known", "destination IN ('original', 'store_credit')"),
    ):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        op.create_check_constraint(op.f(name), table, condition)


def _create_balances() -> None:
    op.create_table(
        "balances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'BA-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.Column("code_end", sa.Text(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'gift_card') = (code_hash IS NOT NULL)", name=op.f("ck_balances_card_has_code")
        ),
        sa.CheckConstraint(
            "kind = 'gift_card' OR customer_id IS NOT NULL",
            name=op.f("ck_balances_credit_has_owner"),
        ),
        sa.CheckConstraint(
            "kind IN ('gift_card', 'store_credit')", name=op.f("ck_balances_kind_known")
        ),
        sa.CheckConstraint("balance_minor >= 0", name=op.f("ck_balances_never_negative")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_balances_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balances")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_balances_code_hash")),
    )
    op.create_index(op.f("ix_balances_customer_id"), "balances", ["customer_id"], unique=False)
    op.create_index(
        "uq_balances_credit",
        "balances",
        ["customer_id", "currency"],
        unique=True,
        sqlite_where=sa.text("kind = 'store_credit'"),
        postgresql_where=sa.text("kind = 'store_credit'"),
    )


def _create_tables() -> None:
    op.create_table(
        "payment_operations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("refund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("told_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("gateway_reference", sa.Text(), nullable=True),
        sa.Column("action", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=True),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('authorise', 'capture', 'void', 'refund')",
            name=op.f("ck_payment_operations_kind_known"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'waiting', 'settled', 'failed', 'flagged')",
            name=op.f("ck_payment_operations_status_known"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_operations_amount_positive")),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_payment_operations_payment_id")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["refunds.id"], name=op.f("fk_payment_operations_refund_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_operations")),
        sa.UniqueConstraint("key", name=op.f("uq_payment_operations_key")),
    )
    op.create_index(
        op.f("ix_payment_operations_refund_id"), "payment_operations", ["refund_id"], unique=False
    )
    op.create_index(
        "ix_payment_operations_open",
        "payment_operations",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status IN ('pending', 'waiting', 'flagged')"),
        postgresql_where=sa.text("status IN ('pending', 'waiting', 'flagged')"),
    )
    op.create_index(
        op.f("ix_payment_operations_payment_id"), "payment_operations", ["payment_id"], unique=False
    )
    op.create_table(
        "gateway_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('received', 'applied', 'ignored', 'unmatched', 'flagged')",
            name=op.f("ck_gateway_messages_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_gateway_messages_payment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_messages")),
        sa.UniqueConstraint(
            "gateway", "external_id", name=op.f("uq_gateway_messages_gateway_external_id")
        ),
    )
    op.create_index(
        "ix_gateway_messages_waiting",
        "gateway_messages",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status IN ('received', 'unmatched')"),
        postgresql_where=sa.text("status IN ('received', 'unmatched')"),
    )
    op.create_index(
        op.f("ix_gateway_messages_payment_id"), "gateway_messages", ["payment_id"], unique=False
    )
    op.create_table(
        "balance_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "balance_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column(
            "payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("refund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('issued', 'redeemed', 'refunded', 'adjusted')",
            name=op.f("ck_balance_entries_kind_known"),
        ),
        sa.CheckConstraint("amount_minor <> 0", name=op.f("ck_balance_entries_amount_not_zero")),
        sa.ForeignKeyConstraint(
            ["balance_id"], ["balances.id"], name=op.f("fk_balance_entries_balance_id")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_balance_entries_payment_id")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["refunds.id"], name=op.f("fk_balance_entries_refund_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance_entries")),
    )
    op.create_index(
        op.f("ix_balance_entries_balance_id"), "balance_entries", ["balance_id"], unique=False
    )


def _rebuild_tables() -> None:
    """Make tables anew whose constraints changed: SQLite alters none."""
    rebuild(
        "payments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("authorised_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("captured_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("capturing_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunding_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credited_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("voided_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("charged_back_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("gateway_reference", sa.Text(), nullable=True),
        sa.Column(
            "balance_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "method IN ('card', 'paypal', 'bank_transfer', 'cash', 'invoice', 'gift_card', 'store_credit')",
            name=op.f("ck_payments_method_known"),
        ),
        sa.CheckConstraint("amount_minor >= 0", name=op.f("ck_payments_amount_not_negative")),
        sa.CheckConstraint(
            "captured_minor >= 0 AND voided_minor >= 0 AND captured_minor + voided_minor <= amount_minor",
            name=op.f("ck_payments_captured_within_amount"),
        ),
        sa.CheckConstraint(
            "capturing_minor >= 0 AND refunding_minor >= 0",
            name=op.f("ck_payments_reserved_not_negative"),
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND credited_minor >= 0 AND charged_back_minor >= 0 AND refunded_minor + credited_minor + charged_back_minor <= captured_minor",
            name=op.f("ck_payments_refunded_within_captured"),
        ),
        sa.ForeignKeyConstraint(
            ["balance_id"], ["balances.id"], name=op.f("fk_payments_balance_id")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_payments_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
    )
    rebuild(
        "payment_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("gateway_reference", sa.Text(), nullable=False),
        sa.Column("target_reference", sa.Text(), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('authorised', 'captured', 'voided', 'refunded', 'credited', 'failed', 'charged_back', 'charge_back_reversed')",
            name=op.f("ck_payment_events_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name=op.f("fk_payment_events_payment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_events")),
        sa.UniqueConstraint(
            "payment_id",
            "kind",
            "gateway_reference",
            name=op.f("uq_payment_events_payment_id_kind_gateway_reference"),
        ),
    )
    rebuild(
        "refunds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("return_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
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
        sa.CheckConstraint(
            "(status = 'settled') = (refunded_at IS NOT NULL)",
            name=op.f("ck_refunds_settled_has_a_moment"),
        ),
        sa.CheckConstraint(
            "destination IN ('original', 'store_credit')", name=op.f("ck_refunds_destination_known")
        ),
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
