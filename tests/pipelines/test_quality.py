"""Every check can fail: each is shown data that it must refuse."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from pipelines.lib import (
    alerts,
    expectations,
    policy,
    reconcile,
    reorder_lines,
    screening,
    status,
    suites,
)
from pipelines.lib.expectations import between, not_null, one_of, unique
from tests.pipelines.test_policy import stock


@pytest.mark.parametrize(
    ("expectation", "good", "bad"),
    [
        (not_null("a"), "SELECT 1 AS a", "SELECT CAST(NULL AS INTEGER) AS a"),
        (one_of("a", ["x", "y"]), "SELECT 'x' AS a", "SELECT 'z' AS a"),
        (one_of("a", [True]), "SELECT true AS a", "SELECT false AS a"),
        (between("a", 0, 0), "SELECT 0.0 AS a", "SELECT 0.01 AS a"),
        (between("a", 1), "SELECT 1 AS a", "SELECT 0 AS a"),
        (unique("a"), "SELECT unnest([1, 2]) AS a", "SELECT unnest([1, 1]) AS a"),
        (
            unique("a", "b"),
            "SELECT unnest([1, 2]) AS a, 'b' AS b",
            "SELECT unnest([1, 1]) AS a, 'b' AS b",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, expectations.Expect) else "",
)
def test_an_expectation_tells_good_from_bad(
    expectation: expectations.Expect, good: str, bad: str
) -> None:
    assert expectations.validate("suite", duckdb.sql(good).df(), [expectation]).passed
    refused = expectations.validate("suite", duckdb.sql(bad).df(), [expectation])
    assert not refused.passed
    assert "1 of 1 failed" in refused.detail


GOOD = {
    "epoch": 1,
    "xid": 0,
    "seq": 1,
    "entity": "orders",
    "entity_id": 5,
    "op": "I",
    "version": 1,
    "payload": "{}",
    "changed_by": "ann",
    "occurred_at": datetime(2026, 11, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(
    "change",
    [
        {"entity": "gremlins"},
        {"op": "X"},
        {"entity_id": None},
        {"occurred_at": None},
        {"version": 0},
        {"payload": "not json"},
        {"payload": None},
        {"payload": "[1]"},
        {"seq": 2},
    ],
    ids=str,
)
def test_a_landed_batch_with_one_bad_change_warns_and_says_which(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "batch.parquet"
    second = {**GOOD, "seq": 2, "version": 2}
    pl.DataFrame([GOOD, second], schema_overrides={"payload": pl.String}).write_parquet(path)
    assert suites.validate_landed([path]).passed
    assert screening.faults([path]) == []
    pl.DataFrame([{**GOOD, **change}, second], infer_schema_length=None).write_parquet(path)
    outcome = suites.validate_landed([path])
    assert not outcome.passed
    assert outcome.severity == "WARN"
    found = screening.faults([path])
    assert {fault["seq"] for fault in found} == {change.get("seq", 1)}
    assert all(fault["file"] == "batch.parquet" and fault["reason"] for fault in found)
    # Whoever judged the change is not asked again.
    assert suites.validate_landed([path], {(1, change.get("seq", 1))}).passed


def test_a_change_that_is_there_twice_and_alike_is_told_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "batch.parquet"
    pl.DataFrame([GOOD, GOOD], schema_overrides={"payload": pl.String}).write_parquet(path)
    outcome = suites.validate_landed([path])
    assert (outcome.passed, outcome.severity) == (False, "WARN")
    assert screening.faults([path]) == []


def test_more_bad_changes_than_a_few_and_a_hundredth_of_a_file_block(tmp_path: Path) -> None:
    def severity(bad: int, good: int) -> str:
        rows = [{**GOOD, "seq": n, "version": 0 if n < bad else 1} for n in range(bad + good)]
        path = tmp_path / "batch.parquet"
        pl.DataFrame(rows).write_parquet(path)
        return suites.validate_landed([path]).severity

    assert severity(screening.FEW, 0) == "WARN"
    assert severity(screening.FEW + 1, 100) == "ERROR"
    assert severity(screening.FEW + 1, 100 * screening.FEW) == "ERROR"
    assert severity(screening.FEW + 1, 100 * screening.FEW + 90) == "WARN"


def test_the_gravest_failure_of_a_suite_says_what_it_does() -> None:
    frame = duckdb.sql("SELECT 1 AS a, 2 AS b").df()
    strict, (lenient,) = between("a", 5), expectations.warned(between("b", 5))
    assert expectations.validate("suite", frame, [lenient]).severity == "WARN"
    both = expectations.validate("suite", frame, [lenient, strict])
    assert both.severity == "ERROR"
    assert [result.expectation for result in both.failures] == [strict, lenient]
    assert "ExpectColumnValuesToBeBetween on b: [2] (warning)" in both.detail
    assert [(r.elements, r.unexpected) for r in both.results] == [(1, 1), (1, 1)]


@pytest.fixture
def marts() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a warehouse with one mart of one sale over 19.99."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA marts")
        connection.execute(
            "CREATE TABLE marts.sales AS SELECT 19.99::DECIMAL(18, 2) AS gross_sales"
        )
        yield connection


@pytest.mark.parametrize(("discounts", "is_odd"), [([10, 0], False), ([10, 10], True)])
def test_one_sale_may_be_given_away_and_not_all_of_a_day(
    marts: duckdb.DuckDBPyConnection, discounts: list[int], *, is_odd: bool
) -> None:
    marts.execute(
        "CREATE TABLE marts.sales_daily AS SELECT date '2026-11-01' AS day, 'x' AS department,"
        " category, 'ATL' AS warehouse, 'web' AS channel, 1 AS units, 1 AS order_lines,"
        " 10.0 AS gross_sales, discount AS discounts, 0.0 AS returns, 10.0 - discount AS net_sales"
        " FROM (SELECT unnest(['a', 'b']) AS category, unnest(?) AS discount)",
        [discounts],
    )
    outcome = suites.validate_mart(marts, suites.MARTS[0])
    assert (outcome.passed, outcome.severity) == (
        not is_odd,
        "WARN" if is_odd else outcome.severity,
    )


SALES = [reconcile.Comparison("gross_sales", "sales", "sum(gross_sales)", is_money=True)]


def test_a_cent_is_a_difference(marts: duckdb.DuckDBPyConnection) -> None:
    [equal] = reconcile.compare(marts, {"gross_sales": 1999}, "USD", SALES)
    [short] = reconcile.compare(marts, {"gross_sales": 2000}, "USD", SALES)
    assert equal.difference == 0
    assert short.difference == Decimal("-0.01")
    reconcile.store(marts, [equal, replace(short, measure="other")])
    assert marts.execute(
        "SELECT measure, is_reconciled FROM marts.reconciliation ORDER BY ALL"
    ).fetchall() == [("gross_sales in sales", True), ("other", False)]


def test_minor_units_follow_the_currency(marts: duckdb.DuckDBPyConnection) -> None:
    marts.execute("UPDATE marts.sales SET gross_sales = 1999")
    [yen] = reconcile.compare(marts, {"gross_sales": 1999}, "JPY", SALES)
    assert yen.difference == 0


def test_the_reorder_table_refuses_a_line_that_does_not_add_up(
    marts: duckdb.DuckDBPyConnection,
) -> None:
    names = dict.fromkeys(("sku_name", "department", "category", "supplier", "supplier_name"), "x")
    rest = {"sku_id": 1, "demand_days": 28, "unit_cost": Decimal("1.25"), "cover_days": 1.0}
    lines = policy.reorder(
        stock(**names, **rest, next_expected_on=None, demand_standard_deviation=2.0), 0.95
    )
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    reorder_lines.store(marts, lines, list_id="a", as_of=moment, currency="USD")
    assert marts.execute(
        "SELECT line_value = suggested_quantity * 1.25 FROM marts.reorder_lines"
    ).fetchall() == [(True,)]
    for column in ("suggested_quantity", "safety_quantity", "on_hand", "pack_excess"):
        wrong = lines.with_columns(pl.col(column) + 1)
        with pytest.raises(duckdb.ConstraintException):
            reorder_lines.store(marts, wrong, list_id="b", as_of=moment, currency="USD")
    # A refused list leaves the one before in place.
    assert marts.execute("SELECT list_id FROM marts.reorder_lines").fetchall() == [("a",)]


def test_only_an_equal_basis_after_a_good_run_is_current(tmp_path: Path) -> None:
    basis = status.Basis("1:0:7", "2026-11-22", "abc")
    (tmp_path / "warehouse-a.duckdb").touch()
    (tmp_path / "current.duckdb").symlink_to("warehouse-a.duckdb")
    good = status.Status(
        "published", "a", "t", "t", "m", snapshot="warehouse-a.duckdb", basis=basis
    )
    assert not status.is_current(tmp_path, basis)
    good.save(tmp_path)
    assert status.load(tmp_path) == good
    assert status.is_current(tmp_path, basis)
    for other in (
        replace(basis, cursor="1:0:8"),
        replace(basis, business_date="2026-11-23"),
        replace(basis, code="def"),
    ):
        assert not status.is_current(tmp_path, other)
    replace(good, state="failed").save(tmp_path)
    assert not status.is_current(tmp_path, basis)
    good.save(tmp_path)
    (tmp_path / "current.duckdb").unlink()
    assert not status.is_current(tmp_path, basis)


class _Sink(socketserver.StreamRequestHandler):
    """Speaks enough SMTP to take one message."""

    received: list[str] = []  # noqa: RUF012 - one sink a test process

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline().decode().strip():
            if line.upper() == "DATA":
                self.wfile.write(b"354 go on\r\n")
                body = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                self.received.append("".join(body))
            if line.upper() == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


def test_an_alert_reaches_the_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        url = f"smtp://127.0.0.1:{port}?from=pipeline@example.com&to=ops@example.com"
        monkeypatch.setenv("OMS_ALERT_SMTP", url)
        assert alerts.send("The data pipeline failed", "Run 7 failed.")
        server.shutdown()
    [message] = _Sink.received
    assert "Subject: The data pipeline failed" in message
    assert "To: ops@example.com" in message
    assert "Run 7 failed." in message


def test_without_an_address_no_alert_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMS_ALERT_SMTP", raising=False)
    monkeypatch.setattr(socket, "create_connection", None)
    assert not alerts.send("subject", "body")


def test_files_are_looked_at_in_parts_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the parts, the answer is that of all files."""
    paths = []
    for number in range(5):
        bad = {"payload": "not json"} if number == 3 else {}
        rows = [{**GOOD, **bad, "seq": 10 * number + each} for each in range(3)]
        paths.append(tmp_path / f"{number}.parquet")
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(paths[-1])
    whole, faults = screening.counts(paths), screening.faults(paths)
    assert [fault["seq"] for fault in faults] == [30, 31, 32]
    looked_at: list[int] = []
    batches = screening._batches

    def seen(*given: Any) -> Iterator[list[str]]:
        for names in batches(*given):
            looked_at.append(len(names))
            yield names

    monkeypatch.setattr(screening, "_AT_ONCE", 7)
    monkeypatch.setattr(screening, "_batches", seen)
    in_parts = screening.counts(paths)
    assert looked_at == [2, 2, 1]
    assert (
        in_parts.sort_values("entity")
        .sum(numeric_only=True)
        .equals(whole.sort_values("entity").sum(numeric_only=True))
    )
    assert screening.faults(paths) == faults
