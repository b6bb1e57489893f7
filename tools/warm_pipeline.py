"""Imports what a pipeline run needs, waits for a line on standard input, then runs the pipeline.

``make demo`` starts it beside the load of the orders, which leaves a core idle: imports, parsing
the dbt project and Dagster's own database together take as long as a third of a first run.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def main() -> None:
    """Get ready, wait, run ``python -m pipelines.run``; do nothing when nobody asks any more."""
    before = signal.signal(signal.SIGINT, _leave)
    get_ready()
    if not sys.stdin.readline():
        sys.exit(1)
    signal.signal(signal.SIGINT, before)
    sys.argv[1:] = []
    runpy.run_module("pipelines.run", run_name="__main__", alter_sys=True)


def get_ready() -> None:
    """Load what the run will load, and let each make what it makes once."""
    from pipelines import instance
    from pipelines.lib import expectations

    instance.prepare()
    from dagster import DagsterInstance

    import pipelines.console  # noqa: F401
    from pipelines.definitions import defs
    from pipelines.defs.common import JOB

    defs.resolve_job_def(JOB)
    with _uninterrupted(), instance.quick_log(), DagsterInstance.get():
        pass
    expectations.warm_up()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End at once, helpers of libraries included: nothing is there yet to be closed."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block: half of Dagster's tables would be of no use."""
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
