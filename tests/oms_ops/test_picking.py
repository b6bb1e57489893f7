"""What was picked is on the floor; what was not found is set aside, sought again, told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.fulfilment import picking, picks
from oms_ops.orders import holds
from oms_ops.reconcile import reconcile
from tests.oms_ops.picking import (
    WORKER,
    found,
    held,
    opened,
    put,
    shown,
    sold,
    statuses,
    stops,
    with_bins,
)
from tests.oms_ops.shop import ADMIN, Shop


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Any:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def house(shop: Shop) -> Shop:
    return with_bins(shop)


def test_a_wave_is_picked_packed_and_shipped(house: Shop) -> None:
    put(house, ("SKU-1", 5, "A"), ("SKU-2", 5, "C"))
    sold(house, ("SKU-1", 2), ("SKU-2", 1))
    wave = found(house, opened(house))
    assert (wave["status"], wave["units_picked"]) == ("done", 3)
    assert held(house) == {("A", "SKU-1"): 3, ("C", "SKU-2"): 4}
    for step in ("pack", "ship", "deliver"):
        run(house.engine, lambda c, step=step: getattr(fulfilment, step)(c, WORKER, [1]))
    assert (house.level("SKU-1"), house.level("SKU-2")) == ((3, 0), (4, 0))
    moments = house.rows("SELECT picked_at, packed_at, shipped_at, delivered_at FROM shipments")[0]
    assert all(moments)


def test_without_a_wave_goods_come_from_their_bins_in_walk_order(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"), ("SKU-1", 2, "B"))
    house.stock("SKU-1", 2)
    sold(house, ("SKU-1", 5))
    run(house.engine, lambda c: fulfilment.pick(c, WORKER, [1]))
    assert held(house) == {}
    reasons = house.rows("SELECT reason, quantity FROM stock_moves WHERE reason = 'pick'")
    assert [tuple(row) for row in reasons] == [("pick", 2), ("pick", 2)]


def test_a_wave_is_recorded_stop_by_stop(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"), ("SKU-2", 2, "C"))
    sold(house, ("SKU-1", 1), ("SKU-2", 2))
    wave = found(house, opened(house), 1)
    assert (wave["status"], statuses(house)) == ("open", [("ATL", "allocated")])
    wave = found(house, wave, 2)
    assert (wave["status"], statuses(house)) == ("done", [("ATL", "picked")])


def test_what_one_bin_lacks_is_sought_in_another(house: Shop) -> None:
    put(house, ("SKU-1", 3, "A"), ("SKU-1", 3, "C"))
    sold(house, ("SKU-1", 3))
    wave = found(house, opened(house), 1)
    assert stops(wave) == [("A", "SKU-1", 3), ("C", "SKU-1", 2)]
    assert held(house) == {("ATL-QUARANTINE", "SKU-1"): 2, ("C", "SKU-1"): 3}
    assert found(house, wave)["status"] == "done"
    assert statuses(house) == [("ATL", "picked")]
    assert house.level("SKU-1") == (4, 3)


def test_what_the_house_lacks_leaves_from_another_warehouse(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"), ("SKU-2", 1, "A"))
    house.stock("SKU-1", 5, "NYC")
    sold(house, ("SKU-1", 2), ("SKU-2", 1), allow_split=True)
    wave = found(house, opened(house), 0, 1)
    assert wave["status"] == "done"
    assert statuses(house) == [("ATL", "picked"), ("NYC", "allocated")]
    assert (house.level("SKU-1"), house.level("SKU-1", "NYC")) == ((0, 0), (5, 2))


def test_what_nobody_has_waits_and_the_customer_hears(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"))
    sold(house, ("SKU-1", 2))
    wave = found(house, opened(house), 0)
    assert wave["status"] == "cancelled"
    assert statuses(house) == [("ATL", "cancelled")]
    line = house.rows("SELECT allocated, backordered, promised_on FROM order_lines")[0]
    assert tuple(line)[:2] == (0, 2)
    assert line.promised_on is not None
    kinds = [row[0] for row in house.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert len(kinds) > 1


def test_what_cannot_be_recorded_is_named_and_nothing_is_moved(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"))
    sold(house, ("SKU-1", 2))
    wave = opened(house)
    (pick,) = [stop["pick_id"] for stop in wave["stops"]]
    for said, fault in (
        ({pick: 3}, (f"picks.{pick}", "out_of_range")),
        ({pick: -1}, (f"picks.{pick}", "out_of_range")),
        ({pick + 7: 1, pick: 2}, (f"picks.{pick + 7}", "not_open")),
    ):
        with pytest.raises(ValidationFailed) as refusal:
            run(house.engine, lambda c, s=said: picking.confirm(c, WORKER, wave["number"], s))
        assert [(error.field, error.code) for error in refusal.value.errors] == [fault]
    run(house.engine, lambda c: holds.hold(c, ADMIN, [1], "look"))
    with pytest.raises(Conflict):
        found(house, wave)
    assert held(house) == {("A", "SKU-1"): 2}


def confirmed_by_many(house: Shop, wave: dict[str, Any]) -> list[Any]:
    def go(_: int) -> Any:
        try:
            run(house.engine, lambda c: picking.confirm(c, WORKER, wave["number"]))
        except Conflict as refusal:
            return refusal
        return None

    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(go, range(6)))


def test_six_who_record_one_wave_move_its_goods_once(house: Shop) -> None:
    put(house, ("SKU-1", 20, "A"))
    for _ in range(4):
        sold(house, ("SKU-1", 2))
    wave = opened(house)
    confirmed_by_many(house, wave)
    assert held(house) == {("A", "SKU-1"): 12}
    assert shown(house, wave["number"])["status"] == "done"


def test_without_the_guard_the_goods_are_moved_again(
    house: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: recording that asks nobody whether it was recorded."""
    put(house, ("SKU-1", 20, "A"))
    sold(house, ("SKU-1", 2))
    wave = opened(house)
    real = picks.still_open
    with house.engine.connect() as connection:
        seen = real(connection, wave_id=1)
    monkeypatch.setattr(picks, "still_open", lambda *_, **__: seen)
    monkeypatch.setattr(picks, "record", lambda *_: None)
    monkeypatch.setattr(picking, "advance", lambda *_: [])
    confirmed_by_many(house, wave)
    assert held(house)["A", "SKU-1"] < 18
    monkeypatch.undo()
    found(house, wave)


def test_a_short_pick_while_the_rest_is_sold_ends_without_overselling(house: Shop) -> None:
    """Whoever is faster gets the units in the other bin; the other one waits or is refused."""
    put(house, ("SKU-1", 2, "A"), ("SKU-1", 2, "C"))
    sold(house, ("SKU-1", 2))
    wave = opened(house)

    def short(_: int) -> None:
        found(house, wave, 0)

    def buy(_: int) -> None:
        sold(house, ("SKU-1", 1), allow_backorder=True)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(short, 0), *(pool.submit(buy, n) for n in range(3))]
        for future in futures:
            future.result()
    on_hand, allocated = house.level("SKU-1")
    assert on_hand == 2
    assert allocated == 2
    lines = house.rows("SELECT sum(allocated), sum(backordered) FROM order_lines")[0]
    assert tuple(int(value) for value in lines) == (2, 3)
