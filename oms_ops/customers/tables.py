"""Tables of the customers."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Id, Tracked, UtcDateTime


class Customer(Tracked, Base):
    """Somebody who ordered; the e-mail address, in lower case, tells customers apart."""

    __tablename__ = "customers"

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(sa.Text, unique=True)
    external_id: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    name: Mapped[str] = mapped_column(sa.Text)
    phone: Mapped[str | None] = mapped_column(sa.Text)
    customer_group: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (sa.CheckConstraint("email = lower(email)", name="email_lower_case"),)
