"""The Dagster instance below ``OMS_HOME``: its settings, and the runs that a crash left open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from oms_ops.settings import settings
from pipelines.lib.files import replace_text

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: Marks runs that live in a command's own process, and names that process.
PROCESS = "oms/process"


def prepare() -> Path:
    """Create ``$OMS_HOME/dagster`` with its settings, and make it this process's instance."""
    folder = settings().home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (Path(__file__).parent / "dagster.yaml").read_text(encoding="utf-8")
    path = folder / "dagster.yaml"
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        replace_text(path, wanted)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def close_abandoned(instance: DagsterInstance) -> int:
    """Mark runs as failed whose process is gone; return how many there were.

    The daemon watches over runs that it started itself, not over those of a command that was killed.
    """
    from dagster import DagsterRunStatus, RunsFilter  # noqa: PLC0415 - half a second

    under_way = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
    closed = 0
    for run in instance.get_runs(under_way):
        process = run.tags.get(PROCESS)
        if process is not None and not Path("/proc", process).exists():
            instance.report_run_failed(run, f"Process {process} ended without closing the run.")
            closed += 1
    return closed
