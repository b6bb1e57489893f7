"""Great Expectations on the marts: one step for all suites, because its import is the cost."""

from collections.abc import Iterator

import dagster as dg
import duckdb

from oms_ops.settings import settings
from pipelines.defs.common import POOL
from pipelines.defs.replenishment.assets import REORDER_LINES
from pipelines.lib import suites
from pipelines.resources import PipelineRun

NAME = "expectations"


def mart(name: str) -> dg.AssetKey:
    """Return the asset key of a mart."""
    return dg.AssetKey(["marts", name])


@dg.multi_asset_check(
    name="mart_expectations",
    specs=[
        dg.AssetCheckSpec(
            NAME,
            asset=mart(suite.mart),
            blocking=True,
            description=f"Great Expectations suite of {len(suite.expectations)} expectations.",
        )
        for suite in suites.MARTS
    ],
    pool=POOL,
)
def mart_expectations(run: PipelineRun) -> Iterator[dg.AssetCheckResult]:
    """Validate the marts that decisions and dashboards rest on."""
    with run.journal.stage("check the marts") as stage:
        with duckdb.connect(settings().warehouse, read_only=True) as warehouse:
            outcomes = [(s.mart, suites.validate_mart(warehouse, s)) for s in suites.MARTS]
        stage.note = f"{sum(len(outcome.results) for _, outcome in outcomes)} expectations"
    for name, outcome in outcomes:
        yield run.suite_result(mart(name), NAME, outcome)


@dg.asset_check(
    asset=REORDER_LINES,
    name=NAME,
    blocking=True,
    description="Great Expectations: every line adds up, keeps the minimum and whole packs.",
)
def reorder_expectations(run: PipelineRun) -> dg.AssetCheckResult:
    """Validate the reorder list."""
    with duckdb.connect(settings().warehouse, read_only=True) as warehouse:
        outcome = suites.validate_mart(warehouse, suites.REORDER)
    return run.suite_result(REORDER_LINES, NAME, outcome)
