"""Pipeline health: lag, failed checks and differences are said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.database import run
from tests.dashboards.conftest import Open, change, metrics


def test_changes_that_the_snapshot_does_not_know_are_counted(
    open_page: Open, database: Engine
) -> None:
    assert metrics(open_page("health"))["Changes not in yet"] == "0"
    run(database, lambda c: c.execute(sa.text("UPDATE skus SET name = 'Renamed' WHERE id <= 3")))
    page = open_page("health")
    assert metrics(page)["Changes not in yet"] == "3"


def test_without_the_operational_database_the_lag_says_so(open_page: Open) -> None:
    page = open_page("health")
    assert metrics(page)["Changes not in yet"] == "–"


def test_a_difference_with_the_ledger_is_an_error(home: Path, open_page: Open) -> None:
    change(
        home,
        "UPDATE marts.reconciliation SET is_reconciled = false, difference = 0.01"
        " WHERE measure LIKE 'returns%'",
    )
    page = open_page("health")
    assert "1 of 3 measures differ" in page.error[0].value
    first = next(t.value for t in page.dataframe if "reconciled" in t.value).iloc[0]
    assert (first["measure"], first["reconciled"]) == ("Returns", "No")


def test_without_a_difference_the_measures_agree(open_page: Open) -> None:
    assert "All 3 measures agree" in open_page("health").success[0].value


def test_checks_that_did_not_pass_come_first(home: Path, open_page: Open) -> None:
    page = open_page("health")
    assert metrics(page)["Checks passed"] == "2 of 3"
    table = next(t.value for t in page.dataframe if "result" in t.value)
    assert table["result"].iloc[0] == "Warned"


def test_links_are_shown_when_the_addresses_are_known(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not open_page("health").link_button
    monkeypatch.setenv("OMS_DAGSTER_URL", "http://127.0.0.1:3000")
    assert open_page("health").link_button[0].url == "http://127.0.0.1:3000"
