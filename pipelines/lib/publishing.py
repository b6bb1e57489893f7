"""Copies the marts to a snapshot of their own and swaps it in atomically.

Readers open ``current.duckdb``, a symlink, by its real path: a run that publishes never disturbs
one who reads, and nobody ever opens the file that the pipeline writes.

A great history is not copied again for a few orders. Where the last snapshot shows all that the
build before this one left, a copy of its file gets the rows of the keys that this build touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from shutil import copyfile

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
    currency VARCHAR NOT NULL, timezone VARCHAR NOT NULL, build UUID
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


def publish(
    warehouse: Path,
    published: Path,
    facts: Facts,
    journal: Journal,
    increments: Mapping[str, tuple[str, str]] | None = None,
) -> Snapshot:
    """Copy schema ``marts`` of ``warehouse``, add schema ``meta``, and make it the current one.

    ``increments`` has the key of each mart of which a build changes only what a model touches, and
    the name of that (:func:`pipelines.lib.dbt.increments`).
    """
    published.mkdir(parents=True, exist_ok=True)
    for leftover in published.glob(".*.tmp*"):
        leftover.unlink()
    path = published / f"warehouse-{facts.run_id}.duckdb"
    aside = published / f".{path.name}.tmp"
    last = published / "current.duckdb"
    rows = _copy(warehouse, aside, facts, journal, last.resolve(), increments or {})
    sync_file(aside)
    aside.replace(path)
    sync_folder(published)
    reach("publish.before_swap")
    _swap(published, path)
    reach("publish.after_swap")
    _prune(published, path)
    return Snapshot(path, rows, path.stat().st_size)


def _copy(
    warehouse: Path,
    aside: Path,
    facts: Facts,
    journal: Journal,
    last: Path,
    increments: Mapping[str, tuple[str, str]],
) -> int:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY)")
        follows = bool(increments) and _follows(connection, last, facts.business_date)
        if follows:
            copyfile(last, aside)
        connection.execute(f"ATTACH '{aside}' AS snapshot")
        if follows:
            connection.execute("DROP SCHEMA snapshot.meta CASCADE")
        connection.execute("CREATE SCHEMA IF NOT EXISTS snapshot.marts")
        marts = _columns(connection, "warehouse")
        before = _columns(connection, "snapshot")
        for table in before.keys() - marts.keys():
            connection.execute(f'DROP TABLE snapshot.marts."{table}"')
        rows = 0
        for table, columns in marts.items():
            rows += _bring(
                connection, table, increments.get(table) if before.get(table) == columns else None
            )
        connection.execute(_META)
        moments = (facts.published_at, facts.as_of, facts.business_date)
        connection.execute(
            "INSERT INTO snapshot.meta.snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                facts.run_id, facts.run_id, *moments, facts.cursor, facts.currency, facts.timezone,
                _build(connection)[0],
            ],
        )  # fmt: skip
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


def _build(connection: duckdb.DuckDBPyConnection) -> tuple[object, object]:
    """Return the warehouse's last build and the one before it; that is None if it made all anew."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'warehouse'"
        " AND schema_name = 'intermediate' AND table_name = 'builds'"
    ).fetchone()
    if not known or not known[0]:
        return None, None
    row = connection.execute(
        "SELECT id, CASE WHEN NOT is_full THEN before END FROM warehouse.intermediate.builds"
        " ORDER BY begun_at DESC LIMIT 1"
    ).fetchone()
    return row or (None, None)


def _follows(connection: duckdb.DuckDBPyConnection, last: Path, today: date) -> bool:
    """Tell whether the last snapshot shows the warehouse as the build before this one left it.

    The first of a day is made whole: what rows leave behind in a file is not given back to others.
    """
    before = _build(connection)[1]
    if before is None or not last.exists():
        return False
    try:
        connection.execute(f"ATTACH '{last}' AS last (READ_ONLY)")
        row = connection.execute("SELECT build, business_date FROM last.meta.snapshot").fetchone()
    except duckdb.Error:
        # It is of an older release, or damaged.
        return False
    finally:
        connection.execute("DETACH DATABASE IF EXISTS last")
    return row == (before, today)


def _columns(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, list[object]]:
    """Return the marts of a database, each with its columns and their types."""
    return dict(
        connection.execute(
            "SELECT table_name, list(struct_pack(column_name, data_type) ORDER BY column_index)"
            " FROM duckdb_columns() WHERE database_name = $database AND schema_name = 'marts'"
            " GROUP BY table_name ORDER BY table_name",
            {"database": database},
        ).fetchall()
    )


def _bring(
    connection: duckdb.DuckDBPyConnection, table: str, increment: tuple[str, str] | None
) -> int:
    """Make a mart of the snapshot what it is in the warehouse; return its rows."""
    mine, theirs = f'snapshot.marts."{table}"', f'warehouse.marts."{table}"'
    if increment is not None:
        key, touched = increment
        those = f"WHERE {key} IN (SELECT {key} FROM warehouse.intermediate.{touched})"
        connection.execute(f"DELETE FROM {mine} {those}")
        connection.execute(f"INSERT INTO {mine} BY NAME FROM {theirs} {those}")
        have, want = (_count(connection, name) for name in (mine, theirs))
        if have == want:
            return have
    # It was made anew, or is not made by increments.
    connection.execute(f"CREATE OR REPLACE TABLE {mine} AS FROM {theirs}")
    return _count(connection, mine)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


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
