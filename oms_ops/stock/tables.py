"""Tables of the stock: where goods can be, every move between those places, and the levels.

A level is the running sum of its moves: ``on_hand`` of a warehouse changes only together with a
row in ``stock_moves``, in the same transaction. ``allocated`` is the part of it that is promised
to orders and not shipped yet.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Count, Id, Tracked, UtcDateTime

#: ``storage`` holds a warehouse's stock on hand; the others stand for the world around it.
LOCATION_KINDS = ("storage", "supplier", "customer", "adjustment", "scrap")
MOVE_REASONS = ("opening", "receipt", "shipment", "return", "adjustment", "scrap")


def one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    """Return a CHECK that ``column`` holds one of ``values``."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class Warehouse(Tracked, Base):
    """A building that ships and receives."""

    __tablename__ = "warehouses"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    line1: Mapped[str] = mapped_column(sa.Text, default="")
    city: Mapped[str] = mapped_column(sa.Text)
    region: Mapped[str] = mapped_column(sa.Text)
    postal_code: Mapped[str] = mapped_column(sa.Text)
    country: Mapped[str] = mapped_column(sa.String(2))
    latitude: Mapped[float | None] = mapped_column(sa.Float)
    longitude: Mapped[float | None] = mapped_column(sa.Float)
    rank: Mapped[int] = mapped_column(sa.Integer, default=100, server_default="100")
    is_active: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())


class Location(Tracked, Base):
    """A place that a move leaves or reaches; only ``storage`` belongs to a warehouse."""

    __tablename__ = "locations"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    warehouse_id: Mapped[int | None] = mapped_column(sa.ForeignKey("warehouses.id"), index=True)

    __table_args__ = (
        one_of("kind", LOCATION_KINDS),
        sa.CheckConstraint(
            "(kind = 'storage') = (warehouse_id IS NOT NULL)", name="storage_has_a_warehouse"
        ),
    )


class StockLevel(Tracked, Base):
    """Units of one SKU in one warehouse; available = ``on_hand - allocated``."""

    __tablename__ = "stock_levels"

    id: Mapped[Id]
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    on_hand: Mapped[Count]
    allocated: Mapped[Count]

    __table_args__ = (
        sa.UniqueConstraint("sku_id", "warehouse_id"),
        # The last line of defence: whatever the code does, the database never oversells.
        sa.CheckConstraint("allocated >= 0 AND allocated <= on_hand", name="never_oversold"),
    )


class StockMove(Base):
    """``quantity`` units went from a location to a location; never changed, never deleted.

    ``reference`` is the number of the document that caused the move (``SH-``, ``PO-``, ``RM-``).
    """

    __tablename__ = "stock_moves"

    id: Mapped[Id]
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    from_location_id: Mapped[int] = mapped_column(sa.ForeignKey("locations.id"))
    to_location_id: Mapped[int] = mapped_column(sa.ForeignKey("locations.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    reason: Mapped[str] = mapped_column(sa.Text)
    reference: Mapped[str | None] = mapped_column(sa.Text)
    unit_cost_minor: Mapped[int | None] = mapped_column(sa.BigInteger)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("from_location_id <> to_location_id", name="goes_somewhere"),
        one_of("reason", MOVE_REASONS),
        sa.Index("ix_stock_moves_sku", "sku_id"),
    )
