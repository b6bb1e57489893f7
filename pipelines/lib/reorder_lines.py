"""Reads what the reorder decision needs from the marts, and writes the mart ``reorder_lines``.

The table's own constraints hold the promise that a line adds up: a line that does not is refused.
"""

from __future__ import annotations

from datetime import datetime

import duckdb
import polars as pl

from pipelines.lib import policy

_STOCK = """
SELECT h.warehouse, h.sku_id, h.sku, h.sku_name, h.department, h.category, s.supplier,
    s.supplier_name, s.review_days, s.moq, s.pack_multiple, h.average_daily_demand,
    h.demand_standard_deviation, h.demand_days, h.on_hand, h.on_order, h.allocated, h.backordered,
    h.cover_days, h.next_expected_on, s.unit_cost
FROM marts.inventory_health AS h
JOIN marts.dim_skus AS s ON s.sku_id = h.sku_id
WHERE s.is_active AND s.supplier IS NOT NULL
"""

_RECEIPTS = """
SELECT supplier, avg(last_received_on - ordered_on) AS days
FROM marts.fct_purchase_order_lines
WHERE received > 0 AND last_received_on IS NOT NULL
GROUP BY supplier, purchase_order
"""

_SUPPLIERS = """
SELECT supplier, max(lead_time_days) AS agreed_days
FROM marts.dim_skus WHERE supplier IS NOT NULL GROUP BY supplier
"""

#: Column -> type and constraint, in the order in which the table shows them.
COLUMNS = {
    "list_id": "VARCHAR NOT NULL",
    "as_of": "TIMESTAMPTZ NOT NULL",
    "warehouse": "VARCHAR NOT NULL",
    "sku_id": "BIGINT NOT NULL",
    "sku": "VARCHAR NOT NULL",
    "sku_name": "VARCHAR NOT NULL",
    "department": "VARCHAR NOT NULL",
    "category": "VARCHAR NOT NULL",
    "supplier": "VARCHAR NOT NULL",
    "supplier_name": "VARCHAR NOT NULL",
    "lead_time_days": "INTEGER NOT NULL CHECK (lead_time_days >= 0)",
    "lead_time_standard_deviation": "DOUBLE NOT NULL",
    "review_days": "INTEGER NOT NULL CHECK (review_days > 0)",
    "protection_days": "INTEGER NOT NULL CHECK (protection_days = lead_time_days + review_days)",
    "average_daily_demand": "DOUBLE NOT NULL CHECK (average_daily_demand >= 0)",
    "demand_standard_deviation": "DOUBLE NOT NULL CHECK (demand_standard_deviation >= 0)",
    "demand_days": "INTEGER NOT NULL",
    "service_level": "DOUBLE NOT NULL",
    "z": "DOUBLE NOT NULL",
    "reorder_point": "BIGINT NOT NULL",
    "order_up_to": "BIGINT NOT NULL CHECK (order_up_to = demand_quantity + safety_quantity)",
    "inventory_position": "BIGINT NOT NULL"
    " CHECK (inventory_position = on_hand + on_order - allocated - backordered)",
    "demand_quantity": "BIGINT NOT NULL CHECK (demand_quantity >= 0)",
    "safety_quantity": "BIGINT NOT NULL CHECK (safety_quantity >= 0)",
    "on_hand": "BIGINT NOT NULL",
    "on_order": "BIGINT NOT NULL CHECK (on_order >= 0)",
    "allocated": "BIGINT NOT NULL CHECK (allocated >= 0)",
    "backordered": "BIGINT NOT NULL CHECK (backordered >= 0)",
    "moq_excess": "BIGINT NOT NULL CHECK (moq_excess >= 0)",
    "pack_excess": "BIGINT NOT NULL CHECK (pack_excess >= 0 AND pack_excess < pack_multiple)",
    "suggested_quantity": "BIGINT NOT NULL CHECK (suggested_quantity >= moq"
    " AND suggested_quantity % pack_multiple = 0"
    " AND suggested_quantity = demand_quantity + safety_quantity - on_hand - on_order"
    " + allocated + backordered + moq_excess + pack_excess)",
    "moq": "BIGINT NOT NULL CHECK (moq >= 1)",
    "pack_multiple": "BIGINT NOT NULL CHECK (pack_multiple >= 1)",
    "currency": "VARCHAR NOT NULL",
    "unit_cost": "DECIMAL(18, 2) NOT NULL",
    "line_value": "DECIMAL(18, 2) NOT NULL CHECK (line_value = suggested_quantity * unit_cost)",
    "cover_days": "DOUBLE",
    "next_expected_on": "DATE",
    "urgency": "VARCHAR NOT NULL"
    " CHECK (urgency IN ('stocked_out', 'below_safety', 'below_reorder_point'))",
    "reason": "VARCHAR NOT NULL",
}


def decide(warehouse: duckdb.DuckDBPyConnection, service_level: float) -> pl.DataFrame:
    """Return the lines to reorder now, from the marts as they are."""
    suppliers = warehouse.sql(_SUPPLIERS).pl()
    times = policy.lead_times(warehouse.sql(_RECEIPTS).pl(), suppliers)
    stock = warehouse.sql(_STOCK).pl().join(times, on="supplier")
    return policy.reorder(stock, service_level)


def store(
    warehouse: duckdb.DuckDBPyConnection,
    lines: pl.DataFrame,
    *,
    list_id: str,
    as_of: datetime,
    currency: str,
) -> None:
    """Replace the mart by ``lines``; ``as_of`` is the moment whose stock they know.

    Raises:
        duckdb.ConstraintException: a line does not add up.
    """
    definitions = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    computed = {
        "list_id": "$list_id",
        "as_of": "$as_of",
        "currency": "$currency",
        "line_value": "suggested_quantity * unit_cost",
    }
    chosen = ", ".join(f"{computed.get(name, name)} AS {name}" for name in COLUMNS)
    warehouse.register("decided", lines)
    warehouse.execute("BEGIN")
    try:
        warehouse.execute("DROP TABLE IF EXISTS marts.reorder_lines")
        warehouse.execute(
            f"CREATE TABLE marts.reorder_lines ({definitions}, UNIQUE (warehouse, sku_id))"
        )
        warehouse.execute(
            f"INSERT INTO marts.reorder_lines SELECT {chosen} FROM decided"
            " ORDER BY line_value DESC, sku, warehouse",
            {"list_id": list_id, "as_of": as_of, "currency": currency},
        )
        warehouse.execute("COMMIT")
    except duckdb.Error:
        warehouse.execute("ROLLBACK")
        raise
    finally:
        warehouse.unregister("decided")
