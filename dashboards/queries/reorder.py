"""The reorder list: its lines, what one line is made of, and the demand behind it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

#: Urgencies of the mart, the worst first, with the words of the page.
URGENCIES = {
    "stocked_out": "Stocked out",
    "below_safety": "Below safety stock",
    "below_reorder_point": "Below reorder point",
}
_SPOKEN = "CASE urgency " + " ".join(
    f"WHEN '{code}' THEN '{words}'" for code, words in URGENCIES.items()
) + " ELSE urgency END"  # fmt: skip
WEEKS = 8

#: Parts of a suggestion in the order of the sum: column, sign, words of the chart and of the sum.
PARTS = (
    ("demand_quantity", 1, "Demand", "demand in {protection_days} days"),
    ("safety_quantity", 1, "Safety stock", "safety stock"),
    ("allocated", 1, "Allocated", "allocated"),
    ("backordered", 1, "Backordered", "backordered"),
    ("on_hand", -1, "On hand", "on hand"),
    ("on_order", -1, "On order", "on order"),
    ("moq_excess", 1, "To minimum", "to reach the minimum of {moq}"),
    ("pack_excess", 1, "To full packs", "to fill packs of {pack_multiple}"),
)


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of the list; None keeps everything."""

    supplier: str | None = None
    warehouse: str | None = None
    urgency: str | None = None
    department: str | None = None
    category: str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Return a SQL condition on ``reorder_lines`` and its parameters."""
        parts, values = ["true"], []
        for name in ("warehouse", "urgency", "department", "category"):
            value = getattr(self, name)
            if value:
                parts.append(f"r.{name} = ?")
                values.append(value)
        if self.supplier:
            parts.append("r.supplier_name = ?")
            values.append(self.supplier)
        return " AND ".join(parts), values


def lines(snapshot: Snapshot, kept: Filter) -> pd.DataFrame:
    """Return the lines kept, the most urgent first, each with its weekly demand as a list."""
    where, values = kept.where()
    return snapshot.frame(
        "WITH weeks AS (SELECT unnest(range(?)) AS week),"
        " kept AS (SELECT * FROM marts.reorder_lines AS r"
        f" WHERE {where}),"
        " sold AS (SELECT l.sku_id, l.warehouse,"
        " date_diff('day', l.ordered_on, CAST(? AS date)) // 7 AS age,"
        " sum(l.quantity - l.cancelled) AS units FROM marts.fct_order_lines AS l"
        " SEMI JOIN kept AS k ON k.sku_id = l.sku_id AND k.warehouse = l.warehouse"
        " WHERE l.ordered_on > ? AND l.ordered_on <= ? GROUP BY ALL),"
        " demand AS (SELECT k.sku_id, k.warehouse,"
        " list(CAST(coalesce(s.units, 0) AS integer) ORDER BY w.week) AS weekly_demand"
        " FROM kept AS k CROSS JOIN weeks AS w LEFT JOIN sold AS s"
        " ON s.sku_id = k.sku_id AND s.warehouse = k.warehouse AND s.age = ? - 1 - w.week"
        " GROUP BY ALL)"
        f" SELECT k.* EXCLUDE (urgency, as_of), {_SPOKEN} AS urgency, d.weekly_demand"
        " FROM kept AS k JOIN demand AS d ON d.sku_id = k.sku_id AND d.warehouse = k.warehouse"
        f" ORDER BY list_position({list(URGENCIES)}, k.urgency), k.line_value DESC, k.sku,"
        " k.warehouse",
        [WEEKS, *values, snapshot.last_full_day,
         snapshot.last_full_day - timedelta(weeks=WEEKS), snapshot.last_full_day, WEEKS],
    )  # fmt: skip


def choices(snapshot: Snapshot, field: str, department: str | None = None) -> list[str]:
    """Return the values of ``field`` that occur on the list."""
    rows = snapshot.frame(
        f"SELECT DISTINCT {field} AS value FROM marts.reorder_lines"
        " WHERE ? IS NULL OR department = ? ORDER BY 1",
        [department, department],
    )
    return [str(value) for value in rows["value"]]


def steps(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the waterfall's bars: each part from where the sum stood to where it stands then."""
    level, bars = 0, []
    for name, sign, words, _ in PARTS:
        units = sign * int(line[name])
        bars.append(_bar(words, units, level, level + units, "adds" if sign > 0 else "covers"))
        level += units
    total = int(line["suggested_quantity"])
    bars.append(_bar("Suggested", total, 0, total, "total"))
    return bars


