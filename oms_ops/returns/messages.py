"""What customers are told of their returns, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids, read_time
from oms_ops.notifications import outbox
from oms_ops.settings import settings


def tell(connection: Connection, step: str, return_ids: Sequence[int]) -> None:
    """Post ``return.<step>`` to the customers of returns; call it after the step."""
    rows = execute(
        connection,
        "SELECT o.number, r.number, c.email, r.decision, r.expires_at, w.name, w.line1, w.city,"
        " w.postal_code, w.country, x.number FROM returns AS r"
        " JOIN orders AS o ON o.id = r.order_id JOIN customers AS c ON c.id = o.customer_id"
        " JOIN warehouses AS w ON w.id = r.warehouse_id"
        " LEFT JOIN orders AS x ON x.id = r.exchange_order_id"
        f" WHERE r.id IN ({ids(connection, 'ids')}) ORDER BY r.id",
        {"ids": as_ids(return_ids)},
    ).fetchall()
    messages = []
    for row in rows:
        payload = {"order": row[0], "return": row[1]}
        if step == "approved":
            payload["address"] = ", ".join(filter(None, row[5:10]))
            until = read_time(row[4])
            if until is not None:
                payload["until"] = _day(until)
        if step == "refused":
            payload["reason"] = row[3]
        if step == "exchanged":
            payload["replacement"] = row[10]
        messages.append((row[2], payload))
    outbox.post_many(connection, f"return.{step}", messages)


def _day(moment: datetime) -> str:
    return moment.astimezone(settings().zone).date().isoformat()
