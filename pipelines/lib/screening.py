"""What a landed change must be by itself, to be of use to the warehouse; and which ones are not.

A row-level rule is SQL over a change. The same rules count, for the suite that the batch is held to
(:data:`pipelines.lib.suites.LANDED`), and pick out, for the quarantine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb

from oms_ops.feed.entities import ENTITIES

if TYPE_CHECKING:
    import pandas as pd

#: What names a change: epoch and number.
Identity: TypeAlias = tuple[int, int]

#: So many changes of a file may be set aside without a question, ...
FEW = 10

#: ... or this share of them, where that is more. Beyond it the file is what is wrong, not a row.
SHARE = 0.01

#: Changes that are looked at together, with their payloads in memory.
_AT_ONCE = 2_000_000

_NAMES = ", ".join(f"'{name}'" for name in ENTITIES)


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that is true of a bad change, and what to say of it."""

    column: str
    reason: str
    condition: str


RULES = (
    Rule("unknown_entity", "unknown table", f"coalesce(entity NOT IN ({_NAMES}), true)"),
    Rule("unknown_op", "unknown operation", "coalesce(op NOT IN ('I', 'U', 'D'), true)"),
    Rule("without_id", "no id", "entity_id IS NULL"),
    Rule("without_moment", "no moment", "occurred_at IS NULL"),
    Rule(
        "not_json",
        "payload is no JSON object",
        "NOT coalesce(json_valid(payload) AND starts_with(ltrim(payload), '{'), false)",
    ),
    Rule("bad_version", "version below 1", "coalesce(version, 0) < 1"),
    # Copies that are alike are harmless: readers take one of them. Of others nobody knows the true.
    Rule("contradicted", "two changes with one number", "coalesce(differ, false)"),
)

_CHANGES = """
WITH landed AS (
    SELECT * FROM read_parquet($files, filename = true)
    WHERE {which}
),
several AS (
    SELECT epoch, seq, count(*) - 1 AS copies,
        min(hash(entity, entity_id, op, version, payload))
            <> max(hash(entity, entity_id, op, version, payload)) AS differ
    FROM landed GROUP BY epoch, seq HAVING count(*) > 1
),
changes AS (SELECT landed.*, several.differ FROM landed LEFT JOIN several USING (epoch, seq))
"""

_COUNTS = (
    _CHANGES
    + """,
counted AS (
    SELECT filename, entity, op, count(*) AS changes, {counts},
        count(*) FILTER (WHERE {bad}) AS set_aside
    FROM changes GROUP BY filename, entity, op
)
SELECT * EXCLUDE (filename),
    (SELECT coalesce(sum(copies), 0) FROM several) AS repeated,
    CASE WHEN sum(set_aside) OVER file > greatest($few, $share * sum(changes) OVER file)
        THEN sum(set_aside) OVER file ELSE 0 END AS beyond_the_limit
FROM counted WINDOW file AS (PARTITION BY filename)
"""
)

_FAULTS = (
    _CHANGES
    + """
SELECT epoch, xid, seq, parse_filename(filename) AS file, entity, entity_id, op,
    concat_ws(', ', {reasons}) AS reason
FROM changes WHERE {bad} ORDER BY epoch, xid, seq
"""
)


def counts(files: Sequence[Path], besides: Collection[Identity] = ()) -> pd.DataFrame:
    """Return one row a file, entity and operation: how many changes break which rule.

    A million payloads as Python objects would take seconds. ``besides`` are left out of it.
    ``repeated`` is that of the files which were looked at together.
    """
    import pandas as pd

    columns = ", ".join(f"count(*) FILTER (WHERE {r.condition}) AS {r.column}" for r in RULES)
    query = _COUNTS.format(which=_not_among(besides), counts=columns, bad=_BAD)
    limits = {"few": FEW, "share": SHARE}
    with duckdb.connect() as connection:
        found = [
            connection.sql(query, params={"files": names, **limits}).df()
            for names in _batches(connection, files)
        ]
    return pd.concat(found, ignore_index=True)


def faults(
    files: Sequence[Path],
    *,
    besides: Collection[Identity] = (),
    only: Collection[Identity] | None = None,
) -> list[Mapping[str, Any]]:
    """Return the changes that break a rule: their place, file, row, operation and reason.

    ``only`` looks at no others than these, and costs little.
    """
    if not files or (only is not None and not only):
        return []
    which = _not_among(besides) if only is None else _among(only)
    reasons = ", ".join(f"CASE WHEN {r.condition} THEN '{r.reason}' END" for r in RULES)
    query = _FAULTS.format(which=which, reasons=reasons, bad=_BAD)
    faults: list[Mapping[str, Any]] = []
    with duckdb.connect() as connection:
        for names in _batches(connection, files):
            found = connection.sql(query, params={"files": names})
            columns = found.columns
            faults += [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return faults


_BAD = "(" + " OR ".join(rule.condition for rule in RULES) + ")"


def _batches(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> Iterator[list[str]]:
    """Yield the names of files that are looked at together: a first load at once would not fit.

    Two files of one batch or of two hold different changes: their names say so, and the chain of
    the lake is checked.
    """
    sizes = dict(
        connection.execute(
            "SELECT file_name, num_rows FROM parquet_file_metadata(?)",
            [[str(file) for file in files]],
        ).fetchall()
    )
    names: list[str] = []
    rows = 0
    for file in map(str, files):
        if names and rows + sizes[file] > _AT_ONCE:
            yield names
            names, rows = [], 0
        names.append(file)
        rows += sizes[file]
    if names:
        yield names


def _among(identities: Collection[Identity]) -> str:
    pairs = ", ".join(f"({int(epoch)}, {int(seq)})" for epoch, seq in identities)
    return f"(epoch, seq) IN ({pairs})"


def _not_among(identities: Collection[Identity]) -> str:
    return f"NOT {_among(identities)}" if identities else "true"
