"""Reads what has piled up, such as all of a first load, by DuckDB's scanners.

They take a third of what Python takes for the rows of a driver. They work in a process of their
own: DuckDB brings its own SQLite library, and SQLite's file locks belong to the process, so that
the second library's close would drop the locks of connections that this process has open on the
file. And the memory goes back to the system when it ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import Connection, Engine

from oms_ops.feed.reader import COLUMNS, Cursor, ahead, between_sql, newest
from pipelines.lib import lake
from pipelines.lib.parquet import ROW_GROUP

#: The changes after a place, up to another.
Range: TypeAlias = tuple[Cursor, Cursor]


def waits(connection: Connection, cursor: Cursor, least: int) -> bool:
    """Tell whether more than ``least`` changes can be read after ``cursor``.

    With fewer of them the scanners would take longer to start.
    """
    end = newest(connection)
    return cursor < end and ahead(connection, cursor, least) != end


def ranges(connection: Connection, cursor: Cursor, batch: int) -> Iterator[Range]:
    """Yield all that can be read after ``cursor`` in ranges of ``batch`` changes at most."""
    end = newest(connection)
    while cursor < end:
        upto = ahead(connection, cursor, batch)
        yield cursor, upto
        cursor = upto


@contextmanager
def copied(
    engine: Engine, folder: Path, wanted: Iterable[Range]
) -> Iterator[tuple[list[Range], Iterator[int]]]:
    """Have each range copied to where :func:`pipelines.lib.lake.write` wants it.

    The block gets the ranges, and the numbers of their rows, each when its file is complete. The
    process is begun before the ranges are asked for: they are found while it starts.
    """
    dialect = engine.dialect.name
    head = {
        "kind": "sqlite" if dialect == "sqlite" else "postgres",
        "place": _place(engine),
        "columns": COLUMNS,
        "row_group": ROW_GROUP,
    }
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.lib.scan"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdin is not None  # noqa: S101 - for the type checker
        assert child.stdout is not None  # noqa: S101

        def counts() -> Iterator[int]:
            for line in child.stdout or ():
                yield int(line)
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            raise RuntimeError(f"the scan of the change log failed: {said[-2000:]}")

        def tell(line: Any) -> None:
            # A scan that has ended says why when it is asked for its counts.
            with suppress(BrokenPipeError):
                print(json.dumps(line), file=child.stdin, flush=True)

        try:
            # Not as an argument: the place may have a password in it.
            tell(head)
            found: list[Range] = []
            for one in wanted:
                tell([between_sql(dialect, *one), str(lake.aside(folder, *one).resolve())])
                found.append(one)
            tell(None)
            yield found, counts()
        finally:
            child.kill()
            child.communicate()


def _place(engine: Engine) -> str:
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    plain = engine.url.set(drivername="postgresql")
    return make_conninfo(plain.render_as_string(hide_password=False))
