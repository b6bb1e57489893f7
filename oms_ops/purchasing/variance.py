"""Price variance: what suppliers charged against what was ordered and confirmed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PURCHASING_READ, Actor
from oms_ops.database import read_time
from oms_ops.money import to_text
from oms_ops.purchasing import queries


def variances(
    connection: Connection,
    actor: Actor,
    *,
    purchase_order: str | None = None,
    supplier: str | None = None,
    before: int = 0,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of receipt lines charged otherwise than agreed, newest first, and the cursor.

    ``variance`` is units times charged less agreed cost, agreed being what was confirmed, else
    ordered: more than zero is dearer. A cursor from an earlier page goes into ``before``.
    """
    actor.require(PURCHASING_READ)
    rows = connection.execute(
        sa.text(
            "SELECT x.id, r.number AS receipt, r.received_at, p.number AS purchase_order,"
            " p.currency, s.code AS supplier, k.code AS sku, x.quantity,"
            " l.unit_cost_minor AS ordered, l.confirmed_cost_minor AS confirmed,"
            " x.unit_cost_minor AS charged FROM receipt_lines AS x"
            " JOIN receipts AS r ON r.id = x.receipt_id"
            " JOIN purchase_order_lines AS l ON l.id = x.purchase_order_line_id"
            " JOIN purchase_orders AS p ON p.id = l.purchase_order_id"
            " JOIN suppliers AS s ON s.id = p.supplier_id JOIN skus AS k ON k.id = x.sku_id"
            " WHERE x.unit_cost_minor <> coalesce(l.confirmed_cost_minor, l.unit_cost_minor)"
            " AND (:before = 0 OR x.id < :before)"
            " AND (CAST(:order_id AS bigint) IS NULL OR p.id = :order_id)"
            " AND (CAST(:supplier AS text) IS NULL OR s.code = :supplier)"
            " ORDER BY x.id DESC LIMIT :limit"
        ),
        {
            "before": before,
            "order_id": None if purchase_order is None else queries.id_of(purchase_order),
            "supplier": supplier,
            "limit": limit + 1,
        },
    ).mappings()
    found = list(rows)
    page = [_render(row) for row in found[:limit]]
    return page, found[limit - 1]["id"] if len(found) > limit else None


def _render(row: Any) -> dict[str, Any]:
    currency = row["currency"]
    agreed = row["ordered"] if row["confirmed"] is None else row["confirmed"]
    received_at = read_time(row["received_at"])
    plain = ("receipt", "purchase_order", "supplier", "sku", "quantity", "currency")
    return {
        **{name: row[name] for name in plain},
        "received_at": received_at.isoformat() if received_at else None,
        "ordered_cost": to_text(row["ordered"], currency),
        "confirmed_cost": None if row["confirmed"] is None else to_text(agreed, currency),
        "charged_cost": to_text(row["charged"], currency),
        "variance": to_text(row["quantity"] * (row["charged"] - agreed), currency),
    }
