"""Copies ranges of the change log to files of the lake by DuckDB's scanners, in its own process.

The extensions come signed in wheels of DuckDB's release and are loaded from those files, so nothing
is downloaded. Its own process: see :mod:`pipelines.lib.backlog`, which speaks to it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

_TYPES = {
    "epoch": "INTEGER",
    "xid": "BIGINT",
    "seq": "BIGINT",
    "entity_id": "BIGINT",
    "version": "INTEGER",
    "occurred_at": "TIMESTAMPTZ",
}

#: Ranges that are copied at a time. PostgreSQL answers each on a core of its own; beside SQLite's
#: one the totals are summed.
_AT_ONCE = {"sqlite": 1, "postgres": 2}


def extension(name: str) -> Path:
    """Return the file of a DuckDB extension that was installed as a wheel."""
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"install duckdb-extension-{name.replace('_', '-')}")
    return next(Path(spec.origin).parent.rglob("*.duckdb_extension"))


def main() -> None:
    """Read from standard input where the log is, then what to copy where, a line each; then null.

    Prints each file's rows, in order, when it is written. Whoever waits for them keeps standard
    input open: when it closes, nobody does any more.
    """
    head = _told()
    kind, layout = head["kind"], _layout(head["columns"], head["row_group"])
    # A thread of ours for each range is what works: DuckDB's own would wait for one another.
    with (
        duckdb.connect(config={"threads": 1}) as connection,
        ThreadPoolExecutor(_AT_ONCE[kind]) as pool,
    ):
        connection.execute(f"LOAD '{extension(kind + '_scanner')}'")
        connection.execute(f"ATTACH '{_quoted(head['place'])}' AS oms (TYPE {kind}, READ_ONLY)")

        def copy(task: tuple[str, str]) -> int:
            query, path = map(_quoted, task)
            scan = f"{kind}_query('oms', '{query}')"
            return _copy(connection, layout.format(scan=scan, path=path))

        # Each is begun as soon as it is read.
        counts = pool.map(copy, iter(_told, None))
        threading.Thread(target=_leave_when_alone, daemon=True).start()
        for rows in counts:
            print(rows, flush=True)


def _layout(columns: list[str], row_group: int) -> str:
    """Return the statement that writes what ``{scan}`` gives as a file of the lake."""
    # A moment that is none must not keep the others from landing.
    casts = {name: "TRY_CAST" if name == "occurred_at" else "CAST" for name in columns}
    selected = ", ".join(
        f"{casts[name]}({name} AS {_TYPES.get(name, 'VARCHAR')}) AS {name}" for name in columns
    )
    return (
        f"COPY (SELECT {selected} FROM {{scan}} ORDER BY entity, epoch, xid, seq) TO '{{path}}'"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group})"
    )


def _copy(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    """Carry out a COPY on a connection of its own; return how many rows it wrote."""
    with connection.cursor() as cursor:
        copied = cursor.execute(statement).fetchone()
    return int(copied[0]) if copied else 0


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _told() -> Any:
    """Return what the next line says."""
    if not (line := sys.stdin.readline()):
        os._exit(1)
    return json.loads(line)


def _leave_when_alone() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
