"""Tell that stock is low: one alert for each time that a level falls to its threshold.

Whoever changes a level holds its lock and so knows what was available before and after: a crossing
is seen exactly once, and a level that stays low raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids
from oms_ops.notifications import outbox
from oms_ops.rules import store

#: What a changed level returns: its id when it is low now, NULL otherwise.
LOW = "CASE WHEN on_hand - allocated <= low_threshold THEN id END"


def raise_crossed(
    connection: Connection, low: Sequence[int], wanted: str, parameters: dict[str, Any]
) -> None:
    """Record an alert for those of the levels ``low`` that were above their threshold before.

    ``wanted`` is the query (warehouse_id, sku_id, quantity) by which the levels just fell, with its
    ``parameters``, ``:now`` and ``:actor`` among them.
    """
    rows = execute(
        connection,
        "INSERT INTO stock_alerts"
        " (warehouse_id, sku_id, threshold, available, raised_at, changed_by)"
        " SELECT v.warehouse_id, v.sku_id, v.low_threshold, v.on_hand - v.allocated, :now, :actor"
        f" FROM stock_levels AS v JOIN ({wanted}) AS r"
        " ON r.sku_id = v.sku_id AND r.warehouse_id = v.warehouse_id"
        f" WHERE v.id IN ({ids(connection, 'low')})"
        " AND v.on_hand - v.allocated + r.quantity > v.low_threshold ORDER BY v.id"
        " RETURNING (SELECT k.code FROM skus AS k WHERE k.id = sku_id),"
        " (SELECT w.code FROM warehouses AS w WHERE w.id = warehouse_id), threshold, available",
        {**parameters, "low": as_ids(low)},
    ).fetchall()
    recipient = store.current(connection).rules.alerts.low_stock_email if rows else None
    if recipient is not None:
        names = ("sku", "warehouse", "threshold", "available")
        lines = [dict(zip(names, row, strict=True)) for row in rows]
        outbox.post(connection, "stock.low", recipient, {"levels": lines})
