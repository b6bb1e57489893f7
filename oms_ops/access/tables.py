"""The table of API keys; a key itself is never stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Id, UtcDateTime


class ApiKey(Base):
    """A caller's key, known by its SHA-256 (of 256 random bits: no slow hash is needed).

    ``scopes`` narrows what the role permits to a JSON list of permissions; NULL is all of them.
    ``created_by`` is NULL for keys older than the column.
    """

    __tablename__ = "api_keys"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(sa.Text, unique=True)
    role: Mapped[str] = mapped_column(sa.Text)
    scopes: Mapped[list[Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    key_hash: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str | None] = mapped_column(sa.Text)
    revoked_by: Mapped[str | None] = mapped_column(sa.Text)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
