"""Online Retail as history: every row gets its fate, and the money reconciles to the penny."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.access.actor import SYSTEM
from oms_ops.addresses import address_faults
from oms_ops.database import make_engine, reading, run
from oms_ops.errors import Conflict
from oms_ops.exchange import reader
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.online_retail import history, places, reconciliation, source
from oms_ops.exchange.online_retail.reconciliation import Reconciliation
from oms_ops.exchange.runs import Report
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.setup import init
from tests.proofs import LONG

#: The five months that the project is developed against; they are no part of it.
DATA = Path(__file__).parents[3] / "shared" / "data"
WHOLE = DATA / "online_retail_2010-12_to_2011-04.parquet"

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GB = "United Kingdom"


def row(invoice: str, code: str, note: str, quantity: object, when: str, price: str,
        customer: str = "", country: str = GB) -> str:  # fmt: skip
    return f"{invoice},{code},{note},{quantity},{when}:00,{price},{customer},{country}"


DAY1, DAY2, DAY3 = "2010-12-01 09:00", "2010-12-02 10:30", "2010-12-10 11:00"

#: The rows of a small shop's three days; beside each, its fate and reason.
ROWS: list[tuple[str, str, str]] = [
    (row("536365", "85123A", "WHITE HEART", 6, DAY1, "2.55", "17850.0"), "order", "goods"),
    # The same line twice, and the same SKU written otherwise: three lines of one order.
    (row("536365", "85123A", "WHITE HEART", 6, DAY1, "2.55", "17850.0"), "order", "goods"),
    (row("536365", "85123a", "white hanging heart", 1, DAY1, "2.95", "17850.0"), "order", "goods"),
    (row("536365", "POST", "POSTAGE", 1, DAY1, "18.00", "17850.0"), "charge", "postage"),
    (row("536365", "M", "Manual", 1, DAY1, "5.00", "17850.0"), "charge", "manual"),
    # A guest, from the shop's other site.
    (row("536544", "21773", "BATH SPONGE", 2, DAY1, "3.31", ""), "order", "goods"),
    (row("536544", "DOT", "DOTCOM POSTAGE", 1, DAY1, "11.17", ""), "charge", "postage"),
    (row("536544", "gift_0001_20", "Gift Voucher", 1, DAY1, "16.67", ""), "charge", "gift_voucher"),
    (row("536544", "22000", "", 3, DAY1, "0.0", ""), "order", "free_goods"),
    # Below the penny: three are 0.0045, ten thousand and one 12.0012.
    (row("536600", "PADS", "PADS TO MATCH", 3, DAY2, "0.0015", "13952.0"), "order", "goods"),
    (row("536602", "22001", "PINS", 10000, DAY2, "0.00125", "13952.0"),
     "rejected", "not_an_amount"),
    (row("536601", "22001", "PINS", 10001, DAY2, "0.0012", "13952.0", "EIRE"), "order", "goods"),
    # Clerks' corrections of the stock.
    (row("536589", "21777", "", -10, DAY2, "0.0"), "adjustment", "stock_out"),
    (row("536590", "21773", "damaged?", -3, DAY2, "0.0"), "adjustment", "stock_out"),
    (row("536591", "21773", "found", 4, DAY2, "0.0"), "adjustment", "stock_in"),
    # The shop's own costs, credits, samples and bad debts.
    (row("C536700", "AMAZONFEE", "AMAZON FEE", -1, DAY2, "100.50"), "charge", "marketplace_fee"),
    (row("C536701", "BANK CHARGES", "Charges", -1, DAY2, "15.00"), "charge", "bank_charges"),
    (row("C536702", "S", "SAMPLES", -1, DAY2, "3.20"), "charge", "samples"),
    (row("A536703", "B", "Adjust bad debt", 1, DAY2, "-55.10"), "charge", "bad_debt"),
    (row("C536704", "D", "Discount", -1, DAY3, "2.00", "17850.0"), "charge", "discount_credit"),
    (row("C536704", "POST", "POSTAGE", -1, DAY3, "18.00", "17850.0"), "charge", "postage_credit"),
    (row("C536705", "D", "Discount", -1, DAY3, "999.0", "13952.0"), "charge", "uncovered_credit"),
    # Seven come back: six of one line, one of the next; then one at the other price; then too many.
    (row("C536800", "85123A", "WHITE HEART", -7, DAY3, "2.55", "17850.0"), "return", "credit_note"),
    (row("C536801", "85123A", "WHITE HEART", -1, DAY3, "2.95", "17850.0"), "return", "credit_note"),
    (row("C536802", "85123A", "WHITE HEART", -2, DAY3, "2.00", "17850.0"), "return", "credit_note"),
    (row("C536803", "85123A", "WHITE HEART", -4, DAY3, "2.55", "17850.0"),
     "rejected", "no_earlier_sale"),
    (row("C536804", "22633", "HAND WARMER", -1, DAY1, "1.85", "17850.0"),
     "rejected", "no_earlier_sale"),
    (row("C536805", "21773", "BATH SPONGE", -1, DAY3, "3.31"), "rejected", "guest_return"),
    # Not to be read, or not to be understood.
    (row("536901", "21773", "BATH SPONGE", "six", DAY3, "3.31", "1"),
     "rejected", "not_a_whole_number"),
    (row("536901", "21777", "BIRD", 1, DAY3, "3.31", "1"), "rejected", "order_rejected"),
    (row("536902", "WHAT", "???", 1, DAY3, "3.31", "1"), "rejected", "unknown_code"),
    (row("536903", "21777", "BIRD", 1, DAY3, "3.31", "1", "Atlantis"),
     "rejected", "unknown_country"),
    (row("536904", "21777", "BIRD", -1, DAY3, "3.31", "1"), "rejected", "negative_quantity"),
    (row("536905", "21777", "BIRD", 1, "10.12.2010 11:00", "3.31", "1"), "rejected", "not_a_time"),
    (row("536906", "21777", "BIRD", 0, DAY3, "3.31", "1"), "rejected", "zero_quantity"),
    (row("536907", "21777", "BIRD", 1, DAY3, "-3.31", "1"), "rejected", "negative_price"),
    (row("C536908", "21777", "BIRD", 1, DAY3, "3.31", "1"), "rejected", "positive_credit"),
]  # fmt: skip
GOOD = [line for line, fate, _ in ROWS if fate != "rejected"]


Imported = tuple[Report, Reconciliation]


def imported(engine: Engine, lines: list[str], name: str = "retail.csv") -> Imported:
    content = "\n".join([HEADER, *lines]).encode()
    table = reader.parse(content, name, source.mapping(Mapping()).format)
    rows, report, import_id = history.import_history(engine, SYSTEM, table, Mapping())
    return report, reconciliation.reconcile(engine, rows, import_id)


def rows_of(engine: Engine, statement: str, **parameters: Any) -> list[Any]:
    with reading(engine) as connection:
        return [tuple(r) for r in connection.execute(sa.text(statement), parameters)]


def state(engine: Engine) -> dict[str, int]:
    tables = ("orders", "order_lines", "shipments", "payments", "refunds", "returns", "customers",
              "stock_moves", "skus", "payment_events", "idempotency_keys")  # fmt: skip
    return {t: rows_of(engine, f"SELECT count(*) FROM {t}")[0][0] for t in tables}


def sound(engine: Engine) -> bool:
    return all(finding.count == 0 for finding in reconcile(engine))


def test_every_row_has_its_documented_fate_and_the_money_reconciles(database: Engine) -> None:
    report, money = imported(database, [line for line, *_ in ROWS])
    found = rows_of(database, "SELECT fate, reason FROM import_rows ORDER BY row_no")
    assert found == [(fate, reason) for _, fate, reason in ROWS]
    assert report.complete
    assert money.holds
    assert all(line.holds for line in money.lines)
    assert sum(line.rows for line in money.lines) == len(ROWS)
    # 0.0045 + 12.0012 in the file, 12.00 in our tables.
    goods = next(line for line in money.lines if line.reason == "goods")
    assert goods.remainder_e4 == 45 + 12
    assert sound(database)


def test_an_invoice_becomes_an_order_shipped_and_paid_on_its_day(database: Engine) -> None:
    imported(database, GOOD)
    orders = rows_of(
        database,
        "SELECT o.external_id, c.email, c.external_id, o.gross_minor, o.shipping_minor,"
        " o.total_minor, o.status, o.ship_country, p.captured_minor FROM orders AS o"
        " JOIN customers AS c ON c.id = o.customer_id"
        " LEFT JOIN payments AS p ON p.order_id = o.id ORDER BY o.external_id",
    )
    domain = "online-retail.example"
    assert orders == [
        ("536365", f"customer-17850@{domain}", "17850", 3355, 1800, 5155, "closed", "GB", 5155),
        ("536544", f"guest-536544@{domain}", None, 662, 1117, 1779, "closed", "GB", 1779),
        ("536600", f"customer-13952@{domain}", "13952", 0, 0, 0, "closed", "GB", None),
        ("536601", f"customer-13952@{domain}", "13952", 0, 0, 1200, "closed", "IE", 1200),
    ]
    lines = rows_of(
        database,
        "SELECT k.code, k.name, l.quantity, l.unit_price_minor, l.rounding_minor, l.net_minor"
        " FROM order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
        " JOIN orders AS o ON o.id = l.order_id WHERE o.external_id IN ('536365', '536601')"
        " ORDER BY l.id",
    )
    assert lines == [
        ("85123A", "WHITE HEART", 6, 255, 0, 1530),
        ("85123A", "WHITE HEART", 6, 255, 0, 1530),
        ("85123A", "WHITE HEART", 1, 295, 0, 295),
        ("22001", "PINS", 10001, 0, 1200, 1200),
    ]
    with reading(database) as connection:
        placed = connection.execute(sa.text("SELECT min(placed_at) FROM orders")).scalar_one()
    if isinstance(placed, str):
        placed = datetime.fromisoformat(placed)
    assert placed == datetime(2010, 12, 1, 9, tzinfo=UTC)


def test_returned_goods_are_refunded_at_the_price_of_the_credit_note(database: Engine) -> None:
    imported(database, GOOD)
    back = rows_of(
        database,
        "SELECT r.reason, sum(l.quantity), sum(l.refund_minor), sum(f.amount_minor)"
        " FROM returns AS r JOIN refunds AS f ON f.return_id = r.id"
        " JOIN (SELECT return_id, sum(quantity) AS quantity, sum(refund_minor) AS refund_minor"
        "  FROM return_lines GROUP BY return_id) AS l ON l.return_id = r.id"
        " GROUP BY r.reason ORDER BY r.reason",
    )
    assert back == [
        ("credit note C536800", 7, 1785, 1785),
        ("credit note C536801", 1, 295, 295),
        ("credit note C536802", 2, 400, 400),
    ]
    credited = rows_of(
        database,
        "SELECT reason, amount_minor FROM refunds WHERE return_id IS NULL ORDER BY reason",
    )
    assert credited == [("discount_credit C536704", 200), ("postage_credit C536704", 1800)]
    left = rows_of(
        database,
        "SELECT sum(l.shipped - l.returned) FROM order_lines AS l JOIN skus AS k"
        " ON k.id = l.sku_id WHERE k.code = '85123A'",
    )
    assert left == [(3,)]


def test_corrections_of_the_stock_carry_the_clerks_note(database: Engine) -> None:
    imported(database, GOOD)
    moves = rows_of(
        database,
        "SELECT m.reference, m.quantity, t.kind FROM stock_moves AS m"
        " JOIN locations AS t ON t.id = m.to_location_id WHERE m.reason = 'adjustment'"
        " ORDER BY m.reference",
    )
    assert moves == [
        ("536589: no note", 10, "adjustment"),
        ("536590: damaged?", 3, "adjustment"),
        ("536591: found", 4, "storage"),
    ]
    # Nothing is sold that is not there: what history needs is the opening stock.
    levels = rows_of(
        database,
        "SELECT k.code, v.on_hand FROM stock_levels AS v JOIN skus AS k ON k.id = v.sku_id"
        " ORDER BY k.code",
    )
    assert dict(levels) == {
        "21773": 1, "21777": 0, "22000": 0, "22001": 0, "85123A": 10, "PADS": 0,
    }  # fmt: skip
    # A clerk's note is no name, and neither is nothing.
    names = dict(rows_of(database, "SELECT code, name FROM skus"))
    assert (names["21773"], names["21777"], names["22000"]) == ("BATH SPONGE", "21777", "22000")


def test_a_second_run_changes_nothing(database: Engine) -> None:
    first, _ = imported(database, [line for line, *_ in ROWS])
    before = state(database)
    again, money = imported(database, [line for line, *_ in ROWS], "again.csv")
    assert state(database) == before
    assert again.counts == {
        "rejected": first.counts["rejected"],
        "repeated": first.rows - first.counts["rejected"],
    }
    assert money.holds


def test_a_mended_file_takes_only_what_was_rejected(database: Engine) -> None:
    imported(database, [line for line, *_ in ROWS])
    before = state(database)["orders"]
    mended = [line.replace(",six,", ",6,").replace("10.12.2010 11:00", DAY3) for line, *_ in ROWS]
    report, money = imported(database, mended, "mended.csv")
    assert report.counts["order"] == 3
    assert state(database)["orders"] == before + 2
    assert money.holds
    assert sound(database)
    # An invoice that says something else now is refused, not changed.
    changed = [line.replace("BATH SPONGE,2,", "BATH SPONGE,5,") for line in mended]
    report, money = imported(database, changed, "changed.csv")
    differs = [bad.row_no for bad in report.rejected if bad.reason == "differs"]
    assert differs == [6, 7, 9]
    assert money.holds


def test_a_later_file_finds_the_sales_of_an_earlier_one(database: Engine) -> None:
    imported(database, [row("1", "21773", "SPONGE", 5, DAY1, "3.31", "7")])
    late = [
        row("C2", "21773", "SPONGE", -5, DAY3, "3.31", "7"),
        row("3", "21773", "SPONGE", 9, DAY3, "3.31", "7"),
    ]
    report, money = imported(database, late, "late.csv")
    assert report.counts == {"order": 1, "return": 1}
    assert money.holds
    assert sound(database)


TAMPERED = (
    "UPDATE refunds SET amount_minor = amount_minor + 1 WHERE return_id IS NOT NULL",
    "UPDATE refunds SET reason = 'other' WHERE return_id IS NULL",
    "UPDATE orders SET shipping_minor = shipping_minor + 1, total_minor = total_minor + 1",
    "UPDATE order_lines SET net_minor = net_minor - 1, rounding_minor = rounding_minor - 1",
    "UPDATE import_rows SET amount_e4 = amount_e4 + 1 WHERE reason = 'marketplace_fee'",
    "DELETE FROM import_rows WHERE row_no = 3",
)


@pytest.mark.parametrize("damage", TAMPERED)
def test_the_reconciliation_sees_a_penny_that_is_missing(database: Engine, damage: str) -> None:
    content = "\n".join([HEADER, *GOOD]).encode()
    table = reader.parse(content, "x.csv", source.mapping(Mapping()).format)
    rows, _, import_id = history.import_history(database, SYSTEM, table, Mapping())
    assert reconciliation.reconcile(database, rows, import_id).holds
    run(database, lambda connection: connection.execute(sa.text(damage)))
    assert not reconciliation.reconcile(database, rows, import_id).holds


def test_a_day_that_fails_leaves_nothing_and_is_done_again(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = history.returned.take
    monkeypatch.setattr(history.returned, "take", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        imported(database, GOOD)
    assert rows_of(database, "SELECT count(*) FROM orders") == [(0,)]
    monkeypatch.setattr(history.returned, "take", real)
    report, money = imported(database, GOOD)
    assert "repeated" not in report.counts
    assert money.holds
    # The opening stock of the first try is that of the second.
    opening = rows_of(database, "SELECT count(*) FROM stock_moves WHERE reason = 'opening'")
    assert opening == [(6,)]


def test_a_shop_in_another_currency_refuses_the_history(database: Engine) -> None:
    run(database, lambda c: store.publish(c, SYSTEM, {"base_currency": "USD"}))
    with pytest.raises(Conflict):
        imported(database, GOOD)


def test_the_invented_addresses_pass_the_rules_of_their_countries() -> None:
    for name, place in places.PLACES.items():
        faults = address_faults(place.country, place.city, place.region, place.postal_code)
        assert faults == (), name


#: What the first month holds, and all five: rows, ten thousandths of a pound, fates of rows.
MONTHS: dict[str, tuple[int, int, dict[str, int]]] = {
    "2010-12": (42_481, 7_489_570_200, {
        "order": 41_448, "return": 298, "adjustment": 140, "charge": 195, "rejected": 400,
    }),
    "2011-04": (171_999, 29_834_941_310, {
        "order": 167_226, "return": 2_128, "adjustment": 810, "charge": 995, "rejected": 840,
    }),
}  # fmt: skip


@pytest.mark.proof
@pytest.mark.skipif(not WHOLE.exists(), reason="the data file is not on this machine")
def test_the_months_reconcile_to_the_penny(tmp_path: Path) -> None:
    last = "2011-04" if LONG else "2010-12"
    engine = make_engine(f"sqlite:///{tmp_path / 'oms.db'}")
    init(engine)
    path = tmp_path / "months.parquet"
    pl.read_parquet(WHOLE).filter(pl.col("InvoiceDate").str.slice(0, 7) <= last).write_parquet(path)
    table = reader.read(path, source.mapping(Mapping()).format)
    rows, report, import_id = history.import_history(engine, SYSTEM, table, Mapping())
    money = reconciliation.reconcile(engine, rows, import_id)
    assert money.holds
    assert (money.rows, money.file_e4, report.counts) == MONTHS[last]
    assert sound(engine)
    engine.dispose()
