"""Rows per second from the change log to the lake, beside DuckDB's own scanner."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy.engine import Engine, make_url

from oms_ops.database import transaction
from pipelines.lib import landing
from tests.benchmarks import databases
from tests.benchmarks.report import NAMES, Figure, rate

#: Copies the log in a process of its own (see landing) and prints the seconds of the copy alone.
_SCAN = """
import json, sys, time
import duckdb
from pipelines.lib.scan import extension
name, place, after, target = json.loads(sys.argv[1])
with duckdb.connect() as connection:
    connection.execute(f"LOAD '{extension(name + '_scanner')}'")
    connection.execute(f"ATTACH '{place}' AS oms (TYPE {name}, READ_ONLY)")
    start = time.perf_counter()
    relation = "oms.change_log" if name == "sqlite" else "oms.public.change_log"
    rows = connection.execute(
        f"COPY (SELECT epoch, seq, entity, entity_id, op, version, payload, changed_by, occurred_at"
        f" FROM {relation} WHERE seq > {after}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
    ).fetchone()[0]
    print()
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - start}))
"""


def measure(engine: Engine, *, changes: int, increment: int) -> list[Figure]:
    """Land about ``changes`` changes, then ``increment`` more."""
    total = _grow(engine, changes)
    databases.analyse(engine)
    figures = []
    with tempfile.TemporaryDirectory(prefix="oms-bench-lake-") as name:
        folder = Path(name) / "lake" / "changes"
        for case, after in (("first load", 0), ("increment", total)):
            if after:
                _touch(engine, "order_lines", increment)
            start = time.perf_counter()
            landed = landing.land(engine, folder)
            took = time.perf_counter() - start
            rows, scan = _scan(engine, after, Path(name) / "scan.parquet")
            if landed.rows != rows:
                raise AssertionError(f"landed {landed.rows} of {rows} changes")
            figures.append(
                Figure(
                    "history",
                    f"Ingest, {NAMES[engine.dialect.name]}, {case} of {rows:,} rows",
                    f"{rate(rows / took)} rows/s",
                    f"scanner {rate(rows / scan)}",
                    [scan / took],
                    note=f"{took:.2f} s, scanner {scan:.2f} s",
                )
            )
    return figures


def _grow(engine: Engine, changes: int) -> int:
    """Let the rows live on, as orders do when they are fulfilled, until the log is long enough."""
    while (newest := last(engine)) < changes:
        for table in ("order_lines", "shipments", "orders"):
            _touch(engine, table, changes - newest)
            newest = last(engine)
    return newest


def _touch(engine: Engine, table: str, rows: int) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql(
            f"UPDATE {table} SET version = version + 1"
            f" WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT {max(0, int(rows))})"
        )


def last(engine: Engine) -> int:
    """Return the number of the newest change."""
    with transaction(engine) as connection:
        return int(connection.exec_driver_sql("SELECT max(seq) FROM change_log").scalar_one())


def _scan(engine: Engine, after: int, target: Path) -> tuple[int, float]:
    done = subprocess.run(
        scan(engine.url.render_as_string(hide_password=False), after, target),
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    # A slow copy draws its progress on the lines before.
    told = json.loads(done.stdout.splitlines()[-1])
    return int(told["rows"]), float(told["seconds"])


def scan(address: str, after: int, target: Path) -> list[str]:
    """Return the command that copies the changes after a number with DuckDB's own scanner.

    Its last line says how many rows it copied, in how many seconds.
    """
    url = make_url(address)
    if url.get_backend_name() == "sqlite":
        task = ["sqlite", str(url.database), after, str(target)]
    else:
        parts = {
            "host": url.host or url.query.get("host"),
            "port": url.port,
            "user": url.username,
            "password": url.password,
            "dbname": url.database,
        }
        place = " ".join(f"{name}={value}" for name, value in parts.items() if value)
        task = ["postgres", place, after, str(target)]
    return [sys.executable, "-c", _SCAN, json.dumps(task)]
