"""Which expectations the landed batch and the marts are held to, and the frames they are put on.

A suite is a query and its expectations. The query may aggregate: Great Expectations holds the whole
frame in memory, and a snapshot per day, SKU and warehouse is too much of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from oms_ops.feed.entities import ENTITIES
from pipelines.lib import screening
from pipelines.lib.expectations import (
    Expect,
    Outcome,
    between,
    not_null,
    one_of,
    unique,
    validate,
    warned,
)
from pipelines.lib.screening import RULES, Identity

SEGMENTS = (
    "Champions",
    "Loyal",
    "Potential loyalist",
    "New",
    "Promising",
    "Needs attention",
    "About to sleep",
    "At risk",
    "Cannot lose",
    "Hibernating",
)


@dataclass(frozen=True, slots=True)
class Suite:
    """Expectations on the result of ``query``; ``mart`` is the asset that they are about."""

    mart: str
    query: str
    expectations: Sequence[Expect] = field(default_factory=tuple)


#: A change that breaks a rule goes to the quarantine and is told; too many of them block.
LANDED = (
    *warned(
        not_null("entity"),
        one_of("entity", ENTITIES),
        not_null("op"),
        one_of("op", ("I", "U", "D")),
        between("repeated", 0, 0),
        *(between(rule.column, 0, 0) for rule in RULES if not rule.column.startswith("unknown")),
    ),
    between("beyond_the_limit", 0, 0),
)

MARTS = (
    Suite(
        "sales_daily",
        "SELECT day, department, category, warehouse, channel, units, order_lines, gross_sales,"
        " discounts, returns, CAST(net_sales - (gross_sales - discounts - returns) AS DOUBLE)"
        # One sale may well be given away; a day of which nearly all is, is odd.
        " AS net_sales_gap, coalesce(CAST(sum(discounts) OVER of_day"
        " / nullif(sum(gross_sales) OVER of_day, 0) AS DOUBLE), 0) AS discount_share"
        " FROM marts.sales_daily WINDOW of_day AS (PARTITION BY day)",
        (
            not_null("day"),
            unique("day", "department", "category", "warehouse", "channel"),
            between("units", 0),
            between("gross_sales", 0),
            between("discounts", 0),
            between("returns", 0),
            between("net_sales_gap", 0, 0),
            *warned(between("discount_share", 0, 0.9)),
        ),
    ),
    Suite(
        "stock_daily",
        # One row a warehouse and day: the days must be without a gap, the balance without a rest.
        "SELECT warehouse, day, count(*) AS skus, min(on_hand) AS least, coalesce(max(abs(opening"
        " + received - shipped + returned + adjusted - on_hand)), 0) AS imbalance,"
        " coalesce(CAST(day - lag(day) OVER (PARTITION BY warehouse ORDER BY day) AS INTEGER), 1)"
        " AS step FROM marts.stock_daily GROUP BY warehouse, day",
        (
            between("skus", 1),
            between("least", 0),
            between("imbalance", 0, 0),
            between("step", 1, 1),
        ),
    ),
    Suite(
        "inventory_health",
        "SELECT warehouse, sku_id, on_hand, allocated, backordered, on_order,"
        " average_daily_demand, demand_standard_deviation, status FROM marts.inventory_health",
        (
            unique("warehouse", "sku_id"),
            between("on_hand", 0),
            between("backordered", 0),
            between("on_order", 0),
            between("average_daily_demand", 0),
            one_of("status", ("stocked_out", "low", "healthy", "excess", "dead")),
        ),
    ),
    Suite(
        "customers",
        # One row a kind of customer.
        "SELECT segment, recency_score, frequency_score, monetary_score,"
        " (SELECT count(*) - count(DISTINCT customer_id) FROM marts.customers) AS repeated"
        " FROM marts.customers GROUP BY ALL",
        (
            between("repeated", 0, 0),
            between("recency_score", 1, 5),
            between("frequency_score", 1, 5),
            between("monetary_score", 1, 5),
            one_of("segment", SEGMENTS),
        ),
    ),
)

REORDER = Suite(
    "reorder_lines",
    "SELECT warehouse, sku_id, suggested_quantity, suggested_quantity - moq AS above_minimum,"
    " suggested_quantity % pack_multiple AS loose, suggested_quantity - (demand_quantity"
    " + safety_quantity - on_hand - on_order + allocated + backordered + moq_excess + pack_excess)"
    " AS waterfall_gap FROM marts.reorder_lines",
    (
        unique("warehouse", "sku_id"),
        between("suggested_quantity", 1),
        between("loose", 0, 0),
        between("waterfall_gap", 0, 0),
        between("above_minimum", 0),
    ),
)


def validate_landed(files: Sequence[Path], judged: Collection[Identity] = ()) -> Outcome:
    """Hold the changes of newly landed files to what a change must be, but for those ``judged``."""
    return validate("landed_changes", screening.counts(files, judged), LANDED)


def validate_mart(warehouse: duckdb.DuckDBPyConnection, suite: Suite) -> Outcome:
    """Hold a mart to its suite."""
    return validate(suite.mart, warehouse.sql(suite.query).df(), suite.expectations)
