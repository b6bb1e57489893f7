"""Imports what a pipeline run needs, waits for a line on standard input, then runs the pipeline.

``make demo`` starts it beside the load of the orders: the imports and the parsing of the dbt project
take as long as a third of the run, and the load leaves a core idle.
"""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Get ready, wait, run ``python -m pipelines.run``; do nothing when nobody asks any more."""
    from pipelines import instance

    instance.prepare()
    import dbt.cli.main
    import duckdb
    import great_expectations  # noqa: F401

    import pipelines.console
    import pipelines.definitions  # noqa: F401

    if not sys.stdin.readline():
        sys.exit(1)
    sys.argv[1:] = []
    runpy.run_module("pipelines.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
