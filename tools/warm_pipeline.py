"""Imports what a pipeline run needs, waits for a line on standard input, then runs the pipeline.

``make demo`` starts it beside the load of the orders, which leaves a core idle: imports, parsing
the dbt project and Dagster's own database together take as long as a third of a first run.
"""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Get ready, wait, run ``python -m pipelines.run``; do nothing when nobody asks any more."""
    get_ready()
    if not sys.stdin.readline():
        sys.exit(1)
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
    with instance.quick_log(), DagsterInstance.get():
        pass
    expectations.warm_up()


if __name__ == "__main__":
    main()
