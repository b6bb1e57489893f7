"""Sales of a scope: trend, categories, SKUs, order lines and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards.lib.scope import Scope
from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]


def trend(snapshot: Snapshot, scope: Scope) -> pd.DataFrame:
    """Return net sales per day, beside the day that many days earlier (null without one)."""
    where, parameters = scope.where(None)
    start, end, length = scope.period.start, scope.period.end, scope.period.days
    return snapshot.frame(
        "WITH days AS (SELECT CAST(unnest(generate_series(CAST(? AS date), CAST(? AS date),"
        " INTERVAL 1 DAY)) AS date) AS day),"
        f" sold AS (SELECT day, sum(net_sales) AS net_sales FROM marts.sales_daily WHERE {where}"
        " GROUP BY day)"
        " SELECT d.day, coalesce(s.net_sales, 0) AS net_sales,"
        " CASE WHEN ? THEN coalesce(b.net_sales, 0) END AS before"
        " FROM days AS d LEFT JOIN sold AS s ON s.day = d.day"
        " LEFT JOIN sold AS b ON b.day = d.day - CAST(? AS integer) ORDER BY d.day",
        [start, end, *parameters, scope.period.before is not None, length],
    )


def categories(scope: Scope) -> Query:
    """Return the query of net sales by category, with share and change, the largest first."""
    now, now_values = scope.where()
    then, then_values = scope.where(period=scope.period.before) if scope.period.before else (
        "false", []
    )  # fmt: skip
    return (
        "WITH now AS (SELECT department, category, sum(net_sales) AS net_sales,"
        " sum(units) AS units, sum(gross_sales - discounts) AS sold, sum(returns) AS returns,"
        f" sum(gross_margin) AS gross_margin FROM marts.sales_daily WHERE {now} GROUP BY ALL),"
        " before AS (SELECT department, category, sum(net_sales) AS net_sales"
        f" FROM marts.sales_daily WHERE {then} GROUP BY ALL)"
        " SELECT n.department, n.category, n.net_sales,"
        " n.net_sales / nullif(sum(n.net_sales) OVER (), 0) AS share,"
        " round(100 * (n.net_sales / nullif(b.net_sales, 0) - 1), 1) AS change,"
        " CAST(n.units AS bigint) AS units, n.gross_margin,"
        " round(100 * n.gross_margin / nullif(n.net_sales, 0), 1) AS gross_margin_share,"
        " n.returns, round(100 * n.returns / nullif(n.sold, 0), 1) AS return_rate"
        " FROM now AS n LEFT JOIN before AS b"
        " ON b.department = n.department AND b.category = n.category"
        " ORDER BY n.net_sales DESC, n.category",
        [*now_values, *then_values],
    )


def skus(scope: Scope) -> Query:
    """Return the query of sales by SKU, the largest first; returns by the day of the refund."""
    sold, sold_values = scope.where("ordered_on")
    back, back_values = scope.where("refunded_on")
    return (
        "WITH sold AS (SELECT sku_id, sum(quantity - cancelled) AS units,"
        " sum(gross_sales - discounts) AS sold, sum(cost) AS cost"
        f" FROM marts.fct_order_lines WHERE {sold} GROUP BY sku_id),"
        " back AS (SELECT sku_id, sum(refund) AS returns FROM marts.fct_returns"
        f" WHERE {back} GROUP BY sku_id),"
        " joined AS (SELECT coalesce(s.sku_id, b.sku_id) AS sku_id, coalesce(s.units, 0) AS units,"
        " coalesce(s.sold, 0) AS sold, coalesce(s.cost, 0) AS cost,"
        " coalesce(b.returns, 0) AS returns FROM sold AS s FULL JOIN back AS b USING (sku_id))"
        " SELECT k.sku, k.sku_name, k.category, k.brand, CAST(j.units AS bigint) AS units,"
        " j.sold - j.returns AS net_sales, j.sold - j.returns - j.cost AS gross_margin,"
        " round(100 * (j.sold - j.returns - j.cost) / nullif(j.sold - j.returns, 0), 1)"
        " AS gross_margin_share, j.returns"
        " FROM joined AS j JOIN marts.dim_skus AS k ON k.sku_id = j.sku_id"
        " ORDER BY net_sales DESC, k.sku",
        [*sold_values, *back_values],
    )


def order_lines(scope: Scope, sku: str) -> Query:
    """Return the query of one SKU's order lines in the scope, the newest first."""
    where, values = scope.where("ordered_on")
    return (
        "SELECT ordered_on, order_number, channel, warehouse, quantity, unit_price, gross_sales,"
        " discounts, gross_sales - discounts AS sold, shipped, backordered, cancelled, returned,"
        " upper(order_status[1]) || replace(order_status[2:], '_', ' ') AS order_status"
        f" FROM marts.fct_order_lines WHERE sku = ? AND {where}"
        " ORDER BY ordered_on DESC, order_number DESC, line_no",
        [sku, *values],
    )


def sku_name(snapshot: Snapshot, sku: str) -> str | None:
    """Return the name of a SKU, or None when there is no such code."""
    rows = snapshot.frame("SELECT sku_name FROM marts.dim_skus WHERE sku = ?", [sku])
    return str(rows["sku_name"].iloc[0]) if len(rows) else None


def returns_by_reason(scope: Scope) -> Query:
    """Return the query of refunds by reason, the largest first."""
    where, values = scope.where("refunded_on")
    return (
        "SELECT upper(reason[1]) || replace(reason[2:], '_', ' ') AS reason,"
        " count(DISTINCT return_id) AS return_count, CAST(sum(quantity) AS bigint) AS quantity,"
        f" sum(refund) AS refund FROM marts.fct_returns WHERE {where}"
        " GROUP BY ALL ORDER BY refund DESC, reason",
        values,
    )
