"""Every mart keeps a contract, says what its columns are, and defines each metric once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib import customer_value, reorder_lines
from pipelines.lib.status import DBT_PROJECT
from tools.metrics import DOCUMENT, document

MODELS = DBT_PROJECT / "models"
METRICS: dict[str, dict[str, Any]] = yaml.safe_load(
    (DBT_PROJECT / "metrics.yml").read_text(encoding="utf-8")
)
METRIC_FIELDS = {"name", "definition", "formula", "unit", "grain", "owner"}

#: Marts of sums, rates and standings: whatever is money or a rate in them is a metric ...
AGGREGATES = (
    "sales_daily", "sku_sales_daily", "orders_daily", "stock_daily", "inventory_health",
    "inventory_performance", "customers", "customer_cohorts", "service_daily", "backorders",
    "supplier_performance", "payments_daily", "care_daily", "feedback_daily",
)  # fmt: skip
#: ... but the price of one unit, which only values the others.
ATTRIBUTES = {"unit_cost", "unit_price"}


def documented(*folders: str) -> dict[str, dict[str, Any]]:
    """Return what the .yml files below ``folders`` say of each model."""
    return {
        model["name"]: model
        for folder in folders
        for path in sorted((MODELS / folder).rglob("*.yml"))
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", [])
    }


MARTS = documented("marts")
#: Those that the pipeline's Python stages write.
WRITTEN: dict[str, dict[str, Any]] = {
    table["name"]: table
    for table in yaml.safe_load((MODELS / "staging" / "_sources.yml").read_text(encoding="utf-8"))[
        "sources"
    ][0]["tables"]
}
COLUMNS = [
    pytest.param(column, id=f"{name}.{column['name']}")
    for name, mart in MARTS.items()
    for column in mart["columns"]
]


def metric(column: dict[str, Any]) -> str | None:
    """Return the key of the metric in a column, None where it holds none."""
    found = column.get("config", {}).get("meta", {}).get("metric")
    assert found is None or isinstance(found, str)
    return found


def test_every_model_is_documented() -> None:
    models = {path.stem for path in MODELS.rglob("*.sql")}
    described = {
        name
        for name, model in documented("staging", "intermediate", "marts").items()
        if model.get("description", "").strip()
    }
    assert described == models


def test_every_staging_model_says_what_its_entity_is() -> None:
    """A sentence of its own: told by what is left when the names are gone."""
    staged = documented("staging")
    sentences = {
        model["description"].replace(name.removeprefix("stg_"), "")
        for name, model in staged.items()
    }
    assert len(sentences) == len(staged)


@pytest.mark.parametrize("name", sorted(path.stem for path in (MODELS / "marts").rglob("*.sql")))
def test_every_mart_has_an_enforced_contract(name: str) -> None:
    mart = MARTS[name]
    assert mart["config"]["contract"]["enforced"] is True
    assert all(column.get("data_type") for column in mart["columns"])


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_described(column: dict[str, Any]) -> None:
    assert column.get("description", "").strip()


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_says_what_it_is_and_who_answers_for_it(key: str) -> None:
    assert METRICS[key].keys() == METRIC_FIELDS
    assert METRICS[key]["grain"]
    assert all(str(value).strip() for value in METRICS[key].values())


def test_no_two_metrics_have_one_name() -> None:
    names = [known["name"] for known in METRICS.values()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", AGGREGATES)
def test_every_money_or_rate_of_an_aggregate_is_a_metric(name: str) -> None:
    measures = [
        column
        for column in MARTS[name]["columns"]
        if column["data_type"].startswith(("decimal", "double"))
        and column["name"] not in ATTRIBUTES
    ]
    assert measures
    assert [column["name"] for column in measures if metric(column) is None] == []


def test_marts_point_to_the_metrics_file_and_it_names_these_marts() -> None:
    pointed = {
        (found, name)
        for name, mart in {**MARTS, **WRITTEN}.items()
        for column in mart["columns"]
        if (found := metric(column))
    }
    told = {(key, mart) for key, known in METRICS.items() for mart in known["grain"]}
    assert pointed == {(key, mart) for key, mart in told if mart != "dashboards"}


def test_the_document_of_the_metrics_is_the_metrics_file() -> None:
    """After a wanted change: ``python -m tools.metrics``."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_marts_that_python_writes_are_described_column_by_column() -> None:
    assert [c["name"] for c in WRITTEN["reorder_lines"]["columns"]] == list(reorder_lines.COLUMNS)
    assert [c["name"] for c in WRITTEN["customer_value"]["columns"]] == list(customer_value.COLUMNS)
    assert [c["name"] for c in WRITTEN["reconciliation"]["columns"]] == [
        "measure", "operational", "warehouse_value", "difference", "is_reconciled"
    ]  # fmt: skip
    assert all(c["description"].strip() for table in WRITTEN.values() for c in table["columns"])


def test_a_change_of_a_marts_columns_is_seen() -> None:
    """Dashboards and exports rely on them. To accept a change, write the new text to the file."""
    surface = "".join(
        f"{name}.{column['name']} {column['data_type']}\n"
        for name, mart in sorted(MARTS.items())
        for column in mart["columns"]
    )
    assert surface == (Path(__file__).parent / "marts.txt").read_text(encoding="utf-8")
