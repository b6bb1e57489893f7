"""Service: what customers got of what they were promised, how they paid, how they were helped."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards.lib import charts, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.scope import choose
from dashboards.lib.snapshot import shown
from dashboards.queries import service

snapshot, _ = shown()
currency = snapshot.currency
scope = choose(snapshot, "period", "warehouse", "channel")
st.caption(scope.text())

now = service.figures(snapshot, scope, (scope.period.start, scope.period.end))
before = service.figures(snapshot, scope, scope.period.before) if scope.period.before else {}
against = "vs prior" if before else None


def card(name: str, title: str, value: str, change: str | None, **how: Any) -> None:
    """Draw a key figure with its definition and its change."""
    st.metric(
        title, value, change, help=explain(name), border=True, height="stretch",
        delta_description=against if change is not None else None, **how,
    )  # fmt: skip


def share(name: str, title: str, *, good: bool = True) -> None:
    """Draw a share; ``good`` says whether more of it is better."""
    card(
        name, title, formats.percent(now[name]), formats.points(now[name], before.get(name)),
        delta_color="normal" if good else "inverse",
    )  # fmt: skip


def listed(query: service.Query, title: str, nothing: str, key: str) -> None:
    """Draw a table with its CSV, or a sentence where there is nothing."""
    rows = snapshot.frame(*query)
    if rows.empty:
        st.caption(nothing)
        return
    tables.show(rows, snapshot, alt=title, key=key)
    tables.download(snapshot, *query, name=key, key=f"csv_{key}")


st.subheader("Orders")
with st.grid(4, min_column_width=160, gap="small"):
    share("unit_fill_rate", "Unit fill rate")
    share("otif_rate", "On time in full")
    share("perfect_order_rate", "Perfect orders")
    share("split_rate", "Split orders", good=False)
weeks = service.weeks(snapshot, scope)
if len(weeks):
    with st.container(border=True):
        st.markdown("**Fill rate and on time in full, by week of the order**")
        st.altair_chart(
            charts.weekly_rates(weeks), alt="Unit fill rate and on time in full per week"
        )
listed(
    service.by_warehouse(scope), "Service by warehouse", "No orders in this scope.",
    "service-by-warehouse",
)  # fmt: skip

st.subheader("Payments")
if scope.warehouse:
    st.caption("Payments are of orders, not of warehouses: the warehouse does not narrow them.")
with st.grid(4, min_column_width=160, gap="small"):
    card(
        "captured", "Captured", formats.money(now["captured"], currency),
        formats.change(now["captured"], before.get("captured")),
    )  # fmt: skip
    card(
        "refunded", "Refunded", formats.money(now["refunded"], currency),
        formats.change(now["refunded"], before.get("refunded")), delta_color="inverse",
    )  # fmt: skip
    share("payment_failure_rate", "Failure rate", good=False)
    card(
        "charged_back", "Charged back", formats.money(now["charged_back"], currency),
        formats.change(now["charged_back"], before.get("charged_back")), delta_color="inverse",
    )  # fmt: skip
listed(
    service.by_tender(scope), "Payments by tender", "No payments in this scope.",
    "payments-by-tender",
)  # fmt: skip

st.subheader("Care")
if scope.warehouse or scope.channel:
    st.caption("Tickets are asked by customers, whatever the warehouse and the sales channel.")
with st.grid(4, min_column_width=160, gap="small"):
    card(
        "tickets", "Tickets", formats.count(now["tickets"]),
        formats.change(now["tickets"], before.get("tickets")), delta_color="inverse",
    )  # fmt: skip
    share("first_response_sla", "Answered in time")
    rating, rated_before = now["average_rating"], before.get("average_rating")
    card(
        "average_rating", "Rating, of 5", formats.decimal(rating),
        None if rating is None or rated_before is None else f"{rating - rated_before:+.1f}",
    )  # fmt: skip
    score, scored_before = now["nps"], before.get("nps")
    card(
        "nps", "Net promoter score", "–" if score is None else f"{score:+.0f}",
        None if score is None or scored_before is None else f"{score - scored_before:+.0f}",
    )  # fmt: skip
listed(
    service.by_topic(scope), "Tickets by topic", "No tickets in this period.", "tickets-by-topic"
)

st.subheader("Suppliers")
st.caption("Of the last 365 days, whatever the scope.")
listed(
    service.by_supplier(), "Suppliers", "Nothing was ordered of suppliers yet.",
    "supplier-performance",
)  # fmt: skip
