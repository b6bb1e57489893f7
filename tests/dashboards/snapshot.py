"""Write a published snapshot of the simulated shop, as the pipeline's publish stage would."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import yaml

from pipelines.lib.reorder_lines import COLUMNS
from tests.dashboards.shop import WAREHOUSES, Row, Shop, trade

SERVICE_LEVEL, Z = 0.95, 1.645
LEAD_DEVIATION = 1.5
MARTS = Path(__file__).with_name("marts.sql")
CONTRACTS = Path(__file__).parents[2] / "dbt_project" / "models" / "marts"
SEGMENTS = Path(__file__).parents[2] / "dbt_project" / "seeds" / "rfm_segments.csv"
CURSOR = "1:0:0"
TIMEZONE = "America/New_York"
RUN_ID = "run-of-yesterday"


def publish(
    home: Path,
    *,
    run_id: str = RUN_ID,
    business_date: date | None = None,
    shop: Shop | None = None,
    cursor: str = CURSOR,
) -> Path:
    """Write ``published/warehouse-<run_id>.duckdb`` below ``home`` and make it current."""
    shop = shop or trade(business_date or yesterday())
    folder = home / "published"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"warehouse-{run_id}.duckdb"
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as con:
        con.execute("SET TimeZone = 'UTC'")
        _facts(con, shop)
        con.execute(MARTS.read_text())
        _unsimulated(con)
        _reorder_lines(con, shop, run_id)
        _reconciliation(con)
        _meta(con, shop, run_id, cursor)
        con.execute("DROP SCHEMA raw CASCADE")
        con.execute("DROP FUNCTION money; DROP FUNCTION today")
    link = folder / "next.duckdb"
    link.symlink_to(path.name)
    link.replace(folder / "current.duckdb")
    status(home, "published", run_id=run_id, snapshot=path.name)
    return path


def yesterday() -> date:
    """Return a business date that is over and not too old to approve from."""
    return datetime.now(ZoneInfo(TIMEZONE)).date() - timedelta(days=1)


def status(home: Path, state: str, *, run_id: str, snapshot: str | None, **more: Any) -> None:
    """Write ``published/status.json``, as every pipeline run does at its end."""
    now = datetime.now(UTC)
    document = {
        "state": state, "run_id": run_id, "started_at": (now - timedelta(seconds=48)).isoformat(),
        "finished_at": now.isoformat(), "message": "", "failed_checks": [], "snapshot": snapshot,
    } | more  # fmt: skip
    folder = home / "published"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(document))


def _table(con: duckdb.DuckDBPyConnection, name: str, rows: list[Row]) -> None:
    con.register("incoming", pa.Table.from_pylist(rows))
    con.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    con.unregister("incoming")


def _facts(con: duckdb.DuckDBPyConnection, shop: Shop) -> None:
    con.execute("CREATE SCHEMA raw")
    con.execute("CREATE MACRO money(cents) AS CAST(CAST(cents AS bigint) * 0.01 AS decimal(18, 2))")
    con.execute(f"CREATE MACRO today() AS DATE '{shop.business_date}'")
    warehouses = [dict(zip(("warehouse", "warehouse_name", "city"), w, strict=True))
                  for w in WAREHOUSES]  # fmt: skip
    for name, rows in (
        ("skus", shop.skus), ("warehouses", warehouses), ("customers", shop.customers),
        ("orders", shop.orders), ("lines", shop.lines), ("returns", shop.returns),
        ("purchases", shop.purchases), ("moves", shop.moves), ("stock", shop.stock),
    ):  # fmt: skip
        _table(con, f"raw.{name}", rows)
    con.execute("CREATE TABLE raw.segments AS FROM read_csv(?)", [str(SEGMENTS)])


@lru_cache
def contracts() -> dict[str, dict[str, str]]:
    """Return the columns and types that each mart promises."""
    return {
        model["name"]: {c["name"]: c["data_type"] for c in model["columns"]}
        for path in sorted(CONTRACTS.rglob("*.yml"))
        for model in yaml.safe_load(path.read_text()).get("models", [])
    }


def _unsimulated(con: duckdb.DuckDBPyConnection) -> None:
    """Add the marts that no page shows yet: as they are published, and empty."""
    for mart, columns in contracts().items():
        listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        con.execute(f"CREATE TABLE IF NOT EXISTS marts.{mart} ({listed})")


def _reorder_lines(con: duckdb.DuckDBPyConnection, shop: Shop, list_id: str) -> None:
    rows = con.execute(
        "SELECT h.*, k.supplier_name, k.lead_time_days, k.review_days, k.moq, k.pack_multiple"
        " FROM marts.inventory_health AS h JOIN marts.dim_skus AS k USING (sku_id)"
        " WHERE h.average_daily_demand > 0 ORDER BY h.sku_id, h.warehouse"
    ).to_arrow_table()
    lines = [line for row in rows.to_pylist() if (line := _line(row, shop, list_id))]
    _table(con, "raw.reorder_lines", lines)
    # The pipeline's own definition: its CHECKs hold for simulated lines too.
    definitions = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    con.execute(f"CREATE TABLE marts.reorder_lines ({definitions})")
    con.execute("INSERT INTO marts.reorder_lines BY NAME FROM raw.reorder_lines")


def _line(row: Row, shop: Shop, list_id: str) -> Row | None:
    """Return the reorder line of one SKU in one warehouse, or None when it has enough."""
    demand, sigma = row["average_daily_demand"], row["demand_standard_deviation"]
    lead, review = row["lead_time_days"], row["review_days"]
    safety = math.ceil(Z * math.sqrt((lead + review) * sigma**2 + demand**2 * LEAD_DEVIATION**2))
    point = math.ceil(demand * lead) + safety
    cycle = math.ceil(demand * (lead + review))
    position = row["on_hand"] + row["on_order"] - row["allocated"] - row["backordered"]
    if position > point:
        return None
    needed = cycle + safety - position
    with_moq = max(needed, row["moq"])
    with_pack = math.ceil(with_moq / row["pack_multiple"]) * row["pack_multiple"]
    urgency = "stocked_out" if row["available"] <= 0 else (
        "below_safety" if position < safety else "below_reorder_point"
    )  # fmt: skip
    kept = ("warehouse", "sku_id", "sku", "sku_name", "department", "category", "supplier",
            "supplier_name", "lead_time_days", "review_days", "average_daily_demand",
            "demand_standard_deviation", "demand_days", "on_hand", "on_order", "allocated",
            "backordered", "moq", "pack_multiple", "unit_cost", "cover_days",
            "next_expected_on")  # fmt: skip
    return {
        **{name: row[name] for name in kept},
        "list_id": list_id, "as_of": shop.as_of,
        "lead_time_standard_deviation": LEAD_DEVIATION, "protection_days": lead + review,
        "service_level": SERVICE_LEVEL, "z": Z, "reorder_point": point,
        "order_up_to": cycle + safety, "inventory_position": position, "demand_quantity": cycle,
        "safety_quantity": safety, "moq_excess": with_moq - needed,
        "pack_excess": with_pack - with_moq, "suggested_quantity": with_pack, "currency": "USD",
        "line_value": row["unit_cost"] * with_pack, "urgency": urgency,
        "reason": f"Position {position} is at or below the reorder point {point}.",
    }  # fmt: skip


def _reconciliation(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE marts.reconciliation AS"
        " SELECT measure, CAST(value AS decimal(18, 2)) AS operational,"
        " CAST(value AS decimal(18, 2)) AS warehouse_value,"
        " CAST(0 AS decimal(18, 2)) AS difference, true AS is_reconciled FROM ("
        " SELECT 'orders in fct_orders' AS measure, CAST(count(*) AS decimal(18, 2)) AS value"
        " FROM marts.fct_orders UNION ALL SELECT 'gross_sales in fct_order_lines',"
        " sum(gross_sales) FROM marts.fct_order_lines"
        " UNION ALL SELECT 'returns in fct_returns', sum(refund) FROM marts.fct_returns)"
    )


def _meta(con: duckdb.DuckDBPyConnection, shop: Shop, run_id: str, cursor: str) -> None:
    con.execute("CREATE SCHEMA meta")
    _table(con, "meta.snapshot", [{
        "list_id": run_id, "run_id": run_id, "published_at": datetime.now(UTC),
        "as_of": shop.as_of.astimezone(UTC), "business_date": shop.business_date,
        "cursor": cursor, "currency": "USD", "timezone": TIMEZONE,
    }])  # fmt: skip
    _table(con, "meta.check_results", [
        {"check_name": name, "asset": asset, "severity": severity, "passed": passed,
         "detail": detail}
        for name, asset, severity, passed, detail in (
            ("order_lines_reconcile", "marts/fct_order_lines", "ERROR", True, "difference 0.00"),
            ("net_sales_adds_up", "marts/sales_daily", "ERROR", True, "0 rows differ"),
            ("price_in_range", "marts/fct_order_lines", "WARN", False, "3 lines above 10x list"),
        )
    ])  # fmt: skip
    _table(con, "meta.stage_timings", [
        {"stage": stage, "seconds": seconds, "rows_read": rows, "rows_written": rows,
         "bytes": rows * 40}
        for stage, seconds, rows in (("capture", 1.4, 60_000), ("warehouse", 18.2, 240_000),
                                     ("quality", 9.5, 12_000), ("publish", 0.8, 51_000))
    ])  # fmt: skip
