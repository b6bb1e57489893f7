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
    """Read the task from standard input; print each file's rows, in order, when it is written.

    Whoever waits for them keeps standard input open: when it closes, nobody does any more.
    """
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_when_alone, daemon=True).start()
    # A thread of ours for each range is what works: DuckDB's own would wait for one another.
    with (
        duckdb.connect(config={"threads": 1}) as connection,
        ThreadPoolExecutor(_AT_ONCE[task["kind"]]) as pool,
    ):
        connection.execute(f"LOAD '{extension(task['kind'] + '_scanner')}'")
        connection.execute(
            f"ATTACH '{_quoted(task['place'])}' AS oms (TYPE {task['kind']}, READ_ONLY)"
        )
        for rows in pool.map(lambda one: _copy(connection, task["kind"], *one), task["ranges"]):
            print(rows, flush=True)


def _copy(connection: duckdb.DuckDBPyConnection, kind: str, query: str, path: str) -> int:
    """Write what ``query`` gives as a file of the lake; return how many rows it has."""
    # A moment that is none must not keep the others from landing.
    casts = {name: "TRY_CAST" if name == "occurred_at" else "CAST" for name in COLUMNS}
    columns = ", ".join(
        f"{casts[name]}({name} AS {_TYPES.get(name, 'VARCHAR')}) AS {name}" for name in COLUMNS
    )
    with connection.cursor() as cursor:
        copied = cursor.execute(
            f"COPY (SELECT {columns} FROM {kind}_query('oms', '{_quoted(query)}')"
            f" ORDER BY entity, epoch, xid, seq) TO '{_quoted(path)}'"
            " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)"
        ).fetchone()
    return int(copied[0]) if copied else 0


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _leave_when_alone() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
