"""What each metric means: the text of tooltips on cards, charts and column headers.

The sentences are for people. A metric that a mart defines also shows the mart's formula, read from
the ``meta`` of its model, so that the tooltip cannot claim another computation than the model's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

MODELS = Path(__file__).parents[2] / "dbt_project" / "models" / "marts"

DEFINITIONS = {
    "net_sales": "Gross sales less discounts less returns. A sale counts on the day of the order,"
    " a return on the day of the refund; both are the shop's days.",
    "gross_sales": "Units sold times unit price, before discounts and returns. Cancelled units do"
    " not count.",
    "discounts": "Reductions of the price that were given on order lines.",
    "returns": "Money refunded for returned goods, on the day of the refund.",
    "return_rate": "Returns divided by gross sales less discounts of the same period.",
    "kept_orders": "Orders placed in the period less those that were cancelled.",
    "average_order_value": "Net sales divided by the orders of the same period. Shipping and tax"
    " are left out.",
    "units": "Units sold, cancelled units left out.",
    "gross_margin": "Net sales less the cost of the units sold, at the unit cost known when the"
    " order was captured.",
    "gross_margin_share": "Gross margin divided by net sales.",
    "stock_value": "Units on hand times unit cost, at the close of the business date. The arrow"
    " compares with the day before the period began.",
    "stock_outs": "SKUs with no unit on hand in a warehouse that stocks or sells them, counted per"
    " warehouse. The arrow counts the change among those that it has stocked.",
    "reorder_lines": "SKUs per warehouse whose inventory position is at or below the reorder"
    " point.",
    "inventory_position": "On hand + on order - allocated - backordered.",
    "reorder_point": "Demand over the lead time plus safety stock: at or below it, reorder.",
    "order_up_to": "Demand over lead time and review period plus safety stock.",
    "safety_stock": "z times the standard deviation of demand over lead time and review period,"
    " with the uncertainty of the lead time.",
    "suggested_quantity": "Order-up-to level less inventory position, raised to the supplier's"
    " minimum and rounded up to whole packs.",
    "average_daily_demand": "Mean units per day over the last 28 days; days that ended without"
    " stock are left out, because they hide demand. Today is not among them.",
    "cover_days": "Days that the available units last at the average daily demand.",
    "total_cover_days": "Days that the stock lasts at the average daily demand, both at cost.",
    "inventory_status": "Stocked out: none on hand. Low: cover is shorter than the lead time."
    " Excess: cover is longer than 60 days. Dead: on hand, and no demand in 28 days. Healthy: the"
    " rest.",
    "excess_value": "Stock at cost of the SKUs whose status is excess or dead.",
    "stock_out_days": "Days of the last 28 that ended with no unit on hand.",
    "available": "On hand less allocated: what can be promised to a new order.",
    "allocated": "Units promised to orders and not shipped yet.",
    "backordered": "Units that customers ordered and that wait for stock.",
    "on_order": "Units on purchase orders that have not arrived.",
    "recency": "5 for the fifth of the customers who ordered last, 1 for those who did so longest"
    " ago.",
    "frequency": "5 for the fifth of the customers with the most orders, 1 for those with the"
    " fewest.",
    "monetary": "5 for the fifth of the customers with the highest net sales, 1 for the lowest.",
    "segment": "Ten named groups by the recency score and the mean of frequency and money score.",
    "value_score": "The mean of frequency and money score, rounded.",
    "outstanding_value": "Units on purchase orders that have not arrived, at their unit cost.",
    "days_late": "Days between the expected date and the receipt, or today while it is open.",
    "share": "Part of the net sales of everything in the table.",
    "change": "Change against the previous period of equal length.",
    "freshness": "Age of the newest change that the snapshot knows.",
    "feed_lag": "Changes that are committed in the operational database and are not in this"
    " snapshot, and the age of the oldest of them.",
}


def explain(metric: str) -> str:
    """Return the definition of ``metric``; an unknown name is a mistake and raises KeyError."""
    formula = formulas().get(metric)
    said = DEFINITIONS[metric]
    return f"{said}\n\nFormula: `{formula}`" if formula else said


@cache
def formulas() -> dict[str, str]:
    """Return the formula of every metric that the marts define; empty without their sources."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, str] = {}
    for path in sorted(MODELS.rglob("*.yml")):
        for model in yaml.load(path.read_text(), loader).get("models", []):  # noqa: S506 - a safe loader
            for column in model.get("columns", []):
                metric = column.get("config", {}).get("meta", {}).get("metric")
                if metric:
                    found[column["name"]] = metric["formula"]
    return found
