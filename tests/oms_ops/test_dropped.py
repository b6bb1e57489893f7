"""Files dropped in a folder are imported once; what is bad in them is kept with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from oms_ops.database import reading
from oms_ops.exchange import dropped, files
from oms_ops.exchange.dropped import ingest, waiting
from tests.oms_ops.shop import ADMIN, BUYER, Shop

ORDERS = """Order,channel,email,customer_name,ship_name,ship_line1,ship_city,ship_region,\
ship_postal_code,ship_country,sku,quantity
A-1,amazon,a@example.com,Ann,Ann,1 Main Street,Atlanta,GA,30301,US,SKU-1,1
A-2,amazon,b@example.com,Bob,Bob,1 Main Street,Atlanta,GA,30301,US,NONE,1
"""
PRICES = """supplier,sku,unit_cost,currency,moq,pack_multiple
{supplier},SKU-1,1.25,USD,10,5
{supplier},NONE,1.25,USD,10,5
{supplier},SKU-2,cheap,USD,10,5
{supplier},SKU-3,2.50,USD,0,5
"""
COUNTS = """warehouse,location,sku,units
ATL,ATL-STORAGE,SKU-1,7
ATL,ATL-STORAGE,NONE,7
ATL,ATL-STORAGE,SKU-2,many
NOWHERE,X,SKU-1,1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind in ("orders/amazon", "supplier-prices", "stock-counts"):
        (tmp_path / "dropped" / kind).mkdir(parents=True)
    return tmp_path / "dropped"


def supplier(shop: Shop) -> str:
    return str(shop.rows("SELECT min(code) FROM suppliers")[0][0])


def rejected(shop: Shop) -> list[tuple[int, str]]:
    rows = shop.rows(
        "SELECT row_no, reason FROM import_rows WHERE fate = 'rejected' AND import_id ="
        " (SELECT max(id) FROM imports) ORDER BY row_no"
    )
    return [(row[0], row[1]) for row in rows]


def test_orders_of_a_marketplace_are_taken_with_its_mapping(shop: Shop, folder: Path) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 5)
    place = folder / "orders" / "amazon"
    (place / "mapping.toml").write_text('[fields]\nexternal_id = "Order"\n')
    (place / "today.csv").write_text(ORDERS)
    [done] = ingest(shop.engine, ADMIN, folder)
    assert (done.name, done.counts, done.rejected) == (
        "orders/amazon/today.csv", "1 order, 1 rejected", 1,
    )  # fmt: skip
    assert waiting(folder) == []
    assert (place / "mapping.toml").exists()
    kept = folder / ".done" / "orders"
    assert (kept / f"{done.number}-today.csv").read_text() == ORDERS
    report = kept / f"{done.number}-rejected.csv"
    assert "NONE" in report.read_text()
    # Mended, the report itself is dropped; the whole file does no harm.
    (place / "mended.csv").write_text(report.read_text().replace("NONE", "SKU-2"))
    (place / "again.csv").write_text(ORDERS)
    mended, again = sorted(ingest(shop.engine, ADMIN, folder), key=lambda d: -len(d.name))
    assert mended.rejected == 0
    assert again.rejected == 1
    assert shop.count("orders") == 2


def test_a_file_is_taken_when_it_has_its_name(shop: Shop, folder: Path) -> None:
    place = folder / "stock-counts"
    for name in (".counts.csv", "counts.csv.part", "counts.csv.tmp"):
        (place / name).write_text(COUNTS)
    (folder / "gossip").mkdir()
    (folder / "gossip" / "x.csv").write_text("")
    assert list(ingest(shop.engine, ADMIN, folder)) == []
    (place / "counts.csv.part").rename(place / "counts.csv")
    assert [path.name for path in waiting(folder)] == ["counts.csv"]


def test_what_nothing_can_be_made_of_is_refused_with_its_reason(shop: Shop, folder: Path) -> None:
    (folder / "supplier-prices" / "odd.csv").write_text("what,is,this\n1,2,3\n")
    [done] = ingest(shop.engine, ADMIN, folder)
    assert "mapping does not fit" in done.refusal
    [file, reason] = sorted((folder / ".refused" / "supplier-prices").iterdir())
    assert reason.name == f"{file.name}.reason.txt"
    assert "fields.supplier" in reason.read_text()
    assert shop.count("imports") == 0


def test_a_file_that_breaks_off_stays_for_the_next_time(shop: Shop, folder: Path) -> None:
    path = folder / "stock-counts" / "counts.csv"
    path.write_text(COUNTS)

    def fall_over(*_: object) -> None:
        raise ConnectionError("the database is away")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(dropped, "_move", fall_over)
        list(ingest(shop.engine, ADMIN, folder))
    # It was entered, and only the moving failed: the second time repeats and counts nothing twice.
    [done] = ingest(shop.engine, ADMIN, folder)
    assert "1 repeated" in done.counts
    assert shop.count("stock_counts") == 1


