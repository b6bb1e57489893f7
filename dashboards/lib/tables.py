"""Tables: one label, unit, format and tooltip per column name, so that pages cannot differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboards.lib.metrics import explain

if TYPE_CHECKING:
    import pandas as pd

    from dashboards.lib.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is shown.

    ``kind`` is text, count, money, unit_money, decimal, figure, tenth, percent, share or date;
    ``metric`` names the definition in the column's tooltip.
    """

    label: str
    kind: str = "text"
    metric: str | None = None
    width: Any = None
    pinned: bool = False


COLUMNS = {
    "sku": Column("SKU", width=90, pinned=True),
    "sku_name": Column("Product", width=225),
    "department": Column("Department"),
    "category": Column("Category", width=180),
    "brand": Column("Brand"),
    "warehouse": Column("Warehouse", width=95),
    "channel": Column("Channel"),
    "supplier": Column("Supplier code"),
    "supplier_name": Column("Supplier"),
    "order_number": Column("Order"),
    "ordered_on": Column("Ordered", "date"),
    "order_status": Column("Order status"),
    "status": Column("Status", width=100),
    "payment_status": Column("Payment"),
    "fulfilment_status": Column("Fulfilment"),
    "purchase_order": Column("Purchase order", width=120, pinned=True),
    "day": Column("Day", "date"),
    "expected_on": Column("Expected", "date"),
    "next_expected_on": Column("Next delivery due", "date"),
    "last_sold_on": Column("Last sold", "date"),
    "first_order_on": Column("First order", "date"),
    "last_order_on": Column("Last order", "date"),
    "oldest_order_on": Column("Oldest order", "date"),
    "refunded_on": Column("Refunded", "date"),
    "quantity": Column("Quantity, units", "count"),
    "units": Column("Units sold", "count", "units"),
    "waiting_orders": Column("Orders", "count"),
    "order_count": Column("Orders", "count"),
    "line_count": Column("Lines", "count"),
    "lines": Column("Lines", "count"),
    "customers": Column("Customers", "count"),
    "unit_price": Column("Unit price", "unit_money"),
    "unit_cost": Column("Unit cost", "unit_money"),
    "gross_sales": Column("Gross sales", "money", "gross_sales"),
    "discounts": Column("Discounts", "money", "discounts"),
    "sold": Column("Sold after discounts", "money"),
    "shipped": Column("Shipped, units", "count"),
    "cancelled": Column("Cancelled, units", "count"),
    "returned": Column("Returned, units", "count"),
    "return_count": Column("Returns", "count"),
    "returns": Column("Returns", "money", "returns"),
    "refund": Column("Refund", "money", "returns"),
    "net_sales": Column("Net sales", "money", "net_sales"),
    "gross_margin": Column("Gross margin", "money", "gross_margin"),
    "gross_margin_share": Column("Gross margin, %", "percent", "gross_margin_share"),
    "share": Column("Share of net sales", "share", "share"),
    "change": Column("Change, %", "percent", "change"),
    "order_total": Column("Order total", "money"),
    "average_order_value": Column("Average order", "money", "average_order_value"),
    "lost_per_day": Column("Sales at risk per day", "money"),
    "outstanding": Column("Open, units", "count", "on_order"),
    "outstanding_value": Column("Open value", "money", "outstanding_value"),
    "days_late": Column("Late, days", "count", "days_late"),
    "on_hand": Column("On hand, units", "count"),
    "available": Column("Available, units", "count", "available"),
    "allocated": Column("Allocated, units", "count", "allocated"),
    "backordered": Column("Backordered, units", "count", "backordered"),
    "on_order": Column("On order, units", "count", "on_order"),
    "average_daily_demand": Column("Demand, units/day", "decimal", "average_daily_demand"),
    "cover_days": Column("Cover, days", "tenth", "cover_days"),
    "stock_out_days": Column("Out of stock, days of 28", "count", "stock_out_days"),
    "stock_value": Column("Stock value", "money", "stock_value"),
    "skus": Column("SKUs", "count"),
    "stock_outs": Column("Stock-outs", "count", "stock_outs"),
    "excess_value": Column("Excess and dead value", "money", "excess_value"),
    "customer_id": Column("Number", width=80, pinned=True),
    "net_per_order": Column("Net sales per order", "money"),
    "customer_name": Column("Customer", width=150, pinned=True),
    "email": Column("E-mail"),
    "segment": Column("Segment", metric="segment"),
    "days_since_last_order": Column("Since last order, days", "count"),
    "recency_score": Column("R", "count", "recency"),
    "frequency_score": Column("F", "count", "frequency"),
    "monetary_score": Column("M", "count", "monetary"),
    "reason": Column("Reason", width=220),
    "return_rate": Column("Return rate, %", "percent", "return_rate"),
    "unit_fill_rate": Column("Unit fill rate, %", "percent", "unit_fill_rate"),
    "order_fill_rate": Column("Order fill rate, %", "percent", "order_fill_rate"),
    "split_rate": Column("Split, %", "percent", "split_rate"),
    "otif_rate": Column("On time in full, %", "percent", "otif_rate"),
    "perfect_order_rate": Column("Perfect orders, %", "percent", "perfect_order_rate"),
    "hours_to_pick": Column("To pick, hours", "tenth", "hours_to_pick"),
    "hours_to_dispatch": Column("To dispatch, hours", "tenth", "hours_to_dispatch"),
    "method": Column("Tender", width=130),
    "captured": Column("Captured", "money", "captured"),
    "share_of_captured": Column("Share of captured", "share"),
    "captures": Column("Captures", "count"),
    "failures": Column("Failures", "count"),
    "payment_failure_rate": Column("Failure rate, %", "percent", "payment_failure_rate"),
    "refunded": Column("Refunded", "money", "refunded"),
    "charged_back": Column("Charged back", "money", "charged_back"),
    "topic": Column("Topic", width=110),
    "tickets": Column("Tickets", "count", "tickets"),
    "first_response_sla": Column("Answered in time, %", "percent", "first_response_sla"),
    "solution_sla": Column("Solved in time, %", "percent", "solution_sla"),
    "mean_hours_to_first_response": Column(
        "To answer, hours", "tenth", "mean_hours_to_first_response"
    ),
    "mean_hours_to_solution": Column("To solution, hours", "tenth", "mean_hours_to_solution"),
    "reopened": Column("Opened again", "count"),
    "average_rating": Column("Rating, of 5", "decimal", "average_rating"),
    "purchase_orders": Column("Purchase orders", "count"),
    "supplier_otif_rate": Column("On time in full, %", "percent", "supplier_otif_rate"),
    "supplier_fill_rate": Column("Fill rate, %", "percent", "supplier_fill_rate"),
    "damage_rate": Column("Damaged, %", "percent", "damage_rate"),
    "lead_time_mean_days": Column("Lead time, days", "tenth", "lead_time_mean_days"),
    "lead_time_deviation_days": Column("Its deviation, days", "tenth", "lead_time_deviation_days"),
    "urgency": Column("Urgency", width=150),
    "suggested_quantity": Column("Suggested, units", "count", "suggested_quantity", width=125),
    "approved_quantity": Column("Approved, units", "count"),
    "inventory_position": Column("Position, units", "count", "inventory_position"),
    "reorder_point": Column("Reorder point, units", "count", "reorder_point"),
    "order_quantity": Column("Order, units", "count"),
    "order_value": Column("Order value", "money"),
    "order_up_to": Column("Order up to, units", "count", "order_up_to"),
    "demand_quantity": Column("Demand, units", "count"),
    "safety_quantity": Column("Safety stock, units", "count", "safety_stock"),
    "moq_excess": Column("To minimum, units", "count"),
    "pack_excess": Column("To full packs, units", "count"),
    "lead_time_days": Column("Lead time, days", "count"),
    "review_days": Column("Review, days", "count"),
    "moq": Column("Minimum, units", "count"),
    "pack_multiple": Column("Pack, units", "count"),
    "line_value": Column("Line value", "money"),
    "approved_by": Column("Approved by"),
    "approved_at": Column("Approved at"),
    "check_name": Column("Check", width=260),
    "asset": Column("On", width=200),
    "result": Column("Result", width=90),
    "detail": Column("Detail", width=320),
    "decision": Column("Decision", width=90),
    "change_number": Column("Change", width=90),
    "entity": Column("Table", width=120),
    "entity_id": Column("Row"),
    "op": Column("Operation", width=80),
    "file": Column("Landed in", width=320),
    "found_on": Column("Found", "date"),
    "measure": Column("Measure", width=200),
    "mart": Column("Mart", width=200),
    "operational": Column("Operational ledger", "figure"),
    "warehouse_value": Column("Data warehouse", "figure"),
    "difference": Column("Difference", "figure"),
    "reconciled": Column("Agree"),
    "stage": Column("Stage"),
    "seconds": Column("Time, s", "tenth"),
    "rows_read": Column("Rows read", "count"),
    "rows_written": Column("Rows written", "count"),
    "megabytes": Column("Written, MB", "tenth"),
}
_FORMATS = {
    "count": "%,d", "money": "%,.2f", "unit_money": "%,.2f", "decimal": "%,.2f",
    "tenth": "%,.1f", "percent": "%.1f%%",
    # Money in one row and a number of things in the next: two decimals only where there are some.
    "figure": "localized",
}  # fmt: skip


