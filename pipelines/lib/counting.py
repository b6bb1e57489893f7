"""Keeps the operational totals by parts, so that a landing sums again only what was touched.

A part is a range of ids. What a change may touch is asked of the log, what it is now of the tables:
a part that was touched is summed from them anew. So the totals stay those of the tables, and do not
lean on what the triggers wrote into the payloads.

What is changed behind the triggers is in no log. Therefore everything is summed once a day, and
always while that is little; then the reconciliation finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.feed.reader import Cursor, after_sql
from pipelines.lib import ledger, past
from pipelines.lib.files import replace_text
from pipelines.lib.ledger import CLAUSES, Clause, States

#: Ids in a part: few enough that PostgreSQL looks their orders up instead of reading all of them.
PART = 4_096

#: With fewer parts than this, all are summed each time.
FEW = 100

_WHOLE_EVERY = timedelta(days=1)
_FILE = "counted.json"

#: The sums of a clause, by part, in the order of its measures.
Parts = dict[int, list[int]]


@dataclass(frozen=True, slots=True)
class Count:
    """Every sum at ``cursor`` of the lake that ``past`` numbers; ``whole_at``: last all summed."""

    cursor: Cursor
    past: int
    rules: str
    whole_at: datetime
    parts: dict[str, Parts]

    def totals(self) -> dict[str, int]:
        """Return every total."""
        return {
            name: sum(sums[at] for sums in self.parts[clause.table].values())
            for clause in CLAUSES
            for at, name in enumerate(clause.measures)
        }

    def save(self, folder: Path) -> None:
        """Keep the count beside the lake's files."""
        content = {
            "cursor": str(self.cursor),
            "past": self.past,
            "rules": self.rules,
            "whole_at": self.whole_at.isoformat(),
            "parts": self.parts,
        }
        replace_text(folder / _FILE, json.dumps(content))

    @classmethod
    def load(cls, folder: Path) -> Count | None:
        """Return the count that the last landing saved, None where there is none."""
        path = folder / _FILE
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {
            table: {int(part): sums for part, sums in found.items()}
            for table, found in content["parts"].items()
        }
        return cls(
            Cursor.parse(content["cursor"]),
            content["past"],
            content["rules"],
            datetime.fromisoformat(content["whole_at"]),
            parts,
        )


def count(
    connection: Connection,
    folder: Path,
    before: Cursor,
    cursor: Cursor,
    states: States,
) -> Count:
    """Return the sums at ``cursor``, which the snapshot of ``connection`` must have reached.

    ``before`` is where the lake in ``folder`` ended before this landing.
    """
    kept = Count.load(folder)
    now, number = clock.now(), past.number(folder)
    shadows = ledger.shadows(connection, cursor, states)
    if (
        kept is None
        or (kept.cursor, kept.past, kept.rules) != (before, number, _RULES)
        or now - kept.whole_at >= _WHOLE_EVERY
        or sum(map(len, kept.parts.values())) < FEW
    ):
        whole = {clause.table: _all(connection, clause, shadows) for clause in CLAUSES}
        return Count(cursor, number, _RULES, now, whole)
    touched = _touched(connection, before)
    parts = {
        clause.table: _again(
            connection, clause, shadows, kept.parts[clause.table], touched[clause.table]
        )
        for clause in CLAUSES
    }
    return Count(cursor, number, _RULES, kept.whole_at, parts)


#: Sums that were made by other rules are not kept.
_RULES = sha256(f"{PART} {CLAUSES}".encode()).hexdigest()[:16]


def _again(
    connection: Connection, clause: Clause, shadows: str, kept: Parts, touched: set[int] | None
) -> Parts:
    """Return the sums with the touched parts summed anew; None: any may be touched."""
    if touched is None or len(touched) * 2 > len(kept) + 2:
        return _all(connection, clause, shadows)
    left = {part: sums for part, sums in kept.items() if part not in touched}
    return left | _parts(connection, clause, shadows, sorted(touched))


def _all(connection: Connection, clause: Clause, shadows: str) -> Parts:
    if connection.dialect.name == "sqlite":
        # One by one, as the rows lie: to group them SQLite would sort them.
        return _parts(connection, clause, shadows, _there(connection, clause.table))
    # The planner takes every row for a part of its own and would sort them all; and what it would
    # do at a time takes the cores from the copying of the log and from the shop.
    for setting in ("enable_sort = off", "jit = off", "max_parallel_workers_per_gather = 0"):
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    rows = ledger.select(connection, clause, shadows, by=f"{clause.key} / {PART}")
    return {int(part): _integers(sums) for part, *sums in rows}


def _parts(connection: Connection, clause: Clause, shadows: str, parts: Iterable[int]) -> Parts:
    found: dict[int, tuple[Any, ...]] = {
        part: ledger.select(connection, clause, shadows, _within(clause, part))[0] for part in parts
    }
    return {part: _integers(sums) for part, sums in found.items()}


def _integers(sums: Iterable[Any]) -> list[int]:
    return [int(value or 0) for value in sums]


def _within(clause: Clause, part: int) -> str:
    return f"{clause.key} >= {part * PART} AND {clause.key} < {(part + 1) * PART}"


def _there(connection: Connection, table: str) -> Iterator[int]:
    """Yield the parts that have rows."""
    part = -1
    while True:
        least: int | None = connection.exec_driver_sql(
            f"SELECT min(id) FROM {table} WHERE id >= {(part + 1) * PART}"
        ).scalar_one()
        if least is None:
            return
        part = least // PART
        yield part


def _touched(connection: Connection, before: Cursor) -> dict[str, set[int] | None]:
    """Return the parts of each clause that changes after ``before`` may touch; None: any."""
    # Without DISTINCT: for that SQLite would read the whole index of the log's rows.
    changed = (
        "WITH changed AS MATERIALIZED (SELECT c.entity, c.entity_id, c.op FROM change_log AS c"
        f" WHERE {after_sql(connection.dialect.name, before)})"
    )
    kinds = [
        tuple(row)
        for row in connection.exec_driver_sql(f"{changed} SELECT DISTINCT entity, op FROM changed")
    ]
    # Where a joined row is gone, its way to what it touched is gone, too.
    gone = {entity for entity, op in kinds if op == "D"}
    not_new = {entity for entity, op in kinds if op != "I"}
    queries = " UNION ALL ".join(
        f"SELECT DISTINCT '{clause.table}', id / {PART} FROM ({_ids(clause)}) AS t"
        for clause in CLAUSES
    )
    parts: dict[str, set[int]] = {clause.table: set() for clause in CLAUSES}
    for row in connection.exec_driver_sql(f"{changed} {queries}"):
        parts[row[0]].add(row[1])
    any_of = [c.table for c in CLAUSES if gone & c.joined.keys() or not_new & {*c.wide}]
    return {**parts, **dict.fromkeys(any_of)}


def _ids(clause: Clause) -> str:
    ids = "SELECT entity_id{name} FROM changed WHERE entity = '{table}'"
    return " UNION ALL ".join(
        [
            ids.format(name=" AS id", table=clause.table),
            *(
                f"{statement} IN ({ids.format(name='', table=table)})"
                for table, statement in clause.joined.items()
            ),
        ]
    )
