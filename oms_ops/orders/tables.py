"""Tables of the orders: the order, its lines, and the shipments that routing made of it.

A shipment is the part of an order that one warehouse fulfils. It exists from the moment stock is
allocated (its lines are the allocation) until it is delivered, so "which warehouse, how much, how
far" has one answer. The rooms above move a shipment along; they do not keep a second one.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

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

ORDER_STATUSES = ("open", "on_hold", "cancelled", "closed")
SHIPMENT_STATUSES = (
    "allocated", "picked", "packed", "shipped", "delivered", "cancelled",
    "delivery_failed", "returned",
)  # fmt: skip
DRAFT_STATUSES = ("open", "placing", "placed", "discarded")


class Order(Tracked, Base):
    """A customer's order; ``warehouse_id`` is where routing sent it and where it is backordered.

    ``exchange_rate`` is decimal text: units of ``base_currency`` for one of ``currency``, as it was
    at capture. Where ``tax_included``, prices hold the tax and it is not added to the total.
    ``rounding_minor`` is what rounding added: that of the lines and of the total to cash.
    ``cancelled_minor`` is the part of the total that cancelled units take off what is owed, and
    ``cancel_reason`` why units were cancelled last.
    ``ship_complete`` lets nothing leave while something is backordered.
    ``contact_name`` and ``contact_phone`` are what the customer said with this order; orders from
    before these were kept have none.
    ``promised_on`` is when goods that wait come in; ``deliver_by`` is when the customer is to have
    all, ``delivery_days`` after that or after the day of the order
    (:mod:`oms_ops.orders.deadlines`).
    """

    __tablename__ = "orders"

    id: Mapped[Id]
    number: Mapped[str] = numbered("SO")
    channel: Mapped[str] = mapped_column(sa.Text)
    external_id: Mapped[str | None] = mapped_column(sa.Text)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"), index=True)
    contact_name: Mapped[str | None] = mapped_column(sa.Text)
    contact_phone: Mapped[str | None] = mapped_column(sa.Text)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    hold_reason: Mapped[str | None] = mapped_column(sa.Text)
    cancel_reason: Mapped[str | None] = mapped_column(sa.Text)
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    promised_on: Mapped[date | None] = mapped_column(sa.Date)
    delivery_days: Mapped[int | None] = mapped_column(sa.Integer)
    deliver_by: Mapped[date | None] = mapped_column(sa.Date)
    ship_name: Mapped[str] = mapped_column(sa.Text)
    ship_line1: Mapped[str] = mapped_column(sa.Text)
    ship_line2: Mapped[str | None] = mapped_column(sa.Text)
    ship_city: Mapped[str | None] = mapped_column(sa.Text)
    ship_region: Mapped[str | None] = mapped_column(sa.Text)
    ship_postal_code: Mapped[str | None] = mapped_column(sa.Text)
    ship_country: Mapped[str] = mapped_column(sa.String(2))
    ship_phone: Mapped[str | None] = mapped_column(sa.Text)
    ship_latitude: Mapped[float | None] = mapped_column(sa.Float)
    ship_longitude: Mapped[float | None] = mapped_column(sa.Float)
    currency: Mapped[str] = mapped_column(sa.String(3))
    gross_minor: Mapped[Minor]
    discount_minor: Mapped[Minor]
    shipping_minor: Mapped[Minor]
    tax_minor: Mapped[Minor]
    rounding_minor: Mapped[Minor]
    total_minor: Mapped[Minor]
    shipping_tax_minor: Mapped[Minor]
    cancelled_minor: Mapped[Minor]
    tax_included: Mapped[bool] = mapped_column(sa.Boolean, default=False, server_default=sa.false())
    base_currency: Mapped[str | None] = mapped_column(sa.String(3))
    exchange_rate: Mapped[str] = mapped_column(sa.Text, default="1", server_default="1")
    allow_backorder: Mapped[bool] = mapped_column(sa.Boolean)
    allow_split: Mapped[bool] = mapped_column(sa.Boolean)
    ship_complete: Mapped[bool] = mapped_column(
        sa.Boolean, default=False, server_default=sa.false()
    )
    note: Mapped[str | None] = mapped_column(sa.Text)
    rules_id: Mapped[int | None] = mapped_column(sa.ForeignKey("shop_rules.id"))
    routing: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    tracking_token: Mapped[str] = mapped_column(sa.Text, unique=True)

    __table_args__ = (
        one_of("status", ORDER_STATUSES),
        sa.UniqueConstraint("channel", "external_id"),
        sa.CheckConstraint(
            "total_minor = gross_minor - discount_minor + shipping_minor + rounding_minor"
            " + CASE WHEN tax_included THEN 0 ELSE tax_minor END",
            name="total_adds_up",
        ),
        sa.CheckConstraint(
            "cancelled_minor BETWEEN 0 AND total_minor", name="cancelled_within_total"
        ),
        sa.CheckConstraint(
            "gross_minor BETWEEN 0 AND 100000000000 AND shipping_minor BETWEEN 0 AND 100000000000",
            name="amounts_in_range",
        ),
        sa.Index(
            "ix_orders_open",
            "status",
            sqlite_where=sa.text("status IN ('open', 'on_hold')"),
            postgresql_where=sa.text("status IN ('open', 'on_hold')"),
        ),
    )


class OrderLine(Tracked, Base):
    """``quantity`` units of one SKU at one price; where each unit is adds up to ``quantity``.

    ``unit_cost_minor`` is the cost known at capture, the basis of the margin. ``rounding_minor`` is
    what the line's stated amount has beyond ``quantity * unit_price_minor``. ``cancelled_minor`` is
    what its cancelled units take off the order's total. ``price_source`` says where the price is
    from: ``caller``, ``list`` or the code of a price list.
    """

    __tablename__ = "order_lines"

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    line_no: Mapped[int] = mapped_column(sa.Integer)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    unit_price_minor: Mapped[Minor]
    unit_cost_minor: Mapped[Minor]
    gross_minor: Mapped[Minor]
    discount_minor: Mapped[Minor]
    rounding_minor: Mapped[Minor]
    net_minor: Mapped[Minor]
    tax_minor: Mapped[Minor]
    tax_rate_ppm: Mapped[Minor]
    cancelled_minor: Mapped[Minor]
    price_source: Mapped[str | None] = mapped_column(sa.Text)
    promised_on: Mapped[date | None] = mapped_column(sa.Date)
    allocated: Mapped[Count]
    backordered: Mapped[Count]
    shipped: Mapped[Count]
    cancelled: Mapped[Count]
    returned: Mapped[Count]

    __table_args__ = (
        sa.UniqueConstraint("order_id", "line_no"),
        sa.CheckConstraint("quantity BETWEEN 1 AND 1000000", name="quantity_in_range"),
        sa.CheckConstraint(
            "quantity = allocated + backordered + shipped + cancelled", name="all_accounted_for"
        ),
        sa.CheckConstraint(
            "allocated >= 0 AND backordered >= 0 AND shipped >= 0 AND cancelled >= 0"
            " AND returned >= 0 AND returned <= shipped",
            name="counts_in_range",
        ),
        sa.CheckConstraint("gross_minor = quantity * unit_price_minor", name="gross_adds_up"),
        sa.CheckConstraint(
            "net_minor = gross_minor - discount_minor + rounding_minor", name="net_adds_up"
        ),
        # Backorders wait in the order of capture; the index holds only those that wait.
        sa.Index(
            "ix_order_lines_backordered",
            "sku_id",
            "id",
            sqlite_where=sa.text("backordered > 0"),
            postgresql_where=sa.text("backordered > 0"),
        ),
    )


class Shipment(Tracked, Base):
    """The part of an order that one warehouse allocates, picks, packs and ships."""

    __tablename__ = "shipments"

    id: Mapped[Id]
    number: Mapped[str] = numbered("SH")
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    warehouse_id: Mapped[int] = mapped_column(sa.ForeignKey("warehouses.id"))
    status: Mapped[str] = mapped_column(sa.Text)
    carrier: Mapped[str | None] = mapped_column(sa.Text)
    tracking_number: Mapped[str | None] = mapped_column(sa.Text)
    allocated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    picked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    packed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    shipped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The last failed delivery, and what the carrier said.
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failure_reason: Mapped[str | None] = mapped_column(sa.Text)
    #: The carrier brought the parcel back.
    returned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The pick wave, whose table is a room above.
    wave_id: Mapped[int | None] = mapped_column(sa.BigInteger)

    __table_args__ = (
        one_of("status", SHIPMENT_STATUSES),
        sa.Index("ix_shipments_day", "warehouse_id", "allocated_at"),
        # What stands picked on the floor, found without a walk through every shipment ever made.
        sa.Index(
            "ix_shipments_staged",
            "warehouse_id",
            sqlite_where=sa.text("status IN ('picked', 'packed')"),
            postgresql_where=sa.text("status IN ('picked', 'packed')"),
        ),
        sa.Index(
            "ix_shipments_tracking",
            "tracking_number",
            sqlite_where=sa.text("tracking_number IS NOT NULL"),
            postgresql_where=sa.text("tracking_number IS NOT NULL"),
        ),
    )


class ShipmentLine(Base):
    """Units of one order line in a shipment; while the shipment is not shipped, the allocation."""

    __tablename__ = "shipment_lines"

    id: Mapped[Id]
    shipment_id: Mapped[int] = mapped_column(sa.ForeignKey("shipments.id"), index=True)
    order_line_id: Mapped[int] = mapped_column(sa.ForeignKey("order_lines.id"), index=True)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    quantity: Mapped[int] = mapped_column(sa.BigInteger)
    changed_by: Mapped[str] = mapped_column(sa.Text)

    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        KEEPS_IDS,
    )


class DiscountUse(Tracked, Base):
    """An order holds a discount code; ``released_at`` tells that its cancellation gave it back."""

    __tablename__ = "discount_uses"

    id: Mapped[Id]
    discount_id: Mapped[int] = mapped_column(sa.ForeignKey("discounts.id"))
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), index=True)
    amount_minor: Mapped[Minor]
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (sa.UniqueConstraint("discount_id", "order_id"),)


class Draft(Tracked, Base):
    """An order in the making: a submission as far as it is known, to be priced and placed.

    ``attempt`` counts how often placing it was refused; each attempt has an idempotency key.
    """

    __tablename__ = "drafts"

    id: Mapped[Id]
    number: Mapped[str] = numbered("DR")
    status: Mapped[str] = mapped_column(sa.Text)
    document: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    attempt: Mapped[int] = mapped_column(sa.Integer, default=0, server_default="0")
    order_id: Mapped[int | None] = mapped_column(sa.ForeignKey("orders.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (one_of("status", DRAFT_STATUSES),)


class IdempotencyKey(Base):
    """The first answer to a submission, kept so that a repeat gets the same one."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    key: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    request_hash: Mapped[str] = mapped_column(sa.Text)
    response: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
