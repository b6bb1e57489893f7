"""Reads stock levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.database import as_rows, rowset


def levels(
    connection: Connection,
    actor: Actor,
    *,
    sku: str | None = None,
    warehouse: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of levels (units) by SKU and warehouse, and the cursor of the next page.

    ``incoming`` is what open purchase orders still bring to that warehouse.
    """
    actor.require(STOCK_READ)
    rows = connection.execute(
        sa.text(
            "SELECT l.id, k.code AS sku, k.name, w.code AS warehouse, l.on_hand, l.allocated,"
            " l.on_hand - l.allocated AS available,"
            " (SELECT coalesce(sum(p.quantity - p.received), 0) FROM purchase_order_lines AS p"
            "  JOIN purchase_orders AS o ON o.id = p.purchase_order_id"
            "  WHERE p.sku_id = l.sku_id AND o.warehouse_id = l.warehouse_id"
            "  AND p.received < p.quantity"
            "  AND o.status IN ('sent', 'confirmed', 'partly_received')) AS incoming"
            " FROM stock_levels AS l JOIN skus AS k ON k.id = l.sku_id"
            " JOIN warehouses AS w ON w.id = l.warehouse_id"
            " WHERE l.id > :after AND (CAST(:sku AS text) IS NULL OR k.code = :sku)"
            " AND (CAST(:warehouse AS text) IS NULL OR w.code = :warehouse)"
            " ORDER BY l.id LIMIT :limit"
        ),
        {"after": after, "sku": sku, "warehouse": warehouse, "limit": limit + 1},
    ).mappings()
    found = [{**row, "incoming": int(row["incoming"])} for row in rows]
    page = found[:limit]
    cursor = page[-1]["id"] if len(found) > limit else None
    return [{key: row[key] for key in row if key != "id"} for row in page], cursor


def levels_of(connection: Connection, warehouse: str, skus: Iterable[str]) -> list[dict[str, Any]]:
    """Return the levels (units) of some SKUs in a warehouse (codes), to answer for a change."""
    rows = connection.execute(
        sa.text(
            "SELECT k.code AS sku, w.code AS warehouse, l.on_hand, l.allocated,"
            " l.on_hand - l.allocated AS available"
            f" FROM ({rowset(connection, 'skus', {'code': 'text'})}) AS r"
            " JOIN skus AS k ON k.code = r.code JOIN stock_levels AS l ON l.sku_id = k.id"
            " JOIN warehouses AS w ON w.id = l.warehouse_id AND w.code = :warehouse"
            " ORDER BY k.code"
        ),
        {"skus": as_rows({"code": sku} for sku in sorted(set(skus))), "warehouse": warehouse},
    ).mappings()
    return [dict(row) for row in rows]
