"""What SQLite cannot do in place: change the constraints of a table that has rows."""

from __future__ import annotations

from typing import Any

from alembic import op


def rebuild(table: str, *parts: Any) -> None:
    """Make a table anew from its columns and constraints, with its rows and indexes."""
    run = op.get_bind().exec_driver_sql
    indexes = run(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
        (table,),
    ).all()
    # PRAGMA table_info leaves out computed columns, which fill themselves.
    kept = ", ".join(str(row.name) for row in run(f"PRAGMA table_info({table})"))
    op.create_table(f"new_{table}", *parts)
    run(f"INSERT INTO new_{table} ({kept}) SELECT {kept} FROM {table}")
    run(f"DROP TABLE {table}")
    run(f"ALTER TABLE new_{table} RENAME TO {table}")
    for row in indexes:
        run(str(row[0]))
