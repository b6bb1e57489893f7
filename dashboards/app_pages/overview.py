"""Overview: the key figures, the trend, and what needs a hand today."""

from __future__ import annotations

from datetime import timedelta

import streamlit as st

from dashboards.lib import about, charts, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.scope import choose
from dashboards.lib.snapshot import shown
from dashboards.queries import overview

snapshot, _ = shown()
scope = choose(snapshot, "period", "warehouse", "channel")
st.caption(scope.text())
period, currency = scope.period, snapshot.currency

now = overview.trade(snapshot, scope, (period.start, period.end))
before = overview.trade(snapshot, scope, period.before) if period.before else {}
daily = overview.daily(snapshot, scope)
stock_now = overview.stock(snapshot, snapshot.business_date, scope.warehouse) or {}
stock_then = overview.stock(snapshot, period.start - timedelta(days=1), scope.warehouse) or {}
to_reorder = overview.reorder(snapshot, scope.warehouse)

against = "vs prior" if before else None
since = f"since {period.start.day} {period.start:%b}" if stock_then else None

with st.grid(4, min_column_width=160, gap="small"):
    for name, metric, label, value in (
        ("net_sales", "net_sales", "Net sales", formats.money(now["net_sales"], currency)),
        ("orders", "kept_orders", "Orders", formats.count(now["orders"])),
        ("units", "units", "Units sold", formats.count(now["units"])),
        (
            "average_order_value",
            "average_order_value",
            "Average order",
            formats.money(now["average_order_value"], currency, cents=True),
        ),
    ):
        st.metric(
            label, value, formats.change(now[name], before.get(name)), help=explain(metric),
            border=True, height="stretch", delta_description=against,
        )  # fmt: skip
    st.metric(
        "Gross margin", formats.percent(now["gross_margin_share"]),
        formats.points(now["gross_margin_share"], before.get("gross_margin_share")),
        help=explain("gross_margin_share"), border=True, height="stretch",
        delta_description=against,
    )  # fmt: skip
    st.metric(
        "Stock value", formats.money(stock_now.get("stock_value"), currency),
        formats.change(stock_now.get("stock_value"), stock_then.get("stock_value")),
        delta_color="off", help=explain("stock_value"), border=True, height="stretch",
        delta_description=since,
    )  # fmt: skip
    st.metric(
        "Stock-outs", formats.count(overview.stock_outs(snapshot, scope.warehouse)),
        formats.difference(stock_now.get("stock_outs"), stock_then.get("stock_outs")),
        delta_color="inverse", help=explain("stock_outs"), border=True, height="stretch",
        delta_description=since,
    )  # fmt: skip
    st.metric(
        "Lines to reorder", formats.count(to_reorder["lines"]),
        formats.money(to_reorder["line_value"], currency), delta_color="off", delta_arrow="off",
        help=explain("reorder_lines"), border=True, height="stretch", delta_description="to order",
    )  # fmt: skip

with st.container(border=True):
    st.markdown("**Net sales per day**", help=explain("net_sales"))
    st.altair_chart(
        charts.daily_with_average(daily, currency), alt="Net sales per day with 7-day average"
    )

left, right = st.columns(2)
for place, field in ((left, "category"), (right, "warehouse"), (right, "department")):
    with place.container(border=True, height="stretch" if place is left else "content"):
        title = f"Net sales by {field}"
        st.markdown(f"**{title}**")
        rows = overview.by(snapshot, scope, field, 12 if field == "category" else 5)
        st.altair_chart(
            charts.ranked_bars(rows, "name", "net_sales", f"Net sales, {currency}"), alt=title
        )

st.subheader("Needs attention")
lists = overview.attention(snapshot, scope.warehouse)
sizes = {name: overview.size(snapshot, query) for name, query in lists.items()}
titles = {
    "stock_outs": ("Out of stock, in demand", "Nothing that customers want is out of stock."),
    "late_orders": ("Late purchase orders", "No purchase order is late."),
    "backorders": ("Backorders", "No customer waits for stock."),
}
TOP = 100
for (name, (title, nothing)), tab in zip(
    titles.items(),
    st.tabs([f"{title} · {formats.count(sizes[name])}" for name, (title, _) in titles.items()]),
    strict=True,
):
    with tab:
        if not sizes[name]:
            st.success(nothing, icon=":material/check_circle:")
            continue
        sql, parameters = lists[name]
        tables.show(snapshot.frame(f"{sql} LIMIT {TOP}", parameters), snapshot, alt=title)
        with st.container(horizontal=True, vertical_alignment="center"):
            tables.download(snapshot, sql, parameters, name=name, key=f"csv_{name}")
            if sizes[name] > TOP:
                st.caption(
                    f"The first {TOP} of {formats.count(sizes[name])} rows; the CSV has all."
                )

st.page_link("app_pages/reorder.py", label="Open the reorder list", icon=":material/arrow_forward:")

with st.expander("About the data", icon=":material/info:"):
    st.markdown(about.text(snapshot))
