"""How orders, payments and customers were served in a scope; rates are quotients of summed counts.

Payments know no warehouse, and tickets and feedback neither the warehouse nor, for tickets, the
sales channel: those filters do not narrow them.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from dashboards.lib.scope import Scope
from dashboards.lib.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, list[Any]]

_RATES = (
    "sum(filled_units) / nullif(sum(known_units), 0) AS unit_fill_rate,"
    " sum(filled_orders) / nullif(sum(known_orders), 0) AS order_fill_rate,"
    " sum(split_orders) / nullif(sum(sent_orders), 0) AS split_rate,"
    " sum(otif_orders) / nullif(sum(due_orders), 0) AS otif_rate,"
    " sum(perfect_orders) / nullif(sum(due_orders), 0) AS perfect_order_rate"
)
_MONEY = (
    "coalesce(sum(captured), 0) AS captured, coalesce(sum(refunded), 0) AS refunded,"
    " coalesce(sum(charged_back), 0) AS charged_back,"
    " sum(failures) / nullif(sum(failures + authorisations + captures), 0) AS payment_failure_rate"
)
_CARE = (
    "CAST(coalesce(sum(tickets), 0) AS bigint) AS tickets,"
    " sum(answered_in_time) / nullif(sum(answers_judged), 0) AS first_response_sla,"
    " sum(solved_in_time) / nullif(sum(solutions_judged), 0) AS solution_sla,"
    " sum(rating_sum) / nullif(sum(ratings), 0) AS average_rating"
)


def figures(snapshot: Snapshot, scope: Scope, days: tuple[date, date]) -> dict[str, Any]:
    """Return every card's value in ``days``; what has no basis is None."""
    placed, placed_values = scope.where(period=days, fields=("warehouse", "channel"))
    paid, paid_values = scope.where(period=days, fields=("channel",))
    opened, opened_values = scope.where(period=days, fields=())
    row: dict[str, Any] = {}
    for query, values in (
        (f"SELECT {_RATES} FROM marts.service_daily WHERE {placed}", placed_values),
        (f"SELECT {_MONEY} FROM marts.payments_daily WHERE {paid}", paid_values),
        (f"SELECT {_CARE} FROM marts.care_daily WHERE {opened}", opened_values),
        (
            "SELECT 100 * (sum(promoters) - sum(detractors)) / nullif(sum(answers), 0) AS nps"
            f" FROM marts.feedback_daily WHERE {paid}",
            paid_values,
        ),
    ):
        row |= snapshot.one(query, values)
    return row


def weeks(snapshot: Snapshot, scope: Scope) -> pd.DataFrame:
    """Return the rates of each week of the scope, by its Monday; days are too few orders."""
    where, values = scope.where(fields=("warehouse", "channel"))
    return snapshot.frame(
        "UNPIVOT (SELECT CAST(date_trunc('week', day) AS date) AS week,"
        ' sum(filled_units) / nullif(sum(known_units), 0) AS "Unit fill rate",'
        ' sum(otif_orders) / nullif(sum(due_orders), 0) AS "On time in full"'
        f" FROM marts.service_daily WHERE {where} GROUP BY week)"
        ' ON "Unit fill rate", "On time in full" INTO NAME rate VALUE share ORDER BY week, rate',
        values,
    )


def by_warehouse(scope: Scope) -> Query:
    """Return the query of service by warehouse; hours are medians of what was shipped then."""
    where, values = scope.where(fields=("warehouse", "channel"))
    sent, sent_values = scope.where("shipped_on", fields=("warehouse", "channel"))
    return (
        "WITH sent AS (SELECT warehouse, median(hours_to_pick) AS hours_to_pick,"
        "  median(hours_to_dispatch) AS hours_to_dispatch"
        f" FROM marts.fct_shipments WHERE {sent} GROUP BY warehouse),"
        f" served AS (SELECT warehouse, CAST(sum(orders) AS bigint) AS orders, {_RATES}"
        f" FROM marts.service_daily WHERE {where} GROUP BY warehouse)"
        " SELECT s.warehouse, s.orders AS order_count,"
        " round(100 * s.unit_fill_rate, 1) AS unit_fill_rate,"
        " round(100 * s.order_fill_rate, 1) AS order_fill_rate,"
        " round(100 * s.split_rate, 1) AS split_rate, round(100 * s.otif_rate, 1) AS otif_rate,"
        " round(100 * s.perfect_order_rate, 1) AS perfect_order_rate,"
        " t.hours_to_pick, t.hours_to_dispatch"
        " FROM served AS s LEFT JOIN sent AS t ON t.warehouse = s.warehouse ORDER BY s.warehouse",
        [*sent_values, *values],
    )


def by_tender(scope: Scope) -> Query:
    """Return the query of payments by tender, the one that brought most first."""
    where, values = scope.where(fields=("channel",))
    return (
        "SELECT upper(method[1]) || replace(method[2:], '_', ' ') AS method, captured,"
        " captured / nullif(sum(captured) OVER (), 0) AS share_of_captured, captures, failures,"
        " round(100 * payment_failure_rate, 1) AS payment_failure_rate, refunded, charged_back"
        f" FROM (SELECT method, {_MONEY}, CAST(sum(captures) AS bigint) AS captures,"
        "  CAST(sum(failures) AS bigint) AS failures"
        f" FROM marts.payments_daily WHERE {where} GROUP BY method)"
        " ORDER BY captured DESC, method",
        values,
    )


def by_topic(scope: Scope) -> Query:
    """Return the query of tickets by what they are about, the most frequent first."""
    where, values = scope.where(fields=())
    return (
        "SELECT upper(topic[1]) || topic[2:] AS topic, tickets,"
        " round(100 * first_response_sla, 1) AS first_response_sla,"
        " round(100 * solution_sla, 1) AS solution_sla,"
        " mean_hours_to_first_response, mean_hours_to_solution, reopened, average_rating"
        f" FROM (SELECT topic, {_CARE}, CAST(sum(reopened) AS bigint) AS reopened,"
        "  sum(response_seconds) / 3600 / nullif(sum(answered), 0)"
        "   AS mean_hours_to_first_response,"
        "  sum(solution_seconds) / 3600 / nullif(sum(solved), 0) AS mean_hours_to_solution"
        f" FROM marts.care_daily WHERE {where} GROUP BY topic) ORDER BY tickets DESC, topic",
        values,
    )


def by_supplier() -> Query:
    """Return the query of how suppliers deliver, the one that owes most first; of 365 days."""
    return (
        "SELECT supplier_name, CAST(purchase_orders AS bigint) AS purchase_orders,"
        " round(100 * supplier_otif_rate, 1) AS supplier_otif_rate,"
        " round(100 * supplier_fill_rate, 1) AS supplier_fill_rate,"
        " round(100 * damage_rate, 1) AS damage_rate, lead_time_mean_days,"
        " lead_time_deviation_days, outstanding_units AS outstanding"
        " FROM marts.supplier_performance ORDER BY outstanding_units DESC, supplier_name",
        [],
    )
