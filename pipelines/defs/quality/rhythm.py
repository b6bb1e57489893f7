"""Volume and freshness against the shop's own rhythm: told, and never in the way."""

from datetime import timedelta

import dagster as dg
import duckdb

from oms_ops.settings import settings
from pipelines.defs.common import POOL
from pipelines.defs.quality.checks import mart
from pipelines.lib import rhythm
from pipelines.lib.landing import Horizon
from pipelines.resources import PipelineRun

ORDERS_DAILY, ORDERS = mart("orders_daily"), mart("fct_orders")


# "Blocking" so that the snapshot waits for the result and carries it; a warning blocks nothing.
@dg.asset_check(
    asset=ORDERS_DAILY,
    name="volume",
    blocking=True,
    pool=POOL,
    description=f"Orders, units and net sales of the last whole day against the same weekday of"
    f" {rhythm.WEEKS} weeks before, by median and MAD. Warns; needs {rhythm.ENOUGH} such weeks.",
)
def volume(run: PipelineRun) -> dg.AssetCheckResult:
    """Hold the last whole day against its weekday."""
    last = run.business_date - timedelta(days=1)
    with duckdb.connect(settings().warehouse, read_only=True) as warehouse:
        readings, weeks = rhythm.day(warehouse, last)
    odd = [reading for reading in readings if not reading.is_usual]
    if not readings:
        detail = f"not judged: {weeks} of the {rhythm.ENOUGH} weeks that it takes are known"
    else:
        told = "; ".join(map(str, odd or readings))
        detail = f"{last:%A} {last}, against {weeks} weeks: {told}"
    return run.check_result(ORDERS_DAILY, "volume", passed=not odd, detail=detail, severity="WARN")


@dg.asset_check(
    asset=ORDERS,
    name="freshness",
    blocking=True,
    pool=POOL,
    description=f"The age of the newest order against the longest gaps around this hour of the"
    f" weekday in {rhythm.WEEKS} weeks. Warns; needs {rhythm.ENOUGH} such weeks.",
)
def freshness(run: PipelineRun) -> dg.AssetCheckResult:
    """Hold the silence since the newest order against the shop's own gaps."""
    shop = settings()
    at = Horizon.load(shop.lake / "changes").read_at
    with duckdb.connect(shop.warehouse, read_only=True) as warehouse:
        moments = rhythm.orders(warehouse, at)
    silence = rhythm.silence(moments, at, shop.zone)
    if silence is None:
        detail = f"not judged: it takes {rhythm.ENOUGH} weeks with orders around this hour"
    else:
        detail = str(silence)
    passed = silence is None or silence.is_usual
    if passed:
        run.journal.look_again_at = rhythm.odd_from(moments, at, shop.zone)
    return run.check_result(ORDERS, "freshness", passed=passed, detail=detail, severity="WARN")
