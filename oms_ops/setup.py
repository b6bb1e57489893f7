"""Create or migrate the operational database; safe to run again at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import SYSTEM
from oms_ops.database import transaction
from oms_ops.feed import triggers
from oms_ops.feed.tables import FeedState
from oms_ops.orders import writing
from oms_ops.stock.warehouses import ensure_world

#: Any number: it keeps two migrations from running at once on PostgreSQL.
_LOCK = 7_315_001


def init(engine: Engine) -> None:
    """Bring the schema to the newest revision, install the feed's triggers, seed what must be."""
    with _without_foreign_keys(engine), transaction(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        command.upgrade(alembic_config(connection), "head")
        if connection.scalar(sa.select(FeedState.epoch)) is None:
            connection.execute(sa.insert(FeedState).values(id=1, epoch=1))
        triggers.install(connection)
        writing.install(connection)
        ensure_world(connection, SYSTEM)
        _refuse_dangling_rows(connection)


@contextmanager
def _without_foreign_keys(engine: Engine) -> Iterator[None]:
    """Let SQLite make a table anew that others refer to; it can be told outside a transaction only.

    What the block leaves is checked before it is committed.
    """
    if engine.dialect.name != "sqlite":
        yield
        return

    def off(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")

    event.listen(engine, "begin", off)
    try:
        yield
    finally:
        event.remove(engine, "begin", off)
        # Its connections must not be used on without the checks.
        engine.dispose()


def _refuse_dangling_rows(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if dangling is not None:
            raise RuntimeError(f"the migration would leave a row that refers to none: {dangling}")


def alembic_config(connection: Connection) -> Config:
    """Return the configuration that runs this package's migrations on ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
