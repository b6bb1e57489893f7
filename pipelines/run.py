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

from oms_ops.settings import settings
from pipelines import instance
from pipelines.defs.common import FULL_REFRESH, JOB
from pipelines.lib import idle, status
from pipelines.lib.journal import Stage


def main(arguments: list[str] | None = None) -> int:
    """Run the job, print a line a stage and a summary; return the exit code."""
    options = _parser().parse_args(arguments)
    start = time.perf_counter()
    instance.prepare()
    if not options.full_refresh and (message := idle.settle()):
        print(f"unchanged in {time.perf_counter() - start:.1f} s: {message}")
        return 0
    tags = {instance.PROCESS: str(os.getpid())}
    if options.full_refresh:
        tags[FULL_REFRESH] = "true"
    from pipelines.console import StageLines

    with StageLines() as lines, instance.quick_log():
        from dagster import DagsterInstance

        from pipelines.definitions import defs

        # It warns of each check that has nothing to check because nothing changed.
        logging.getLogger("dagster._core").setLevel(logging.ERROR)
        job = defs.resolve_job_def(JOB)
        with DagsterInstance.get() as dagster:
            instance.close_abandoned(dagster)
            lines.line(Stage("start", time.perf_counter() - start, note="imports, definitions"))
            result = job.execute_in_process(
                instance=dagster,
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
    last = status.load(settings().published)
    seconds = time.perf_counter() - start
    if not result.success:
        told = last is not None and last.run_id == result.run_id
        print(f"FAILED after {seconds:.1f} s: {last.message if told and last else _errors(result)}")
        for check in last.failed_checks if told and last else ():
            print(f"  failed check  {check}")
        return 1
    rows = sum(stage.rows_written for stage in lines.stages)
    size = sum(stage.bytes for stage in lines.stages)
    what = last.state if last else "done"
    print(f"{what} in {seconds:.1f} s ({rows:,} rows and {size / 1e6:,.1f} MB written)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipelines.run", description="Run the pipeline once.")
    parser.add_argument(
        "--full-refresh", action="store_true", help="rebuild the warehouse from the lake alone"
    )
    return parser


def _errors(result: object) -> str:
    """Return why a run failed that could not even write its status."""
    events = getattr(result, "all_events", [])
    return "; ".join(event.message or "" for event in events if event.is_failure) or "unknown"


if __name__ == "__main__":
    code = main()
    # Taking apart what a thousand modules hold, object by object, would cost another two seconds.
    gc.freeze()
    sys.exit(code)
