"""Tables of the stock: where goods can be, every move between those places, and the levels.

A level is the running sum of its moves: ``on_hand`` of a warehouse changes only together with a
row in ``stock_moves``, in the same transaction. ``allocated`` is the part of it that is promised
to orders and not shipped yet.
"""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import KEEPS_IDS, Base, Count, Id, Tracked, UtcDateTime, numbered

#: A warehouse's own: its one ``storage`` (the floor: what is in no bin), its bins, its quarantine.
OWN_KINDS = ("storage", "bin", "quarantine")
#: The world around the warehouses; ``transit`` is what travels between two of them.
WORLD_KINDS = ("transit", "supplier", "customer", "adjustment", "scrap")
LOCATION_KINDS = OWN_KINDS + WORLD_KINDS
#: What is in these counts as a warehouse's stock on hand.
ON_HAND_KINDS = ("storage", "bin")
#: Their content is kept in ``location_levels``.
LEVELLED_KINDS = ("bin", "quarantine", "transit")
MOVE_REASONS = (
    "opening", "receipt", "shipment", "return", "adjustment", "scrap",
    "putaway", "pick", "short_pick", "transfer", "count", "damage", "quarantine_release",
)  # fmt: skip
TRANSFER_STATUSES = ("draft", "in_transit", "partly_received", "received", "cancelled")
COUNT_STATUSES = ("open", "counted", "approved", "rejected")


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
    """A place that a move leaves or reaches.

    A bin has a ``zone``, a place in the pickers' walk (``pick_sequence``, smallest first), and
    takes ``capacity_units`` at most, where that is given.
    """

    __tablename__ = "locations"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    warehouse_id: Mapped[int | None] = mapped_column(sa.ForeignKey("warehouses.id"), index=True)
    zone: Mapped[str | None] = mapped_column(sa.Text)
    pick_sequence: Mapped[int | None] = mapped_column(sa.Integer)
    capacity_units: Mapped[int | None] = mapped_column(sa.BigInteger)
    is_active: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())

    __table_args__ = (
        one_of("kind", LOCATION_KINDS),
        sa.CheckConstraint(
            "(kind IN ('storage', 'bin', 'quarantine')) = (warehouse_id IS NOT NULL)",
            name="own_has_a_warehouse",
        ),
    )


class LocationLevel(Tracked, Base):
    """Units of one SKU in one bin, in one quarantine or in transit: the sum of the moves there."""

    __tablename__ = "location_levels"

    id: Mapped[Id]
    location_id: Mapped[int] = mapped_column(sa.ForeignKey("locations.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[Count]

    __table_args__ = (
        sa.UniqueConstraint("sku_id", "location_id"),
        sa.Index("ix_location_levels_location", "location_id"),
        sa.CheckConstraint("quantity >= 0", name="quantity_not_negative"),
    )


class StockLevel(Tracked, Base):
    """Units of one SKU in one warehouse; available = ``on_hand - allocated``.

    ``allocated`` is what unshipped shipments and live basket holds promise. An alert is raised when
    what is available falls to ``low_threshold`` or below. ``average_cost_e4`` is the moving average
    cost of a unit in ten-thousandths of a minor unit.
    """

    __tablename__ = "stock_levels"

    id: Mapped[Id]
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    on_hand: Mapped[Count]
    allocated: Mapped[Count]
    low_threshold: Mapped[int | None] = mapped_column(sa.BigInteger)
    average_cost_e4: Mapped[int | None] = mapped_column(sa.BigInteger)

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


class StockAlert(Base):
    """A level fell to its threshold or below: one row for each crossing, none while it stays."""

    __tablename__ = "stock_alerts"

    id: Mapped[Id]
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    threshold: Mapped[int] = mapped_column(sa.BigInteger)
    available: Mapped[int] = mapped_column(sa.BigInteger)
    raised_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (sa.Index("ix_stock_alerts_sku", "sku_id", "warehouse_id"),)


class BasketHold(Base):
    """Units promised to a basket until ``expires_at``; an order that names the basket takes them.

    ``basket`` is the caller's own key of the basket.
    """

    __tablename__ = "basket_holds"

    id: Mapped[Id]
    basket: Mapped[str] = mapped_column(sa.Text)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.UniqueConstraint("basket", "sku_id", "warehouse_id"),
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        KEEPS_IDS,
    )


class Transfer(Tracked, Base):
    """Goods sent from one warehouse to another; between the two they are in transit."""

    __tablename__ = "transfers"

    id: Mapped[Id]
    number: Mapped[str] = numbered("TR")
    from_warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    to_warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expected_on: Mapped[date | None] = mapped_column(sa.Date)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", TRANSFER_STATUSES),
        sa.CheckConstraint("from_warehouse_id <> to_warehouse_id", name="goes_somewhere"),
    )


class TransferLine(Tracked, Base):
    """Units of a SKU in a transfer; in transit = ``sent - received - lost``."""

    __tablename__ = "transfer_lines"

    id: Mapped[Id]
    transfer_id: Mapped[int] = mapped_column(sa.ForeignKey("transfers.id"))
    line_no: Mapped[int] = mapped_column(sa.Integer)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    sent: Mapped[Count]
    received: Mapped[Count]
    lost: Mapped[Count]

    __table_args__ = (
        sa.UniqueConstraint("transfer_id", "line_no"),
        sa.CheckConstraint("quantity BETWEEN 1 AND 1000000", name="quantity_in_range"),
        sa.CheckConstraint(
            "sent >= 0 AND received >= 0 AND lost >= 0 AND received + lost <= sent",
            name="arrives_at_most_what_was_sent",
        ),
        sa.Index(
            "ix_transfer_lines_travelling",
            "sku_id",
            sqlite_where=sa.text("sent > received + lost"),
            postgresql_where=sa.text("sent > received + lost"),
        ),
    )


class StockCount(Tracked, Base):
    """A cycle count of some bins or SKUs of a warehouse; approval posts what differs."""

    __tablename__ = "stock_counts"

    id: Mapped[Id]
    number: Mapped[str] = numbered("SC")
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(sa.Text)
    counted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (one_of("status", COUNT_STATUSES),)


class StockCountLine(Tracked, Base):
    """One SKU in one place of a count: ``expected`` by the ledger when ``counted`` was entered."""

    __tablename__ = "stock_count_lines"

    id: Mapped[Id]
    stock_count_id: Mapped[int] = mapped_column(sa.ForeignKey("stock_counts.id"))
    location_id: Mapped[int] = mapped_column(sa.ForeignKey("locations.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    expected: Mapped[int | None] = mapped_column(sa.BigInteger)
    counted: Mapped[int | None] = mapped_column(sa.BigInteger)

    __table_args__ = (
        sa.UniqueConstraint("stock_count_id", "location_id", "sku_id"),
        sa.CheckConstraint("counted IS NULL OR counted >= 0", name="counted_not_negative"),
    )
