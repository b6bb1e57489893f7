"""Copies a range of SQLite's change log to Parquet by DuckDB's scanner, as a process of its own.

Why its own process: see :func:`pipelines.lib.landing._scan_in_child`. The extension comes signed in
a wheel of DuckDB's release and is loaded from that file, so nothing is downloaded.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb

from oms_ops.feed.reader import COLUMNS

_TYPES = {
    "epoch": "INTEGER",
    "xid": "BIGINT",
    "seq": "BIGINT",
    "entity_id": "BIGINT",
    "version": "INTEGER",
    "occurred_at": "TIMESTAMPTZ",
}


def extension(name: str) -> Path:
    """Return the file of a DuckDB extension that was installed as a wheel."""
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"install duckdb-extension-{name.replace('_', '-')}")
    return next(Path(spec.origin).parent.rglob("*.duckdb_extension"))


def copy(database: str, first: int, last: int, path: str) -> int:
    """Write the changes numbered ``first`` to ``last`` to ``path``; return how many there are."""
    # A moment that is none must not keep the others from landing.
    casts = {name: "TRY_CAST" if name == "occurred_at" else "CAST" for name in COLUMNS}
    columns = ", ".join(
        f"{casts[name]}(c.{name} AS {_TYPES.get(name, 'VARCHAR')}) AS {name}" for name in COLUMNS
    )
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension('sqlite_scanner')}'")
        connection.execute(f"ATTACH '{database}' AS oms (TYPE sqlite, READ_ONLY)")
        connection.execute("USE oms")
        copied = connection.execute(
            f"COPY (SELECT {columns} FROM change_log AS c"
            f" WHERE c.seq BETWEEN {int(first)} AND {int(last)}"
            f" ORDER BY entity, epoch, xid, seq) TO '{path}'"
            " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)"
        ).fetchone()
    return int(copied[0]) if copied else 0


if __name__ == "__main__":
    sys.stdout.write(str(copy(*json.loads(sys.argv[1]))))
