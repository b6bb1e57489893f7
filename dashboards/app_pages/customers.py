"""Customers: who buys, how recently, how often and how much; down to single orders."""

from __future__ import annotations

import streamlit as st

from dashboards.lib import charts, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.scope import pick
from dashboards.lib.snapshot import shown
from dashboards.queries import customers

TOP = 500
snapshot, _ = shown()
currency = snapshot.currency
with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    segment = pick("segment", customers.SEGMENTS)
    search = st.text_input(
        "Search", key="customer_q", bind="query-params", type="search", width=220,
        placeholder="Name or e-mail",
    )  # fmt: skip
kept = customers.Filter(segment, search or "")
st.caption(f"All orders from {formats.span(snapshot.first_day, snapshot.business_date)}")

totals = customers.totals(snapshot, kept)
if not totals["customers"]:
    st.info("No customer matches. Clear the segment or the search.")
    st.stop()
with st.grid(4, min_column_width=160, gap="small"):
    for label, value, note, metric in (
        ("Customers", formats.count(totals["customers"]), "in the list below", None),
        (
            "Came back",
            formats.share(totals["repeat_buyers"], totals["buyers"]),
            "with two orders or more",
            None,
        ),
        ("Net sales", formats.money(totals["net_sales"], currency), "all days", "net_sales"),
        ("Since last order, days", formats.count(totals["recency"]), "middle customer", None),
    ):
        st.metric(
            label, value, delta_description=note, border=True, height="stretch",
            help=explain(metric) if metric else None,
        )  # fmt: skip

left, right = st.columns([5, 3])
with left.container(border=True, height="stretch"):
    st.markdown("**Segments**", help=explain("segment"))
    query = customers.segments()
    by_segment = snapshot.frame(*query)

    def keep_segment(row: int) -> None:
        """Keep the customers of a row of the table."""
        st.session_state["segment"] = by_segment["segment"].iloc[row]

    tables.show(
        by_segment, snapshot, alt="Customer segments", key="segments", opens=keep_segment,
        open_label="Show",
    )  # fmt: skip
    tables.download(snapshot, *query, name="segments", key="csv_segments")
with right.container(border=True, height="stretch"):
    st.markdown(
        "**Recency against frequency and money**",
        help=f"Recency: {explain('recency')}  \nFrequency: {explain('frequency')}  \n"
        f"Money: {explain('monetary')}  \nAcross: {explain('value_score')}",
    )
    st.altair_chart(
        charts.rfm_heat_map(customers.rfm(snapshot)),
        alt="Customers by recency, frequency and money score",
    )

st.subheader(f"{segment or 'All'} customers" if segment else "Customers")
query = customers.listing(kept)
rows = snapshot.frame(f"{query[0]} LIMIT {TOP}", query[1])


def open_customer(row: int) -> None:
    """Show the orders of a row of the table."""
    st.session_state["customer"] = str(rows["customer_id"].iloc[row])
    st.session_state["order"] = None


tables.show(
    rows, snapshot, alt="Customers", key="customer_rows", opens=open_customer,
    open_label="Orders",
)  # fmt: skip
with st.container(horizontal=True, vertical_alignment="center"):
    tables.download(snapshot, *query, name="customers", key="csv_customers")
    if len(rows) == TOP:
        st.caption(f"The {TOP} with the highest net sales; search for others, the CSV has all.")

st.subheader("Orders of a customer")
chosen = st.text_input(
    "Customer number", key="customer", bind="query-params", width=220,
    placeholder="Type a number, or open one above",
)  # fmt: skip
known = customers.name(snapshot, int(chosen)) if (chosen or "").isdecimal() else None
if not chosen:
    st.caption("Choose a customer to see the orders.")
elif known is None:
    st.info(f"There is no customer {chosen}.")
else:
    st.markdown(
        f"**{known['customer_name']}** · {known['segment'] or 'No orders'} ·"
        f" {formats.plural(int(known['order_count'] or 0), 'order')} ·"
        f" {formats.money(known['net_sales'] or 0, currency, cents=True)} net sales"
    )
    query = customers.orders(int(chosen))
    orders = snapshot.frame(*query)

    def open_order(row: int) -> None:
        """Show the lines of a row of the table."""
        st.session_state["order"] = orders["order_number"].iloc[row]

    tables.show(
        orders, snapshot, alt="Orders of the customer", key="orders", opens=open_order,
        open_label="Lines",
    )  # fmt: skip
    tables.download(snapshot, *query, name=f"orders-of-{chosen}", key="csv_orders")
    order = pick("order", orders["order_number"].tolist(), "Lines of order", "Choose an order")
    if order:
        query = customers.lines(order)
        tables.show(snapshot.frame(*query), snapshot, alt=f"Lines of order {order}", key="lines")
        tables.download(snapshot, *query, name=f"order-{order}", key="csv_lines")
