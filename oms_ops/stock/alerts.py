"""Tell that stock is low: one alert for each time that a level falls to its threshold.

Whoever changes a level holds its lock and so knows what was available before and after: a crossing
is seen exactly once, and a level that stays low raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids
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
    recipient = store.current(connection).rules.alerts.low_stock_email
    for statement in statements(connection, wanted):
        execute(connection, statement, {**parameters, "low": as_ids(low), "low_email": recipient})


def statements(connection: Connection, wanted: str) -> tuple[str, str]:
    """Return what :func:`raise_crossed` executes: the alerts, and the message to ``:low_email``."""
    levels = f"IN ({ids(connection, 'low')})"
    sqlite = connection.dialect.name == "sqlite"
    level = "json_object" if sqlite else "json_build_object"
    rows = "json_group_array" if sqlite else "json_agg"
    return (
        "INSERT INTO stock_alerts"
        " (warehouse_id, sku_id, threshold, available, raised_at, changed_by)"
        " SELECT v.warehouse_id, v.sku_id, v.low_threshold, v.on_hand - v.allocated, :now, :actor"
        f" FROM stock_levels AS v JOIN ({wanted}) AS r"
        " ON r.sku_id = v.sku_id AND r.warehouse_id = v.warehouse_id"
        f" WHERE v.id {levels}"
        " AND v.on_hand - v.allocated + r.quantity > v.low_threshold ORDER BY v.id",
        "INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)"
        f" SELECT 'stock.low', :low_email, {level}('levels', {rows}({level}('sku', k.code,"
        " 'warehouse', w.code, 'threshold', a.threshold, 'available', a.available))), :now, 0"
        " FROM stock_alerts AS a JOIN skus AS k ON k.id = a.sku_id"
        " JOIN warehouses AS w ON w.id = a.warehouse_id"
        " JOIN stock_levels AS v ON v.sku_id = a.sku_id AND v.warehouse_id = a.warehouse_id"
        f" WHERE a.raised_at = :now AND v.id {levels}"
        " AND CAST(:low_email AS text) IS NOT NULL HAVING count(*) > 0",
    )
