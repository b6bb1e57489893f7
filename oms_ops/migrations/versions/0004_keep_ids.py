"""Never give the id of a deleted row again on SQLite."""

from __future__ import annotations

import re

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = ("shipment_lines", "picks", "purchase_order_lines", "basket_holds", "prices")


def upgrade() -> None:
    """Apply the change; PostgreSQL's sequences never give an id twice."""
    if op.get_bind().dialect.name == "sqlite":
        for table in _TABLES:
            _rebuild(table)


def _rebuild(table: str) -> None:
    """Make a table anew with AUTOINCREMENT, whatever columns it has by now.

    SQLite cannot alter a primary key in place. The ids begin after all that there ever were, those
    of rows that only the feed remembers among them.
    """
    run = op.get_bind().exec_driver_sql
    made = str(run("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).scalar_one())
    indexes = run(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
        (table,),
    ).all()
    # PRAGMA table_info leaves out computed columns, which fill themselves.
    kept = ", ".join(str(row.name) for row in run(f"PRAGMA table_info({table})"))
    for old, new in (
        # A table that was renamed before has its name in quotes.
        (rf'^CREATE TABLE "?{table}"?', f"CREATE TABLE new_{table}"),
        (r"\(\s*id INTEGER NOT NULL", "(id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"),
        (rf"CONSTRAINT pk_{table} PRIMARY KEY \(id\),", ""),
    ):
        made, changes = re.subn(old, new, made)
        if changes != 1:
            raise RuntimeError(f"{table} is not as it was made: {made}")
    run(made)
    run(f"INSERT INTO new_{table} ({kept}) SELECT {kept} FROM {table}")
    run(f"DROP TABLE {table}")
    run(f"ALTER TABLE new_{table} RENAME TO {table}")
    for row in indexes:
        run(str(row[0]))
    run("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
    run(
        "INSERT INTO sqlite_sequence (name, seq) SELECT ?, max("
        f"coalesce((SELECT max(id) FROM {table}), 0), coalesce((SELECT max(entity_id)"
        " FROM change_log WHERE entity = ?), 0))",
        (table, table),
    )
