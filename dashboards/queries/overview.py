"""Key figures of a period, and what needs attention now."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dashboards.lib.charts import OTHERS
from dashboards.lib.scope import Scope
from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd


def trade(snapshot: Snapshot, scope: Scope, days: tuple[date, date]) -> dict[str, Any]:
    """Return sales, orders, units and margin of ``days``; ratios are None when undefined."""
    fields = ("department", "category", "warehouse", "channel")
    sales, parameters = scope.where(period=days, fields=fields)
    placed, placed_parameters = scope.where(period=days, fields=("warehouse", "channel"))
    row = snapshot.one(
        "SELECT coalesce(sum(net_sales), 0) AS net_sales, coalesce(sum(units), 0) AS units,"
        " coalesce(sum(gross_sales - discounts), 0) AS sold,"
        " coalesce(sum(gross_margin), 0) AS gross_margin,"
        " coalesce(sum(returns), 0) AS returns, coalesce(sum(gross_sales), 0) AS gross_sales,"
        " (SELECT coalesce(sum(orders - cancelled_orders), 0)"
        f" FROM marts.orders_daily WHERE {placed}) AS orders"
        f" FROM marts.sales_daily WHERE {sales}",
        [*placed_parameters, *parameters],
    )
    row["average_order_value"] = _ratio(row["net_sales"], row["orders"])
    row["gross_margin_share"] = _ratio(row["gross_margin"], row["net_sales"])
    return row


def _ratio(part: Decimal, whole: Decimal | int) -> Decimal | None:
    return Decimal(part) / Decimal(whole) if whole else None


def stock(snapshot: Snapshot, day: date, warehouse: str | None) -> dict[str, Any] | None:
    """Return stock value and stock-outs at the close of ``day``; None before the first day."""
    row = snapshot.one(
        "SELECT count(*) AS rows_seen, coalesce(sum(stock_value), 0) AS stock_value,"
        " count(*) FILTER (is_stocked_out) AS stock_outs FROM marts.stock_daily"
        " WHERE day = ? AND (? IS NULL OR warehouse = ?)",
        [day, warehouse, warehouse],
    )
    return row if row["rows_seen"] else None


def stock_outs(snapshot: Snapshot, warehouse: str | None) -> int:
    """Return the stock-outs now, among them SKUs that a warehouse sells and never stocked."""
    row = snapshot.one(
        "SELECT count(*) AS n FROM marts.inventory_health"
        " WHERE status = 'stocked_out' AND (? IS NULL OR warehouse = ?)",
        [warehouse, warehouse],
    )
    return int(row["n"])


def reorder(snapshot: Snapshot, warehouse: str | None) -> dict[str, Any]:
    """Return the number of lines on the reorder list and their value."""
    return snapshot.one(
        "SELECT count(*) AS lines, coalesce(sum(line_value), 0) AS line_value"
        " FROM marts.reorder_lines WHERE ? IS NULL OR warehouse = ?",
        [warehouse, warehouse],
    )


def daily(snapshot: Snapshot, scope: Scope) -> pd.DataFrame:
    """Return per day of the period: net sales, their 7-day average, orders, units.

    The average looks back beyond the period's start, so its first days are not thinner.
    """
    sales, parameters = scope.where(None)
    placed, placed_parameters = scope.where(None, fields=("warehouse", "channel"))
    start, end = scope.period.start, scope.period.end
    return snapshot.frame(
        "WITH days AS (SELECT CAST(unnest(generate_series(CAST(? AS date), CAST(? AS date),"
        " INTERVAL 1 DAY)) AS date) AS day),"
        " sold AS (SELECT day, sum(net_sales) AS net_sales, sum(units) AS units"
        f" FROM marts.sales_daily WHERE {sales} GROUP BY day),"
        " placed AS (SELECT day, sum(orders - cancelled_orders) AS orders"
        f" FROM marts.orders_daily WHERE {placed} GROUP BY day),"
        " filled AS (SELECT d.day, coalesce(s.net_sales, 0) AS net_sales,"
        " coalesce(s.units, 0) AS units, coalesce(p.orders, 0) AS orders"
        " FROM days AS d LEFT JOIN sold AS s ON s.day = d.day"
        " LEFT JOIN placed AS p ON p.day = d.day),"
        " averaged AS (SELECT *, avg(net_sales)"
        " OVER (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS average FROM filled)"
        " SELECT * FROM averaged WHERE day >= ? ORDER BY day",
        [max(snapshot.first_day, start - timedelta(days=6)), end,
         *parameters, *placed_parameters, start],
    )  # fmt: skip


def by(snapshot: Snapshot, scope: Scope, field: str, limit: int = 8) -> pd.DataFrame:
    """Return net sales by ``field`` (category, warehouse, ...), the rest in one last row."""
    where, parameters = scope.where()
    return snapshot.frame(
        f"WITH sums AS (SELECT {field} AS name, sum(net_sales) AS net_sales"
        f" FROM marts.sales_daily WHERE {where} GROUP BY 1),"
        " ranked AS (SELECT *, row_number() OVER (ORDER BY net_sales DESC, name) AS place"
        " FROM sums)"
        f" SELECT CASE WHEN place <= ? THEN name ELSE '{OTHERS}' END AS name,"
        " sum(net_sales) AS net_sales, min(place) AS place FROM ranked GROUP BY 1 ORDER BY place",
        [*parameters, limit],
    )


STOCK_OUTS = (
    "SELECT h.sku, h.sku_name, h.warehouse, h.backordered, h.on_order, h.next_expected_on,"
    " h.average_daily_demand, h.average_daily_demand * k.unit_price AS lost_per_day"
    " FROM marts.inventory_health AS h JOIN marts.dim_skus AS k ON k.sku_id = h.sku_id"
    " WHERE h.status = 'stocked_out' AND (h.average_daily_demand > 0 OR h.backordered > 0)"
    " AND (? IS NULL OR h.warehouse = ?)"
    " ORDER BY lost_per_day DESC, h.backordered DESC, h.sku, h.warehouse"
)

LATE_ORDERS = (
    "SELECT purchase_order, supplier_name, warehouse, min(expected_on) AS expected_on,"
    " max(date_diff('day', expected_on, CAST(? AS date))) AS days_late, count(*) AS lines,"
    " CAST(sum(outstanding) AS bigint) AS outstanding, sum(outstanding_value) AS outstanding_value"
    " FROM marts.fct_purchase_order_lines"
    " WHERE outstanding > 0 AND status <> 'cancelled' AND expected_on < CAST(? AS date)"
    " AND (? IS NULL OR warehouse = ?)"
    " GROUP BY ALL ORDER BY days_late DESC, outstanding_value DESC, purchase_order"
)

BACKORDERS = (
    "SELECT l.sku, any_value(l.sku_name) AS sku_name, l.warehouse,"
    " CAST(sum(l.backordered) AS bigint) AS backordered,"
    " count(DISTINCT l.order_id) AS waiting_orders,"
    " min(l.ordered_on) AS oldest_order_on, max(h.next_expected_on) AS next_expected_on"
    " FROM marts.fct_order_lines AS l LEFT JOIN marts.inventory_health AS h"
    " ON h.sku_id = l.sku_id AND h.warehouse = l.warehouse"
    " WHERE l.backordered > 0 AND (? IS NULL OR l.warehouse = ?)"
    " GROUP BY l.sku, l.warehouse ORDER BY backordered DESC, oldest_order_on, l.sku"
)


def attention(snapshot: Snapshot, warehouse: str | None) -> dict[str, tuple[str, list[Any]]]:
    """Return the queries of the three lists that need a hand, with their parameters."""
    here: list[Any] = [warehouse, warehouse]
    today = snapshot.business_date
    return {
        "stock_outs": (STOCK_OUTS, here),
        "late_orders": (LATE_ORDERS, [today, today, *here]),
        "backorders": (BACKORDERS, here),
    }


def size(snapshot: Snapshot, query: tuple[str, list[Any]]) -> int:
    """Return the number of rows of a list."""
    sql, parameters = query
    return int(snapshot.one(f"SELECT count(*) AS n FROM ({sql}) AS q", parameters)["n"])
