"""Closes days: ``python -m pipelines.closing 2026-11-01 [2026-11-28]``, and every night the last.

A day is a partition of its asset: Dagster's pages show which days are closed, and close or close
again any of them (backfill), a range in one run.
"""

import argparse
import logging
import os
import sys
import warnings
from datetime import date

import dagster as dg

from oms_ops.settings import settings
from pipelines import instance
from pipelines.defs.common import ASKED_BY, DAILY_CLOSE, OWNERS, POOL
from pipelines.defs.publish.assets import SNAPSHOT
from pipelines.lib import closing

# Dagster says of many of its parameters that they may change: the lock holds its version.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)

DAYS = dg.DailyPartitionsDefinition(
    start_date=settings().first_day.isoformat(), timezone=settings().timezone
)

#: Dagster's own tags for a run over a range of partitions.
_FROM, _TO = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dg.asset(
    key=dg.AssetKey(DAILY_CLOSE),
    deps=[SNAPSHOT],
    partitions_def=DAYS,
    # A range is one look at one snapshot: two days of it never stem from two states of the shop.
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="publish",
    kinds={"csv"},
    owners=OWNERS,
    pool=POOL,
    description="A day that is over as files for bookkeeping, from the newest snapshot: sales,"
    " orders, payments, service and stock by day. Closing it again says what was restated.",
)
def daily_close(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Close the days of the run's partitions."""
    done = []
    for key in context.partition_keys:
        try:
            closed = closing.close(settings().published, date.fromisoformat(key))
        except closing.NotOver as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        done.append(closed)
        context.log.info(f"{key}: {closed.rows:,} rows, {closed.bytes:,} bytes")
        if closed.restated:
            context.log.warning(f"{key} was restated: {', '.join(closed.restated)}")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(closed.rows for closed in done),
            "bytes": sum(closed.bytes for closed in done),
            "restated": ", ".join(str(closed.day) for closed in done if closed.restated) or "none",
        }
    )


close = dg.define_asset_job(
    "close",
    selection=dg.AssetSelection.assets(daily_close),
    description="Writes the files of days that are over.",
)

# Half an hour into the next day: the runs of the quarter hours have taken in the end of the last.
every_new_day = dg.build_schedule_from_partitioned_job(
    close,
    name="every_new_day",
    hour_of_day=0,
    minute_of_hour=40,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Closes the day that is over.",
)


def main(arguments: list[str] | None = None) -> int:
    """Close days in this process; return the exit code."""
    parser = argparse.ArgumentParser(prog="pipelines.closing", description=main.__doc__)
    parser.add_argument("first", type=date.fromisoformat, help="the first day, as 2026-11-01")
    parser.add_argument("last", type=date.fromisoformat, nargs="?", help="the last one")
    options = parser.parse_args(arguments)
    first, last = options.first, options.last or options.first
    known = DAYS.get_partition_keys()
    for day in (first, last):
        if day.isoformat() not in known:
            print(f"{day} is no day that is over, or comes before OMS_FIRST_DAY", file=sys.stderr)
            return 2
    if last < first:
        print(f"{last} comes before {first}", file=sys.stderr)
        return 2
    instance.prepare()
    from pipelines.definitions import defs

    logging.getLogger("dagster._core").setLevel(logging.ERROR)
    tags = {
        instance.PROCESS: str(os.getpid()),
        ASKED_BY: "command line",
        _FROM: first.isoformat(),
        _TO: last.isoformat(),
    }
    with dg.DagsterInstance.get() as dagster:
        result = defs.resolve_job_def("close").execute_in_process(
            instance=dagster,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        )
    days = (last - first).days + 1
    where = settings().published / closing.FOLDER
    print(f"{days} days closed in {where}" if result.success else "FAILED: see the log above")
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
