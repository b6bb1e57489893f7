"""Runs migrations on the connection that :mod:`oms_ops.setup` hands over."""

from __future__ import annotations

from alembic import context

from oms_ops.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter most things in place: Alembic copies the table instead.
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=False,
)
context.run_migrations()
