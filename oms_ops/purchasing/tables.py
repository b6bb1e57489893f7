"""Tables of purchasing: orders to suppliers, what arrived, which reorder lines were approved."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import (
    KEEPS_IDS,
    Base,
    Count,
    Id,
    Minor,
    Tracked,
    UtcDateTime,
    numbered,
)
from oms_ops.stock.tables import one_of

PURCHASE_ORDER_STATUSES = ("draft", "sent", "confirmed", "partly_received", "closed", "cancelled")
PURCHASE_ORDER_SOURCES = ("manual", "reorder", "import")


class PurchaseOrder(Tracked, Base):
    """An order to one supplier for delivery to one warehouse."""

    __tablename__ = "purchase_orders"

    id: Mapped[Id]
    number: Mapped[str] = numbered("PO")
    supplier_id: Mapped[int] = mapped_column(sa.ForeignKey("suppliers.id"), index=True)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    source: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    ordered_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expected_on: Mapped[date] = mapped_column(sa.Date)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    supplier_reference: Mapped[str | None] = mapped_column(sa.Text)
    note: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("status", PURCHASE_ORDER_STATUSES),
        one_of("source", PURCHASE_ORDER_SOURCES),
    )


class PurchaseOrderLine(Tracked, Base):
    """``quantity`` units of one SKU ordered; open = ``quantity - received`` while not closed.

    ``received`` may pass ``quantity`` where the shop's tolerance allows it. ``confirmed_on`` is the
    day that the supplier confirmed, ``confirmed_cost_minor`` the unit cost.
    """

    __tablename__ = "purchase_order_lines"

    id: Mapped[Id]
    purchase_order_id: Mapped[int] = mapped_column(sa.ForeignKey("purchase_orders.id"), index=True)
    line_no: Mapped[int] = mapped_column(sa.Integer)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"), index=True)
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    received: Mapped[Count]
    unit_cost_minor: Mapped[Minor]
    confirmed_on: Mapped[date | None] = mapped_column(sa.Date)
    confirmed_cost_minor: Mapped[int | None] = mapped_column(sa.BigInteger)

    __table_args__ = (
        sa.UniqueConstraint("purchase_order_id", "line_no"),
        sa.CheckConstraint(
            "quantity BETWEEN 1 AND 1000000 AND received >= 0", name="quantities_in_range"
        ),
        KEEPS_IDS,
    )


class Receipt(Base):
    """One delivery against a purchase order."""

    __tablename__ = "receipts"

    id: Mapped[Id]
    number: Mapped[str] = numbered("GR")
    purchase_order_id: Mapped[int] = mapped_column(sa.ForeignKey("purchase_orders.id"), index=True)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)


class ReceiptLine(Base):
    """Units of one purchase order line in a delivery, at the cost that was charged.

    ``damaged`` of the ``quantity`` went to quarantine instead of the shelf.
    """

    __tablename__ = "receipt_lines"

    id: Mapped[Id]
    receipt_id: Mapped[int] = mapped_column(sa.ForeignKey("receipts.id"), index=True)
    purchase_order_line_id: Mapped[int] = mapped_column(
        sa.ForeignKey("purchase_order_lines.id"), index=True
    )
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    damaged: Mapped[Count]
    unit_cost_minor: Mapped[Minor]
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("damaged BETWEEN 0 AND quantity", name="damaged_in_range"),
    )


class ReorderApproval(Base):
    """A merchandiser's yes to one reorder line: once per published list, SKU and warehouse."""

    __tablename__ = "reorder_approvals"

    id: Mapped[Id]
    list_id: Mapped[str] = mapped_column(sa.Text)
    list_as_of: Mapped[datetime] = mapped_column(UtcDateTime)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    suggested_quantity: Mapped[int] = mapped_column(sa.BigInteger)
    approved_quantity: Mapped[int] = mapped_column(sa.BigInteger)
    purchase_order_line_id: Mapped[int] = mapped_column(sa.ForeignKey("purchase_order_lines.id"))
    approved_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.UniqueConstraint("list_id", "sku_id", "warehouse_id"),
        sa.CheckConstraint("approved_quantity > 0", name="quantity_positive"),
    )
