"""The whole history of an order: who changed what of it, when, and what it was before.

The feed's triggers wrote it down, whoever the writer was: services, bulk statements, plain SQL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_READ, Actor
from oms_ops.database import Base, UtcDateTime, execute, read_time
from oms_ops.feed.entities import SECRET_COLUMNS
from oms_ops.feed.triggers import LOST, shipment_of
from oms_ops.money import to_text
from oms_ops.orders import queries

#: What callers call the rows of a table.
_NAMES = {
    "orders": "order",
    "order_lines": "line",
    "shipments": "shipment",
    "shipment_lines": "shipment_line",
    "picks": "pick",
    "parcels": "parcel",
    "shipment_labels": "label",
    "payments": "payment",
    "refunds": "refund",
    "returns": "return",
    "return_lines": "return_line",
    "discount_uses": "discount_use",
    "tickets": "ticket",
    "feedback": "feedback",
}
_OPERATIONS = {"I": "created", "U": "changed", "D": "deleted"}
#: Told of every entry, or the same in all of them.
_LEFT_OUT = frozenset({"id", "version", "changed_by", "changed_at", "order_id"})

#: The plus keeps SQLite from comparing by the column's affinity, which its index has not.
_ROWS = """
    SELECT 'orders' AS entity, CAST(:id AS bigint) AS entity_id
    UNION ALL SELECT 'order_lines', id FROM order_lines WHERE order_id = :id
    UNION ALL SELECT 'shipments', id FROM shipments WHERE order_id = :id
    UNION ALL SELECT 'shipment_lines', x.id FROM shipment_lines AS x
        JOIN shipments AS s ON s.id = x.shipment_id WHERE s.order_id = :id
    UNION ALL SELECT 'picks', x.id FROM picks AS x
        JOIN shipments AS s ON s.id = x.shipment_id WHERE s.order_id = :id
    UNION ALL SELECT entity, entity_id FROM change_log {hint}
        WHERE {lost} AND {shipment} IN (SELECT +id FROM shipments WHERE order_id = :id)
    UNION ALL SELECT 'parcels', x.id FROM parcels AS x
        JOIN shipments AS s ON s.id = x.shipment_id WHERE s.order_id = :id
    UNION ALL SELECT 'shipment_labels', x.id FROM shipment_labels AS x
        JOIN shipments AS s ON s.id = x.shipment_id WHERE s.order_id = :id
    UNION ALL SELECT 'payments', id FROM payments WHERE order_id = :id
    UNION ALL SELECT 'refunds', id FROM refunds WHERE order_id = :id
    UNION ALL SELECT 'returns', id FROM returns WHERE order_id = :id
    UNION ALL SELECT 'return_lines', l.id FROM return_lines AS l
        JOIN returns AS r ON r.id = l.return_id WHERE r.order_id = :id
    UNION ALL SELECT 'discount_uses', id FROM discount_uses WHERE order_id = :id
    UNION ALL SELECT 'tickets', id FROM tickets WHERE order_id = :id
    UNION ALL SELECT 'feedback', id FROM feedback WHERE order_id = :id
"""


def history(
    connection: Connection, actor: Actor, number: str, *, after: int = 0, limit: int = 100
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of changes of an order and all that belongs to it, the oldest first.

    With it comes the cursor of the next page, None at the end; ``after`` is a cursor from an
    earlier page. An entry has ``at``, ``by``, ``entity``, ``id``, ``number`` or ``line_no`` where
    there is one, ``operation`` (created, changed, deleted), and ``changes``: per column what it was
    ``before`` and is ``after``. Money is decimal text of the order's currency. A change that made
    no difference (a row written as it was) is left out, so a page may be shorter than ``limit``.

    Raises:
        NotFound: there is no such order.
    """
    order_id = queries.named(connection, actor, ORDERS_READ, number)
    currency = execute(
        connection, "SELECT currency FROM orders WHERE id = :id", {"id": order_id}
    ).fetchone()[0]
    dialect = connection.dialect.name
    # Left to itself, SQLite walks through every change of any shipment's lines and picks.
    hint = "INDEXED BY ix_change_log_lost" if dialect == "sqlite" else ""
    rows = execute(
        connection,
        f"WITH own AS ({_ROWS.format(lost=LOST, shipment=shipment_of(dialect), hint=hint)}),"
        " changes AS (SELECT c.seq, c.entity, c.entity_id, c.op, c.payload, c.changed_by,"
        "  c.occurred_at, lag(c.payload) OVER ("
        "   PARTITION BY c.entity, c.entity_id ORDER BY c.epoch, c.seq) AS was"
        # A row that was deleted may have left its id to a later one.
        "  FROM (SELECT DISTINCT entity, entity_id FROM own) AS o JOIN change_log AS c"
        "  ON c.entity = o.entity AND c.entity_id = o.entity_id"
        # SQLite gave the ids of deleted lines twice once: to whose shipment they belong counts.
        f"  WHERE c.entity <> 'shipment_lines' OR {shipment_of(dialect, 'c')}"
        "  IN (SELECT id FROM shipments WHERE order_id = :id))"
        " SELECT * FROM changes WHERE seq > :after ORDER BY seq LIMIT :limit",
        {"id": order_id, "after": after, "limit": limit + 1},
    ).fetchall()
    page = [_entry(row, currency) for row in rows[:limit]]
    cursor = rows[limit - 1][0] if len(rows) > limit else None
    return [entry for entry in page if entry["changes"]], cursor


def _entry(row: Any, currency: str) -> dict[str, Any]:
    seq, entity, entity_id, op, payload, by, at, was = row
    now = _columns(entity, payload)
    before = now if op == "D" else {} if op == "I" else _columns(entity, was)
    moment = read_time(at)
    return {
        "seq": seq,
        "at": moment.isoformat() if moment else None,
        "by": by,
        "entity": _NAMES[entity],
        "id": entity_id,
        **{name: now[name] for name in ("number", "line_no") if name in now},
        "operation": _OPERATIONS[op],
        "changes": _differences(entity, before, {} if op == "D" else now, currency),
    }


def _columns(entity: str, payload: Any) -> dict[str, Any]:
    columns = json.loads(payload) if isinstance(payload, str) else payload or {}
    secret = SECRET_COLUMNS.get(entity, frozenset())
    return {name: value for name, value in columns.items() if name not in secret}


def _differences(
    entity: str, before: Mapping[str, Any], after: Mapping[str, Any], currency: str
) -> dict[str, dict[str, Any]]:
    differences = {}
    # A room above registers its tables when somebody imports them.
    table = Base.metadata.tables.get(entity)
    for name in after or before:
        if name in _LEFT_OUT:
            continue
        label, was = _shown(table, name, before.get(name), currency)
        _, now = _shown(table, name, after.get(name), currency)
        if was != now:
            differences[label] = {"before": was, "after": now}
    return differences


def _shown(table: sa.Table | None, name: str, value: Any, currency: str) -> tuple[str, Any]:
    """Return a column's label and value, the same whichever database wrote it down."""
    label = name.removesuffix("_minor")
    column = None if table is None else table.columns.get(name)
    if value is None:
        return label, value
    if label != name:
        return label, to_text(value, currency)
    if column is None:
        return label, value
    if isinstance(column.type, sa.Boolean):
        return label, bool(value)
    if isinstance(column.type, UtcDateTime):
        moment = read_time(value)
        return label, moment.isoformat() if moment else None
    if isinstance(column.type, sa.JSON) and isinstance(value, str):
        return label, json.loads(value)
    return label, value
