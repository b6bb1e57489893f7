"""What a run expected and found can be read as one page, whatever the data had in it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipelines.lib import data_docs, expectations
from pipelines.lib.expectations import between, one_of, unique, warned
from pipelines.lib.journal import Check, Journal


def journal() -> Journal:
    """Return the journal of a run that refused a status, and warned of a number."""
    frame = duckdb.sql("SELECT 7 AS units, '<script>alert(1)</script>' AS status").df()
    asked = [one_of("status", ["open"]), *warned(between("units", 8)), unique("units", "status")]
    run = Journal("run-1", datetime(2026, 11, 22, 15, 30, tzinfo=UTC))
    run.outcomes.append(expectations.validate("orders", frame, asked))
    run.outcomes.append(expectations.Outcome("landed_changes", ()))
    run.checks.append(Check("adds_up", "marts/orders", "ERROR", passed=True, detail="a & b"))
    run.checks.append(Check("volume", "marts/orders", "WARN", passed=False, detail="few"))
    return run


def rows(page: str) -> list[list[str]]:
    """Return the cells of every row of a page's tables."""
    return [
        re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", page)
    ]


def test_every_expectation_is_there_with_what_was_found() -> None:
    page = data_docs.render(journal())
    assert "2 of 3 expectations not met, 1 of 2 checks not passed" in page
    found = rows(page)
    assert found[0][:4] == [
        "failed",
        "ColumnValuesToBeInSet",
        "status",
        "value_set [&#x27;open&#x27;]",
    ]
    assert found[0][4:7] == ["blocks", "1", "1"]
    assert found[1] == [
        "warned", "ColumnValuesToBeBetween", "units", "min_value 8", "warns", "1", "1", "[7]",
    ]  # fmt: skip
    assert found[2][:3] == ["passed", "CompoundColumnsToBeUnique", "units, status"]
    # What did not pass comes first.
    assert found[3:] == [
        ["warned", "volume", "marts/orders", "few"],
        ["passed", "adds_up", "marts/orders", "a &amp; b"],
    ]
    assert "There was nothing to validate" in page


def test_the_page_runs_nothing_and_asks_nobody() -> None:
    page = data_docs.render(journal())
    assert "<script" not in page
    assert "http" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_newest_pages_are_kept(tmp_path: Path) -> None:
    for number in range(data_docs.KEEP + 3):
        run = Journal(f"run-{number:02}")
        os.utime(data_docs.write(tmp_path, run), ns=(number, number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"data-docs-run-{n:02}.html" for n in range(3, data_docs.KEEP + 3)]
