"""What happens when a run fails: the status says so, the log says so, and somebody gets a mail.

The hook runs in the failing run itself, wherever that was started. The sensor sees what a run
cannot tell any more, a killed process for one; it needs the daemon.
"""

import logging
from datetime import datetime

import dagster as dg

from oms_ops import clock
from oms_ops.settings import settings
from pipelines.lib import alerts, status


@dg.failure_hook(required_resource_keys={"run"})
def report_failure(context: dg.HookContext) -> None:
    """Write ``status.json`` and alert, from inside the run."""
    run = context.resources.run
    first = not run.journal.errors
    error = context.op_exception
    if isinstance(error, dg.RetryRequested):
        # The last attempt failed as well: it asked for another one, for this reason.
        error = error.__cause__
    run.journal.errors.append(f"{context.op.name}: {error}")
    run.failed()
    if first:
        _alert(context.log, context.run_id, run.journal.errors[0])


@dg.run_failure_sensor(
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Tells of a failed run that could not tell of itself.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Write ``status.json`` and alert for a run that ended without doing so."""
    run = context.dagster_run
    if context.get_step_failure_events():
        return  # the hook has told
    message = context.failure_event.message or "The run ended without a word."
    published = settings().published
    last = status.load(published)
    record = context.instance.get_run_record_by_id(run.run_id)
    began = record.create_timestamp if record else clock.now()
    if last is None or datetime.fromisoformat(last.started_at) < began:
        # Otherwise a later run has already said how things stand.
        status.failed(published, run.run_id, began, message)
    _alert(context.log, run.run_id, message)


def _alert(log: logging.Logger, run_id: str, message: str) -> None:
    log.error(f"Run {run_id} failed, the last good snapshot stays: {message}")
    alerts.tell(
        log,
        "The data pipeline failed",
        f"Run {run_id} failed. Dashboards go on with the last good snapshot.\n\n{message}\n",
    )
