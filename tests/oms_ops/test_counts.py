"""A count posts what differs, once, by somebody else's word, and takes nothing that is promised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, NotFound, OmsError, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals, counting
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import bin_moves, bins, counts
from oms_ops.stock.adjustments import Adjustment
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from oms_ops.stock.counts import Counted
from oms_ops.stock.names import Line
from tests.oms_ops.shop import CLERK, Shop, order

COUNTER = Actor("wanda", "warehouse")
CHIEF = Actor("otto", "warehouse")


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def rack(shop: Shop) -> Shop:
    """Return the shop with SKU-1: 6 in bin A (cold), 3 in B (dry), 1 on the floor; C is empty."""
    shop.stock("SKU-1", 10)
    new = [NewBin("A", "cold", 1), NewBin("B", "dry", 2), NewBin("C", "dry", 3, 1)]
    moves = [BinMove("SKU-1", 6, "A"), BinMove("SKU-1", 3, "B")]
    run(shop.engine, lambda c: bins.create(c, COUNTER, "ATL", new))
    run(shop.engine, lambda c: bin_moves.move(c, COUNTER, "ATL", moves))
    return shop


def opened(shop: Shop, **chosen: Any) -> str:
    return run(shop.engine, lambda c: counts.open_count(c, COUNTER, "ATL", **chosen))


def enter(shop: Shop, number: str, *counted: Counted) -> None:
    run(shop.engine, lambda c: counts.enter(c, COUNTER, number, counted))


def approve(shop: Shop, number: str, actor: Actor = CHIEF) -> int:
    return run(shop.engine, lambda c: counting.approve(c, actor, number))


def lines(shop: Shop, number: str) -> list[tuple[Any, ...]]:
    """Return (place, expected, counted, variance, whether it moved since) by line."""
    with reading(shop.engine) as connection:
        found = counts.lines(connection, int(number.removeprefix("SC-")) - 10_000_000)
    names = ("location", "expected", "counted", "variance", "moved_since")
    return [tuple(line[name] for name in names) for line in found]


def status(shop: Shop, number: str) -> str:
    return str(shop.rows("SELECT status FROM stock_counts WHERE number = :n", n=number)[0][0])


def found(connection: Connection, units: int) -> None:
    arrivals.adjust(connection, COUNTER, "ATL", [Adjustment("SKU-1", units)], "found")


def test_a_zone_a_place_or_a_sku_is_counted(rack: Shop) -> None:
    assert [line[0] for line in lines(rack, opened(rack, zone="dry"))] == ["B"]
    assert [line[0] for line in lines(rack, opened(rack, locations=["ATL-STORAGE", "A"]))] == [
        "A",
        "ATL-STORAGE",
    ]
    assert [line[0] for line in lines(rack, opened(rack, skus=["SKU-1"]))] == [
        "A", "B", "ATL-STORAGE",
    ]  # fmt: skip
    # Somebody says that there is some of a SKU that the books do not know.
    assert [line[0] for line in lines(rack, opened(rack, skus=["SKU-1", "SKU-2"], zone="dry"))] == [
        "B"
    ]


def test_approval_posts_what_differs_and_nothing_else(rack: Shop) -> None:
    number = opened(rack, skus=["SKU-1"])
    enter(rack, number, Counted("A", "SKU-1", 4), Counted("B", "SKU-1", 3))
    assert status(rack, number) == "open"
    enter(rack, number, Counted("ATL-STORAGE", "SKU-1", 2))
    assert status(rack, number) == "counted"
    before = rack.count("stock_moves")
    approve(rack, number)
    assert rack.level("SKU-1") == (9, 0)
    moves = rack.rows(
        "SELECT quantity, reason, reference, changed_by FROM stock_moves"
        " ORDER BY id DESC LIMIT :new",
        new=rack.count("stock_moves") - before,
    )
    assert sorted(tuple(m) for m in moves) == [
        (1, "count", number, "otto"),
        (2, "count", number, "otto"),
    ]
    assert not any(line[4] for line in lines(rack, number))
    with pytest.raises(Conflict):
        approve(rack, number)


def test_what_nobody_expected_is_found_even_where_there_is_no_room(rack: Shop) -> None:
    number = opened(rack, locations=["C"])
    enter(rack, number, Counted("C", "SKU-2", 5))
    assert lines(rack, number) == [("C", 0, 5, 5, False)]
    approve(rack, number)
    assert rack.level("SKU-2") == (5, 0)


def test_who_counted_does_not_approve(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 5))
    with pytest.raises(Forbidden):
        approve(rack, number, COUNTER)
    with pytest.raises(Forbidden):
        approve(rack, number, CLERK)
    assert rack.level("SKU-1") == (10, 0)


def test_a_rejected_count_posts_nothing_and_an_uncounted_one_waits(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    with pytest.raises(Conflict, match="lines not being counted yet: it cannot be approved"):
        approve(rack, number)
    enter(rack, number, Counted("A", "SKU-1", 5))
    run(rack.engine, lambda c: counts.reject(c, CHIEF, number))
    with pytest.raises(Conflict):
        approve(rack, number)
    assert rack.level("SKU-1") == (10, 0)
    with pytest.raises(NotFound):
        approve(rack, "SC-1")


def test_the_variance_stays_valid_when_goods_move_after_the_count(rack: Shop) -> None:
    number = opened(rack, locations=["A", "ATL-STORAGE"])
    enter(rack, number, Counted("A", "SKU-1", 4), Counted("ATL-STORAGE", "SKU-1", 2))
    run(rack.engine, lambda c: found(c, 5))
    assert lines(rack, number) == [("A", 6, 4, -2, False), ("ATL-STORAGE", 1, 2, 1, True)]
    approve(rack, number)
    assert rack.level("SKU-1") == (14, 0)


def test_picked_goods_are_not_counted_on_the_floor(rack: Shop) -> None:
    rack.stock("SKU-2", 5)
    capture(rack.engine, CLERK, order(("SKU-2", 2)))
    shipment = rack.rows("SELECT id FROM shipments")[0][0]
    run(rack.engine, lambda c: fulfilment.pick(c, CHIEF, [shipment]))
    number = opened(rack, skus=["SKU-2"])
    enter(rack, number, Counted("ATL-STORAGE", "SKU-2", 3))
    assert lines(rack, number)[0][3] == 0
    approve(rack, number)
    assert rack.level("SKU-2") == (5, 2)


def test_what_left_the_place_meanwhile_is_not_taken_twice(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 2))
    run(
        rack.engine,
        lambda c: bin_moves.move(c, COUNTER, "ATL", [BinMove("SKU-1", 5, "ATL-STORAGE", "A")]),
    )
    with pytest.raises(OutOfStock):
        approve(rack, number)
    enter(rack, number, Counted("A", "SKU-1", 1))
    approve(rack, number)
    assert rack.level("SKU-1") == (10, 0)


def test_what_is_found_goes_to_who_waits(rack: Shop) -> None:
    capture(rack.engine, CLERK, order(("SKU-1", 12), allow_backorder=True))
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 9))
    assert approve(rack, number) == 2
    assert rack.level("SKU-1") == (13, 12)


def test_what_is_missing_is_taken_from_who_ordered_last_and_sent_from_elsewhere(
    rack: Shop,
) -> None:
    rack.stock("SKU-1", 1, "NYC")
    first = capture(rack.engine, CLERK, order(("SKU-1", 5), warehouse="ATL"))["number"]
    last = capture(rack.engine, CLERK, order(("SKU-1", 5), allow_split=True))["number"]
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 3))
    approve(rack, number)
    lines = "SELECT l.allocated, l.backordered FROM order_lines AS l"
    lines += " JOIN orders AS o ON o.id = l.order_id WHERE o.number = :n"
    assert [tuple(row) for row in rack.rows(lines, n=first)] == [(5, 0)]
    assert [tuple(row) for row in rack.rows(lines, n=last)] == [(3, 2)]
    assert (rack.level("SKU-1"), rack.level("SKU-1", "NYC")) == ((7, 7), (1, 1))


def test_what_is_missing_is_found_missing_while_it_is_bought(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 0))
    orders = [lambda: capture(rack.engine, CLERK, order(("SKU-1", 1), warehouse="ATL"))] * 10
    assert _at_once([*orders, lambda: approve(rack, number)]) >= 5
    on_hand, allocated = rack.level("SKU-1")
    assert (on_hand, allocated) == (4, 4)
    assert status(rack, number) == "approved"


def test_goods_that_are_missing_and_picked_stop_the_approval(rack: Shop) -> None:
    rack.stock("SKU-2", 4)
    capture(rack.engine, CLERK, order(("SKU-2", 3)))
    shipment = rack.rows("SELECT id FROM shipments")[0][0]
    number = opened(rack, skus=["SKU-2"])
    enter(rack, number, Counted("ATL-STORAGE", "SKU-2", 2))
    run(rack.engine, lambda c: fulfilment.pick(c, CHIEF, [shipment]))
    with pytest.raises(Conflict):
        approve(rack, number)
    assert rack.level("SKU-2") == (4, 3)


def test_goods_that_are_missing_and_held_by_a_basket_stop_the_approval(rack: Shop) -> None:
    run(rack.engine, lambda c: arrivals.hold_basket(c, CLERK, "b1", [Line("SKU-1", 10)]))
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 5))
    with pytest.raises(Conflict):
        approve(rack, number)
    assert rack.level("SKU-1") == (10, 10)


def test_every_bad_field_is_named(rack: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        opened(rack, locations=["Z"], skus=["SKU-9"])
    assert [(e.field, e.code) for e in refused.value.errors] == [
        ("locations[0]", "unknown_location"),
        ("skus[0]", "unknown_sku"),
    ]
    with pytest.raises(ValidationFailed):
        opened(rack)
    number = opened(rack, zone="cold")
    with pytest.raises(ValidationFailed) as refused:
        enter(rack, number, Counted("A", "SKU-1", -1), Counted("A", "SKU-1", 2))
    assert [(e.field, e.code) for e in refused.value.errors] == [
        ("lines[0].units", "out_of_range"),
        ("lines[1]", "duplicate"),
    ]


def _at_once(attempts: list[Callable[[], Any]]) -> int:
    start = threading.Barrier(len(attempts))

    def one(attempt: Callable[[], Any]) -> bool:
        start.wait()
        try:
            attempt()
        except OmsError:
            return False
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(one, attempts))


def test_many_approvals_at_once_post_a_count_once(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 7))
    assert _at_once([lambda: approve(rack, number)] * 6) == 1
    assert rack.level("SKU-1") == (11, 0)


def test_receipts_and_an_approval_at_once_lose_no_unit(rack: Shop) -> None:
    number = opened(rack, zone="cold")
    enter(rack, number, Counted("A", "SKU-1", 2))
    receipts = [lambda: run(rack.engine, lambda c: found(c, 1))] * 6
    approvals = [lambda: approve(rack, number)] * 2
    assert _at_once([*receipts, *approvals]) == 7
    assert rack.level("SKU-1") == (12, 0)


def test_negative_control_writing_the_counted_figure_loses_the_receipts(rack: Shop) -> None:
    """What posting the difference replaces: look at the level, then write what it should be."""
    gate = threading.Barrier(2)
    run(
        rack.engine,
        lambda c: c.execute(sa.text("CREATE TABLE levels_overwritten AS SELECT 10 AS on_hand")),
    )

    def change(units: int) -> None:
        (seen,) = rack.rows("SELECT on_hand FROM levels_overwritten")[0]
        gate.wait()
        write = sa.text("UPDATE levels_overwritten SET on_hand = :units")
        run(rack.engine, lambda c: c.execute(write, {"units": seen + units}))

    assert _at_once([lambda: change(-4), lambda: change(6)]) == 2
    assert rack.rows("SELECT on_hand FROM levels_overwritten")[0][0] != 12
