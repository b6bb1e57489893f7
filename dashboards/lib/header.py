"""What stands above every page: as-of time, business date, a banner after a failed run."""

from __future__ import annotations

import streamlit as st

from dashboards.lib import formats
from dashboards.lib.snapshot import LastRun, Snapshot
from oms_ops import clock

WELCOME = (
    "The dashboards read a snapshot that the pipeline publishes, and there is none yet. Run this"
    " in the project's folder, then reload the page:"
)


def draw(snapshot: Snapshot, run: LastRun) -> None:
    """Draw the as-of line and, when the last run failed, the banner."""
    st.caption(as_of_line(snapshot), help=_PROVENANCE)
    if run.state == "failed":
        st.warning(
            banner(snapshot, run),
            title="The last pipeline run failed",
            icon=":material/warning:",
        )


def as_of_line(snapshot: Snapshot) -> str:
    """Return the line that says which moment the figures show."""
    age = formats.age(clock.now() - snapshot.published_at)
    return (
        f"As of **{formats.moment(snapshot.as_of, snapshot.zone)}** · business date"
        f" **{formats.day(snapshot.business_date)}** · published {age} ago"
    )


def banner(snapshot: Snapshot, run: LastRun) -> str:
    """Return what a reader must know when the newest figures were refused."""
    when = f" at {formats.moment(run.finished_at, snapshot.zone)}" if run.finished_at else ""
    failed = f" Failed checks: {', '.join(run.failed_checks)}." if run.failed_checks else ""
    message = f" {run.message}" if run.message else ""
    return (
        f"The run ended{when} and published nothing. You are looking at the last good snapshot, of"
        f" {formats.moment(snapshot.as_of, snapshot.zone)}.{message}{failed}"
    )


def nothing_published(run: LastRun) -> None:
    """Draw the page of a shop whose pipeline has not published yet."""
    st.title("Nothing published yet", icon=":material/hourglass_empty:")
    st.markdown(WELCOME)
    st.code("make pipeline", language="bash")
    st.caption("For a shop full of example orders: `make demo`.")
    if run.state == "failed":
        failed = f" Failed checks: {', '.join(run.failed_checks)}." if run.failed_checks else ""
        st.error(f"{run.message}{failed}", title="The last pipeline run failed")


_PROVENANCE = (
    "The as-of time is that of the newest change in this snapshot, in the shop's time zone. The"
    " business date is its day. Every figure on this page is from this one snapshot."
)
