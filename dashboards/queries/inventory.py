"""Stock now: totals, status by warehouse, the list of SKUs, and one SKU's history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

#: Statuses of the mart in the order of concern, with the words of the page.
STATUSES = {
    "stocked_out": "Stocked out", "low": "Low", "healthy": "Healthy", "excess": "Excess",
    "dead": "Dead",
}  # fmt: skip
_SPOKEN = "CASE status " + " ".join(
    f"WHEN '{code}' THEN '{words}'" for code, words in STATUSES.items()
) + " END"  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of the stock; None and empty text keep everything."""

    department: str | None = None
    category: str | None = None
    warehouse: str | None = None
    status: str | None = None
    search: str = ""

    def where(self) -> tuple[str, list[Any]]:
        """Return a SQL condition on ``inventory_health`` and its parameters."""
        parts, values = ["true"], []
        for name in ("department", "category", "warehouse", "status"):
            value = getattr(self, name)
            if value:
                parts.append(f"{name} = ?")
                values.append(value)
        if self.search.strip():
            parts.append("(contains(lower(sku_name), lower(?)) OR contains(lower(sku), lower(?)))")
            values += [self.search.strip()] * 2
        return " AND ".join(parts), values


def totals(snapshot: Snapshot, kept: Filter) -> dict[str, Any]:
    """Return value, SKUs, stock-outs, cover in days and slow-moving value of the stock kept."""
    where, values = kept.where()
    return snapshot.one(
        "SELECT coalesce(sum(stock_value), 0) AS stock_value, count(DISTINCT sku_id) AS skus,"
        " count(*) FILTER (status = 'stocked_out') AS stock_outs,"
        " count(*) FILTER (status = 'stocked_out'"
        " AND (average_daily_demand > 0 OR backordered > 0)) AS stock_outs_wanted,"
        " sum(stock_value) / nullif(sum(average_daily_demand * unit_cost), 0) AS cover_days,"
        " coalesce(sum(stock_value) FILTER (status IN ('excess', 'dead')), 0) AS excess_value"
        f" FROM marts.inventory_health WHERE {where}",
        values,
    )


def by_warehouse(kept: Filter) -> Query:
    """Return the query of the stock per warehouse."""
    where, values = kept.where()
    return (
        "SELECT warehouse, sum(stock_value) AS stock_value,"
        " sum(stock_value) / nullif(sum(average_daily_demand * unit_cost), 0) AS cover_days,"
        " count(*) FILTER (status = 'stocked_out') AS stock_outs,"
        " coalesce(sum(stock_value) FILTER (status IN ('excess', 'dead')), 0) AS excess_value,"
        " CAST(sum(on_hand) AS bigint) AS on_hand, CAST(sum(on_order) AS bigint) AS on_order,"
        " CAST(sum(backordered) AS bigint) AS backordered"
        f" FROM marts.inventory_health WHERE {where} GROUP BY warehouse ORDER BY warehouse",
        values,
    )


def statuses(snapshot: Snapshot, kept: Filter) -> pd.DataFrame:
    """Return SKUs and value per warehouse and status, in the order of concern."""
    where, values = kept.where()
    return snapshot.frame(
        f"SELECT warehouse, {_SPOKEN} AS status, count(*) AS skus,"
        " sum(stock_value) AS stock_value,"
        f" list_position({list(STATUSES)}, status) AS place"
        f" FROM marts.inventory_health WHERE {where} GROUP BY ALL ORDER BY warehouse, place",
        values,
    )


def listing(kept: Filter) -> Query:
    """Return the query of the SKUs kept, the most urgent first."""
    where, values = kept.where()
    return (
        f"SELECT sku, sku_name, warehouse, {_SPOKEN} AS status, on_hand, allocated, available,"
        " backordered, on_order, next_expected_on, average_daily_demand, cover_days,"
        " stock_out_days, unit_cost, stock_value, last_sold_on, department, category, supplier"
        f" FROM marts.inventory_health WHERE {where}"
        f" ORDER BY list_position({list(STATUSES)}, status), average_daily_demand DESC, sku,"
        " warehouse",
        values,
    )


def history(snapshot: Snapshot, sku: str, warehouse: str, since: date) -> pd.DataFrame:
    """Return the daily closing stock of a SKU in a warehouse, with what moved."""
    return snapshot.frame(
        "SELECT day, opening, received, shipped, returned, adjusted, on_hand, is_stocked_out"
        " FROM marts.stock_daily WHERE sku = ? AND warehouse = ? AND day >= ? ORDER BY day",
        [sku, warehouse, since],
    )


def places(snapshot: Snapshot, sku: str) -> list[str]:
    """Return the warehouses that hold or held a SKU."""
    rows = snapshot.frame(
        "SELECT DISTINCT warehouse FROM marts.inventory_health WHERE sku = ? ORDER BY 1", [sku]
    )
    return [str(value) for value in rows["warehouse"]]


def position(snapshot: Snapshot, sku: str, warehouse: str) -> dict[str, Any] | None:
    """Return the stock position of a SKU in a warehouse now, or None."""
    rows = snapshot.frame(
        f"SELECT sku_name, {_SPOKEN} AS status, on_hand, available, backordered, on_order,"
        " next_expected_on, average_daily_demand, cover_days, stock_out_days"
        " FROM marts.inventory_health WHERE sku = ? AND warehouse = ?",
        [sku, warehouse],
    )
    return dict(rows.iloc[0]) if len(rows) else None
