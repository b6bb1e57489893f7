"""Goods have a place: putaway goes where there is room; a bin never holds more than it takes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, OutOfStock, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import bin_moves, bins, putaway
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from oms_ops.stock.putaway import Bin, plan
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Any:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def walk(shop: Shop) -> Shop:
    """Return the shop with three bins in Atlanta; the walk goes B, A, C."""
    new = [NewBin("A", "cold", 20, 10), NewBin("B", "cold", 10, 4), NewBin("C", "dry", 30)]
    run(shop.engine, lambda c: bins.create(c, WORKER, "ATL", new))
    return shop


def put(shop: Shop, *moves: BinMove) -> list[int]:
    return run(shop.engine, lambda c: bin_moves.move(c, WORKER, "ATL", moves))


def held(shop: Shop) -> dict[tuple[str, str], int]:
    """Return units by bin and SKU."""
    with reading(shop.engine) as connection:
        page, _ = bins.contents(connection, WORKER, "ATL")
    return {(b["code"], line["sku"]): line["quantity"] for b in page for line in b["lines"]}


def suggested(shop: Shop) -> list[tuple[str, list[tuple[str, int]], int]]:
    with reading(shop.engine) as connection:
        page, _ = putaway.suggestions(connection, WORKER, "ATL")
    return [
        (row["sku"], [(b["bin"], b["quantity"]) for b in row["bins"]], row["unplaced"])
        for row in page
    ]


def test_bins_that_hold_the_sku_come_before_empty_ones() -> None:
    walk = [Bin("near", 10), Bin("home", 3, {7}), Bin("other", None, {8}), Bin("far", None)]
    assert plan([(7, 5), (9, 12)], walk) == [(7, "home", 3), (7, "near", 2), (9, "far", 12)]


def test_a_full_bin_is_not_empty_for_the_next_sku() -> None:
    assert plan([(1, 2), (2, 2)], [Bin("a", 2), Bin("b", 0)]) == [(1, "a", 2)]


def test_a_suggestion_splits_over_bins_in_walk_order(walk: Shop) -> None:
    walk.stock("SKU-1", 16)
    walk.stock("SKU-2", 3)
    assert suggested(walk) == [
        ("SKU-1", [("B", 4), ("A", 10), ("C", 2)], 0),
        ("SKU-2", [], 3),
    ]


def test_no_two_pages_fill_one_bin(walk: Shop) -> None:
    for number in range(1, 5):
        walk.stock(f"SKU-{number}", 3)
    whole, pages, cursor = suggested(walk), [], 0
    with reading(walk.engine) as connection:
        while cursor is not None:
            page, cursor = putaway.suggestions(connection, WORKER, "ATL", after=cursor, limit=1)
            pages += page
    bins_of = [tuple(place["bin"] for place in row["bins"]) for row in pages]
    assert bins_of == [tuple(code for code, _ in row[1]) for row in whole]
    used = [code for codes in bins_of for code in codes]
    assert len(used) == len(set(used)) > 1


def test_goods_go_where_they_are_suggested_and_the_level_stays(walk: Shop) -> None:
    walk.stock("SKU-1", 16)
    ((_, placed, _),) = suggested(walk)
    put(walk, *(BinMove("SKU-1", units, code) for code, units in placed))
    assert held(walk) == {("B", "SKU-1"): 4, ("A", "SKU-1"): 10, ("C", "SKU-1"): 2}
    assert walk.level("SKU-1") == (16, 0)
    assert suggested(walk) == []


def test_a_bin_takes_no_more_than_its_capacity(walk: Shop) -> None:
    walk.stock("SKU-1", 16)
    with pytest.raises(Conflict) as refused:
        put(walk, BinMove("SKU-1", 3, "B"), BinMove("SKU-1", 2, "B"))
    assert [(e.field, e.code) for e in refused.value.errors] == [
        ("lines[1].target", "over_capacity")
    ]
    assert held(walk) == {}


def test_two_who_fill_one_bin_at_once_do_not_overfill_it(walk: Shop) -> None:
    for number in range(1, 5):
        walk.stock(f"SKU-{number}", 10)

    def fill(number: int) -> bool:
        try:
            put(walk, BinMove(f"SKU-{number}", 3, "B"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(fill, range(1, 5))) == 1
    assert sum(held(walk).values()) == 3


def test_picked_goods_are_not_put_away(walk: Shop) -> None:
    walk.stock("SKU-1", 5)
    capture(walk.engine, CLERK, order(("SKU-1", 3)))
    shipment = walk.rows("SELECT id FROM shipments")[0][0]
    run(walk.engine, lambda c: fulfilment.pick(c, ADMIN, [shipment]))
    assert suggested(walk) == [("SKU-1", [("B", 2)], 0)]
    with pytest.raises(OutOfStock) as refused:
        put(walk, BinMove("SKU-1", 3, "C"))
    assert refused.value.errors[0].message == ("SKU-1: 2 lie on the floor, 0 in bins, 3 are picked")


def test_goods_move_from_bin_to_bin_and_back_to_the_floor(walk: Shop) -> None:
    walk.stock("SKU-1", 4)
    put(walk, BinMove("SKU-1", 4, "B"))
    put(walk, BinMove("SKU-1", 3, "A", source="B"))
    put(walk, BinMove("SKU-1", 1, "ATL-STORAGE", source="B"))
    assert held(walk) == {("A", "SKU-1"): 3}
    with pytest.raises(OutOfStock):
        put(walk, BinMove("SKU-1", 4, "B", source="A"))
    with pytest.raises(ValidationFailed):
        put(walk, BinMove("SKU-1", 1, "A", source="A"))


def test_every_bad_field_of_a_move_is_named(walk: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        put(walk, BinMove("SKU-9", 0, "Z"), BinMove("SKU-1", 1, "A", source="NYC-STORAGE"))
    assert sorted((e.field, e.code) for e in refused.value.errors) == [
        ("lines[0].quantity", "out_of_range"),
        ("lines[0].sku", "unknown_sku"),
        ("lines[0].target", "unknown_location"),
        ("lines[1].source", "unknown_location"),
    ]


def test_a_code_names_one_bin(walk: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        run(walk.engine, lambda c: bins.create(c, WORKER, "NYC", [NewBin("D"), NewBin("A")]))
    assert [(e.field, e.code) for e in refused.value.errors] == [("bins[1].code", "duplicate")]
    assert walk.rows("SELECT count(*) FROM locations WHERE code = 'D'")[0][0] == 0


def test_a_bin_is_closed_only_when_it_is_empty(walk: Shop) -> None:
    walk.stock("SKU-1", 4)
    put(walk, BinMove("SKU-1", 4, "B"))
    with pytest.raises(Conflict):
        run(walk.engine, lambda c: bins.change(c, WORKER, "B", {"is_active": False}))
    put(walk, BinMove("SKU-1", 4, "A", source="B"))
    run(walk.engine, lambda c: bins.change(c, WORKER, "B", {"is_active": False}))
    with pytest.raises(ValidationFailed):
        put(walk, BinMove("SKU-1", 1, "B", source="A"))


def test_a_clerk_moves_no_goods(walk: Shop) -> None:
    with pytest.raises(Forbidden):
        run(walk.engine, lambda c: bin_moves.move(c, CLERK, "ATL", [BinMove("SKU-1", 1, "A")]))
