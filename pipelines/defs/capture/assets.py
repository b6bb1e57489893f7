"""The change log as Dagster sees it from outside, and the lake that it is landed in."""

from collections.abc import Iterator

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from oms_ops.database import retryable, unavailable
from oms_ops.settings import settings
from pipelines.defs.common import FULL_REFRESH, OWNERS, POOL
from pipelines.defs.freshness import DAILY
from pipelines.lib import expectations, idle, lake, landing, objects, status
from pipelines.resources import PipelineRun

CHANGE_LOG = dg.AssetKey(["oms", "change_log"])
CHANGES = dg.AssetKey(["lake", "changes"])

#: The one place where a run tries again: the operational database is the only thing that others can
#: keep from it, for moments. What fails after the landing fails the same way a second time.
ATTEMPTS, PAUSE_SECONDS = 3, 5

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
    freshness_policy=DAILY,
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
        except SQLAlchemyError as error:
            if unavailable(error) or retryable(error):
                raise dg.RetryRequested(ATTEMPTS, PAUSE_SECONDS) from error
            raise
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
