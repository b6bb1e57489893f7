"""What can be promised: units now, units on their way with their dates, and the two together.

Everything is read from the rows as they are at this moment, one query for all figures of a page.
What is due and what is owed is asked for a SKU at a time, so that the cost is that of the page,
however long the history of orders is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.database import as_ids, as_rows, ids, rowset
from oms_ops.settings import settings
from oms_ops.stock.floor import BINNED

#: A row for each SKU of the page and warehouse. ``purchased`` and ``travelling`` are JSON lists of
#: (day, units), the day null where nobody knows it.
_QUERY = """
SELECT x.sku_id, x.sku, x.name, x.warehouse, v.id AS level_id, coalesce(v.on_hand, 0) AS on_hand,
    coalesce(v.allocated, 0) AS allocated, v.low_threshold, {binned} AS in_bins,
    (SELECT coalesce(sum(c.quantity), 0) FROM locations AS q
        JOIN location_levels AS c ON c.location_id = q.id AND c.sku_id = x.sku_id
        WHERE q.warehouse_id = x.warehouse_id AND q.kind = 'quarantine') AS in_quarantine,
    (SELECT coalesce(sum(l.backordered), 0) FROM order_lines AS l
        JOIN orders AS o ON o.id = l.order_id
        WHERE l.sku_id = x.sku_id AND l.backordered > 0 AND o.warehouse_id = x.warehouse_id
        AND o.status IN ('open', 'on_hold')) AS backordered,
    (SELECT {rows}({row}(coalesce(l.confirmed_on, o.expected_on), l.quantity - l.received))
        FROM purchase_order_lines AS l JOIN purchase_orders AS o ON o.id = l.purchase_order_id
        WHERE l.sku_id = x.sku_id AND l.received < l.quantity AND o.warehouse_id = x.warehouse_id
        AND o.status IN ('sent', 'confirmed', 'partly_received')) AS purchased,
    (SELECT {rows}({row}(t.expected_on, l.sent - l.received - l.lost))
        FROM transfer_lines AS l JOIN transfers AS t ON t.id = l.transfer_id
        WHERE l.sku_id = x.sku_id AND l.sent > l.received + l.lost
        AND t.to_warehouse_id = x.warehouse_id) AS travelling
FROM (
    SELECT k.id AS sku_id, k.code AS sku, k.name, w.id AS warehouse_id, w.code AS warehouse
    FROM skus AS k CROSS JOIN warehouses AS w
    WHERE k.id IN ({page}) AND (CAST(:warehouse AS text) IS NULL OR w.code = :warehouse)
) AS x
LEFT JOIN stock_levels AS v ON v.sku_id = x.sku_id AND v.warehouse_id = x.warehouse_id
ORDER BY x.sku_id, x.warehouse_id
"""
_JSON = {
    "sqlite": {"rows": "json_group_array", "row": "json_array"},
    "postgresql": {"rows": "json_agg", "row": "json_build_array"},
}


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

    ``limit`` counts SKUs; a warehouse that neither has, expects nor owes any of a SKU is left out.
    All figures are units. ``available_to_promise`` is what is available less what is backordered:
    negative where arrivals are spoken for. Each day in ``incoming`` has what is due on it (open
    purchase order lines by their confirmed, else expected day, and what is in transit), and what
    can be promised from that day on; a day that has passed is ``overdue``.
    """
    actor.require(STOCK_READ)
    found = _skus(connection, skus, after, limit + 1)
    page = found[:limit]
    rows = connection.execute(
        sa.text(
            _QUERY.format(
                binned=BINNED, page=ids(connection, "page"), **_JSON[connection.dialect.name]
            )
        ),
        {"page": as_ids(page), "warehouse": warehouse},
    ).mappings()
    today = clock.now().astimezone(settings().zone).date()
    shown = [_shown(row, today) for row in rows]
    return [row for row in shown if row is not None], page[-1] if len(found) > limit else None


def _skus(connection: Connection, codes: Sequence[str], after: int, limit: int) -> list[int]:
    chosen, parameters = "", {"after": after, "limit": limit, "codes": ""}
    if codes:
        wanted = rowset(connection, "codes", {"code": "text"})
        chosen = f"AND k.code IN (SELECT code FROM ({wanted}) AS c)"
        parameters["codes"] = as_rows({"code": code} for code in sorted(set(codes)))
    rows = connection.execute(
        sa.text(
            f"SELECT k.id FROM skus AS k WHERE k.id > :after {chosen} ORDER BY k.id LIMIT :limit"
        ),
        parameters,
    )
    return list(rows.scalars())


def _shown(row: Any, today: date) -> dict[str, Any] | None:
    """Return the figures of one SKU and warehouse; None when there are none at all."""
    purchased, travelling = _due(row["purchased"]), _due(row["travelling"])
    in_quarantine, backordered = int(row["in_quarantine"]), int(row["backordered"])
    if row["level_id"] is None and not (purchased or travelling or in_quarantine or backordered):
        return None
    available = row["on_hand"] - row["allocated"]
    in_bins = int(row["in_bins"])
    names = ("sku", "name", "warehouse", "on_hand", "allocated", "low_threshold")
    return {
        **{name: row[name] for name in names},
        "on_floor": row["on_hand"] - in_bins,
        "in_bins": in_bins,
        "available": available,
        "in_quarantine": in_quarantine,
        "in_transit": sum(units for _, units in travelling),
        "backordered": backordered,
        "available_to_promise": available - backordered,
        "incoming": _incoming([*purchased, *travelling], available - backordered, today),
    }


def _incoming(
    due: Sequence[tuple[str | None, int]], promisable: int, today: date
) -> list[dict[str, Any]]:
    """Return what is due by day, unknown days last, with what can be promised from then on."""
    days: dict[str | None, int] = {}
    for day, units in due:
        days[day] = days.get(day, 0) + units
    incoming = []
    for day, units in sorted(days.items(), key=lambda item: (item[0] is None, item[0])):
        promisable += units
        overdue = day is not None and date.fromisoformat(day) < today
        incoming.append(
            {"on": day, "quantity": units, "available_to_promise": promisable, "overdue": overdue}
        )
    return incoming


def _due(value: Any) -> list[tuple[str | None, int]]:
    """Read a JSON list of (day, units): text on SQLite, NULL where PostgreSQL found nothing."""
    found = json.loads(value) if isinstance(value, str) else value or []
    return [(day, units) for day, units in found]
