"""Compares the marts with the operational ledger at the same place in the feed, to the cent.

The operational side is :mod:`pipelines.lib.ledger`, read in the snapshot of the landing. The other
side is summed from the marts themselves, each measure from every mart that shows it, so that no
page can show a figure that another page contradicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from oms_ops.money import EXPONENTS


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operational total and the aggregate of a mart that must equal it."""

    total: str
    mart: str
    aggregate: str
    is_money: bool = False

    @property
    def measure(self) -> str:
        """The name that is shown."""
        return f"{self.total} in {self.mart}"


COMPARISONS = (
    Comparison("orders", "fct_orders", "count(*)"),
    Comparison("orders", "orders_daily", "sum(orders)"),
    Comparison("order_lines", "fct_order_lines", "count(*)"),
    Comparison("units_ordered", "fct_order_lines", "sum(quantity)"),
    Comparison("units_shipped", "fct_order_lines", "sum(shipped)"),
    Comparison("units_allocated", "fct_order_lines", "sum(allocated)"),
    Comparison("units_backordered", "fct_order_lines", "sum(backordered)"),
    Comparison("units_backordered", "fct_orders", "sum(backordered_units)"),
    Comparison("units_backordered", "inventory_health", "sum(backordered)"),
    *(
        Comparison(total, mart, f"sum({total})", is_money=True)
        for total in ("gross_sales", "discounts")
        for mart in ("fct_order_lines", "fct_orders", "sales_daily", "orders_daily")
    ),
    Comparison("returns", "sales_daily", "sum(returns)", is_money=True),
    Comparison("returns", "orders_daily", "sum(returns)", is_money=True),
    Comparison("captured", "fct_orders", "sum(captured)", is_money=True),
    Comparison("refunded", "fct_orders", "sum(refunded)", is_money=True),
    Comparison("stock_on_hand", "inventory_health", "sum(on_hand)"),
    Comparison("stock_on_hand", "fct_stock_moves", "sum(quantity_change)"),
    Comparison(
        "stock_on_hand",
        "stock_daily",
        "sum(CASE WHEN day = (SELECT max(day) FROM marts.stock_daily) THEN on_hand ELSE 0 END)",
    ),
    Comparison("purchased_units", "fct_purchase_order_lines", "sum(ordered)"),
    Comparison("purchased_units_received", "fct_purchase_order_lines", "sum(received)"),
    Comparison("purchased_units_open", "fct_purchase_order_lines", "sum(outstanding)"),
    Comparison("tickets", "fct_tickets", "count(*)"),
    Comparison("tickets", "care_daily", "sum(tickets)"),
    Comparison("tickets_answered", "care_daily", "sum(answered)"),
    Comparison("tickets_solved", "care_daily", "sum(solved)"),
    Comparison("ratings", "care_daily", "sum(ratings)"),
    Comparison("rating_points", "care_daily", "sum(rating_sum)"),
    Comparison("feedback", "fct_feedback", "count(*)"),
    Comparison("feedback", "feedback_daily", "sum(answers)"),
    Comparison("feedback_points", "feedback_daily", "sum(score_sum)"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One measure on both sides, in major units or in units of goods."""

    measure: str
    operational: Decimal
    warehouse_value: Decimal

    def __str__(self) -> str:
        """Return both sides for people."""
        found, expected = self.warehouse_value.normalize(), self.operational.normalize()
        return f"{self.measure}: {found:f} instead of {expected:f}"

    @property
    def difference(self) -> Decimal:
        """What the warehouse has too much."""
        return self.warehouse_value - self.operational


def compare(
    warehouse: duckdb.DuckDBPyConnection,
    totals: dict[str, int],
    currency: str,
    comparisons: Sequence[Comparison] = COMPARISONS,
) -> list[Line]:
    """Return every comparison; ``totals`` are in minor units of ``currency``."""
    lines = []
    by_mart: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_mart.setdefault(comparison.mart, []).append(comparison)
    for mart, members in by_mart.items():
        columns = ", ".join(
            f"CAST(coalesce({member.aggregate}, 0) AS DECIMAL(38, 4))" for member in members
        )
        row = warehouse.execute(f"SELECT {columns} FROM marts.{mart}").fetchone() or ()
        for member, value in zip(members, row, strict=True):
            scale = -EXPONENTS[currency] if member.is_money else 0
            lines.append(Line(member.measure, Decimal(totals[member.total]).scaleb(scale), value))
    return lines


def store(warehouse: duckdb.DuckDBPyConnection, lines: Sequence[Line]) -> None:
    """Put the comparison into the mart ``reconciliation``, which dashboards show."""
    warehouse.execute(
        "CREATE OR REPLACE TABLE marts.reconciliation (measure VARCHAR PRIMARY KEY,"
        " operational DECIMAL(18, 2) NOT NULL, warehouse_value DECIMAL(18, 2) NOT NULL,"
        " difference DECIMAL(18, 2) NOT NULL, is_reconciled BOOLEAN NOT NULL)"
    )
    warehouse.executemany(
        "INSERT INTO marts.reconciliation VALUES (?, ?, ?, ?, ?)",
        [
            (
                line.measure,
                line.operational,
                line.warehouse_value,
                line.difference,
                not line.difference,
            )
            for line in lines
        ],
    )
