"""Tables of the customers' care: tickets, their messages, and feedback on orders."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Count, Id, Tracked, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

#: Those of a ticket that somebody still has to do something about.
UNSOLVED = ("new", "open", "waiting")
STATUSES = (*UNSOLVED, "solved", "closed")
CHANNELS = ("web", "email", "phone", "order_desk")
TOPICS = ("delivery", "return", "payment", "product", "account", "other")
PRIORITIES = ("low", "normal", "high", "urgent")
AUTHORS = ("customer", "agent", "system")
#: What was done with a message, besides being written.
STEPS = ("opened", "reply", "note", "solved", "reopened", "closed")


class Ticket(Tracked, Base):
    """A customer's question, from the first message until nobody has to do anything about it.

    ``email`` is where replies go: that of the order's customer, where there is an order. What is
    due when is kept as it was promised, whatever the rules say later. ``reopened`` counts how often
    it was not solved after all. A ticket that is closed without ``solved_at`` was given up.
    """

    __tablename__ = "tickets"

    id: Mapped[Id]
    number: Mapped[str] = numbered("TK")
    order_id: Mapped[int | None] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    customer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customers.id"), index=True)
    email: Mapped[str] = mapped_column(sa.Text, index=True)
    channel: Mapped[str] = mapped_column(sa.Text)
    topic: Mapped[str] = mapped_column(sa.Text)
    subject: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    priority: Mapped[str] = mapped_column(sa.Text)
    assigned_to: Mapped[str | None] = mapped_column(sa.Text)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    first_response_due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    resolution_due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    first_responded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    solved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reopened: Mapped[Count]
    rating: Mapped[int | None] = mapped_column(sa.Integer)
    rated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", STATUSES),
        one_of("channel", CHANNELS),
        one_of("topic", TOPICS),
        one_of("priority", PRIORITIES),
        sa.CheckConstraint("reopened >= 0", name="reopened_not_negative"),
        sa.CheckConstraint("email = lower(email)", name="email_lower_case"),
        sa.CheckConstraint(
            "(rating IS NULL) = (rated_at IS NULL) AND (rating IS NULL OR rating BETWEEN 1 AND 5)",
            name="rating_from_1_to_5",
        ),
        sa.CheckConstraint(
            "CASE status WHEN 'closed' THEN closed_at IS NOT NULL"
            " WHEN 'solved' THEN solved_at IS NOT NULL AND closed_at IS NULL"
            " ELSE solved_at IS NULL AND closed_at IS NULL END",
            name="moments_fit_status",
        ),
        # What somebody has to do something about, and what closes by itself, found without a walk
        # through every ticket there ever was.
        sa.Index(
            "ix_tickets_unsolved",
            "resolution_due_at",
            sqlite_where=sa.text("status IN ('new', 'open', 'waiting')"),
            postgresql_where=sa.text("status IN ('new', 'open', 'waiting')"),
        ),
        sa.Index(
            "ix_tickets_solved",
            "solved_at",
            sqlite_where=sa.text("status = 'solved'"),
            postgresql_where=sa.text("status = 'solved'"),
        ),
    )


class TicketMessage(Base):
    """What was written in a ticket; never changed, never deleted.

    ``step`` is what was done with it. Internal ones are for staff only, and may have no text: a
    step that somebody took without a word.
    """

    __tablename__ = "ticket_messages"

    id: Mapped[Id]
    ticket_id: Mapped[int] = mapped_column(sa.ForeignKey("tickets.id"), index=True)
    author: Mapped[str] = mapped_column(sa.Text)
    step: Mapped[str] = mapped_column(sa.Text)
    is_internal: Mapped[bool] = mapped_column(sa.Boolean)
    body: Mapped[str] = mapped_column(sa.Text)
    sent_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("author", AUTHORS),
        one_of("step", STEPS),
        sa.CheckConstraint("is_internal OR body <> ''", name="says_something"),
    )


class Feedback(Tracked, Base):
    """Whether the customer of an order would recommend the shop, 0 to 10; one an order."""

    __tablename__ = "feedback"

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), unique=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"), index=True)
    score: Mapped[int] = mapped_column(sa.Integer)
    comment: Mapped[str | None] = mapped_column(sa.Text)
    given_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (sa.CheckConstraint("score BETWEEN 0 AND 10", name="score_from_0_to_10"),)
