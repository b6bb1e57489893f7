"""When the pipeline runs by itself, and what is told when it fails."""

import dagster as dg

from oms_ops.settings import settings
from pipelines.defs.common import JOB
from pipelines.sensors import report_failure

refresh = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.all(),
    hooks={report_failure},
    description="Change feed to published snapshot, with every check between.",
)

#: Runs wherever a Dagster daemon runs (`make demo`, production). A tick without a change takes a
#: few seconds and touches nothing but the status, so it is on from the start.
every_quarter_hour = dg.ScheduleDefinition(
    job=refresh,
    cron_schedule="*/15 * * * *",
    execution_timezone=settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
