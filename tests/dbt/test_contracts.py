"""Every mart keeps a contract, says what its columns are, and defines each metric once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib import reorder_lines
from pipelines.lib.status import DBT_PROJECT

MODELS = DBT_PROJECT / "models"
METRIC_FIELDS = {"name", "formula", "unit", "grain", "owner"}

#: Marts of sums, rates and standings: whatever is money or a rate in them is a metric ...
AGGREGATES = ("sales_daily", "orders_daily", "stock_daily", "inventory_health", "customers")
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
COLUMNS = [
    pytest.param(column, id=f"{name}.{column['name']}")
    for name, mart in MARTS.items()
    for column in mart["columns"]
]


def metric(column: dict[str, Any]) -> dict[str, str] | None:
    """Return the definition of the metric in a column, None where it holds none."""
    found = column.get("config", {}).get("meta", {}).get("metric")
    assert found is None or isinstance(found, dict)
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
def test_every_column_is_described_and_every_metric_complete(column: dict[str, Any]) -> None:
    assert column.get("description", "").strip()
    found = metric(column)
    if found is not None:
        assert found.keys() == METRIC_FIELDS
        assert all(value.strip() for value in found.values())


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


def test_a_metric_has_one_definition_wherever_it_stands() -> None:
    definitions: dict[str, set[tuple[str, str]]] = {}
    for mart in MARTS.values():
        for column in mart["columns"]:
            found = metric(column)
            if found is not None:
                definitions.setdefault(found["name"], set()).add((found["formula"], found["unit"]))
    assert {name for name, found in definitions.items() if len(found) > 1} == set()


def test_marts_that_python_writes_are_described_column_by_column() -> None:
    text = (MODELS / "staging" / "_sources.yml").read_text(encoding="utf-8")
    tables = {table["name"]: table for table in yaml.safe_load(text)["sources"][0]["tables"]}
    assert [c["name"] for c in tables["reorder_lines"]["columns"]] == list(reorder_lines.COLUMNS)
    assert [c["name"] for c in tables["reconciliation"]["columns"]] == [
        "measure", "operational", "warehouse_value", "difference", "is_reconciled"
    ]  # fmt: skip
    assert all(c["description"].strip() for table in tables.values() for c in table["columns"])


def test_a_change_of_a_marts_columns_is_seen() -> None:
    """Dashboards and exports rely on them. To accept a change, write the new text to the file."""
    surface = "".join(
        f"{name}.{column['name']} {column['data_type']}\n"
        for name, mart in sorted(MARTS.items())
        for column in mart["columns"]
    )
    assert surface == (Path(__file__).parent / "marts.txt").read_text(encoding="utf-8")
