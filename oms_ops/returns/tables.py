"""Tables of the returns (RMA)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Id, Minor, Tracked, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

RETURN_STATUSES = ("requested", "received", "refunded", "refused")
DISPOSITIONS = ("restock", "scrap")


class Return(Tracked, Base):
    """A customer's return of goods from one order to one warehouse."""

    __tablename__ = "returns"

    id: Mapped[Id]
    number: Mapped[str] = numbered("RM")
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (one_of("status", RETURN_STATUSES),)


class ReturnLine(Tracked, Base):
    """Units of one order line that come back, what becomes of them, and the money for them."""

    __tablename__ = "return_lines"

    id: Mapped[Id]
    return_id: Mapped[int] = mapped_column(sa.ForeignKey("returns.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(sa.ForeignKey("order_lines.id"), index=True)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    refund_minor: Mapped[Minor]
    disposition: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("disposition", DISPOSITIONS),
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("refund_minor >= 0", name="refund_not_negative"),
    )
