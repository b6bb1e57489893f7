"""Tables of the catalogue: SKUs, prices and discounts, suppliers and what they ask for a SKU."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import KEEPS_IDS, Base, Count, Id, Minor, Tracked, UtcDateTime


class Sku(Tracked, Base):
    """A thing that is sold and stocked; ``price_minor`` is the list price of one unit."""

    __tablename__ = "skus"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    department: Mapped[str] = mapped_column(sa.Text)
    category: Mapped[str] = mapped_column(sa.Text)
    brand: Mapped[str] = mapped_column(sa.Text)
    pack_size: Mapped[str] = mapped_column(sa.Text, default="")
    barcode: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    is_active: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())
    currency: Mapped[str] = mapped_column(sa.String(3))
    price_minor: Mapped[Minor]
    tax_category: Mapped[str] = mapped_column(
        sa.Text, default="standard", server_default="standard"
    )
    min_quantity: Mapped[int] = mapped_column(sa.BigInteger, default=1, server_default="1")
    quantity_multiple: Mapped[int] = mapped_column(sa.BigInteger, default=1, server_default="1")
    max_quantity: Mapped[int | None] = mapped_column(sa.BigInteger)
    #: The channels that sell it, as a JSON list of codes; NULL is every channel.
    channels: Mapped[list[str] | None] = mapped_column(sa.JSON(none_as_null=True))
    weight_grams: Mapped[int | None] = mapped_column(sa.BigInteger)

    __table_args__ = (
        sa.CheckConstraint("price_minor >= 0", name="price_not_negative"),
        sa.CheckConstraint(
            "min_quantity >= 1 AND quantity_multiple >= 1"
            " AND (max_quantity IS NULL OR max_quantity >= min_quantity)",
            name="order_quantities_in_range",
        ),
    )


class PriceList(Tracked, Base):
    """Prices of one currency for everybody or for one customer group, while it is valid.

    Where several lists price a SKU, the customer group's own beats the general ones, then the
    greater ``priority`` wins, then the later id.
    """

    __tablename__ = "price_lists"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    currency: Mapped[str] = mapped_column(sa.String(3))
    customer_group: Mapped[str | None] = mapped_column(sa.Text)
    priority: Mapped[int] = mapped_column(sa.Integer, default=0, server_default="0")
    valid_from: Mapped[datetime | None] = mapped_column(UtcDateTime)
    valid_to: Mapped[datetime | None] = mapped_column(UtcDateTime)
    is_active: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())

    __table_args__ = (
        sa.CheckConstraint(
            "valid_from IS NULL OR valid_to IS NULL OR valid_from < valid_to",
            name="valid_for_a_while",
        ),
    )


class Price(Tracked, Base):
    """One unit's price in a list, from ``min_quantity`` units of the SKU on a line."""

    __tablename__ = "prices"

    id: Mapped[Id]
    price_list_id: Mapped[int] = mapped_column(sa.ForeignKey("price_lists.id"))
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    min_quantity: Mapped[int] = mapped_column(sa.BigInteger, default=1, server_default="1")
    price_minor: Mapped[Minor]

    __table_args__ = (
        sa.UniqueConstraint("sku_id", "price_list_id", "min_quantity"),
        sa.CheckConstraint("price_minor >= 0 AND min_quantity >= 1", name="price_in_range"),
        # Prices are taken off lists.
        KEEPS_IDS,
    )


class Discount(Tracked, Base):
    """A discount by code: ``percent_ppm`` (millionths) or ``amount_minor`` of the order or a line.

    ``sku_id`` or ``category`` limit it to those lines; without them it is of the order's net value.
    ``used`` counts the orders that hold it and never passes ``use_limit``.
    """

    __tablename__ = "discounts"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    percent_ppm: Mapped[int | None] = mapped_column(sa.BigInteger)
    amount_minor: Mapped[int | None] = mapped_column(sa.BigInteger)
    currency: Mapped[str | None] = mapped_column(sa.String(3))
    sku_id: Mapped[int | None] = mapped_column(sa.ForeignKey("skus.id"))
    category: Mapped[str | None] = mapped_column(sa.Text)
    customer_group: Mapped[str | None] = mapped_column(sa.Text)
    min_net_minor: Mapped[Minor]
    valid_from: Mapped[datetime | None] = mapped_column(UtcDateTime)
    valid_to: Mapped[datetime | None] = mapped_column(UtcDateTime)
    use_limit: Mapped[int | None] = mapped_column(sa.BigInteger)
    used: Mapped[Count]
    is_active: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())

    __table_args__ = (
        sa.CheckConstraint(
            "(percent_ppm IS NULL) <> (amount_minor IS NULL)"
            " AND (amount_minor IS NULL OR currency IS NOT NULL)",
            name="percent_or_amount",
        ),
        sa.CheckConstraint(
            "(percent_ppm IS NULL OR percent_ppm BETWEEN 1 AND 1000000)"
            " AND (amount_minor IS NULL OR amount_minor > 0)",
            name="value_in_range",
        ),
        # The last line of defence: the code's last use is given once.
        sa.CheckConstraint(
            "used >= 0 AND (use_limit IS NULL OR used <= use_limit)", name="within_use_limit"
        ),
        sa.CheckConstraint("code = upper(code)", name="code_upper_case"),
    )


class Supplier(Tracked, Base):
    """A vendor of SKUs; the lead time is the agreed one, in days from order to receipt."""

    __tablename__ = "suppliers"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    email: Mapped[str | None] = mapped_column(sa.Text)
    lead_time_days: Mapped[int] = mapped_column(sa.Integer)
    review_days: Mapped[int] = mapped_column(sa.Integer, default=7, server_default="7")

    __table_args__ = (
        sa.CheckConstraint("lead_time_days >= 0", name="lead_time_not_negative"),
        sa.CheckConstraint("review_days > 0", name="review_positive"),
    )


class SupplierTerm(Tracked, Base):
    """A supplier's cost, minimum order quantity and pack multiple (units) for one SKU."""

    __tablename__ = "supplier_terms"

    id: Mapped[Id]
    supplier_id: Mapped[int] = mapped_column(sa.ForeignKey("suppliers.id"), index=True)
    sku_id: Mapped[int] = mapped_column(sa.ForeignKey("skus.id"))
    currency: Mapped[str] = mapped_column(sa.String(3))
    unit_cost_minor: Mapped[Minor]
    moq: Mapped[Count]
    pack_multiple: Mapped[Count]
    is_preferred: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())

    __table_args__ = (
        sa.UniqueConstraint("sku_id", "supplier_id"),
        sa.CheckConstraint("unit_cost_minor >= 0", name="cost_not_negative"),
        sa.CheckConstraint("moq >= 1 AND pack_multiple >= 1", name="moq_and_pack_positive"),
    )
