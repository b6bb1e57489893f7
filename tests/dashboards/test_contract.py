"""The simulated snapshot has the columns of the published one, and each page's totals agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.lib.metrics import explain
from dashboards.lib.metrics import metrics as defined
from dashboards.lib.tables import COLUMNS
from tests.dashboards.conftest import Open, ask, metrics
from tests.dashboards.snapshot import contracts


@pytest.mark.parametrize("mart", sorted(contracts()))
def test_the_simulated_mart_keeps_the_contract_of_the_published_one(mart: str, home: Path) -> None:
    rows = ask(
        home,
        "SELECT column_name, lower(data_type) FROM information_schema.columns"
        " WHERE table_schema = 'marts' AND table_name = ?",
        [mart],
    )
    named = {"timestamp with time zone": "timestamptz"}
    simulated = {name: named.get(kind, kind) for name, kind in rows}
    declared = {
        name: named.get(kind.lower(), kind.lower()) for name, kind in contracts()[mart].items()
    }
    assert simulated == declared


def test_every_metric_that_is_shown_carries_its_definition() -> None:
    # A page's column that is named as a metric is that metric.
    shown = {
        name
        for name in set(defined()) & set(COLUMNS)
        if set(defined()[name]["grain"]) != {"dashboards"}
    }
    assert len(shown) > 10
    assert {name for name in shown if COLUMNS[name].metric != name} == set()
    assert "gross_sales - discounts - returns" in explain("net_sales")


def test_overview_and_sales_show_the_same_net_sales(open_page: Open) -> None:
    assert metrics(open_page())["Net sales"] == metrics(open_page("sales"))["Net sales"]


def test_overview_and_inventory_show_the_same_stock(open_page: Open) -> None:
    overview, inventory = metrics(open_page()), metrics(open_page("inventory"))
    assert overview["Stock value"] == inventory["Stock value"]
    assert overview["Stock-outs"] == inventory["Stock-outs"]


def test_overview_and_reorder_show_the_same_list(open_page: Open) -> None:
    reorder = metrics(open_page("reorder"))
    assert metrics(open_page())["Lines to reorder"] == reorder["Lines to order"]


def test_customers_and_sales_of_all_days_show_the_same_net_sales(open_page: Open) -> None:
    sales = metrics(open_page("sales", period="All days"))
    assert metrics(open_page("customers"))["Net sales"] == sales["Net sales"]
