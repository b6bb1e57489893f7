"""Inventory: stock now, by warehouse and SKU, and how one SKU's stock came about."""

from __future__ import annotations

import streamlit as st

from dashboards.lib import charts, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.scope import PERIODS, options, pick, resolve
from dashboards.lib.snapshot import shown
from dashboards.queries import inventory

TOP = 500
snapshot, _ = shown()
currency = snapshot.currency

with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    department = pick("department", options(snapshot, "department"))
    category = pick("category", options(snapshot, "category", department))
    warehouse = pick("warehouse", options(snapshot, "warehouse"))
    spoken = pick("status", list(inventory.STATUSES.values()))
    search = st.text_input(
        "Search", key="q", bind="query-params", type="search", width=220,
        placeholder="SKU or product name",
    )  # fmt: skip
status = next((code for code, words in inventory.STATUSES.items() if words == spoken), None)
kept = inventory.Filter(department, category, warehouse, status, search or "")

totals = inventory.totals(snapshot, kept)
with st.grid(5, min_column_width=160, gap="small"):
    for label, value, metric, note in (
        ("Stock value", formats.money(totals["stock_value"], currency), "stock_value", "at cost"),
        ("SKUs", formats.count(totals["skus"]), None, "stocked now or before"),
        (
            "Stock-outs",
            formats.count(totals["stock_outs"]),
            "stock_outs",
            f"{formats.count(totals['stock_outs_wanted'])} of them wanted",
        ),
        (
            "Cover, days",
            formats.decimal(totals["cover_days"]),
            "total_cover_days",
            "of the whole, at cost",
        ),
        (
            "Excess and dead value",
            formats.money(totals["excess_value"], currency),
            "excess_value",
            f"{formats.share(totals['excess_value'], totals['stock_value'])} of the stock value",
        ),
    ):
        st.metric(
            label, value, border=True, height="stretch", delta_description=note,
            help=explain(metric) if metric else None,
        )  # fmt: skip
if not totals["skus"]:
    st.info("No stock matches. Clear a filter or the search.")
    st.stop()

left, right = st.columns([2, 3])
with left.container(border=True, height="stretch"):
    st.markdown("**SKUs by status**", help=explain("inventory_status"))
    st.altair_chart(
        charts.status_bars(inventory.statuses(snapshot, kept)), alt="SKUs by status and warehouse"
    )
with right.container(border=True, height="stretch"):
    st.markdown("**By warehouse**")
    query = inventory.by_warehouse(kept)
    tables.show(snapshot.frame(*query), snapshot, alt="Stock by warehouse", key="by_warehouse")
    tables.download(snapshot, *query, name="stock-by-warehouse", key="csv_warehouses")

st.subheader("SKUs")
query = inventory.listing(kept)
rows = snapshot.frame(f"{query[0]} LIMIT {TOP}", query[1])


def open_history(row: int) -> None:
    """Show the stock history of a row of the table."""
    st.session_state["sku"] = rows["sku"].iloc[row]
    st.session_state["at"] = rows["warehouse"].iloc[row]


tables.show(
    rows, snapshot, alt="Stock by SKU and warehouse", key="stock", opens=open_history,
    open_label="History",
)  # fmt: skip
with st.container(horizontal=True, vertical_alignment="center"):
    tables.download(snapshot, *query, name="inventory", key="csv_stock")
    if len(rows) == TOP:
        st.caption(f"The {TOP} most urgent; filter or search for others, the CSV has all.")

st.subheader("Stock history of a SKU")
with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    sku = st.selectbox(
        "SKU", rows["sku"].drop_duplicates().tolist(), index=None, key="sku", bind="query-params",
        width=220, accept_new_options=True, placeholder="Type a code, or open one above",
    )  # fmt: skip
    where = inventory.places(snapshot, sku) if sku else []
    if where:
        if st.session_state.get("at") not in (None, *where):
            del st.session_state["at"]
        first = where.index(warehouse) if warehouse in where else 0
        place = st.selectbox("At", where, first, key="at", bind="query-params", width=165)
    span = st.selectbox(
        "Days shown", list(PERIODS), index=2, key="shown", bind="query-params", width=165
    )
if not sku:
    st.caption("Choose a SKU to see its stock day by day.")
elif not where:
    st.info(f"SKU {sku} was never in stock.")
else:
    now = inventory.position(snapshot, sku, place) or {}
    past = inventory.history(snapshot, sku, place, resolve(snapshot, span).start)
    empty_days = int(past["is_stocked_out"].sum())
    st.markdown(
        f"**{now.get('sku_name')}** at {place} · {now.get('status')} ·"
        f" {formats.count(now.get('on_hand'))} on hand,"
        f" {formats.count(now.get('available'))} available,"
        f" {formats.count(now.get('on_order'))} on order,"
        f" {formats.count(now.get('backordered'))} backordered ·"
        f" {formats.plural(empty_days, 'day')} without stock :red[■]"
    )
    st.altair_chart(charts.stock_history(past), alt=f"Units of {sku} on hand per day at {place}")
