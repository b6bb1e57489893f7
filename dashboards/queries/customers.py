"""Customers: segments, the RFM map, the list, and one customer's orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

#: The segments from the best to the most lost.
SEGMENTS = (
    "Champions", "Loyal", "Potential loyalist", "New", "Promising", "Needs attention",
    "About to sleep", "At risk", "Cannot lose", "Hibernating",
)  # fmt: skip
_PLACE = f"list_position({list(SEGMENTS)}, segment)"


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of the customers; None and empty text keep everything."""

    segment: str | None = None
    search: str = ""

    def where(self) -> tuple[str, list[Any]]:
        """Return a SQL condition on ``customers`` and its parameters."""
        parts, values = ["true"], []
        if self.segment:
            parts.append("segment = ?")
            values.append(self.segment)
        if self.search.strip():
            parts.append(
                "(contains(lower(customer_name), lower(?)) OR contains(lower(email), lower(?)))"
            )
            values += [self.search.strip()] * 2
        return " AND ".join(parts), values


def totals(snapshot: Snapshot, kept: Filter) -> dict[str, Any]:
    """Return customers, how many came back, net sales, and the middle recency in days."""
    where, values = kept.where()
    return snapshot.one(
        "SELECT count(*) AS customers, count(*) FILTER (order_count > 0) AS buyers,"
        " count(*) FILTER (order_count > 1) AS repeat_buyers,"
        " coalesce(sum(net_sales), 0) AS net_sales,"
        " coalesce(sum(order_count), 0) AS orders,"
        " median(days_since_last_order) AS recency"
        f" FROM marts.customers WHERE {where}",
        values,
    )


def segments() -> Query:
    """Return the query of the segments, from the best to the most lost."""
    return (
        "SELECT segment, count(*) AS customers, sum(net_sales) AS net_sales,"
        " sum(net_sales) / nullif(sum(sum(net_sales)) OVER (), 0) AS share,"
        " CAST(sum(net_sales) / nullif(sum(order_count), 0) AS decimal(18, 2)) AS net_per_order,"
        " median(days_since_last_order) AS days_since_last_order"
        f" FROM marts.customers WHERE segment IS NOT NULL GROUP BY segment ORDER BY {_PLACE}",
        [],
    )


def rfm(snapshot: Snapshot) -> pd.DataFrame:
    """Return customers and net sales per recency and value score, with the cell's segment.

    The value score is the mean of frequency and monetary score, as the segments use it.
    """
    return snapshot.frame(
        "SELECT recency_score, (frequency_score + monetary_score + 1) // 2 AS value_score,"
        " count(*) AS customers, sum(net_sales) AS net_sales, any_value(segment) AS segment"
        " FROM marts.customers WHERE recency_score IS NOT NULL GROUP BY ALL"
    )


def listing(kept: Filter) -> Query:
    """Return the query of the customers kept, the highest net sales first."""
    where, values = kept.where()
    return (
        "SELECT customer_id, customer_name, segment, order_count, net_sales, average_order_value,"
        " days_since_last_order, last_order_on, first_order_on, recency_score, frequency_score,"
        " monetary_score, email"
        f" FROM marts.customers WHERE {where} ORDER BY net_sales DESC NULLS LAST, customer_id",
        values,
    )


def name(snapshot: Snapshot, customer_id: int) -> dict[str, Any] | None:
    """Return a customer's name, segment and figures, or None when the id is unknown."""
    rows = snapshot.frame(
        "SELECT customer_name, email, segment, order_count, net_sales, first_order_on,"
        " last_order_on, days_since_last_order FROM marts.customers WHERE customer_id = ?",
        [customer_id],
    )
    return dict(rows.iloc[0]) if len(rows) else None


def orders(customer_id: int) -> Query:
    """Return the query of one customer's orders, the newest first."""
    spoken = ", ".join(
        f"upper({c}[1]) || replace({c}[2:], '_', ' ') AS {c}"
        for c in ("status", "payment_status", "fulfilment_status")
    )
    return (
        f"SELECT ordered_on, order_number, channel, warehouse, {spoken}, line_count, units,"
        " gross_sales, discounts, order_total, returns, net_sales FROM marts.fct_orders"
        " WHERE customer_id = ? ORDER BY placed_at DESC, order_id DESC",
        [customer_id],
    )


def lines(order_number: str) -> Query:
    """Return the query of one order's lines."""
    return (
        "SELECT sku, sku_name, category, quantity, unit_price, gross_sales, discounts, allocated,"
        " backordered, shipped, cancelled, returned FROM marts.fct_order_lines"
        " WHERE order_number = ? ORDER BY line_no",
        [order_number],
    )