def _bar(step: str, units: int, start: int, end: int, kind: str) -> dict[str, Any]:
    label = f"{units:,d}" if kind == "total" else f"{units:+,d}"
    return {"step": step, "units": units, "start": start, "end": end, "top": max(start, end),
            "label": label.replace("-", "−") if units else "0", "kind": kind}  # fmt: skip


def sum_text(line: dict[str, Any]) -> str:
    """Return the waterfall as one sum in words that adds up to the suggestion."""
    said = []
    for name, sign, _, words in PARTS:
        mark = "+" if sign > 0 else "−"
        said.append(f"{mark} {int(line[name]):,d} {words.format(**line)}")
    return f"{' '.join(said).removeprefix('+ ')} = **{int(line['suggested_quantity']):,d} units**"


def demand(snapshot: Snapshot, sku: str, warehouse: str) -> pd.DataFrame:
    """Return units ordered per day in the last weeks, and what the day is to the mean.

    ``kind``: ``counted`` among the 28 days that the mean is taken over, ``empty`` when one of them
    ended without stock and is left out, ``earlier`` before them (or today, which is not over).
    """
    first = max(snapshot.first_day, snapshot.business_date - timedelta(weeks=WEEKS))
    return snapshot.frame(
        "WITH days AS (SELECT CAST(unnest(generate_series(CAST(? AS date), CAST(? AS date),"
        " INTERVAL 1 DAY)) AS date) AS day),"
        " sold AS (SELECT ordered_on AS day, sum(quantity - cancelled) AS units"
        " FROM marts.fct_order_lines WHERE sku = ? AND warehouse = ? GROUP BY 1)"
        " SELECT d.day, coalesce(s.units, 0) AS units,"
        " CASE WHEN d.day < CAST(? AS date) - 28 OR d.day >= CAST(? AS date) THEN 'earlier'"
        " WHEN k.is_stocked_out IS NOT false THEN 'empty' ELSE 'counted' END AS kind"
        " FROM days AS d LEFT JOIN sold AS s ON s.day = d.day"
        " LEFT JOIN marts.stock_daily AS k"
        " ON k.day = d.day AND k.sku = ? AND k.warehouse = ? ORDER BY d.day",
        [first, snapshot.business_date, sku, warehouse, snapshot.business_date,
         snapshot.business_date, sku, warehouse],
    )  # fmt: skip


def export(kept: Filter) -> Query:
    """Return the query of the lines kept, for export, with every part of the sum."""
    where, values = kept.where()
    return (
        "SELECT r.sku, r.sku_name, r.warehouse, r.supplier_name, r.department, r.category,"
        f" {_SPOKEN} AS urgency, r.suggested_quantity, r.demand_quantity, r.safety_quantity,"
        " r.on_hand, r.on_order, r.allocated, r.backordered, r.moq_excess, r.pack_excess,"
        " r.inventory_position, r.reorder_point, r.order_up_to, r.average_daily_demand,"
        " r.cover_days, r.lead_time_days, r.review_days, r.moq, r.pack_multiple, r.unit_cost,"
        " r.line_value, r.next_expected_on, r.reason"
        f" FROM marts.reorder_lines AS r WHERE {where}"
        f" ORDER BY list_position({list(URGENCIES)}, r.urgency), r.line_value DESC, r.sku,"
        " r.warehouse",
        values,
    )
