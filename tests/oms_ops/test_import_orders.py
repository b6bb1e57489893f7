"""A file of orders: each bad row is named, the good orders are taken, and no order comes twice."""

from __future__ import annotations

import csv
import io
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oms_ops import clock
from oms_ops.access.actor import SYSTEM, Actor
from oms_ops.database import run
from oms_ops.errors import Forbidden, ValidationFailed
from oms_ops.exchange import files, mapping
from oms_ops.exchange.files import import_bytes, import_file
from oms_ops.exchange.runs import Report
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from tests.oms_ops.shop import CLERK, Shop

HEADER = (
    "external_id,channel,currency,email,customer_name,placed_at,ship_name,ship_line1,ship_city,"
    "ship_region,ship_postal_code,ship_country,sku,quantity,unit_price,payment_method,"
    "allow_backorder"
)


def line(external_id: str, sku: str, quantity: object, price: object = "1.99", **other: str) -> str:
    cells = {
        "channel": "market", "currency": "USD", "email": "ann@example.com", "name": "Ann",
        "placed_at": "2026-03-01T12:00:00Z", "region": "GA", "postal_code": "30301",
        "backorder": "true", **other,
    }  # fmt: skip
    return (
        f"{external_id},{cells['channel']},{cells['currency']},{cells['email']},{cells['name']},"
        f"{cells['placed_at']},Ann,1 Main Street,Atlanta,{cells['region']},"
        f"{cells['postal_code']},US,{sku},{quantity},{price},card,{cells['backorder']}"
    )


def taken(shop: Shop, *lines: str, document: str = "", header: str = HEADER) -> Report:
    content = "\n".join([header, *lines]).encode()
    return import_bytes(
        shop.engine, CLERK, "orders", content, "orders.csv", mapping.parse(document)
    )


def reasons(report: Report) -> list[tuple[int, Any]]:
    return [(bad.row_no, bad.reason) for bad in report.rejected]


def sound(shop: Shop) -> bool:
    return all(finding.count == 0 for finding in reconcile(shop.engine))


