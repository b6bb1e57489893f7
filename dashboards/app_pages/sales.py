"""Sales: trend, categories, SKUs and the order lines behind them."""

from __future__ import annotations

import streamlit as st

from dashboards.lib import charts, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.scope import choose
from dashboards.lib.snapshot import shown
from dashboards.queries import overview, sales

TOP = 200
snapshot, _ = shown()
currency = snapshot.currency
scope = choose(snapshot, "period", "department", "category", "warehouse", "channel")
st.caption(scope.text())

now = overview.trade(snapshot, scope, (scope.period.start, scope.period.end))
before = overview.trade(snapshot, scope, scope.period.before) if scope.period.before else {}
for row in (now, before):
    if row:
        row["return_rate"] = row["returns"] / row["sold"] if row["sold"] else None
against = "vs prior" if before else None
with st.grid(4, min_column_width=160, gap="small"):
    for name, title in (("net_sales", "Net sales"), ("gross_sales", "Gross sales")):
        st.metric(
            title, formats.money(now[name], currency), formats.change(now[name], before.get(name)),
            help=explain(name), border=True, height="stretch", delta_description=against,
        )  # fmt: skip
    st.metric(
        "Gross margin", formats.percent(now["gross_margin_share"]),
        formats.points(now["gross_margin_share"], before.get("gross_margin_share")),
        help=explain("gross_margin_share"), border=True, height="stretch",
        delta_description=against,
    )  # fmt: skip
    st.metric(
        "Return rate", formats.percent(now["return_rate"]),
        formats.points(now["return_rate"], before.get("return_rate")), delta_color="inverse",
        help=explain("return_rate"), border=True, height="stretch", delta_description=against,
    )  # fmt: skip

if not now["gross_sales"] and not now["returns"]:
    st.info("Nothing was sold in this scope. Widen the period or clear a filter.")
    st.stop()

with st.container(border=True):
    dashed = ", dashed: one period earlier" if before else ""
    st.markdown(f"**Net sales per day**{dashed}", help=explain("net_sales"))
    st.altair_chart(
        charts.daily_against_before(sales.trend(snapshot, scope), currency),
        alt="Net sales per day against the period before",
    )

st.subheader("Categories")
query = sales.categories(scope)
by_category = snapshot.frame(*query)


def narrow(row: int) -> None:
    """Make a row of the table the scope of the page."""
    st.session_state["department"] = by_category["department"].iloc[row]
    st.session_state["category"] = by_category["category"].iloc[row]
    st.session_state["sku"] = None


tables.show(
    by_category, snapshot, alt="Net sales by category", key="categories", opens=narrow,
    open_label="SKUs",
)  # fmt: skip
tables.download(snapshot, *query, name="sales-by-category", key="csv_categories")

st.subheader(f"SKUs{f' of {scope.category}' if scope.category else ''}")
query = sales.skus(scope)
top = snapshot.frame(f"{query[0]} LIMIT {TOP}", query[1])


def open_sku(row: int) -> None:
    """Show the order lines of a row of the table."""
    st.session_state["sku"] = top["sku"].iloc[row]


tables.show(
    top, snapshot, alt="Net sales by SKU", key="skus", opens=open_sku, open_label="Lines",

)  # fmt: skip
with st.container(horizontal=True, vertical_alignment="center"):
    tables.download(snapshot, *query, name="sales-by-sku", key="csv_skus")
    if len(top) == TOP:
        st.caption(f"The {TOP} with the highest net sales; the CSV has all.")

st.subheader("Order lines")
sku = st.selectbox(
    "SKU", top["sku"].tolist(), index=None, key="sku", bind="query-params", width=280,
    accept_new_options=True, placeholder="Type a code, or open one above",
)  # fmt: skip
product = sales.sku_name(snapshot, sku) if sku else None
if not sku:
    st.caption("Choose a SKU to see the order lines that its figures are made of.")
elif product is None:
    st.info(f"There is no SKU {sku}.")
else:
    query = sales.order_lines(scope, sku)
    lines = snapshot.frame(f"{query[0]} LIMIT 500", query[1])
    st.caption(f"**{product}** · {scope.text()}")
    if lines.empty:
        st.info("No order lines of this SKU in the scope.")
    else:
        tables.show(lines, snapshot, alt=f"Order lines of SKU {sku}", key="lines")
        tables.download(snapshot, *query, name=f"order-lines-{sku}", key="csv_lines")

st.subheader("Returns")
query = sales.returns_by_reason(scope)
reasons = snapshot.frame(*query)
if reasons.empty:
    st.caption("No refunds in this scope.")
else:
    tables.show(reasons, snapshot, alt="Refunds by reason", key="reasons")
    tables.download(snapshot, *query, name="returns-by-reason", key="csv_reasons")
