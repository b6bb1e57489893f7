"""The lines of shipments that nobody picks yet: units are added to them and taken off.

Callers hold the orders' rows (:mod:`oms_ops.orders.locks`) and change the units of the order lines
and the levels themselves, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import Retry, as_ids, as_rows, execute, ids, rowset

#: A shipment ``s`` that may still change: it is not picked, and in no picker's walk.
UNPICKED = "s.status = 'allocated' AND s.wave_id IS NULL"

_ADDED = dict.fromkeys(("order_id", "warehouse_id", "order_line_id", "sku_id", "take"), "bigint")
_TAKEN = dict.fromkeys(("shipment_line_id", "quantity", "units"), "bigint")


def add(connection: Connection, takes: Sequence[dict[str, Any]], stamp: dict[str, Any]) -> None:
    """Add units to the order's unpicked shipment from that warehouse, or open a new one.

    A take has ``order_id``, ``warehouse_id``, ``order_line_id``, ``sku_id`` and ``take``, its
    units. ``stamp`` binds ``:actor`` and ``:now``.
    """
    orders = sorted({(take["order_id"], take["warehouse_id"]) for take in takes})
    columns = {"order_id": "bigint", "warehouse_id": "bigint"}
    of_order = f" s.order_id = r.order_id AND s.warehouse_id = r.warehouse_id AND {UNPICKED}"
    execute(
        connection,
        "INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version,"
        " changed_by, changed_at)"
        " SELECT r.order_id, r.warehouse_id, 'allocated', :now, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        f" WHERE NOT EXISTS (SELECT 1 FROM shipments AS s WHERE{of_order})",
        {**stamp, "rows": as_rows({"order_id": o, "warehouse_id": w} for o, w in orders)},
    )
    added = execute(
        connection,
        "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
        f" SELECT (SELECT min(s.id) FROM shipments AS s WHERE{of_order}),"
        " r.order_line_id, r.sku_id, r.take, :actor"
        f" FROM ({rowset(connection, 'rows', _ADDED)}) AS r",
        {**stamp, "rows": as_rows({name: take[name] for name in _ADDED} for take in takes)},
    ).rowcount
    if added != len(takes):
        raise Retry("a shipment was picked meanwhile")


def take_off(
    connection: Connection, takes: Sequence[dict[str, Any]], stamp: dict[str, Any]
) -> None:
    """Take units off shipment lines; a line without units goes, a shipment without lines is void.

    A take has ``shipment_line_id`` (each once), the ``quantity`` that it was seen to hold, and the
    ``units`` to take. ``stamp`` binds ``:actor`` and ``:now``.
    """
    if not takes:
        return
    rows = [{name: take[name] for name in _TAKEN} for take in takes]
    # The lines that go are stamped, too: the feed tells who deleted a row by what it held last.
    changed = execute(
        connection,
        "UPDATE shipment_lines AS x SET changed_by = :actor,"
        " quantity = CASE WHEN r.units < x.quantity THEN x.quantity - r.units ELSE x.quantity END"
        f" FROM ({rowset(connection, 'rows', _TAKEN)}) AS r"
        " WHERE x.id = r.shipment_line_id AND x.quantity = r.quantity AND r.units <= x.quantity",
        {**stamp, "rows": as_rows(rows)},
    ).rowcount
    if changed != len(rows):
        raise Retry("a shipment was changed meanwhile")
    gone = as_ids(row["shipment_line_id"] for row in rows if row["units"] == row["quantity"])
    chosen = f"IN ({ids(connection, 'ids')})"
    execute(connection, f"DELETE FROM picks WHERE shipment_line_id {chosen}", {"ids": gone})
    emptied = execute(
        connection,
        f"DELETE FROM shipment_lines WHERE id {chosen} RETURNING shipment_id",
        {"ids": gone},
    ).fetchall()
    execute(
        connection,
        "UPDATE shipments SET status = 'cancelled', version = version + 1,"
        f" changed_by = :actor, changed_at = :now WHERE id {chosen} AND NOT EXISTS ("
        "SELECT 1 FROM shipment_lines AS x WHERE x.shipment_id = shipments.id)",
        {**stamp, "ids": as_ids(row[0] for row in emptied)},
    )
