"""What a reader of the change log makes of it: every table again, row by row."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.database import reading
from oms_ops.feed import reader
from oms_ops.feed.entities import ENTITIES, SECRET_COLUMNS

Rows = dict[int, dict[str, Any]]


class Replica:
    """Tables that are filled by the feed alone.

    Changes come in commit order, in which an older transaction's change of a row may precede one
    that it followed: of one row, ``seq`` tells which is the newest.
    """

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {entity: {} for entity in ENTITIES}
        self.cursor = reader.START
        self._history: dict[tuple[str, int], list[tuple[int, str, int]]] = defaultdict(list)

    def catch_up(self, engine: Engine) -> None:
        """Apply every change since the last time."""
        while True:
            with reading(engine) as connection:
                changes = reader.read(connection, self.cursor, 10_000)
            if not changes:
                return
            for epoch, xid, seq, entity, entity_id, op, version, payload, _, _ in changes:
                rows, history = self.tables[entity], self._history[entity, entity_id]
                if not history or seq > max(history)[0]:
                    rows.pop(entity_id, None)
                    if op != "D":
                        rows[entity_id] = json.loads(payload)
                history.append((seq, op, version))
                self.cursor = reader.Cursor(epoch, xid, seq)

    def gaps(self) -> list[Any]:
        """Return the rows of which a change is missing: one is made once, each change counts."""
        found = []
        for row, history in self._history.items():
            changes = sorted(history)
            ops = "".join(op for _, op, _ in changes)
            steps = {b[2] - a[2] for a, b in pairwise(changes) if b[1] == "U"}
            # SQLite gives the id of a deleted row to the next one.
            if not re.fullmatch("(IU*D)*(IU*)?", ops) or not steps <= {0, 1}:
                found.append((row, changes))
        return found

    def differences(self, engine: Engine) -> dict[str, Any]:
        """Return by table what the database holds and the replica does not, or otherwise."""
        for _ in range(50):
            self.catch_up(engine)
            with reading(engine) as connection:
                found = {e: self._differs(e, table(connection, e)) for e in ENTITIES}
            found = {entity: rows for entity, rows in found.items() if rows}
            # PostgreSQL hands out changes below its oldest transaction: that may be a vacuum's.
            if not found:
                break
            time.sleep(0.02)
        return found

    def _differs(self, entity: str, rows: Rows) -> list[Any]:
        own = self.tables[entity]
        return [
            (key, own.get(key), rows.get(key))
            for key in sorted(own.keys() | rows.keys())
            if own.get(key) != rows.get(key)
        ]


def table(connection: Connection, entity: str) -> Rows:
    """Return a table's rows by id, written as the feed writes them."""
    secret = SECRET_COLUMNS.get(entity, frozenset())
    if connection.dialect.name == "sqlite":
        columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({entity})").mappings()
        pairs = ", ".join(f"'{c['name']}', {c['name']}" for c in columns if c["name"] not in secret)
        row = f"json_object({pairs})"
    else:
        connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
        row = "CAST(to_jsonb(t) AS text)"
    found = connection.exec_driver_sql(f"SELECT id, {row} FROM {entity} AS t")
    rows = {row[0]: json.loads(row[1]) for row in found}
    return {k: {n: v for n, v in r.items() if n not in secret} for k, r in rows.items()}
