"""The change log as Dagster sees it from outside, and the lake that it is landed in."""

from collections.abc import Iterator

import dagster as dg

from oms_ops.settings import settings
from pipelines.defs.common import FULL_REFRESH, OWNERS, POOL
from pipelines.lib import expectations, idle, lake, landing, objects, status
from pipelines.resources import PipelineRun

CHANGE_LOG = dg.AssetKey(["oms", "change_log"])
CHANGES = dg.AssetKey(["lake", "changes"])

change_log = dg.AssetSpec(
    CHANGE_LOG,
    group_name="capture",
    owners=OWNERS,
    kinds={"table"},
    description="Every committed change of the operational database, written by its triggers.",
)


@dg.asset(
    key=CHANGES,
    deps=[change_log],
    output_required=False,
    group_name="capture",
    owners=OWNERS,
    kinds={"parquet", "polars"},
    pool=POOL,
    description="Committed changes as Parquet files named by the cursor range they hold. Skipped,"
    " with everything after it, when the published snapshot already has all there is.",
)
def changes(
    context: dg.AssetExecutionContext, run: PipelineRun
) -> Iterator[dg.MaterializeResult[None]]:
    """Land what was committed since the last file; end the run here when nothing is new."""
    shop = settings()
    folder = shop.lake / "changes"
    with run.journal.stage("capture") as stage:
        engine = idle.open_feed()
        forced = FULL_REFRESH in context.run.tags
        try:
            if not forced and not idle.anything_waits(engine, folder):
                now = run.basis(lake.cursor(folder))
                if status.is_current(shop.published, now):
                    stage.note = "nothing changed"
                    run.finish("unchanged", "Nothing changed since the last snapshot.", now)
                    return
            expectations.warm_up()
            landed = landing.land(engine, folder, remote=objects.opened(shop.lake_store))
        finally:
            engine.dispose()
        stage.rows_read = stage.rows_written = landed.rows
        stage.bytes = landed.bytes
        stage.note = f"{landed.rows:,} changes landed{_behind(landed)}"
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": landed.rows,
            "bytes": landed.bytes,
            "files": len(landed.files),
            "cursor": str(landed.horizon.cursor),
            "changes_in_flight": landed.waiting,
            "lag_seconds": landed.waiting_seconds,
        }
    )


def _behind(landed: landing.Landing) -> str:
    """Say what a transaction that is still open holds back, nothing where none does."""
    if not landed.waiting:
        return ""
    return f", {landed.waiting:,} wait for an open transaction, {landed.waiting_seconds:,.0f} s"
