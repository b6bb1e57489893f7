"""Tables of the exchange: what each import made of each row, and messages from other systems."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, Count, Id, UtcDateTime, numbered
from oms_ops.stock.tables import one_of

#: ``record`` is a SKU, price or customer that was made or changed; ``adjustment`` moved stock.
FATES = ("order", "return", "adjustment", "charge", "record", "rejected", "repeated")
INBOX_STATUSES = ("received", "processed", "ignored", "failed")


class Import(Base):
    """One run of an importer over one file; ``counts`` holds rows per fate."""

    __tablename__ = "imports"

    id: Mapped[Id]
    number: Mapped[str] = numbered("IM")
    kind: Mapped[str] = mapped_column(sa.Text)
    file_name: Mapped[str] = mapped_column(sa.Text)
    file_sha256: Mapped[str] = mapped_column(sa.Text)
    rows: Mapped[Count]
    counts: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    changed_by: Mapped[str] = mapped_column(sa.Text)


class ImportRow(Base):
    """What became of one row of a file; ``amount_e4`` is its money in 1/10,000 of a major unit.

    ``document`` is the number of what it became a part of; a rejected row keeps what it held.
    """

    __tablename__ = "import_rows"

    id: Mapped[Id]
    import_id: Mapped[int] = mapped_column(sa.ForeignKey("imports.id"))
    row_no: Mapped[int] = mapped_column(sa.BigInteger)
    fate: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    message: Mapped[str | None] = mapped_column(sa.Text)
    document: Mapped[str | None] = mapped_column(sa.Text)
    amount_e4: Mapped[int | None] = mapped_column(sa.BigInteger)
    content: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))

    __table_args__ = (
        one_of("fate", FATES),
        sa.UniqueConstraint("import_id", "row_no"),
    )


class InboxMessage(Base):
    """A message from another system, stored as it came before anything is made of it.

    ``next_attempt_at`` is when it is tried again unasked: none where that would be too often, or
    there is nothing left to make of it. ``settled_by`` is who dismissed or accepted it.
    """

    __tablename__ = "inbox_messages"

    id: Mapped[Id]
    source: Mapped[str] = mapped_column(sa.Text)
    external_id: Mapped[str] = mapped_column(sa.Text)
    topic: Mapped[str] = mapped_column(sa.Text)
    body: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    document: Mapped[str | None] = mapped_column(sa.Text)
    problem: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    attempts: Mapped[Count]
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    processed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    settled_by: Mapped[str | None] = mapped_column(sa.Text)
    settled_note: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("status", INBOX_STATUSES),
        sa.UniqueConstraint("source", "external_id"),
        sa.Index("ix_inbox_messages_status", "status", "id"),
        sa.Index(
            "ix_inbox_messages_waiting",
            "next_attempt_at",
            sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
            postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
        ),
    )
