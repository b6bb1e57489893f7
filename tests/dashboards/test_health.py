"""Pipeline health: lag, failed checks and differences are said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.database import run
from tests.dashboards import snapshot
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


QUARANTINE = (
    "CREATE TABLE meta.quarantine (epoch INTEGER, seq BIGINT, entity VARCHAR, entity_id BIGINT,"
    " op VARCHAR, reason VARCHAR, decision VARCHAR, decided_by VARCHAR, file VARCHAR,"
    " found_at TIMESTAMPTZ);"
    "INSERT INTO meta.quarantine VALUES"
    " (1, 6, 'orders', 4, 'U', 'no id', 'dropped', 'ann', 'b.parquet', now()),"
    " (1, 7, 'gremlins', 5, 'U', 'unknown table', 'held', NULL, 'a.parquet', now())"
)


def test_changes_in_quarantine_are_shown_with_reason_and_file(home: Path, open_page: Open) -> None:
    change(home, QUARANTINE)
    page = open_page("health")
    assert "1 change of the feed could not be used and is not in" in page.warning[0].value
    table = next(t.value for t in page.dataframe if "decision" in t.value)
    assert table[["decision", "reason", "change_number", "file"]].to_numpy().tolist() == [
        ["Held", "unknown table", "1:7", "a.parquet"],
        ["Dropped", "no id", "1:6", "b.parquet"],
    ]


def test_without_changes_in_quarantine_nothing_is_said_of_it(home: Path, open_page: Open) -> None:
    change(home, f"{QUARANTINE}; DELETE FROM meta.quarantine")
    page = open_page("health")
    assert not page.warning
    assert "Quarantine" not in [header.value for header in page.subheader]


def test_the_data_docs_of_a_run_are_a_click_away(home: Path, open_page: Open) -> None:
    def buttons() -> list[str]:
        return [b.label for b in open_page("health").button if b.label.startswith("Data docs")]

    assert buttons() == []
    docs = home / "published" / f"data-docs-{snapshot.RUN_ID}.html"
    docs.write_text("<p>24 expectations met</p>", encoding="utf-8")
    assert buttons() == ["Data docs of this snapshot"]
    # A run that failed has a page of its own, which says why.
    snapshot.status(home, "failed", run_id="run-of-today", snapshot=None)
    (home / "published" / "data-docs-run-of-today.html").write_text("<p>1</p>", encoding="utf-8")
    assert buttons() == ["Data docs of this snapshot", "Data docs of the last run"]
    page = open_page("health")
    next(b for b in page.button if b.label == "Data docs of this snapshot").click().run()
    assert not page.exception
    assert [frame.proto.srcdoc for frame in page.get("iframe")] == ["<p>24 expectations met</p>"]
