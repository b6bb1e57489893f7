"""Keep what customers ask and what they think: tickets, their messages, feedback.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _create_tickets()
    op.create_table(
        "ticket_messages",
        _id("id"),
        _id("ticket_id"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("is_internal", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "author IN ('customer', 'agent', 'system')",
            name=op.f("ck_ticket_messages_author_known"),
        ),
        sa.CheckConstraint(
            "step IN ('opened', 'reply', 'note', 'solved', 'reopened', 'closed')",
            name=op.f("ck_ticket_messages_step_known"),
        ),
        sa.CheckConstraint(
            "is_internal OR body <> ''", name=op.f("ck_ticket_messages_says_something")
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["tickets.id"], name=op.f("fk_ticket_messages_ticket_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_messages")),
    )
    op.create_index(op.f("ix_ticket_messages_ticket_id"), "ticket_messages", ["ticket_id"])
    op.create_table(
        "feedback",
        _id("id"),
        _id("order_id"),
        _id("customer_id"),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        *_tracked(),
        sa.CheckConstraint("score BETWEEN 0 AND 10", name=op.f("ck_feedback_score_from_0_to_10")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_feedback_order_id")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_feedback_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("order_id", name=op.f("uq_feedback_order_id")),
    )
    op.create_index(op.f("ix_feedback_customer_id"), "feedback", ["customer_id"])


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        _id("id"),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'TK-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        _id("order_id", nullable=True),
        _id("customer_id", nullable=True),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("email", "channel", "topic", "subject", "status", "priority")
        ),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        *(
            sa.Column(name, UtcDateTime(), nullable=False)
            for name in ("opened_at", "first_response_due_at", "resolution_due_at")
        ),
        *(
            sa.Column(name, UtcDateTime(), nullable=True)
            for name in ("first_responded_at", "solved_at", "closed_at")
        ),
        sa.Column("reopened", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("rated_at", UtcDateTime(), nullable=True),
        *_tracked(),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_tickets_{name}"))
            for name, condition in (
                ("status_known", "status IN ('new', 'open', 'waiting', 'solved', 'closed')"),
                ("channel_known", "channel IN ('web', 'email', 'phone', 'order_desk')"),
                (
                    "topic_known",
                    "topic IN ('delivery', 'return', 'payment', 'product', 'account', 'other')",
                ),
                ("priority_known", "priority IN ('low', 'normal', 'high', 'urgent')"),
                ("reopened_not_negative", "reopened >= 0"),
                ("email_lower_case", "email = lower(email)"),
                (
                    "rating_from_1_to_5",
                    "(rating IS NULL) = (rated_at IS NULL) AND (rating IS NULL OR rating BETWEEN 1 AND 5)",
                ),
                (
                    "moments_fit_status",
                    "CASE status WHEN 'closed' THEN closed_at IS NOT NULL"
                    " WHEN 'solved' THEN solved_at IS NOT NULL AND closed_at IS NULL"
                    " ELSE solved_at IS NULL AND closed_at IS NULL END",
                ),
            )
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_tickets_order_id")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_tickets_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
    )
    for name in ("order_id", "customer_id", "email"):
        op.create_index(op.f(f"ix_tickets_{name}"), "tickets", [name])
    for name, column, condition in (
        ("ix_tickets_unsolved", "resolution_due_at", "status IN ('new', 'open', 'waiting')"),
        ("ix_tickets_solved", "solved_at", "status = 'solved'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "tickets", [column], sqlite_where=where, postgresql_where=where)


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=nullable)


def _tracked() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
    )
