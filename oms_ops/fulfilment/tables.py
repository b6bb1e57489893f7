"""Tables of the fulfilment: pick waves, what is picked from where, parcels and labels."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import KEEPS_IDS, Base, Id, Tracked, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

WAVE_STATUSES = ("open", "done", "cancelled")
LABEL_STATUSES = ("requested", "booked", "void")


class PickWave(Tracked, Base):
    """Shipments of one warehouse that are picked in one walk."""

    __tablename__ = "pick_waves"

    id: Mapped[Id]
    number: Mapped[str] = numbered("WV")
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    zone: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (one_of("status", WAVE_STATUSES),)


class Pick(Tracked, Base):
    """``quantity`` units of a shipment line to take from one place; ``picked`` once it was done.

    While ``picked`` is NULL the units of the bin are spoken for.
    """

    __tablename__ = "picks"

    id: Mapped[Id]
    wave_id: Mapped[int | None] = mapped_column(sa.ForeignKey("pick_waves.id"), index=True)
    shipment_id: Mapped[int] = mapped_column(sa.ForeignKey("shipments.id"), index=True)
    shipment_line_id: Mapped[int] = mapped_column(sa.ForeignKey("shipment_lines.id"))
    location_id: Mapped[int] = mapped_column(sa.ForeignKey("locations.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    picked: Mapped[int | None] = mapped_column(sa.BigInteger)
    picked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("picked BETWEEN 0 AND quantity", name="picked_in_range"),
        sa.Index(
            "ix_picks_open",
            "location_id",
            "sku_id",
            sqlite_where=sa.text("picked IS NULL"),
            postgresql_where=sa.text("picked IS NULL"),
        ),
        KEEPS_IDS,
    )


class Parcel(Tracked, Base):
    """A parcel of a shipment: its weight in grams, and what is in it by SKU code."""

    __tablename__ = "parcels"

    id: Mapped[Id]
    shipment_id: Mapped[int] = mapped_column(sa.ForeignKey("shipments.id"))
    parcel_no: Mapped[int] = mapped_column(sa.Integer)
    weight_grams: Mapped[int | None] = mapped_column(sa.BigInteger)
    contents: Mapped[dict[str, int]] = mapped_column(sa.JSON)

    __table_args__ = (
        sa.UniqueConstraint("shipment_id", "parcel_no"),
        sa.CheckConstraint("weight_grams > 0", name="weight_positive"),
    )


class ShipmentLabel(Tracked, Base):
    """A carrier's label for a shipment: asked for, then booked or void; a shipment has one at most.

    ``number`` is the reference by which the carrier knows the request, so that it can be repeated.
    ``booking`` names the labels that were asked for together; ``sent_at`` is when the carrier had
    it. ``body`` is text, or base64 where the media type is binary. ``problem`` is the carrier's.
    """

    __tablename__ = "shipment_labels"

    id: Mapped[Id]
    number: Mapped[str] = numbered("LB")
    shipment_id: Mapped[int] = mapped_column(sa.ForeignKey("shipments.id"), index=True)
    carrier: Mapped[str] = mapped_column(sa.Text)
    booking: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    tracking_number: Mapped[str | None] = mapped_column(sa.Text)
    media_type: Mapped[str | None] = mapped_column(sa.Text)
    body: Mapped[str | None] = mapped_column(sa.Text)
    problem: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    booked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        one_of("status", LABEL_STATUSES),
        sa.CheckConstraint(
            "status <> 'booked' OR (tracking_number IS NOT NULL AND media_type IS NOT NULL"
            " AND body IS NOT NULL)",
            name="booked_is_complete",
        ),
        # Two who book one shipment at once: the second is refused.
        sa.Index(
            "ix_shipment_labels_live",
            "shipment_id",
            unique=True,
            sqlite_where=sa.text("status <> 'void'"),
            postgresql_where=sa.text("status <> 'void'"),
        ),
        sa.Index(
            "ix_shipment_labels_requested",
            "id",
            sqlite_where=sa.text("status = 'requested'"),
            postgresql_where=sa.text("status = 'requested'"),
        ),
    )
