"""The rows of an entity as they are now, in the form in which the triggers log them.

With them a reader can begin anew where the log no longer goes back to the start: what has changed
since the log was pruned is in the log, and every other row is as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.feed.reader import Cursor, after_sql
from oms_ops.feed.triggers import columns_of, payload_sql

#: Rows that are in memory at a time.
_PIECE = 20_000


def unlogged(connection: Connection, entity: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of ``entity`` that the log has no change of: (id, version, payload, by).

    ``payload`` is JSON text. The connection must see one snapshot for as long as this lasts.
    """
    columns = columns_of(connection, entity)
    version = "coalesce(t.version, 1)" if "version" in columns else "1"
    result = connection.exec_driver_sql(
        f"SELECT t.id, {version}, {_payload(connection, entity, columns)}, t.changed_by"
        f" FROM {entity} AS t WHERE NOT EXISTS (SELECT 1 FROM change_log AS c"
        f" WHERE c.entity = '{entity}' AND c.entity_id = t.id) ORDER BY t.id",
        execution_options={"stream_results": True},
    )
    for rows in result.partitions(_PIECE):
        yield [tuple(row) for row in rows]


def _payload(connection: Connection, entity: str, columns: list[str]) -> str:
    if connection.dialect.name == "sqlite":
        pairs = ", ".join(f"'{column}', t.{column}" for column in columns)
        return f"json_object({pairs})"
    return f"{payload_sql(entity, 't')}::text"


def undecided(connection: Connection, cursor: Cursor) -> bool:
    """Tell whether a row that the log knows only after ``cursor`` was there before.

    Such a row was changed behind a transaction that is still open: neither its state at ``cursor``
    is known, nor is the newer one to be read yet.
    """
    ahead = after_sql(connection.dialect.name, cursor)
    found = connection.exec_driver_sql(
        f"SELECT 1 FROM change_log AS c WHERE {ahead} AND c.op <> 'I' AND NOT EXISTS ("
        "SELECT 1 FROM change_log AS p WHERE p.entity = c.entity AND p.entity_id = c.entity_id"
        " AND (p.epoch, p.seq) < (c.epoch, c.seq)) LIMIT 1"
    )
    return found.first() is not None
