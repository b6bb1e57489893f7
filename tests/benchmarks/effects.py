"""All sides must leave the same rows, or they were not the same work.

Before a run each side places the same orders and their rows are compared, column by column; after
it the feed is counted, order by order.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.database import execute, reading
from tests.benchmarks import databases
from tests.benchmarks.clients import Place

#: What belongs to an order, by table.
_OF_ORDER = {
    "orders": "id = :order",
    "order_lines": "order_id = :order",
    "shipments": "order_id = :order",
    "shipment_lines": "shipment_id IN (SELECT id FROM shipments WHERE order_id = :order)",
    "payments": "order_id = :order",
    "outbox_messages": "CAST(payload AS text) LIKE :like",
    "idempotency_keys": "CAST(response AS text) LIKE :like",
}
#: Columns that no two orders share.
_OWN = {"id", "number", "order_id", "shipment_id", "order_line_id", "tracking_token", "placed_at",
        "allocated_at", "created_at", "changed_at", "changed_by", "scope", "key",
        "request_hash"}  # fmt: skip
#: What only the product works out, from the shop's rules.
_BY_RULES = {
    "orders": {"shipping_minor", "tax_minor", "shipping_tax_minor", "rounding_minor", "total_minor",
               "routing", "ship_latitude", "ship_longitude", "ship_phone", "contact_phone",
               "delivery_days", "deliver_by"},
    "order_lines": {"tax_minor", "tax_rate_ppm", "rounding_minor"},
    "payments": {"amount_minor"},
    "outbox_messages": {"payload"},
    "idempotency_keys": {"response"},
}  # fmt: skip

#: Changes per order that the feed must carry.
_FEED = {
    ("orders", "I"): 1,
    ("order_lines", "I"): 3,
    ("shipments", "I"): 1,
    ("shipment_lines", "I"): 3,
    ("payments", "I"): 1,
    ("stock_levels", "U"): 3,
}

Rows = dict[str, list[dict[str, Any]]]


def compare(engine: Engine, places: Mapping[str, Place], orders: int = 3) -> None:
    """Place the same orders by each side; their rows may differ in what the rules decide only."""
    draw = random.Random(7)
    for _ in range(orders):
        order = databases.submission(draw)
        left = {side: _placed(engine, place, order) for side, place in places.items()}
        ours = left.pop("ours")
        for side, rows in left.items():
            for table, expected in ours.items():
                found = rows[table]
                assert len(found) == len(expected), (side, table)
                differ = {
                    column
                    for a, b in zip(expected, found, strict=True)
                    for column in a
                    if a[column] != b[column]
                }
                surplus = differ - _OWN - _BY_RULES.get(table, set())
                assert not surplus, (side, table, surplus)


def _placed(engine: Engine, place: Place, order: dict[str, Any]) -> Rows:
    """Place an order; return the rows that it left, the levels that it changed among them."""
    with reading(engine) as connection:
        before = _levels(connection)
    answer = place(order, uuid.uuid4().hex)
    number = answer["number"]
    rows: Rows = {"answer": [{"shape": _shape(answer)}]}
    with reading(engine) as connection:
        named = {"number": number}
        found = execute(connection, "SELECT id FROM orders WHERE number = :number", named)
        values = {"order": found.fetchone()[0], "like": f'%"{number}"%'}
        for table, where in _OF_ORDER.items():
            query = f"SELECT * FROM {table} WHERE {where} ORDER BY 1"
            cursor = execute(connection, query, values)
            names = [column[0] for column in cursor.description]
            rows[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        after = _levels(connection)
    rows["stock_levels"] = [
        {"level": level, "taken": units - before[level]}
        for level, units in sorted(after.items())
        if units != before[level]
    ]
    return rows


def _levels(connection: Connection) -> dict[int, int]:
    return dict(map(tuple, execute(connection, "SELECT id, allocated FROM stock_levels", {})))


def _shape(value: Any) -> Any:
    """Return the names in an answer, without what routing tells of its reasons."""
    if isinstance(value, dict):
        return json.dumps({k: _shape(v) for k, v in value.items() if k != "routing"},
                          sort_keys=True)  # fmt: skip
    return [_shape(each) for each in value] if isinstance(value, list) else None


def last_change(engine: Engine) -> int:
    """Return where the feed ends."""
    with reading(engine) as connection:
        return int(connection.exec_driver_sql("SELECT max(seq) FROM change_log").scalar_one())


def count(engine: Engine, sides: Sequence[str], after: int) -> None:
    """Each side must have left as much an order since ``after``: changes, keys and messages."""
    with reading(engine) as connection:
        changes = execute(
            connection,
            "SELECT changed_by, entity, op, count(*) FROM change_log"
            " WHERE seq > :after GROUP BY changed_by, entity, op",
            {"after": after},
        ).fetchall()
        keys = execute(
            connection, "SELECT scope, count(*) FROM idempotency_keys GROUP BY scope", {}
        ).fetchall()
        messages = execute(connection, "SELECT count(*) FROM outbox_messages", {}).fetchone()[0]
    counts: dict[Any, Counter[Any]] = {side: Counter() for side in sides}
    for side, entity, op, number in changes:
        counts[side][entity, op] = number
    orders = {side: counts[side]["orders", "I"] for side in sides}
    for side in sides:
        assert {what: n / orders[side] for what, n in counts[side].items()} == _FEED, side
    assert {scope.removeprefix("key:"): count for scope, count in keys} == orders
    assert messages == sum(orders.values())
