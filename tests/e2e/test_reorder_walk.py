"""A merchandiser's walk in a real browser: look, filter, edit, approve, and find the order."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Served

pytestmark = pytest.mark.e2e

#: Pixels of the list of lines: a header, then rows; the widths of the columns up to the quantity.
ROW = 33
TICK, BEFORE_QUANTITY, QUANTITY = 70, 70 + 60 + 90 + 225 + 95 + 150 + 125, 115


def _card(page: Page, label: str) -> Locator:
    return page.locator('[data-testid="stMetric"]').filter(has_text=label).first


def _lines(page: Page) -> Locator:
    return page.locator('[data-testid="stDataFrame"]').first


def _cell(page: Page, row: int, column: int) -> str:
    cell = _lines(page).locator(f'[data-testid="glide-cell-{column}-{row}"]').first
    return cell.text_content() or ""


def _click(page: Page, row: int, x: float) -> None:
    box = _lines(page).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + ROW * (row + 1.5))


def _type_quantity(page: Page, row: int, wanted: int) -> None:
    """Edit a line's quantity as a hand would: a grid that is just being drawn loses what is typed,
    and a hand then types it again.
    """
    cell = _lines(page).locator(f'[data-testid="glide-cell-7-{row}"]').first
    app = page.locator('[data-testid="stApp"]')
    for patience in (5_000, 5_000, 30_000):
        expect(app).to_have_attribute("data-test-script-state", "notRunning")
        _click(page, row, BEFORE_QUANTITY + QUANTITY / 2)
        page.wait_for_timeout(300)
        page.keyboard.type(str(wanted), delay=40)
        page.keyboard.press("Enter")
        try:
            expect(cell).to_have_text(str(wanted), timeout=patience)
        except AssertionError:
            if patience == 30_000:
                raise
        else:
            return


def _press(page: Page, button: Locator, seen: Locator) -> None:
    """Press a button as a hand would: again when the page was just being drawn anew under it."""
    app = page.locator('[data-testid="stApp"]')
    for patience in (10_000, 10_000, 30_000):
        expect(app).to_have_attribute("data-test-script-state", "notRunning")
        button.click()
        try:
            expect(seen).to_be_visible(timeout=patience)
        except AssertionError:
            if patience == 30_000:
                raise
        else:
            return


def _suggestion(served: Served, sku: str, warehouse: str) -> tuple[int, int, str]:
    """Return suggested units, pack and supplier of a line, from the published snapshot."""
    path = str((served.home / "published" / "current.duckdb").resolve())
    with duckdb.connect(path, read_only=True) as con:
        row = con.execute(
            "SELECT suggested_quantity, pack_multiple, supplier FROM marts.reorder_lines"
            " WHERE sku = ? AND warehouse = ?",
            [sku, warehouse],
        ).fetchone()
    assert row is not None
    return row


def _purchase_order(served: Served, number: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{served.api}/v1/purchase-orders/{number}",
        headers={"Authorization": f"Bearer {served.key}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def test_a_merchandiser_orders_what_the_list_suggests(page: Page, served: Served) -> None:
    page.goto(served.dashboards)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    whole = _card(page, "Net sales").inner_text()

    page.get_by_label("Warehouse").first.click()
    page.get_by_role("option", name="EAST").click()
    expect(_card(page, "Net sales")).not_to_have_text(whole)
    assert "warehouse=EAST" in page.url

    page.get_by_role("link", name="Reorder", exact=True).click()
    expect(page.get_by_role("heading", name="Reorder")).to_be_visible()
    expect(page.get_by_text("Tick all shown").first).to_be_visible()
    # The scope came along: every line is of the warehouse chosen on the first page.
    expect(_lines(page).locator('[data-testid="glide-cell-4-0"]').first).to_have_text("EAST")
    sku = _cell(page, 0, 2)
    suggested, pack, supplier = _suggestion(served, sku, "EAST")
    assert _cell(page, 0, 7) == str(suggested)

    wanted = suggested + pack
    _type_quantity(page, 0, wanted)
    _click(page, 0, TICK / 2)
    button = page.get_by_role("button", name=re.compile("Approve 1 line"))
    expect(button).to_be_enabled()
    placed = page.locator('[data-testid="stAlert"]').filter(has_text="1 purchase order placed")
    _press(page, button, placed)
    found = re.search(r"PO-\d+", placed.inner_text())
    assert found is not None
    expect(page.get_by_role("heading", name="Ordered from this list")).to_be_visible()
    expect(_lines(page).locator('[data-testid="glide-cell-2-0"]').first).not_to_have_text(sku)

    order = _purchase_order(served, found[0])
    assert (order["supplier"], order["warehouse"], order["source"]) == (supplier, "EAST", "reorder")
    assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [(sku, wanted)]


def test_a_shared_address_opens_the_same_view(page: Page, served: Served) -> None:
    page.goto(f"{served.dashboards}/sales?department=GROCERY&category=COFFEE&period=7+days")
    expect(page.get_by_role("heading", name="SKUs of COFFEE")).to_be_visible()
    expect(page.get_by_text("(7 days)").first).to_be_visible()


def test_no_page_scrolls_sideways_on_a_telephone(page: Page, served: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name, title in (
        ("", "Overview"), ("sales", "Sales"), ("inventory", "Inventory"),
        ("customers", "Customers"), ("reorder", "Reorder"), ("health", "Pipeline health"),
    ):  # fmt: skip
        page.goto(f"{served.dashboards}/{name}")
        expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
        page.wait_for_timeout(1500)
        main = page.locator('[data-testid="stMain"]')
        assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0, title
        expect(page.locator('[data-testid="stException"]')).to_have_count(0)
