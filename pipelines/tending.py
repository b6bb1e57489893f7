"""The upkeep of lake and log as a job, once a night."""

import dagster as dg

from oms_ops.settings import settings
from pipelines.lib import upkeep
from pipelines.lib.files import exclusive


@dg.op(description="Merge the lake's small files; prune the log, where the shop has said so.")
def tend_lake(context: dg.OpExecutionContext) -> None:
    """Tend the lake while no run of the pipeline is under way."""
    with exclusive(settings().home / "pipeline.lock", wait_seconds=900):
        context.log.info(str(upkeep.tend()))


@dg.job(description="Keeps the lake and the change log from growing without end.")
def tend() -> None:
    """Tend lake and log."""
    tend_lake()


every_night = dg.ScheduleDefinition(
    job=tend,
    name="every_night",
    cron_schedule="20 3 * * *",
    execution_timezone=settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 3:20 in the shop's night.",
)
