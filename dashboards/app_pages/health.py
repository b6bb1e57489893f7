"""Pipeline health: the last run, how fresh the figures are, and whether they can be trusted."""

from __future__ import annotations

import os

import streamlit as st

from dashboards.lib import actions, charts, data_docs, formats, tables
from dashboards.lib.metrics import explain
from dashboards.lib.snapshot import shown
from dashboards.queries import health
from oms_ops import clock

STATES = {
    "published": ("Published", "a new snapshot"),
    "unchanged": ("Unchanged", "there was nothing new"),
    "failed": ("Failed", "published nothing"),
    "unknown": ("Unknown", "no run has reported yet"),
}
LINKS = (
    ("OMS_DAGSTER_URL", "Dagster", ":material/account_tree:"),
    ("OMS_API_URL", "API", ":material/api:"),
)

snapshot, run = shown()
checks = health.checks(snapshot)
both_sides = health.reconciliation(snapshot)
apart = int((both_sides["reconciled"] == "No").sum())
try:
    lag = actions.feed_lag(snapshot)
    behind = formats.count(lag.rows)
    waiting = f"oldest waits {formats.seconds(lag.seconds)}" if lag.rows else "nothing waits"
except actions.Unavailable as error:
    behind, waiting = "–", str(error)

state, meaning = STATES.get(run.state, (formats.words(run.state), ""))
with st.grid(4, min_column_width=160, gap="small"):
    st.metric("Last run", state, delta_description=meaning, border=True, height="stretch")
    st.metric(
        "Age of the newest change", formats.age(clock.now() - snapshot.as_of),
        delta_description=f"published {formats.age(clock.now() - snapshot.published_at)} ago",
        help=explain("freshness"), border=True, height="stretch",
    )  # fmt: skip
    st.metric(
        "Changes not in yet", behind, delta_description=waiting, help=explain("feed_lag"),
        border=True, height="stretch",
    )  # fmt: skip
    st.metric(
        "Checks passed",
        f"{checks['checks'] - checks['errors'] - checks['warnings']} of {checks['checks']}",
        delta_description=f"{formats.plural(checks['warnings'], 'warning')},"
        f" {formats.plural(checks['errors'], 'error')}",
        border=True, height="stretch",
    )  # fmt: skip

ended = f" · ended {formats.moment(run.finished_at, snapshot.zone)}" if run.finished_at else ""
took = (
    f" · took {formats.seconds((run.finished_at - run.started_at).total_seconds())}"
    if run.finished_at and run.started_at
    else ""
)
said = f" · {run.message}" if run.message else ""
st.caption(
    f"Last run `{run.run_id[:15] or '–'}`{ended}{took}{said}  \n"
    f"Snapshot shown `{snapshot.run_id[:15]}`, made at feed position `{snapshot.cursor}`"
)
links = [(os.environ[name], title, icon) for name, title, icon in LINKS if os.environ.get(name)]
if links:
    with st.container(horizontal=True):
        for url, title, icon in links:
            st.link_button(title, f"{url}/docs" if title == "API" else url, icon=icon)

st.subheader("Reconciliation with the operational ledger")
if both_sides.empty:
    st.caption("This snapshot carries no reconciliation.")
elif apart:
    st.error(f"{apart} of {len(both_sides)} measures differ between ledger and data warehouse.")
else:
    st.success(
        f"All {len(both_sides)} measures agree with the operational ledger at the same moment.",
        icon=":material/balance:",
    )
tables.show(both_sides, snapshot, alt="Reconciliation", key="reconciliation")
tables.download(snapshot, *health.RECONCILIATION, name="reconciliation", key="csv_reconciliation")

st.subheader("Checks")
results = snapshot.frame(*health.CHECKS)
tables.show(results, snapshot, alt="Check results", key="checks")
tables.download(snapshot, *health.CHECKS, name="checks", key="csv_checks")
data_docs.links({snapshot.run_id: "this snapshot"} | (
    {run.run_id: "the last run"} if run.run_id not in ("", snapshot.run_id) else {}
))  # fmt: skip

aside = health.quarantine(snapshot)
if aside is not None and not aside.empty:
    st.subheader("Quarantine")
    waiting_changes = int((aside["decision"] == "Held").sum())
    if waiting_changes:
        st.warning(
            f"{formats.plural(waiting_changes, 'change')} of the feed could not be used and"
            f" {'is' if waiting_changes == 1 else 'are'} not in these figures. Mend the log and"
            " replay, or decide: `python -m pipelines.lake quarantine release|drop EPOCH:SEQ`.",
            icon=":material/inventory:",
        )
    tables.show(aside, snapshot, alt="Changes in quarantine", key="quarantine")
    tables.download(snapshot, *health.QUARANTINE, name="quarantine", key="csv_quarantine")

st.subheader("Time per stage")
timings = snapshot.frame(*health.TIMINGS)
if timings.empty:
    st.caption("This snapshot carries no timings.")
else:
    left, right = st.columns([2, 3])
    left.altair_chart(charts.stage_bars(timings), alt="Seconds per pipeline stage")
    with right:
        tables.show(timings, snapshot, alt="Seconds and rows per stage", key="timings")