def label(name: str, currency: str) -> str:
    """Return a column's header with its unit; money carries the currency."""
    column = COLUMNS[name]
    return f"{column.label}, {currency}" if column.kind in ("money", "unit_money") else column.label


def config(names: Sequence[str], currency: str) -> dict[str, Any]:
    """Return the column configuration of ``names``, for tables and editors alike."""
    return {name: _config(name, currency) for name in names}


def _config(name: str, currency: str) -> Any:
    column = COLUMNS[name]
    shown: dict[str, Any] = {
        "label": label(name, currency),
        "help": explain(column.metric) if column.metric else None,
        "width": column.width,
        "pinned": column.pinned or None,
    }
    kinds = st.column_config
    if column.kind == "text":
        return kinds.TextColumn(**shown)
    if column.kind == "date":
        return kinds.DateColumn(**shown, format="D MMM YYYY")
    if column.kind == "share":
        return kinds.ProgressColumn(**shown, format="percent", min_value=0.0, max_value=1.0)
    return kinds.NumberColumn(**shown, format=_FORMATS[column.kind])


def show(
    frame: pd.DataFrame,
    snapshot: Snapshot,
    *,
    alt: str,
    key: str | None = None,
    opens: Callable[[int], None] | None = None,
    open_label: str = "Open",
    height: Any = "auto",
) -> None:
    """Draw ``frame``; with ``opens`` every row has a button that calls it with the row's number."""
    names = [str(name) for name in frame.columns]
    configured = config(names, snapshot.currency)
    if opens is not None and key is not None:
        clicked = f"{key}_open"

        def on_click() -> None:
            opens(st.session_state[clicked].row)

        # First and pinned: at the end of a wide table nobody would find it.
        frame = frame.copy(deep=False)
        frame.insert(0, "_open", open_label)
        configured["_open"] = st.column_config.ButtonColumn(
            "", type="tertiary", width=80, pinned=True, on_click=on_click, key=clicked
        )
    st.dataframe(
        frame, hide_index=True, column_config=configured, key=key, alt=alt, height=height,
        placeholder="–",
    )  # fmt: skip


def download(
    snapshot: Snapshot, sql: str, parameters: Sequence[Any], *, name: str, key: str
) -> None:
    """Draw a button that exports every row of ``sql``, with the exact values, as CSV."""
    file_name = f"{name}-{snapshot.business_date}.csv"
    labels = {name: label(name, snapshot.currency) for name in COLUMNS}
    st.download_button(
        "CSV",
        data=lambda: snapshot.csv(sql, parameters, labels),
        file_name=file_name,
        mime="text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        help="Every row of this table with exact amounts.",
    )
