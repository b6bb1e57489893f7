"""The reorder list: which SKUs to buy, how many, and why."""

from typing import Any

import dagster as dg
import duckdb

from oms_ops.settings import settings
from pipelines.defs.common import OWNERS, POOL
from pipelines.lib import reorder_lines as lines
from pipelines.lib.landing import Horizon
from pipelines.resources import PipelineRun

REORDER_LINES = dg.AssetKey(["marts", "reorder_lines"])


class ReorderPolicy(dg.ConfigurableResource[Any]):
    """What the shop decides about its stock; ``service_level`` is per replenishment cycle."""

    service_level: float = 0.95


@dg.asset(
    key=REORDER_LINES,
    deps=[
        dg.AssetKey(["marts", name])
        for name in ("inventory_health", "dim_skus", "fct_purchase_order_lines")
    ],
    group_name="replenishment",
    owners=OWNERS,
    kinds={"polars", "duckdb"},
    pool=POOL,
    description="One line per SKU and warehouse to reorder now, with the waterfall that sums"
    " exactly to the suggested quantity.",
)
def reorder_lines(run: PipelineRun, policy: ReorderPolicy) -> dg.MaterializeResult[None]:
    """Decide what to reorder, as of the moment up to which the feed has landed."""
    shop = settings()
    horizon = Horizon.load(shop.lake / "changes")
    with run.journal.stage("replenishment") as stage:
        with duckdb.connect(shop.warehouse) as warehouse:
            decided = lines.decide(warehouse, policy.service_level)
            lines.store(
                warehouse,
                decided,
                list_id=run.journal.run_id,
                as_of=horizon.read_at,
                currency=shop.currency,
            )
        stage.rows_written = decided.height
        stage.note = f"{decided.height:,} lines to reorder"
    return dg.MaterializeResult(metadata={"dagster/row_count": decided.height})
