"""Tables of the returns (RMA)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Count, Id, Minor, Tracked, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

RETURN_STATUSES = (
    "requested", "approved", "refused", "cancelled", "expired", "received", "inspected",
    "refunding", "refund_failed", "refunded", "credited", "exchanging", "exchanged",
)  # fmt: skip
#: What can be done with a unit that came back.
DISPOSITIONS = ("restock", "quarantine", "scrap")
#: What a line of returned units says: one of them for all, or several.
LINE_DISPOSITIONS = (*DISPOSITIONS, "mixed")
REASONS = (
    "damaged", "wrong_item", "not_as_described", "changed_mind", "too_late", "undelivered", "other",
)  # fmt: skip
RESOLUTIONS = ("refund", "store_credit", "exchange")
ASKERS = ("shop", "customer")


class Return(Tracked, Base):
    """A customer's return of goods from one order to one warehouse.

    ``reason`` is why in words, ``decision`` why it was approved against the policy, refused or
    cancelled. ``shipping_minor`` is the part of the order's shipping (tax and all) that goes back
    with it, ``refund_minor`` what goes back in all, ``forgiven_minor`` what the customer need not
    pay any more: goods that came back before they were paid.
    """

    __tablename__ = "returns"

    id: Mapped[Id]
    number: Mapped[str] = numbered("RM")
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    asked_by: Mapped[str] = mapped_column(sa.Text, server_default="shop")
    reason: Mapped[str] = mapped_column(sa.Text)
    decision: Mapped[str | None] = mapped_column(sa.Text)
    resolution: Mapped[str | None] = mapped_column(sa.Text)
    shipping_minor: Mapped[Minor]
    refund_minor: Mapped[Minor]
    forgiven_minor: Mapped[Minor]
    exchange_order_id: Mapped[int | None] = mapped_column(sa.ForeignKey("orders.id"))
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    inspected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", RETURN_STATUSES),
        one_of("asked_by", ASKERS),
        one_of("resolution", RESOLUTIONS),
        sa.CheckConstraint(
            "shipping_minor >= 0 AND refund_minor >= 0 AND forgiven_minor >= 0",
            name="amounts_not_negative",
        ),
        # What waits for its goods, found without a walk through every return ever made.
        sa.Index(
            "ix_returns_awaited",
            "expires_at",
            sqlite_where=sa.text("status = 'approved'"),
            postgresql_where=sa.text("status = 'approved'"),
        ),
    )


class ReturnLine(Tracked, Base):
    """Units of one order line that come back, what becomes of them, and the money for them.

    ``quantity`` is what was asked for, ``received`` what was counted. ``refund_minor`` goes back
    for the units received, tax and all: what they cost less ``fee_minor``; ``tax_minor`` is the tax
    in it.
    """

    __tablename__ = "return_lines"

    id: Mapped[Id]
    return_id: Mapped[int] = mapped_column(sa.ForeignKey("returns.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(sa.ForeignKey("order_lines.id"), index=True)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    reason: Mapped[str] = mapped_column(sa.Text, server_default="other")
    note: Mapped[str | None] = mapped_column(sa.Text)
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    received: Mapped[int | None] = mapped_column(sa.BigInteger)
    restocked: Mapped[Count]
    quarantined: Mapped[Count]
    scrapped: Mapped[Count]
    refund_minor: Mapped[Minor]
    tax_minor: Mapped[Minor]
    fee_minor: Mapped[Minor]
    disposition: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("disposition", LINE_DISPOSITIONS),
        one_of("reason", REASONS),
        sa.UniqueConstraint("return_id", "order_line_id"),
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint(
            "restocked >= 0 AND quarantined >= 0 AND scrapped >= 0"
            " AND restocked + quarantined + scrapped <= coalesce(received, 0)",
            name="inspected_within_received",
        ),
        sa.CheckConstraint(
            "refund_minor >= 0 AND fee_minor >= 0 AND tax_minor BETWEEN 0 AND refund_minor",
            name="refund_adds_up",
        ),
    )
