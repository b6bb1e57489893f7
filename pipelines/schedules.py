"""When the pipeline runs by itself, and what is told when it fails."""

import dagster as dg

from oms_ops.settings import settings
from pipelines.defs.common import ASKED_BY, CODE, DAILY_CLOSE, JOB
from pipelines.lib import idle, status
from pipelines.sensors import report_failure

refresh = dg.define_asset_job(
    JOB,
    # But for the days, which are closed one by one when they are over.
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets(dg.AssetKey(DAILY_CLOSE)),
    hooks={report_failure},
    description="Change feed to published snapshot, with every check between.",
)


@dg.schedule(
    job=refresh,
    cron_schedule="*/15 * * * *",
    execution_timezone=settings().timezone,
    # Runs wherever a Dagster daemon runs (`make demo`, production), from the start: a tick that
    # finds nothing new costs a look at the feed and starts no process.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour, when anything has changed.",
)
def every_quarter_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run unless the published snapshot already has all there is."""
    try:
        message = idle.settle()
    except Exception as error:  # noqa: BLE001 - a run that fails is seen, a tick hardly
        context.log.warning(f"Could not look at the feed: {error}")
        return _request()
    return dg.SkipReason(message) if message else _request()


def _request() -> dg.RunRequest:
    return dg.RunRequest(tags={ASKED_BY: "schedule", CODE: status.code_version(*status.SOURCES)})
