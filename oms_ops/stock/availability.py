"""What can be promised: units now, units on their way with their dates, and the two together.

Everything is read from the rows as they are at this moment, one query a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.database import as_rows, rowset
from oms_ops.settings import settings
from oms_ops.stock.floor import BINNED

#: A row for each SKU of the page and warehouse that has, expects or owes any of it, and each day
#: on which something is expected there (the day is NULL where nobody knows it).
_QUERY = f"""
WITH page AS (
    SELECT k.id, k.code, k.name FROM skus AS k
    WHERE k.id > :after {{chosen}} ORDER BY k.id LIMIT :limit
), pairs AS (
    SELECT p.id AS sku_id, p.code AS sku, p.name, w.id AS warehouse_id, w.code AS warehouse
    FROM page AS p CROSS JOIN warehouses AS w
    WHERE CAST(:warehouse AS text) IS NULL OR w.code = :warehouse
), incoming AS (
    SELECT l.sku_id, o.warehouse_id, coalesce(l.confirmed_on, o.expected_on) AS due_on,
        l.quantity - l.received AS units, 0 AS travelling
    FROM page AS p JOIN purchase_order_lines AS l ON l.sku_id = p.id
    JOIN purchase_orders AS o ON o.id = l.purchase_order_id
    WHERE l.received < l.quantity AND o.status IN ('sent', 'confirmed', 'partly_received')
    UNION ALL
    SELECT l.sku_id, t.to_warehouse_id, t.expected_on, l.sent - l.received - l.lost,
        l.sent - l.received - l.lost
    FROM page AS p JOIN transfer_lines AS l ON l.sku_id = p.id
    JOIN transfers AS t ON t.id = l.transfer_id AND t.status IN ('in_transit', 'partly_received')
    WHERE l.sent > l.received + l.lost
), due AS (
    SELECT sku_id, warehouse_id, due_on, sum(units) AS units, sum(travelling) AS travelling
    FROM incoming GROUP BY sku_id, warehouse_id, due_on
), owed AS (
    SELECT l.sku_id, o.warehouse_id, sum(l.backordered) AS units
    FROM page AS p JOIN order_lines AS l ON l.sku_id = p.id AND l.backordered > 0
    JOIN orders AS o ON o.id = l.order_id AND o.status IN ('open', 'on_hold')
    GROUP BY l.sku_id, o.warehouse_id
), suspect AS (
    SELECT c.sku_id, q.warehouse_id, sum(c.quantity) AS units
    FROM page AS p JOIN location_levels AS c ON c.sku_id = p.id
    JOIN locations AS q ON q.id = c.location_id AND q.kind = 'quarantine'
    GROUP BY c.sku_id, q.warehouse_id
)
SELECT x.sku_id, x.sku, x.name, x.warehouse, coalesce(v.on_hand, 0) AS on_hand,
    coalesce(v.allocated, 0) AS allocated, v.low_threshold, {BINNED} AS in_bins,
    coalesce(s.units, 0) AS in_quarantine, coalesce(b.units, 0) AS backordered,
    d.due_on, coalesce(d.units, 0) AS due, coalesce(d.travelling, 0) AS travelling
FROM pairs AS x
LEFT JOIN stock_levels AS v ON v.sku_id = x.sku_id AND v.warehouse_id = x.warehouse_id
LEFT JOIN suspect AS s ON s.sku_id = x.sku_id AND s.warehouse_id = x.warehouse_id
LEFT JOIN owed AS b ON b.sku_id = x.sku_id AND b.warehouse_id = x.warehouse_id
LEFT JOIN due AS d ON d.sku_id = x.sku_id AND d.warehouse_id = x.warehouse_id
WHERE v.id IS NOT NULL OR s.units > 0 OR b.units > 0 OR d.units > 0
ORDER BY x.sku_id, x.warehouse_id, CASE WHEN d.due_on IS NULL THEN 1 ELSE 0 END, d.due_on
"""


def view(
    connection: Connection,
    actor: Actor,
    *,
    skus: Sequence[str] = (),
    warehouse: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the availability of a page of SKUs, a row a warehouse, and the next page's cursor.

    ``limit`` counts SKUs. All figures are units. ``available_to_promise`` is what is available
    less what is backordered: negative where arrivals are spoken for. Each day in ``incoming`` has
    what is due on it (open purchase order lines by their confirmed, else expected day, and what is
    in transit), and what can be promised from that day on; a day that has passed is ``overdue``.
    """
    actor.require(STOCK_READ)
    chosen = ""
    parameters: dict[str, Any] = {"after": after, "limit": limit, "warehouse": warehouse}
    if skus:
        codes = rowset(connection, "skus", {"code": "text"})
        chosen = f"AND k.code IN (SELECT code FROM ({codes}) AS c)"
        parameters["skus"] = as_rows({"code": code} for code in sorted(set(skus)))
    rows = connection.execute(sa.text(_QUERY.format(chosen=chosen)), parameters).mappings().all()
    today = clock.now().astimezone(settings().zone).date()
    shown = [
        _shown(list(group), today)
        for _, group in groupby(rows, key=lambda row: (row["sku_id"], row["warehouse"]))
    ]
    return shown, _cursor(connection, chosen, parameters)


def _cursor(connection: Connection, chosen: str, parameters: dict[str, Any]) -> int | None:
    """Return the last SKU of the page where more follow; a page may have SKUs without any row."""
    ids = connection.execute(
        sa.text(
            f"SELECT k.id FROM skus AS k WHERE k.id > :after {chosen} ORDER BY k.id LIMIT :limit"
        ),
        {**parameters, "limit": parameters["limit"] + 1},
    )
    found: list[int] = list(ids.scalars())
    return found[-2] if len(found) > parameters["limit"] else None


def _shown(rows: Sequence[Any], today: date) -> dict[str, Any]:
    """Fold the rows of one SKU and warehouse, a day each, into one."""
    first = rows[0]
    names = ("sku", "name", "warehouse", "on_hand", "allocated", "low_threshold")
    in_bins = int(first["in_bins"])
    available = first["on_hand"] - first["allocated"]
    promisable = available - int(first["backordered"])
    incoming, running = [], promisable
    for row in rows:
        if not row["due"]:
            continue
        running += int(row["due"])
        due_on = _day(row["due_on"])
        incoming.append(
            {
                "on": due_on.isoformat() if due_on else None,
                "quantity": int(row["due"]),
                "available_to_promise": running,
                "overdue": due_on is not None and due_on < today,
            }
        )
    return {
        **{name: first[name] for name in names},
        "on_floor": first["on_hand"] - in_bins,
        "in_bins": in_bins,
        "available": available,
        "in_quarantine": int(first["in_quarantine"]),
        "in_transit": sum(int(row["travelling"]) for row in rows),
        "backordered": int(first["backordered"]),
        "available_to_promise": promisable,
        "incoming": incoming,
    }


def _day(value: Any) -> date | None:
    """Read a date that textual SQL selected."""
    return date.fromisoformat(value) if isinstance(value, str) else value
