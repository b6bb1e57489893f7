"""The reconciliation with the ledger, and the snapshot that is published when all checks passed."""

import dagster as dg
import duckdb

from oms_ops import clock
from oms_ops.settings import settings
from pipelines.defs.common import OWNERS, POOL
from pipelines.defs.customers.assets import CUSTOMER_VALUE
from pipelines.defs.freshness import DAILY
from pipelines.defs.replenishment.assets import REORDER_LINES
from pipelines.defs.warehouse.assets import dbt_models
from pipelines.lib import alerts, dbt, publishing, reconcile, status
from pipelines.lib.landing import Horizon
from pipelines.resources import PipelineRun

RECONCILIATION = dg.AssetKey(["marts", "reconciliation"])
SNAPSHOT = dg.AssetKey(["published", "snapshot"])
MARTS = [key for key in sorted(dbt_models.keys) if key.path[0] == "marts"]


@dg.asset(
    key=RECONCILIATION,
    deps=MARTS,
    group_name="publish",
    owners=OWNERS,
    kinds={"duckdb"},
    pool=POOL,
    check_specs=[
        dg.AssetCheckSpec(
            "to_the_cent",
            asset=RECONCILIATION,
            blocking=True,
            description="Counts, units and money of the marts equal the operational ledger at the"
            " place in the feed that has landed.",
        )
    ],
    description="Every figure that the marts share with the operational ledger, on both sides.",
)
# Dagster knows only the bare class as the result of an asset that checks itself.
def reconciliation(run: PipelineRun) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Compare the marts with the totals that the landing read in its own snapshot."""
    shop = settings()
    horizon = Horizon.load(shop.lake / "changes")
    with run.journal.stage("reconciliation") as stage:
        with duckdb.connect(shop.warehouse) as warehouse:
            lines = reconcile.compare(warehouse, horizon.totals, shop.currency)
            reconcile.store(warehouse, lines)
        wrong = [line for line in lines if line.difference]
        stage.rows_written = len(lines)
        stage.note = f"{len(lines)} measures, {len(wrong)} differ"
    detail = "; ".join(map(str, wrong))
    result = run.check_result(
        RECONCILIATION,
        "to_the_cent",
        passed=not wrong,
        detail=detail or f"{len(lines)} measures equal at {horizon.cursor}",
    )
    return dg.MaterializeResult(check_results=[result])


@dg.asset(
    key=SNAPSHOT,
    deps=[*MARTS, CUSTOMER_VALUE, REORDER_LINES, RECONCILIATION],
    group_name="publish",
    owners=OWNERS,
    kinds={"duckdb"},
    pool=POOL,
    freshness_policy=DAILY,
    description="A copy of the marts in a file of its own, swapped in atomically; what dashboards"
    " read. Not reached when a blocking check failed.",
)
def snapshot(context: dg.AssetExecutionContext, run: PipelineRun) -> dg.MaterializeResult[None]:
    """Publish the marts, say so in ``status.json``, and tell people of new warnings."""
    shop = settings()
    horizon = Horizon.load(shop.lake / "changes")
    with run.journal.stage("publish") as stage:
        facts = publishing.Facts(
            run_id=run.journal.run_id,
            published_at=clock.now(),
            as_of=horizon.newest_change_at or horizon.read_at,
            business_date=run.business_date,
            cursor=str(horizon.cursor),
            currency=shop.currency,
            timezone=shop.timezone,
        )
        made = publishing.publish(
            shop.warehouse, shop.published, facts, run.journal, dbt.increments()
        )
        stage.rows_written = made.rows
        stage.bytes = made.bytes
        stage.note = f"{made.path.name}, {made.rows:,} rows"
    last = status.load(shop.published)
    known = last.warnings if last else ()
    run.finish("published", f"Published {made.path.name}.", run.basis(horizon.cursor))
    warned = [c for c in run.journal.checks if c.warns and (c.is_news or c.key not in known)]
    if warned:
        told = "\n".join(f"{check.key}: {check.detail}" for check in warned)
        context.log.warning(f"Published with warnings: {told}")
        alerts.tell(
            context.log,
            "The data pipeline warns",
            f"Run {run.journal.run_id} published {made.path.name}, and warns:\n\n{told}\n",
        )
    return dg.MaterializeResult(
        metadata={"dagster/row_count": made.rows, "bytes": made.bytes, "path": made.path.name}
    )
