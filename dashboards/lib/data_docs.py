"""The data docs of the last runs: pages of HTML that the pipeline writes beside its snapshots."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from oms_ops.settings import settings


def page(run_id: str) -> Path | None:
    """Return the page of a run, None where it wrote none or it is gone."""
    path = settings().published / f"data-docs-{Path(run_id).name}.html"
    return path if path.exists() else None


def links(runs: dict[str, str]) -> None:
    """Draw, for each run (its id: what it is), what opens its page and what downloads it."""
    for run_id, title in runs.items():
        path = page(run_id)
        if path is None:
            continue
        with st.container(horizontal=True, key=f"docs_{run_id}"):
            if st.button(
                f"Data docs of {title}", icon=":material/fact_check:", key=f"open_{run_id}"
            ):
                _opened(path)
            st.download_button(
                "HTML", data=path.read_bytes, file_name=path.name, mime="text/html",
                key=f"html_{run_id}", icon=":material/download:", on_click="ignore",
                help="What every expectation of the run asked for and found, as one page.",
            )  # fmt: skip


@st.dialog("Data docs", width="large")
def _opened(path: Path) -> None:
    st.iframe(path, height=640, alt="Data docs")
