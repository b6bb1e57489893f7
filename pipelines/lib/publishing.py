"""Copies the marts to a snapshot of their own and swaps it in atomically.

Readers open ``current.duckdb``, a symlink, by its real path: a run that publishes never disturbs
one who reads, and nobody ever opens the file that the pipeline writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb

from pipelines.lib.failpoints import reach
from pipelines.lib.files import sync_file, sync_folder
from pipelines.lib.journal import Journal

#: Snapshots kept, the current one among them: a page that is open goes on with the one it opened.
KEEP = 5

_META = """
CREATE SCHEMA snapshot.meta;
CREATE TABLE snapshot.meta.snapshot (
    list_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, published_at TIMESTAMPTZ NOT NULL,
    as_of TIMESTAMPTZ NOT NULL, business_date DATE NOT NULL, cursor VARCHAR NOT NULL,
    currency VARCHAR NOT NULL, timezone VARCHAR NOT NULL
);
CREATE TABLE snapshot.meta.check_results (
    check_name VARCHAR NOT NULL, asset VARCHAR NOT NULL, severity VARCHAR NOT NULL,
    passed BOOLEAN NOT NULL, detail VARCHAR NOT NULL
);
CREATE TABLE snapshot.meta.stage_timings (
    stage VARCHAR NOT NULL, seconds DOUBLE NOT NULL, rows_read BIGINT NOT NULL,
    rows_written BIGINT NOT NULL, bytes BIGINT NOT NULL
);
CREATE TABLE snapshot.meta.quarantine (
    epoch INTEGER NOT NULL, seq BIGINT NOT NULL, entity VARCHAR, entity_id BIGINT, op VARCHAR,
    reason VARCHAR NOT NULL, decision VARCHAR NOT NULL, decided_by VARCHAR, file VARCHAR NOT NULL,
    found_at TIMESTAMPTZ NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """The one row of ``meta.snapshot``; ``as_of`` is the moment of the newest landed change."""

    run_id: str
    published_at: datetime
    as_of: datetime
    business_date: date
    cursor: str
    currency: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published file and the rows of all its marts."""

    path: Path
    rows: int
    bytes: int


def publish(warehouse: Path, published: Path, facts: Facts, journal: Journal) -> Snapshot:
    """Copy schema ``marts`` of ``warehouse``, add schema ``meta``, and make it the current one."""
    published.mkdir(parents=True, exist_ok=True)
    for leftover in published.glob(".*.tmp*"):
        leftover.unlink()
    path = published / f"warehouse-{facts.run_id}.duckdb"
    aside = published / f".{path.name}.tmp"
    rows = _copy(warehouse, aside, facts, journal)
    sync_file(aside)
    aside.replace(path)
    sync_folder(published)
    reach("publish.before_swap")
    _swap(published, path)
    reach("publish.after_swap")
    _prune(published, path)
    return Snapshot(path, rows, path.stat().st_size)


def _copy(warehouse: Path, aside: Path, facts: Facts, journal: Journal) -> int:
    rows = 0
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY)")
        connection.execute(f"ATTACH '{aside}' AS snapshot")
        connection.execute("CREATE SCHEMA snapshot.marts")
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_catalog = 'warehouse' AND table_schema = 'marts' ORDER BY table_name"
        ).fetchall()
        for (table,) in tables:
            copied = connection.execute(
                f'CREATE TABLE snapshot.marts."{table}" AS FROM warehouse.marts."{table}"'
            ).fetchone()
            rows += copied[0] if copied else 0
        connection.execute(_META)
        moments = (facts.published_at, facts.as_of, facts.business_date)
        connection.execute(
            "INSERT INTO snapshot.meta.snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [facts.run_id, facts.run_id, *moments, facts.cursor, facts.currency, facts.timezone],
        )
        _insert(
            connection,
            "check_results",
            [(c.name, c.asset, c.severity, c.passed, c.detail) for c in journal.checks],
        )
        _insert(
            connection,
            "stage_timings",
            [(s.name, s.seconds, s.rows_read, s.rows_written, s.bytes) for s in journal.stages],
        )
        _insert(
            connection,
            "quarantine",
            [
                (*e.identity, e.entity, e.entity_id, e.op, e.reason, e.decision, e.decided_by,
                 e.file, e.found_at)
                for e in journal.quarantine
            ],
        )  # fmt: skip
        connection.execute("DETACH snapshot")
    return rows


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        marks = ", ".join("?" for _ in rows[0])
        connection.executemany(f"INSERT INTO snapshot.meta.{table} VALUES ({marks})", rows)


def _swap(published: Path, path: Path) -> None:
    link = published / f".current.{os.getpid()}.tmp"
    link.symlink_to(path.name)
    link.replace(published / "current.duckdb")
    sync_folder(published)


def _prune(published: Path, current: Path) -> None:
    others = [path for path in published.glob("warehouse-*.duckdb") if path != current]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[KEEP - 1 :]:
        path.unlink(missing_ok=True)
