"""Tables of the change feed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from oms_ops.database import Base, BigId, UtcDateTime


class Xid8(sa.types.UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the SQL name of the type."""
        return "xid8"


class FeedState(Base):
    """One row: the epoch, raised by hand after a restore because ids may then repeat.

    ``pruned_*`` is the place up to which the log was pruned, its start where it never was.
    """

    __tablename__ = "feed_state"

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    epoch: Mapped[int] = mapped_column(sa.Integer)
    pruned_epoch: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    pruned_xid: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    pruned_seq: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    changed_by: Mapped[str | None] = mapped_column(sa.Text)
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)


class FeedConsumer(Base):
    """Who reads the feed, and how far: the log keeps what the slowest of them has not taken."""

    __tablename__ = "feed_consumers"

    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    epoch: Mapped[int] = mapped_column(sa.Integer)
    xid: Mapped[int] = mapped_column(sa.BigInteger)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Change(Base):
    """One committed change of one row of one entity, filled only by triggers.

    ``op`` is ``I``, ``U`` or ``D``; ``payload`` is the row after the change (before it, for a
    delete) as JSON text. Changes of one row carry growing ``seq``, because a writer draws it while
    holding the row's lock; across rows, commit order is ``(epoch, xid, seq)``.
    """

    __tablename__ = "change_log"

    seq: Mapped[int] = mapped_column(BigId, primary_key=True)
    xid: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(Xid8(), "postgresql"), server_default="0"
    )
    epoch: Mapped[int] = mapped_column(sa.Integer)
    entity: Mapped[str] = mapped_column(sa.Text)
    entity_id: Mapped[int] = mapped_column(sa.BigInteger)
    op: Mapped[str] = mapped_column(sa.String(1))
    version: Mapped[int] = mapped_column(sa.Integer)
    payload: Mapped[Any] = mapped_column(sa.Text().with_variant(postgresql.JSON(), "postgresql"))
    changed_by: Mapped[str | None] = mapped_column(sa.Text)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)

    # SQLite hands out seq in commit order (one writer); AUTOINCREMENT never reuses one.
    __table_args__ = (
        # The history of one row: who changed it, when, and what it was before.
        sa.Index("ix_change_log_row", "entity", "entity_id"),
        {"sqlite_autoincrement": True},
    )
