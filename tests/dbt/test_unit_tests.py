"""The models do what their unit tests say, and a shop that has not sold anything yet builds."""

from __future__ import annotations

import json
from pathlib import Path

from oms_ops.database import make_engine
from pipelines.lib import landing
from pipelines.lib.status import DBT_PROJECT
from tests.dbt.warehouse import living_in, query
from tests.oms_ops.shop import Shop

#: Models whose rules are worth an example each.
TESTED = {
    "backorders",
    "care_daily",
    "customer_cohorts",
    "customers",
    "fct_feedback",
    "fct_order_lines",
    "fct_orders",
    "fct_payments",
    "fct_purchase_order_lines",
    "fct_refunds",
    "fct_returns",
    "fct_shipments",
    "fct_stock_counts",
    "fct_stock_moves",
    "fct_tickets",
    "feedback_daily",
    "int_daily_demand",
    "int_demand_statistics",
    "int_stock_daily",
    "inventory_health",
    "inventory_performance",
    "order_history",
    "order_service",
    "orders_daily",
    "payments_daily",
    "sales_daily",
    "service_daily",
    "sku_history",
    "sku_sales_daily",
    "stock_daily",
    "supplier_performance",
}


def test_every_unit_test_passes_on_the_warehouse_of_an_empty_shop(
    sqlite_url: str, tmp_path: Path
) -> None:
    from dbt.cli.main import dbtRunner

    engine = make_engine(sqlite_url)
    Shop(engine)
    home = tmp_path / "home"
    landing.land(engine, home / "lake" / "changes")
    engine.dispose()
    (home / "warehouse").mkdir()
    with living_in(home):
        outcome = dbtRunner().invoke(
            ["--quiet", "build", "--vars", json.dumps({"business_date": "2026-03-31"}),
             "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT),
             "--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs")]
        )  # fmt: skip
        _let_go()
    assert outcome.exception is None
    results = {result.node.unique_id: result for result in outcome.result}
    wrong = {name: r.message for name, r in results.items() if r.status not in ("success", "pass")}
    assert wrong == {}
    tested = {name.split(".")[2] for name in results if name.startswith("unit_test.")}
    assert tested == TESTED
    assert query(home, "SELECT count(*) FROM marts.dim_skus") == [(5,)]
    assert query(home, "SELECT count(*) FROM marts.fct_orders") == [(0,)]


def _let_go() -> None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()
