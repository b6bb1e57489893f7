"""The figures of the reading pages against the facts they are made of."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.lib import formats, scope
from dashboards.lib import snapshot as reader
from dashboards.lib.tables import COLUMNS, label
from dashboards.queries import inventory, overview, sales
from tests.dashboards.conftest import Open, ask, change, metrics
from tests.dashboards.shop import Shop


@pytest.fixture
def shown(home: Path) -> reader.Snapshot:
    """Return the published snapshot as the pages read it."""
    found = reader.current()
    assert found is not None
    return found


def _table(page: AppTest, *columns: str) -> Any:
    """Return the first table of the page that has all of ``columns``."""
    return next(t.value for t in page.dataframe if {*columns} <= {*t.value.columns})


def _money(cents: int) -> str:
    return formats.money(Decimal(cents) / 100, "USD")


def test_overview_counts_what_the_facts_add_up_to(open_page: Open, simulated: Shop) -> None:
    last = simulated.business_date
    first = last - timedelta(days=27)
    lines = [li for li in simulated.lines if first <= li["ordered_on"] <= last]
    back = sum(r["refund"] for r in simulated.returns if first <= r["refunded_on"] <= last)
    net = sum(li["gross_sales"] - li["discounts"] for li in lines) - back
    kept = {li["order_id"] for li in lines if li["order_status"] != "cancelled"}
    shown = metrics(open_page())
    assert shown["Net sales"] == _money(net)
    assert shown["Orders"] == formats.count(len(kept))
    assert shown["Units sold"] == formats.count(
        sum(li["quantity"] - li["cancelled"] for li in lines)
    )
    assert shown["Average order"] == formats.money(
        Decimal(net) / 100 / len(kept), "USD", cents=True
    )


def test_overview_compares_with_the_period_just_before(open_page: Open, simulated: Shop) -> None:
    def units(first: int, last: int) -> int:
        return sum(
            li["quantity"] - li["cancelled"]
            for li in simulated.lines
            if first <= (simulated.business_date - li["ordered_on"]).days <= last
        )

    card = next(c for c in open_page(period="7 days").metric if c.label == "Units sold")
    assert card.delta == formats.change(units(0, 6), units(7, 13))


def test_without_a_whole_period_before_nothing_is_compared(open_page: Open) -> None:
    page = open_page(period="All days")
    assert all(c.delta == "" for c in page.metric if c.label in ("Net sales", "Orders"))
    assert "no earlier period" in page.caption[1].value


def test_the_scope_in_the_url_is_the_scope_of_the_page(open_page: Open, home: Path) -> None:
    page = open_page(period="All days", warehouse="SOUTH")
    net = ask(home, "SELECT sum(net_sales) FROM marts.sales_daily WHERE warehouse = 'SOUTH'")
    assert metrics(page)["Net sales"] == formats.money(net[0][0], "USD")
    assert "SOUTH" in page.caption[1].value


def test_a_value_in_the_url_that_does_not_exist_is_dropped(open_page: Open) -> None:
    page = open_page(warehouse="NOWHERE", period="Last century")
    assert metrics(page) == metrics(open_page())


def test_a_category_of_another_department_is_dropped(open_page: Open) -> None:
    page = open_page("sales", department="GROCERY", category="COFFEE")
    assert page.selectbox(key="category").value == "COFFEE"
    page.selectbox(key="department").select("PRODUCE").run()
    assert page.selectbox(key="category").value is None


def test_what_needs_attention_is_listed(open_page: Open, home: Path, simulated: Shop) -> None:
    page = open_page()
    late = [
        li for li in simulated.purchases
        if li["outstanding"] and li["expected_on"] < simulated.business_date
    ]  # fmt: skip
    assert len(_table(page, "days_late")) == len({li["purchase_order"] for li in late})
    waiting = ask(home, "SELECT sum(backordered) FROM marts.fct_order_lines")[0][0]
    lists = overview.attention(reader.current(), None)  # type: ignore[arg-type]
    shown = reader.current().frame(*lists["backorders"])  # type: ignore[union-attr]
    assert shown["backordered"].sum() == waiting


def test_categories_skus_and_lines_add_up_to_the_same_sales(shown: reader.Snapshot) -> None:
    period = scope.resolve(shown, "28 days")
    whole = scope.Scope(period)
    by_category = shown.frame(*sales.categories(whole))
    by_sku = shown.frame(*sales.skus(whole))
    total = overview.trade(shown, whole, (period.start, period.end))
    assert round(by_category["net_sales"].sum(), 2) == float(total["net_sales"])
    assert round(by_sku["net_sales"].sum(), 2) == float(total["net_sales"])
    assert round(by_category["share"].sum(), 6) == 1
    one = by_sku["sku"].iloc[0]
    lines = shown.frame(*sales.order_lines(whole, one))
    assert round(lines["sold"].sum(), 2) == round(
        by_sku["net_sales"].iloc[0] + by_sku["returns"].iloc[0], 2
    )


def test_a_sku_opens_its_order_lines(open_page: Open, home: Path) -> None:
    (sku, lines), *_ = ask(
        home, "SELECT sku, count(*) FROM marts.fct_order_lines GROUP BY 1 ORDER BY 2 LIMIT 1"
    )
    page = open_page("sales", period="All days", sku=sku)
    assert len(_table(page, "order_number", "sold")) == lines


def test_an_unknown_sku_gets_a_plain_answer(open_page: Open) -> None:
    page = open_page("sales", sku="nothing")
    assert page.info[0].value == "There is no SKU nothing."


def test_an_empty_scope_says_how_to_widen_it(open_page: Open, home: Path) -> None:
    change(
        home, "DELETE FROM marts.sales_daily WHERE day > (SELECT min(day) FROM marts.sales_daily)"
    )
    assert "Widen the period" in open_page("sales").info[0].value
    assert "Clear a filter" in open_page("inventory", q="no such product").info[0].value


def test_the_export_has_every_row_with_exact_amounts(shown: reader.Snapshot) -> None:
    sql, parameters = sales.skus(scope.Scope(scope.resolve(shown, "All days")))
    labels = {name: label(name, "USD") for name in COLUMNS}
    rows = list(csv.DictReader(io.StringIO(shown.csv(sql, parameters, labels).decode())))
    total = shown.one("SELECT sum(net_sales) AS net FROM marts.sales_daily")["net"]
    assert sum(Decimal(row["Net sales, USD"]) for row in rows) == total


def test_the_trend_of_the_period_before_is_the_period_before(shown: reader.Snapshot) -> None:
    period = scope.resolve(shown, "7 days")
    trend = sales.trend(shown, scope.Scope(period))
    before = overview.trade(shown, scope.Scope(period), period.before)  # type: ignore[arg-type]
    assert len(trend) == 7
    assert round(trend["before"].sum(), 2) == float(before["net_sales"])


def test_inventory_finds_a_sku_and_shows_its_history(open_page: Open, home: Path) -> None:
    (sku, empty), *_ = ask(
        home,
        "SELECT sku, count(*) FILTER (is_stocked_out) FROM marts.stock_daily"
        " WHERE warehouse = 'EAST' GROUP BY 1 ORDER BY 2 DESC LIMIT 1",
    )
    page = open_page("inventory", q=sku, sku=sku, at="EAST", shown="All days")
    assert metrics(page)["SKUs"] == "1"
    said = next(m.value for m in page.markdown if "without stock" in m.value)
    assert f"{empty} days without stock" in said
    assert page.get("vega_lite_chart")


def test_inventory_totals_are_those_of_its_rows(shown: reader.Snapshot) -> None:
    kept = inventory.Filter(warehouse="EAST", department="GROCERY")
    rows = shown.frame(*inventory.listing(kept))
    totals = inventory.totals(shown, kept)
    assert round(rows["stock_value"].sum(), 2) == float(totals["stock_value"])
    assert (rows["status"] == "Stocked out").sum() == totals["stock_outs"]
    slow = rows[rows["status"].isin(["Excess", "Dead"])]
    assert round(slow["stock_value"].sum(), 2) == float(totals["excess_value"])


def test_a_search_takes_no_wildcards(shown: reader.Snapshot) -> None:
    assert inventory.totals(shown, inventory.Filter(search="%"))["skus"] == 0


def test_segments_hold_every_customer_once(open_page: Open, home: Path) -> None:
    page = open_page("customers")
    buyers = ask(home, "SELECT count(*) FROM marts.customers WHERE order_count > 0")[0][0]
    assert _table(page, "net_per_order")["customers"].sum() == buyers


def test_a_customer_opens_orders_and_an_order_opens_lines(open_page: Open, home: Path) -> None:
    (customer, orders), *_ = ask(
        home,
        "SELECT customer_id, count(*) FROM marts.fct_orders GROUP BY 1 ORDER BY 2 DESC LIMIT 1",
    )
    (number, lines), *_ = ask(
        home,
        "SELECT order_number, line_count FROM marts.fct_orders WHERE customer_id = ? LIMIT 1",
        [customer],
    )
    page = open_page("customers", customer=str(customer), order=number)
    assert len(_table(page, "order_total")) == orders
    assert len(_table(page, "sku", "returned")) == lines


def test_a_customer_number_that_is_none_gets_a_plain_answer(open_page: Open) -> None:
    assert "no customer" in open_page("customers", customer="0").info[0].value
    assert "no customer" in open_page("customers", customer="1 OR 1=1").info[0].value


def test_service_says_what_has_no_basis(open_page: Open) -> None:
    shown = metrics(open_page("service"))
    unknown = ("On time in full", "Failure rate", "Rating, of 5", "Net promoter score")
    assert {shown[name] for name in unknown} == {"–"}
    assert shown["Tickets"] == "0"


def test_service_shows_quotients_of_sums(open_page: Open, home: Path, simulated: Shop) -> None:
    last = simulated.business_date - timedelta(days=1)
    change(
        home,
        "INSERT INTO marts.service_daily BY NAME SELECT * FROM (VALUES"
        f" (DATE '{last}', 'EAST', 'web', 9, 10, 9, 4, 1), (DATE '{last}', 'SOUTH', 'web', 1, 2, 1,"
        " 4, 4)) AS t(day, warehouse, channel, orders, known_units, filled_units, due_orders,"
        " otif_orders)",
    )
    change(
        home,
        "INSERT INTO marts.care_daily BY NAME SELECT * FROM (VALUES"
        f" (DATE '{last}', 'delivery', 'web', 3, 4, 1, 9, 2, 7200, 3),"
        f" (DATE '{last}', 'payment', 'web', 1, 1, 1, 4, 1, 3600, 1))"
        " AS t(day, topic, channel, tickets, answers_judged, answered_in_time, rating_sum, ratings,"
        " response_seconds, answered)",
    )
    change(
        home,
        "INSERT INTO marts.feedback_daily BY NAME SELECT * FROM (VALUES"
        f" (DATE '{last}', 'web', 4, 1, 2)) AS t(day, channel, answers, promoters, detractors)",
    )
    page = open_page("service")
    shown = metrics(page)
    assert (shown["Unit fill rate"], shown["On time in full"]) == ("83.3%", "62.5%")
    assert (shown["Tickets"], shown["Answered in time"]) == ("4", "40.0%")
    assert (shown["Rating, of 5"], shown["Net promoter score"]) == ("4.3", "-25")
    topics = _table(page, "topic", "tickets")
    assert topics["mean_hours_to_first_response"].round(2).tolist() == [0.67, 1.0]
    assert _table(page, "unit_fill_rate")["unit_fill_rate"].tolist() == [90.0, 50.0]
    south = metrics(open_page("service", warehouse="SOUTH"))
    assert (south["Unit fill rate"], south["Tickets"]) == ("50.0%", "4")


def test_service_shows_the_money_by_tender(open_page: Open, home: Path, simulated: Shop) -> None:
    last = simulated.business_date - timedelta(days=1)
    change(
        home,
        "INSERT INTO marts.payments_daily BY NAME SELECT * FROM (VALUES"
        f" (DATE '{last}', 'fake', 'card', 'web', 3, 3, 2, 30.50, 5.00, 0.00),"
        f" (DATE '{last}', 'manual', 'bank_transfer', 'store', 0, 1, 0, 69.50, 0.00, 1.25)) AS t"
        " (day, gateway, method, channel, authorisations, captures, failures, captured, refunded,"
        " charged_back)",
    )
    page = open_page("service")
    shown = metrics(page)
    assert (shown["Captured"], shown["Refunded"]) == ("$100.00", "$5.00")
    assert (shown["Charged back"], shown["Failure rate"]) == ("$1.25", "22.2%")
    tenders = _table(page, "method", "captured")
    assert tenders["method"].tolist() == ["Bank transfer", "Card"]
    assert tenders["payment_failure_rate"].tolist() == [0.0, 25.0]
    assert metrics(open_page("service", channel="web"))["Captured"] == "$30.50"
