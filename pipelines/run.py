"""Runs the pipeline once, in this process: ``python -m pipelines.run [--full-refresh]``.

The run is recorded in the Dagster instance below ``OMS_HOME``, so it shows in Dagster's pages like
any other. The exit code is 1 when it failed; the published snapshot is then the one before.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from oms_ops import clock
from oms_ops.settings import settings
from pipelines import instance
from pipelines.defs.common import ASKED_BY, CODE, FULL_REFRESH, JOB
from pipelines.lib import idle, status
from pipelines.lib.dbt import BuildFailed
from pipelines.lib.journal import Stage

if TYPE_CHECKING:
    from pipelines.console import StageLines


def main(arguments: list[str] | None = None) -> int:
    """Run the job, print a line a stage and a summary; return the exit code."""
    options = _parser().parse_args(arguments)
    start = time.perf_counter()
    instance.prepare()
    if not options.full_refresh and (message := _idle()):
        print(f"unchanged in {time.perf_counter() - start:.1f} s: {message}")
        return 0
    from pipelines.console import StageLines

    with StageLines() as lines, instance.quick_log():
        try:
            error = _execute(options.full_refresh, lines, start)
        except BuildFailed as broken:
            error = f"The models do not parse: {broken}"
            status.failed(settings().published, "not started", clock.now(), error)
    seconds = time.perf_counter() - start
    last = status.load(settings().published)
    if error:
        print(f"FAILED after {seconds:.1f} s: {error}")
        for check in last.failed_checks if last and last.state == "failed" else ():
            print(f"  failed check  {check}")
        return 1
    rows = sum(stage.rows_written for stage in lines.stages)
    size = sum(stage.bytes for stage in lines.stages)
    state = last.state if last else "done"
    print(f"{state} in {seconds:.1f} s ({rows:,} rows and {size / 1e6:,.1f} MB written)")
    return 0


def _idle() -> str | None:
    """Say that nothing has to be done; a database that does not answer is the run's to report."""
    try:
        return idle.settle()
    except (idle.NoFeed, SQLAlchemyError):
        return None


def _execute(full_refresh: bool, lines: StageLines, start: float) -> str | None:
    """Execute the job in this process; return what went wrong, None when nothing did."""
    from dagster import DagsterInstance

    from pipelines.definitions import defs

    # It warns of each check that has nothing to check because nothing changed.
    logging.getLogger("dagster._core").setLevel(logging.ERROR)
    job = defs.resolve_job_def(JOB)
    tags = {
        instance.PROCESS: str(os.getpid()),
        ASKED_BY: "command line",
        CODE: status.code_version(*status.SOURCES),
    }
    if full_refresh:
        tags[FULL_REFRESH] = "true"
    with DagsterInstance.get() as dagster:
        instance.close_abandoned(dagster)
        lines.line(Stage("start", time.perf_counter() - start, note="imports, definitions"))
        result = job.execute_in_process(
            instance=dagster,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    if result.success:
        return None
    last = status.load(settings().published)
    if last is not None and last.run_id == result.run_id:
        return last.message
    return "; ".join(event.message or "" for event in result.all_events if event.is_failure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipelines.run", description="Run the pipeline once.")
    parser.add_argument(
        "--full-refresh", action="store_true", help="rebuild the warehouse from the lake alone"
    )
    return parser


if __name__ == "__main__":
    code = main()
    # Taking apart what a thousand modules hold, object by object, would cost another two seconds.
    gc.freeze()
    sys.exit(code)
