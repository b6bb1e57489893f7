"""Keep the contact on the order, orders without a city, the currency of a code's minimum."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ONE_OF = "(percent_ppm IS NULL) <> (amount_minor IS NULL)"
_OLD = " AND (amount_minor IS NULL) = (currency IS NULL)"
_NEW = " AND (amount_minor IS NULL OR currency IS NOT NULL)"


def upgrade() -> None:
    """Apply the change."""
    op.add_column("orders", sa.Column("contact_name", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("contact_phone", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        _rebuild("orders", r"(\bship_city [A-Z]+) NOT NULL", r"\1")
        _rebuild("discounts", re.escape(_OLD), _NEW)
    else:
        op.alter_column("orders", "ship_city", nullable=True)
        name = op.f("ck_discounts_percent_or_amount")
        op.drop_constraint(name, "discounts", type_="check")
        op.create_check_constraint(name, "discounts", _ONE_OF + _NEW)
    # A caller's keys were kept under its bare name, which the house's own scopes could share.
    op.execute(
        "UPDATE idempotency_keys SET scope = 'key:' || scope"
        " WHERE scope NOT IN ('/drafts', 'shopify') AND scope NOT LIKE 'import:%'"
    )


def _rebuild(table: str, pattern: str, replacement: str) -> None:
    """Make a table anew from the text that SQLite has of it, with one change.

    Its triggers are installed again after the migrations.
    """
    run = op.get_bind().exec_driver_sql
    rows = run(
        "SELECT type, sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL"
        " AND type IN ('table', 'index')",
        (table,),
    ).all()
    (made,) = (str(row.sql) for row in rows if row.type == "table")
    changed, times = re.subn(pattern, replacement, made)
    if times != 1:
        raise RuntimeError(f"{table} is not what this revision knows")
    kept = ", ".join(str(row.name) for row in run(f"PRAGMA table_info({table})"))
    run(re.sub(rf'^CREATE TABLE "?{table}"?', f"CREATE TABLE new_{table}", changed))
    run(f"INSERT INTO new_{table} ({kept}) SELECT {kept} FROM {table}")
    run(f"DROP TABLE {table}")
    run(f"ALTER TABLE new_{table} RENAME TO {table}")
    for row in rows:
        if row.type == "index":
            run(str(row.sql))
