"""Reorder: what to buy and why; edit, approve, and get purchase orders."""

from __future__ import annotations

import streamlit as st

from dashboards.lib import actions, drafts, formats, reorder_panels, tables
from dashboards.lib.scope import pick
from dashboards.lib.snapshot import shown
from dashboards.queries import reorder

TOP = 500
snapshot, _ = shown()
every = reorder.lines(snapshot, reorder.Filter())
actor, why_not = actions.buyer()
try:
    ordered = actions.approved(snapshot.list_id)
except actions.Unavailable as error:
    ordered, actor, why_not = {}, None, str(error)
work = drafts.of_session(snapshot.list_id, zip(every["sku"], every["warehouse"], strict=True))


def approve() -> None:
    """Order every ticked line. Runs before the page draws, after the newest edit was taken."""
    lines = drafts.merged(every, work, ordered)
    lines = lines[lines["tick"]]
    if lines.empty:
        return
    outcome = actions.approve(snapshot, drafts.approval_lines(lines))
    if outcome.orders:
        work.forget(lines["key"])
    st.session_state["reorder_outcome"] = outcome


outcome = st.session_state.get("reorder_outcome")
if outcome is not None:
    reorder_panels.tell(outcome)
if work.carried_over:
    st.info(
        f"A newer list was published: your work on {formats.plural(work.carried_over, 'line')} was"
        " carried over. Check it against the new suggestions.",
        icon=":material/sync:",
    )
    work.carried_over = 0
if actor is None:
    st.info(why_not, title="Read-only", icon=":material/lock:")
age, limit = actions.list_age_hours(snapshot)
if age > limit:
    st.warning(
        f"This list is {formats.count(int(age))} hours old; approvals are refused after {limit}."
        " Run the pipeline (`make pipeline`) and approve from the new list.",
        icon=":material/schedule:",
    )
if every.empty:
    st.session_state.pop("reorder_outcome", None)
    st.success("Nothing needs to be ordered: every SKU is above its reorder point.")
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    supplier = pick("supplier", reorder.choices(snapshot, "supplier_name"))
    warehouse = pick("warehouse", reorder.choices(snapshot, "warehouse"))
    spoken = pick("urgency", list(reorder.URGENCIES.values()))
    department = pick("department", reorder.choices(snapshot, "department"))
    category = pick("category", reorder.choices(snapshot, "category", department))
urgency = next((code for code, words in reorder.URGENCIES.items() if words == spoken), None)
kept = reorder.Filter(supplier, warehouse, urgency, department, category)
listed = reorder.lines(snapshot, kept)
matching = drafts.merged(listed, work, ordered)
rows = matching.head(TOP)
reorder_panels.summary(matching, snapshot.currency)

st.subheader("Lines")
if rows.empty:
    st.info("Every line is ordered." if len(listed) else "No line matches the filters.")
else:
    reorder_panels.line_table(rows, snapshot.currency, work, editable=actor is not None)
with st.container(horizontal=True, vertical_alignment="center"):
    tables.download(snapshot, *reorder.export(kept), name="reorder-list", key="csv_reorder")
    if len(matching) > TOP:
        st.caption(f"The {TOP} most urgent of {formats.count(len(matching))}; filter for more.")

if actor is not None:
    chosen = drafts.merged(every, work, ordered)
    reorder_panels.order_panel(
        chosen[chosen["tick"]], set(rows["key"]), snapshot, work,
        approve=approve, buyer=actor.name, too_old=age > limit,
    )  # fmt: skip

st.subheader("Why this quantity?")
names = [reorder_panels.line_name(*key) for key in rows["key"]]
name = st.selectbox(
    "Line", names, index=None, key="line", bind="query-params", width=280, filter_mode="contains",
    placeholder="Choose a line, or press Why? above",
)  # fmt: skip
if name is None:
    st.caption("Every suggestion is a sum of whole units that you can check.")
else:
    line = dict(rows.iloc[names.index(name)])
    reorder_panels.story(line, snapshot, int(line["order_quantity"]) if actor else None)

if ordered:
    reorder_panels.done(ordered, every, snapshot)

# Told once, but not before the page stands: a drawing that is cut short must not take it along.
st.session_state.pop("reorder_outcome", None)