def test_rows_of_one_external_id_are_one_order(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    report = taken(shop, line("A", "SKU-1", 2), line("B", "SKU-1", 1), line("A", "SKU-2", 3, "3"))
    assert (report.rows, report.counts, report.complete) == (3, {"order": 3}, True)
    orders = shop.rows("SELECT external_id, total_minor, status FROM orders ORDER BY external_id")
    assert [tuple(row) for row in orders] == [("A", 2 * 199 + 900, "open"), ("B", 199, "open")]
    lines = shop.rows("SELECT line_no, quantity, allocated FROM order_lines ORDER BY order_id, id")
    assert [tuple(row) for row in lines] == [(1, 2, 2), (2, 3, 0), (1, 1, 1)]
    fates = shop.rows(
        "SELECT r.row_no, r.fate, o.external_id, r.amount_e4 FROM import_rows AS r"
        " JOIN orders AS o ON o.number = r.document ORDER BY r.row_no"
    )
    assert [tuple(row) for row in fates] == [
        (1, "order", "A", 39800), (2, "order", "B", 19900), (3, "order", "A", 90000),
    ]  # fmt: skip
    assert sound(shop)


def test_a_row_with_a_control_character_is_refused_alone(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    report = taken(
        shop,
        line("A", "SKU-1", 1, name="An\x1bn"),
        line("B\x7f", "SKU-1", 1),
        line("C", "SKU-1", 1),
    )
    assert reasons(report) == [(1, "not_storable"), (2, "not_storable")]
    assert report.counts == {"order": 1, "rejected": 2}


def test_every_bad_row_is_named_and_the_good_orders_are_taken(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    report = taken(
        shop,
        line("A", "SKU-1", 2),
        line("B", "SKU-1", 1),
        line("B", "NOPE", 1),
        line("C", "SKU-1", "two"),
        line("D", "SKU-1", 1, "1.999"),
        line("", "SKU-1", 1),
        line("E", "SKU-1", 1, email="nobody"),
        line("F", "SKU-1", 1, postal_code="x"),
        line("G", "SKU-1", 1) + ",one more",
        line("H", "SKU-1", 1),
        line("H", "SKU-1", 1, email="other@example.com"),
        line("I", "SKU-1", 1, placed_at="yesterday"),
        line("J", "SKU-2", 1, backorder="false"),
        line("K", "SKU-1", 1),
    )
    assert reasons(report) == [
        (2, "order_rejected"),
        (3, "unknown_sku"),
        (4, "not_a_whole_number"),
        (5, "too_many_decimals"),
        (6, "required"),
        (7, "invalid"),
        (8, "invalid_postal_code"),
        (9, "wrong_number_of_cells"),
        (10, "order_rejected"),
        (11, "inconsistent"),
        (12, "not_a_time"),
        (13, "out_of_stock"),
    ]
    assert report.counts == {"order": 2, "rejected": 12}
    assert report.complete
    assert shop.count("orders") == 2
    assert sound(shop)


def test_a_mended_file_imported_again_takes_only_what_is_new(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    good, bad = line("A", "SKU-1", 2), line("B", "SKU-1", "two")
    taken(shop, good, bad)
    again = taken(shop, good, line("B", "SKU-1", 2))
    assert again.counts == {"order": 1, "repeated": 1}
    once_more = taken(shop, good, line("B", "SKU-1", 2))
    assert once_more.counts == {"repeated": 2}
    assert shop.count("orders") == 2
    assert shop.level("SKU-1") == (50, 4)


def test_the_report_is_itself_a_file_to_mend_and_import(shop: Shop, tmp_path: Path) -> None:
    shop.stock("SKU-1", 50)
    report = taken(shop, line("A", "SKU-1", 2), line("B", "SKU-1", "two"), line("B", "SKU-1", 1))
    files.save_report(report, tmp_path / "bad.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "bad.csv").read_text())))
    assert [(r["import_row"], r["import_code"], r["quantity"]) for r in rows] == [
        ("2", "not_a_whole_number", "two"), ("3", "order_rejected", "1"),
    ]  # fmt: skip
    (tmp_path / "bad.csv").write_text((tmp_path / "bad.csv").read_text().replace(",two,", ",2,"))
    mended = import_file(shop.engine, CLERK, "orders", tmp_path / "bad.csv")
    assert mended.counts == {"order": 2}
    assert shop.level("SKU-1") == (50, 5)


def test_another_content_under_the_same_external_id_is_refused(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    taken(shop, line("A", "SKU-1", 2))
    for changed in (
        [line("A", "SKU-1", 3)],
        [line("A", "SKU-1", 2), line("A", "SKU-1", 1)],
        [line("A", "SKU-1", 2, email="bob@example.com")],
    ):
        report = taken(shop, *changed)
        assert reasons(report)[0] == (1, "differs")
        assert report.counts == {"rejected": len(changed)}
    # The same content, written otherwise, is the same order.
    assert taken(shop, line("A", "SKU-1", "2.0", "1.990")).counts == {"repeated": 1}
    assert taken(shop, line("A", "SKU-1", 2, channel="other")).counts == {"order": 1}
    assert shop.count("orders") == 2


def test_columns_constants_and_ways_of_writing_come_from_the_mapping(shop: Shop) -> None:
    shop.stock("SKU-1", 5000)
    document = """
        [format]
        separator = ";"
        decimal_comma = true
        date_formats = ["%d.%m.%Y %H:%M"]
        timezone = "Europe/Berlin"
        [fields]
        external_id = "Bestellung"
        channel = { value = "amazon" }
        currency = { value = "USD" }
        email = "Mail"
        customer_name = "Kunde"
        placed_at = "Datum"
        ship_name = "Kunde"
        ship_line1 = { value = "1 Main Street" }
        ship_city = { value = "Atlanta" }
        ship_region = { value = "GA" }
        ship_postal_code = { value = "30301" }
        ship_country = { value = "US" }
        sku = "Artikel"
        quantity = "Menge"
        unit_price = "Preis"
        amount = "Betrag"
        warehouse = { value = "NYC" }
        allow_backorder = { value = true }
    """
    report = taken(
        shop,
        "A1;Ann@Example.com;Änne Müller;24.12.2025 18:30;SKU-1;1000;1,67;1.666,67",
        header="Bestellung;Mail;Kunde;Datum;Artikel;Menge;Preis;Betrag",
        document=document,
    )
    assert report.counts == {"order": 1}
    row = shop.rows(
        "SELECT o.channel, c.name, c.email, o.placed_at, o.gross_minor, o.rounding_minor,"
        " o.total_minor, l.net_minor, w.code FROM orders AS o"
        " JOIN customers AS c ON c.id = o.customer_id JOIN order_lines AS l ON l.order_id = o.id"
        " JOIN warehouses AS w ON w.id = o.warehouse_id"
    )[0]
    assert str(row.placed_at).replace("T", " ").startswith("2025-12-24 17:30:00")
    assert (row.channel, row.name, row.email) == ("amazon", "Änne Müller", "ann@example.com")
    # What the stated amount has beyond quantity times price is kept as rounding.
    assert (row.gross_minor, row.rounding_minor, row.total_minor) == (167000, -333, 166667)
    assert (row.net_minor, row.code) == (166667, "NYC")
    assert sound(shop)


def test_parquet_of_typed_columns_is_read_like_text(shop: Shop, tmp_path: Path) -> None:
    shop.stock("SKU-1", 50)
    frame = pl.read_csv(
        io.StringIO("\n".join([HEADER, line("A", "SKU-1", 2), line("B", "SKU-1", 1)])),
        try_parse_dates=True,
    )
    assert frame.schema["quantity"] == pl.Int64
    assert isinstance(frame.schema["placed_at"], pl.Datetime)
    frame.write_parquet(tmp_path / "orders.parquet")
    report = import_file(shop.engine, CLERK, "orders", tmp_path / "orders.parquet")
    assert report.counts == {"order": 2}
    assert taken(shop, line("A", "SKU-1", 2)).counts == {"repeated": 1}


def test_one_answer_names_all_that_is_wrong_with_a_mapping(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as caught:
        taken(
            shop,
            line("A", "SKU-1", 1),
            document='[fields]\nsku = "Artikel"\ncolour = "Farbe"\nwarehouse = "Lager"',
        )
    assert sorted((e.field, e.code) for e in caught.value.errors) == [
        ("columns.sku", "unmapped_column"),
        ("fields.colour", "unknown_field"),
        ("fields.sku", "no_such_column"),
        ("fields.warehouse", "no_such_column"),
    ]
    for content, code in ((b"", "no_header"), (b"\xff\xfe,1\n", "wrong_encoding"),
                          (b"sku,sku\n1,2\n", "repeated_column")):  # fmt: skip
        with pytest.raises(ValidationFailed) as caught:
            import_bytes(shop.engine, CLERK, "orders", content, "x.csv", mapping.Mapping())
        assert [e.code for e in caught.value.errors] == [code]
    with pytest.raises(ValidationFailed) as caught:
        mapping.parse('[format]\ntimezone = "Nowhere/Land"\nseparator = ",,"\nside = 1')
    assert sorted(e.field for e in caught.value.errors) == [
        "format.separator", "format.side", "format.timezone",
    ]  # fmt: skip
    assert shop.count("imports") == 0


def test_a_reader_may_not_import(shop: Shop) -> None:
    analyst = Actor("ada", "analyst")
    with pytest.raises(Forbidden):
        import_bytes(shop.engine, analyst, "orders", b"sku\n", "x.csv", mapping.Mapping())


def test_what_belongs_to_the_order_may_stand_in_its_first_row_alone(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    full = line("E1", "SKU-1", 1)
    bare = "E1,,,,,,,,,,,,SKU-2,2,3.98,,"
    report = taken(shop, full, bare, full.replace("E1", "E2"), bare.replace("E1", "E2"))
    assert report.counts == {"order": 4}, report.rejected
    orders = shop.rows("SELECT channel, currency, total_minor FROM orders")
    assert [tuple(row) for row in orders] == [("market", "USD", 199 + 2 * 398)] * 2
    # Said in every row, it is the same order.
    again = taken(shop, full, line("E1", "SKU-2", 2, "3.98"))
    assert again.counts == {"repeated": 2}


def test_rows_before_the_first_that_names_the_channel_are_of_its_order(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    report = taken(shop, line("A", "SKU-1", 1, channel=""), line("A", "SKU-2", 1, channel="amz"))
    assert report.counts == {"order": 2}
    assert shop.rows("SELECT DISTINCT channel FROM orders")[0][0] == "amz"
    assert shop.count("orders") == 1


def test_without_a_currency_it_is_the_shops_and_an_unknown_one_is_named(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    rules = {"base_currency": "EUR", "exchange_rates": {"USD": "0.9"}}
    run(shop.engine, lambda c: store.publish(c, SYSTEM, rules))
    report = taken(
        shop,
        line("A", "SKU-1", 1, currency=""),
        line("B", "SKU-1", 1, currency="SEK"),
        line("C", "SKU-1", 1, currency="GBP"),
    )
    assert reasons(report) == [(2, "unknown_currency"), (3, "no_exchange_rate")]
    assert report.rejected[0].message == "currency: 'SEK' is not accepted"
    assert tuple(shop.rows("SELECT external_id, currency FROM orders")[0]) == ("A", "EUR")


def test_one_report_names_all_that_is_wrong_with_an_order(shop: Shop) -> None:
    report = taken(
        shop,
        line("A", "NOPE", 0, "1.001", email="nobody", postal_code="x"),
        line("A", "SKU-1", "two", "many"),
    )
    told = {row.row_no: row.message for row in report.rejected}
    for name in ("unit_price", "email", "ship_postal_code", "sku", "quantity"):
        assert f"{name}:" in told[1], told
    assert sorted(part.split(":")[0] for part in told[2].split("; ")) == [
        "email", "quantity", "ship_postal_code", "unit_price",
    ]  # fmt: skip
    assert shop.count("orders") == 0


def test_a_column_that_nobody_reads_stops_the_file_unless_it_is_to_be_ignored(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    header, row = f"{HEADER},colour,size", line("A", "SKU-1", 1) + ",red,L"
    with pytest.raises(ValidationFailed) as caught:
        taken(shop, row, header=header)
    assert [(e.field, e.code) for e in caught.value.errors] == [
        ("columns.colour", "unmapped_column"), ("columns.size", "unmapped_column"),
    ]  # fmt: skip
    assert shop.count("imports") == 0
    for ignored in ('["colour", "size"]', '["*"]'):
        assert taken(shop, row, header=header, document=f"ignore = {ignored}").complete
    # A separator at the end of each line makes a column that says nothing.
    assert taken(shop, line("B", "SKU-1", 1) + ",", header=f"{HEADER},").counts == {"order": 1}


def test_a_discount_code_is_refused_rather_than_charged_at_the_full_price(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    header = f"{HEADER},discount_code"
    report = taken(shop, line("A", "SKU-1", 1) + ",SAVE10", line("B", "SKU-1", 1) + ",",
                   header=header)  # fmt: skip
    assert reasons(report) == [(1, "not_supported")]
    assert report.counts == {"order": 1, "rejected": 1}


def test_a_price_that_is_not_the_one_the_buyer_was_shown_is_refused(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    header = f"{HEADER},expected_unit_price,expected_total"
    report = taken(
        shop,
        line("A", "SKU-1", 2, "") + ",1.99,3.98",
        line("B", "SKU-1", 2, "") + ",1.89,",
        line("C", "SKU-1", 2, "") + ",,3.99",
        header=header,
    )
    assert reasons(report) == [(2, "price_changed"), (3, "total_changed")]
    assert report.counts == {"order": 1, "rejected": 2}


def test_the_cells_beyond_the_header_stay_in_the_report(shop: Shop, tmp_path: Path) -> None:
    shop.stock("SKU-1", 50)
    report = taken(shop, line("A", "SKU-1", 1) + ",one,more")
    files.save_report(report, tmp_path / "bad.csv")
    row = next(csv.DictReader(io.StringIO((tmp_path / "bad.csv").read_text())))
    assert (row["import_code"], row["import_surplus"]) == ("wrong_number_of_cells", "one,more")
    # With the surplus beside its cells, the row is in order.
    mended = import_file(shop.engine, CLERK, "orders", tmp_path / "bad.csv")
    assert mended.counts == {"order": 1}


@pytest.mark.parametrize("closing", ["nothing", "the same column", "another column"])
def test_a_stray_quote_spoils_its_own_row_and_no_other(shop: Shop, closing: str) -> None:
    shop.stock("SKU-1", 500)
    lines = [line(f"N{number}", "SKU-1", 1) for number in range(1, 50)]
    lines[2] = lines[2].replace("1 Main Street", '"1 Main Street')
    if closing == "the same column":
        lines[9] = lines[9].replace("1 Main Street", '1 Main Street"')
    elif closing == "another column":
        lines[9] = lines[9].replace("Atlanta", '"Atlanta"')
    report = taken(shop, *lines)
    assert (report.rows, report.counts) == (49, {"order": 48, "rejected": 1})
    assert reasons(report) == [(3, "unbalanced_quote")]
    assert report.rejected[0].content["external_id"] == "N3"


def test_a_note_may_have_lines_and_separators_of_its_own(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    note = '"leave it, please,\nat the ""back"" door, or\nwith Bob, 2nd floor"'
    report = taken(shop, line("A", "SKU-1", 1) + f",{note}", line("B", "SKU-1", 1) + ",",
                   header=f"{HEADER},note")  # fmt: skip
    assert report.counts == {"order": 2}
    kept = shop.rows("SELECT note FROM orders WHERE external_id = 'A'")[0][0]
    assert kept == 'leave it, please,\nat the "back" door, or\nwith Bob, 2nd floor'


def test_an_order_of_the_future_is_refused_as_a_single_one_is(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    soon = (clock.now() + timedelta(hours=2)).isoformat()
    assert reasons(taken(shop, line("A", "SKU-1", 1, placed_at=soon))) == [(1, "invalid")]


def test_a_customers_number_that_is_anothers_is_named(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    header = f"{HEADER},customer_external_id"
    bobs = line("C", "SKU-1", 1, email="bob@example.com") + ",C1"
    anns = [line(external_id, "SKU-1", 1) + ",C1" for external_id in ("A", "B")]
    first = taken(shop, *anns, bobs, header=header)
    assert reasons(first) == [(3, "of_another_customer")]
    second = taken(shop, line("D", "SKU-1", 1, email="eve@example.com") + ",C1", header=header)
    assert reasons(second) == [(1, "of_another_customer")]
    assert shop.count("customers") == 1


def test_two_imports_of_one_file_at_once_make_each_order_once(shop: Shop) -> None:
    shop.stock("SKU-1", 500)
    lines = [line(f"N{number}", "SKU-1", 1) for number in range(40)]
    reports: list[Report] = []
    threads = [
        threading.Thread(target=lambda: reports.append(taken(shop, *lines))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 4
    assert shop.count("orders") == 40
    assert sum(report.counts.get("order", 0) for report in reports) == 40
    assert sum(report.counts.get("repeated", 0) for report in reports) == 120
    assert shop.level("SKU-1") == (500, 40)
    assert sound(shop)
