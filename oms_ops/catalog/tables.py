"""Tables of the catalogue: SKUs, suppliers, and what a supplier asks for a SKU."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Count, Id, Minor, Tracked


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

    __table_args__ = (sa.CheckConstraint("price_minor >= 0", name="price_not_negative"),)


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
