"""The table of the shop's rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Id, UtcDateTime


class ShopRules(Base):
    """One version of the rules; the newest row is in force, the others are its history."""

    __tablename__ = "shop_rules"

    id: Mapped[Id]
    document: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    note: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)