def test_a_price_list_sets_terms_row_by_row(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(PRICES.format(supplier=supplier(shop)))
    done = files.import_file(shop.engine, BUYER, "supplier-prices", path)
    assert done.counts == {"record": 1, "rejected": 3}
    assert done.complete
    assert rejected(shop) == [(2, "unknown"), (3, "not_an_amount"), (4, "greater_than_equal")]
    [row] = shop.rows(
        "SELECT t.unit_cost_minor, t.moq, t.pack_multiple, t.changed_by FROM supplier_terms AS t"
        " JOIN skus AS k ON k.id = t.sku_id WHERE k.code = 'SKU-1'"
        f" AND t.supplier_id = (SELECT id FROM suppliers WHERE code = '{supplier(shop)}')"
    )
    assert tuple(row) == (125, 10, 5, BUYER.name)
    before = shop.count("change_log")
    again = files.import_file(shop.engine, BUYER, "supplier-prices", path)
    assert again.counts == {"rejected": 3, "repeated": 1}
    assert shop.count("change_log") == before


def reasons(shop: Shop) -> dict[int, list[str]]:
    """Return which fields of each rejected row a reason names."""
    rows = shop.rows(
        "SELECT row_no, message FROM import_rows WHERE fate = 'rejected' AND import_id ="
        " (SELECT max(id) FROM imports) ORDER BY row_no"
    )
    return {row[0]: [part.split(":")[0] for part in row[1].split("; ")] for row in rows}


def test_a_row_of_a_price_list_tells_all_that_is_wrong_with_it(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "supplier,sku,unit_cost,currency,moq,pack_multiple\n"
        "NO,NOPE,1,XXX,1,1\n"
        f"{supplier(shop)},NOPE,cheap,USD,0,some\n"
        f"NO,SKU-1,1.001,EUR,1,0\n"
        ",NOPE,1,USD,1,1\n"
        "NO,NOPE,1,USD\n"
    )
    files.import_file(shop.engine, BUYER, "supplier-prices", path)
    assert reasons(shop) == {
        1: ["supplier", "sku", "currency"],
        2: ["unit_cost", "pack_multiple", "sku", "moq"],
        3: ["supplier", "pack_multiple", "unit_cost"],
        4: ["supplier", "sku"],
        5: ["does not have the header's columns"],
    }


def test_a_row_of_a_count_tells_all_that_is_wrong_with_it(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(
        "warehouse,location,sku,units\n"
        "ATL,NOWHERE,NONE,many\n"
        "ATL,ATL-STORAGE,NONE,-1\n"
        "NONE,ATL-STORAGE,NONE,1\n"
        ",ATL-STORAGE,NONE,\n"
        "ATL,ATL-STORAGE,SKU-1,1\n"
        "ATL,ATL-STORAGE,SKU-1,2\n"
    )
    done = files.import_file(shop.engine, ADMIN, "stock-counts", path)
    assert done.counts == {"record": 1, "rejected": 5}
    named = reasons(shop)
    assert named.pop(6) == ["SKU-1 in ATL-STORAGE is named twice"]
    assert named == {
        1: ["units", "sku", "location"],
        2: ["sku", "units"],
        3: ["warehouse", "sku"],
        4: ["warehouse", "units", "sku"],
    }


def test_a_count_that_comes_again_is_refused_for_the_same_rows(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(
        "warehouse,location,sku,units\nATL,ATL-STORAGE,SKU-1,1\nATL,ATL-STORAGE,SKU-1,2\n"
    )
    for fate in ("record", "repeated"):
        done = files.import_file(shop.engine, ADMIN, "stock-counts", path)
        assert done.counts == {fate: 1, "rejected": 1}
        assert reasons(shop) == {2: ["SKU-1 in ATL-STORAGE is named twice"]}
    assert shop.count("stock_counts") == 1


def test_counted_stock_waits_for_approval(shop: Shop, tmp_path: Path) -> None:
    shop.stock("SKU-1", 9)
    with reading(shop.engine) as connection:
        [place] = connection.execute(
            sa.text("SELECT code FROM locations WHERE kind = 'storage' AND warehouse_id ="
                    " (SELECT id FROM warehouses WHERE code = 'ATL')")
        ).scalars()  # fmt: skip
    path = tmp_path / "counts.csv"
    path.write_text(COUNTS.replace("ATL-STORAGE", place))
    done = files.import_file(shop.engine, ADMIN, "stock-counts", path)
    assert done.counts == {"record": 1, "rejected": 3}
    assert [row for row, _ in rejected(shop)] == [2, 3, 4]
    [count] = shop.rows("SELECT status, created_by FROM stock_counts")
    assert tuple(count) == ("counted", ADMIN.name)
    [line] = shop.rows("SELECT expected, counted FROM stock_count_lines")
    assert tuple(line) == (9, 7)
