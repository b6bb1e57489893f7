"""Tables of the payments: what an order is to be paid with, and the immutable events of it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Id, Minor, Tracked, UtcDateTime
from oms_ops.stock.tables import one_of

PAYMENT_METHODS = ("card", "bank_transfer", "cash", "gift_card")
EVENT_KINDS = ("authorised", "captured", "voided", "refunded", "failed")
REFUND_STATUSES = ("pending", "settled", "failed")


class Payment(Tracked, Base):
    """One tender of an order; the sums are the fold of its events."""

    __tablename__ = "payments"

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    gateway: Mapped[str] = mapped_column(sa.Text)
    method: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    amount_minor: Mapped[Minor]
    captured_minor: Mapped[Minor]
    refunded_minor: Mapped[Minor]
    voided_minor: Mapped[Minor]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("method", PAYMENT_METHODS),
        sa.CheckConstraint("amount_minor >= 0", name="amount_not_negative"),
        sa.CheckConstraint(
            "captured_minor >= 0 AND voided_minor >= 0"
            " AND captured_minor + voided_minor <= amount_minor",
            name="captured_within_amount",
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND refunded_minor <= captured_minor",
            name="refunded_within_captured",
        ),
    )


class PaymentEvent(Base):
    """Something that happened to a payment; never changed, never deleted."""

    __tablename__ = "payment_events"

    id: Mapped[Id]
    payment_id: Mapped[int] = mapped_column(sa.ForeignKey("payments.id"))
    kind: Mapped[str] = mapped_column(sa.Text)
    amount_minor: Mapped[Minor]
    currency: Mapped[str] = mapped_column(sa.String(3))
    gateway_reference: Mapped[str] = mapped_column(sa.Text)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("kind", EVENT_KINDS),
        sa.UniqueConstraint("payment_id", "kind", "gateway_reference"),
    )


class Refund(Tracked, Base):
    """Money that goes back to the customer, with the return that caused it, if one did."""

    __tablename__ = "refunds"

    id: Mapped[Id]
    payment_id: Mapped[int] = mapped_column(sa.ForeignKey("payments.id"), index=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    return_id: Mapped[int | None] = mapped_column(sa.ForeignKey("returns.id"), index=True)
    status: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    amount_minor: Mapped[Minor]
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    refunded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", REFUND_STATUSES),
        sa.CheckConstraint("amount_minor > 0", name="amount_positive"),
        sa.CheckConstraint(
            "(status = 'settled') = (refunded_at IS NOT NULL)", name="settled_has_a_moment"
        ),
    )
