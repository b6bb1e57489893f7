"""What was sold, as a return needs to know it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, execute, ids

_COLUMNS = (
    "id", "order_id", "line_no", "sku_id", "quantity", "unit_price_minor", "discount_minor",
    "rounding_minor", "net_minor", "tax_minor", "tax_rate_ppm", "shipped", "returned",
    "unit_cost_minor", "cancelled",
)  # fmt: skip


def lines(
    connection: Connection, *, line_ids: Iterable[int] | None = None, order_id: int | None = None
) -> dict[int, dict[str, Any]]:
    """Return order lines by their ids, with ``warehouse_id``, ``tax_included``, ``currency``.

    ``gone_minor`` is what went back of a line already, or is on its way: by refunds of the line and
    for units that came back.
    """
    chosen = f"l.id IN ({ids(connection, 'ids')})" if order_id is None else "l.order_id = :order"
    names = ", ".join(f"l.{name}" for name in _COLUMNS)
    rows = execute(
        connection,
        f"SELECT {names}, o.warehouse_id, o.tax_included, o.currency, k.code, k.name, k.category,"
        " k.tax_category, CAST(coalesce((SELECT sum(x.amount_minor) FROM refund_items AS x"
        " JOIN refunds AS r ON r.id = x.refund_id AND r.status <> 'failed'"
        " WHERE x.order_line_id = l.id), 0) + coalesce((SELECT sum(y.refund_minor)"
        " FROM return_lines AS y WHERE y.order_line_id = l.id), 0) AS bigint) AS gone_minor"
        " FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
        f" JOIN skus AS k ON k.id = l.sku_id WHERE {chosen} ORDER BY l.id",
        {"ids": as_ids(line_ids or ())} if order_id is None else {"order": order_id},
    ).fetchall()
    more = ("warehouse_id", "tax_included", "currency", "sku", "name", "category", "tax_category",
            "gone_minor")  # fmt: skip
    return {row[0]: dict(zip((*_COLUMNS, *more), row, strict=True)) for row in rows}
