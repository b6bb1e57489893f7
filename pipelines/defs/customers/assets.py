"""The forecast of each customer: P(alive), orders and value to expect, risk of having lost her."""

from dataclasses import asdict

import dagster as dg
import duckdb

from oms_ops.settings import settings
from pipelines.defs.common import OWNERS, POOL
from pipelines.lib import customer_value as forecasts
from pipelines.resources import PipelineRun

CUSTOMER_VALUE = dg.AssetKey(["marts", "customer_value"])


@dg.asset(
    key=CUSTOMER_VALUE,
    deps=[dg.AssetKey(["marts", "fct_orders"])],
    group_name="customers",
    owners=OWNERS,
    kinds={"scipy", "duckdb"},
    pool=POOL,
    description="One row per customer who bought: P(alive) by BG/NBD, orders to expect in 90 days,"
    " the value of an order by Gamma-Gamma, and both together for a year.",
)
def customer_value(run: PipelineRun) -> dg.MaterializeResult[None]:
    """Fit both models to all customers, and forecast each."""
    with run.journal.stage("customer value") as stage:
        with duckdb.connect(settings().warehouse) as warehouse:
            bought = forecasts.history(warehouse, run.business_date)
            coming, spending = forecasts.fit(bought)
            forecasts.store(warehouse, forecasts.forecast(bought, coming, spending))
        stage.rows_read = stage.rows_written = bought.height
        stage.note = f"{bought.height:,} customers"
        if coming is None:
            stage.note += ", no forecast: too few came back, or none fits them"
    fitted = {
        f"{model}_{name}": value
        for model, parameters in (("bg_nbd", coming), ("gamma_gamma", spending))
        if parameters is not None
        for name, value in asdict(parameters).items()
    }
    return dg.MaterializeResult(metadata={"dagster/row_count": bought.height, **fitted})
