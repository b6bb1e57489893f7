"""What stands around every page: freshness, the last good snapshot, and nothing published yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.lib import snapshot as reader
from dashboards.lib.tables import COLUMNS
from tests.dashboards import snapshot
from tests.dashboards.conftest import APP, Open, metrics
from tests.dashboards.shop import Shop

PAGES = ("overview", "sales", "inventory", "customers", "service", "reorder", "health")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_as_of_when_in_the_shops_zone(
    page: str, open_page: Open, simulated: Shop
) -> None:
    shown = open_page(page)
    line = shown.caption[0].value
    moment = simulated.as_of.astimezone(ZoneInfo("America/New_York"))
    assert f"{moment:%H:%M %Z}" in line
    assert f"{simulated.business_date.day} {simulated.business_date:%b %Y}" in line


@pytest.mark.parametrize("page", PAGES)
def test_no_table_shows_a_raw_column_name(page: str, open_page: Open) -> None:
    for table in open_page(page).dataframe:
        unknown = set(table.value.columns) - set(COLUMNS)
        assert unknown <= {"_open", "tick", "why", "weekly_demand"}


def test_before_the_first_run_the_page_says_what_to_run() -> None:
    page = AppTest.from_file(APP, default_timeout=60).run()
    assert not page.exception
    assert page.title[0].value == "Nothing published yet"
    assert page.code[0].value == "make pipeline"


def test_a_failed_run_leaves_the_last_good_snapshot_and_says_so(
    home: Path, open_page: Open
) -> None:
    before = metrics(open_page())
    snapshot.status(
        home, "failed", run_id="run-of-today", snapshot=None,
        message="A blocking check failed.", failed_checks=["net_sales_adds_up"],
    )  # fmt: skip
    page = open_page()
    said = page.warning[0].value
    assert "last good snapshot" in said
    assert "net_sales_adds_up" in said
    assert metrics(page) == before


def test_a_new_snapshot_is_shown_at_the_next_rerun_of_an_open_page(
    home: Path, open_page: Open
) -> None:
    page = open_page()
    before = metrics(page)
    smaller = snapshot.publish(home, run_id="run-of-today", shop=snapshot.trade(
        snapshot.yesterday(), days=40, sku_count=40))  # fmt: skip
    page.run()
    assert not page.exception
    assert metrics(page) != before
    assert reader.current().path == str(smaller)  # type: ignore[union-attr]


def test_an_open_page_outlives_the_removal_of_its_snapshot(home: Path, open_page: Open) -> None:
    page = open_page()
    shown = reader.current()
    assert shown is not None
    snapshot.publish(home, run_id="run-of-today")
    Path(shown.path).unlink()
    page.run()
    assert not page.exception


def test_the_snapshot_is_opened_for_reading_only(home: Path, open_page: Open) -> None:
    open_page()
    shown = reader.current()
    assert shown is not None
    with pytest.raises(Exception, match="read-only"):
        shown.frame("CREATE TABLE marts.mine (a int)")


def test_a_damaged_status_file_is_no_reason_to_show_nothing(home: Path, open_page: Open) -> None:
    (home / "published" / "status.json").write_text("{")
    assert metrics(open_page())


def test_periods_end_on_the_last_full_day(home: Path) -> None:
    shown = reader.current()
    assert shown is not None
    # Published today, so yesterday, its business date, was over.
    assert shown.last_full_day == shown.business_date
    at_noon = replace(shown, published_at=shown.as_of)
    assert at_noon.last_full_day == shown.business_date - timedelta(days=1)


def test_text_that_a_spreadsheet_would_run_is_exported_as_text(home: Path) -> None:
    shown = reader.current()
    assert shown is not None
    exported = shown.csv("SELECT '=1+1' AS sku, -1.50 AS net_sales", [], {"sku": "SKU"}).decode()
    assert exported.splitlines() == ['"SKU","net_sales"', '"\'=1+1",-1.50']


def test_the_dashboards_start_without_the_heavy_packages() -> None:
    script = (
        "import sys; import dashboards.lib.actions, dashboards.lib.reorder_panels,"
        " dashboards.lib.about, dashboards.queries.reorder;"
        " print(sorted({'pandas', 'altair', 'duckdb', 'sqlalchemy', 'polars'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(APP.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_a_swap_of_the_link_is_atomic_for_readers(home: Path, snapshot_template: Path) -> None:
    """A reader resolves the link once: whatever it opens is a whole file."""
    first = reader.current()
    other = home / "published" / "warehouse-other.duckdb"
    shutil.copy(snapshot_template, other)
    link = home / "published" / "next"
    link.symlink_to(other.name)
    link.replace(home / "published" / "current.duckdb")
    second = reader.current()
    assert first is not None
    assert second is not None
    assert first.path != second.path
    assert second.one("SELECT count(*) AS n FROM marts.fct_orders")["n"] > 0
