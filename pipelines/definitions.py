"""The code location: one asset graph from the change log to the published snapshot."""

from __future__ import annotations

import dagster as dg

from pipelines.closing import close, daily_close, every_new_day
from pipelines.defs.capture.assets import change_log, changes
from pipelines.defs.capture.checks import lake_is_unbroken, landed_changes, upstream_columns
from pipelines.defs.customers.assets import customer_value
from pipelines.defs.publish.assets import reconciliation, snapshot
from pipelines.defs.quality.checks import mart_expectations, reorder_expectations
from pipelines.defs.quality.rhythm import freshness, volume
from pipelines.defs.replenishment.assets import ReorderPolicy, reorder_lines
from pipelines.defs.warehouse.assets import dbt_models
from pipelines.ingest import dropped_files, ingest
from pipelines.resources import PipelineRun
from pipelines.schedules import every_quarter_hour, refresh
from pipelines.sensors import failed_runs
from pipelines.tending import every_night, tend

defs = dg.Definitions(
    assets=[
        change_log,
        changes,
        dbt_models,
        customer_value,
        reorder_lines,
        reconciliation,
        snapshot,
        daily_close,
    ],
    asset_checks=[
        lake_is_unbroken,
        upstream_columns,
        landed_changes,
        mart_expectations,
        reorder_expectations,
        volume,
        freshness,
    ],
    resources={"run": PipelineRun(), "policy": ReorderPolicy()},
    jobs=[refresh, close, ingest, tend],
    schedules=[every_quarter_hour, every_new_day, every_night],
    sensors=[failed_runs, dropped_files],
    # One process: the steps are sequential anyway, and a process a step would import all of this
    # again for each. PipelineRun's lock and journal rest on it.
    executor=dg.in_process_executor,
)
