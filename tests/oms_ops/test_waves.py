"""Waves: every shipment in one walk at most, every unit of a bin promised to one picker at most."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, NotFound, ValidationFailed
from oms_ops.fulfilment import picklist, waves
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders import cancellation, holds
from oms_ops.reconcile import reconcile
from tests.oms_ops.picking import (
    WORKER,
    found,
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


def test_the_walk_goes_through_the_bins_in_their_order_and_ends_on_the_floor(house: Shop) -> None:
    put(house, ("SKU-1", 3, "A"), ("SKU-1", 2, "B"), ("SKU-2", 4, "C"))
    house.stock("SKU-1", 5)
    sold(house, ("SKU-2", 1), ("SKU-1", 4))
    sold(house, ("SKU-1", 3))
    wave = opened(house)
    assert stops(wave) == [
        ("B", "SKU-1", 2), ("A", "SKU-1", 2), ("A", "SKU-1", 1), ("C", "SKU-2", 1),
        ("ATL-STORAGE", "SKU-1", 2),
    ]  # fmt: skip
    assert (wave["status"], wave["shipments"], wave["units"]) == ("open", 2, 8)


def test_a_second_wave_gets_other_shipments_and_other_units(house: Shop) -> None:
    put(house, ("SKU-1", 3, "A"), ("SKU-1", 2, "C"))
    for _ in range(3):
        sold(house, ("SKU-1", 1))
    first, second = opened(house, shipments=2), opened(house)
    assert stops(first) == [("A", "SKU-1", 1)] * 2
    assert stops(second) == [("A", "SKU-1", 1)]
    assert {s["shipment"] for s in first["stops"]} & {
        s["shipment"] for s in second["stops"]
    } == set()
    with pytest.raises(Conflict) as refusal:
        opened(house)
    assert [error.code for error in refusal.value.errors] == ["nothing_to_pick"]


def test_a_zone_takes_only_what_lies_in_it_and_units_limit_a_wave(house: Shop) -> None:
    put(house, ("SKU-1", 9, "A"), ("SKU-2", 9, "C"), ("SKU-3", 9, "B"))
    sold(house, ("SKU-1", 2), ("SKU-2", 1))
    sold(house, ("SKU-1", 3), ("SKU-3", 1))
    sold(house, ("SKU-3", 4))
    sold(house, ("SKU-2", 2))
    assert stops(opened(house, zone="cold", units=5)) == [("B", "SKU-3", 1), ("A", "SKU-1", 3)]
    assert stops(opened(house, zone="cold")) == [("B", "SKU-3", 4)]
    assert stops(opened(house, zone="dry")) == [("C", "SKU-2", 2)]
    # More than the limit by itself: a wave of its own.
    assert stops(opened(house, units=1)) == [("A", "SKU-1", 2), ("C", "SKU-2", 1)]


def test_what_may_not_be_picked_is_left_out(house: Shop) -> None:
    house.stock("SKU-1", 9)
    held_order = sold(house, ("SKU-1", 1))
    sold(house, ("SKU-1", 1), ("SKU-2", 1), allow_backorder=True, ship_complete=True)
    elsewhere = {"warehouse": "NYC"}
    house.stock("SKU-3", 1, "NYC")
    sold(house, ("SKU-3", 1), **elsewhere)
    fine = sold(house, ("SKU-1", 1))
    run(house.engine, lambda c: holds.hold(c, ADMIN, [1], "look"))
    assert held_order
    assert [s["order"] for s in opened(house)["stops"]] == [fine]


def test_what_is_in_a_wave_is_changed_only_after_the_wave_gave_it_back(house: Shop) -> None:
    put(house, ("SKU-1", 5, "A"))
    sold(house, ("SKU-1", 2))
    wave = opened(house)
    with pytest.raises(Conflict):
        run(house.engine, lambda c: cancellation.cancel(c, ADMIN, [1], "too late"))
    assert run(house.engine, lambda c: waves.cancel(c, WORKER, wave["number"])) == ["SH-10000001"]
    assert shown(house, wave["number"])["status"] == "cancelled"
    run(house.engine, lambda c: cancellation.cancel(c, ADMIN, [1], "in time"))
    assert house.level("SKU-1") == (5, 0)


def test_a_wave_keeps_what_was_begun(house: Shop) -> None:
    put(house, ("SKU-1", 2, "A"), ("SKU-2", 2, "C"))
    sold(house, ("SKU-1", 1), ("SKU-2", 1))
    sold(house, ("SKU-2", 1))
    wave = found(house, opened(house), 1)
    assert run(house.engine, lambda c: waves.cancel(c, WORKER, wave["number"])) == ["SH-10000002"]
    assert shown(house, wave["number"])["status"] == "open"
    with pytest.raises(Conflict):
        run(house.engine, lambda c: waves.cancel(c, WORKER, wave["number"]))
    assert found(house, shown(house, wave["number"]))["status"] == "done"
    assert statuses(house) == [("ATL", "picked"), ("ATL", "allocated")]


def test_bad_limits_are_all_named(house: Shop) -> None:
    limits = Limits("attic", 0, 0)
    with pytest.raises(ValidationFailed) as refusal:
        run(house.engine, lambda c: waves.open_wave(c, WORKER, "ATL", limits))
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("max_shipments", "out_of_range"), ("max_units", "out_of_range"), ("zone", "unknown_zone"),
    ]  # fmt: skip
    with pytest.raises(Forbidden):
        run(house.engine, lambda c: waves.open_wave(c, Actor("ann", "analyst"), "ATL", Limits()))
    with pytest.raises(NotFound):
        run(house.engine, lambda c: waves.cancel(c, WORKER, "WV-1"))


def race(shop: Shop, pickers: int) -> list[Any]:
    def go(_: int) -> Any:
        try:
            return opened(shop, shipments=3)
        except Conflict as refusal:
            return refusal

    with ThreadPoolExecutor(pickers) as pool:
        return list(pool.map(go, range(pickers)))


def test_pickers_who_open_waves_at_once_share_nothing(house: Shop) -> None:
    put(house, ("SKU-1", 12, "A"), ("SKU-1", 12, "C"))
    for _ in range(12):
        sold(house, ("SKU-1", 2))
    made = [wave for wave in race(house, 6) if not isinstance(wave, Conflict)]
    shipments = [s["shipment"] for wave in made for s in wave["stops"]]
    assert len(shipments) == len(set(shipments)) == 12
    taken = dict.fromkeys("AC", 0)
    for wave in made:
        for place, _, units in stops(wave):
            taken[place] += units
    assert taken == {"A": 12, "C": 12}


def test_without_the_queue_two_pickers_are_sent_for_one_shipment(
    house: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: neither the queue nor the guard of the taking."""
    if house.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: there is no lock to take away")
    house.stock("SKU-1", 20)
    sold(house, ("SKU-1", 1))
    monkeypatch.setattr(waves, "_queue_up", lambda *_: None)
    monkeypatch.setattr(waves, "lock_orders_of_shipments", lambda *_: None)
    monkeypatch.setattr(waves, "UNPICKED", "s.status = 'allocated'")
    made = [wave for wave in race(house, 6) if not isinstance(wave, Conflict)]
    assert len(made) > 1
    with house.engine.begin() as connection:
        mine = "(SELECT wave_id FROM shipments)"
        connection.exec_driver_sql(f"DELETE FROM picks WHERE wave_id <> {mine}")


def test_the_list_is_safe_to_open_and_to_print(house: Shop) -> None:
    with house.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE skus SET name = '=HYPERLINK(\"x\")' WHERE code = 'SKU-1'"
        )
        connection.exec_driver_sql("UPDATE skus SET name = '<b>bold</b>' WHERE code = 'SKU-2'")
    put(house, ("SKU-1", 2, "A"), ("SKU-2", 2, "C"))
    sold(house, ("SKU-1", 1), ("SKU-2", 1))
    wave = opened(house)
    assert "'=HYPERLINK" in picklist.as_csv(wave)
    assert picklist.as_csv(wave).count("\n") == 3
    page = picklist.as_page(wave)
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page


def test_a_held_order_keeps_its_picks_and_the_rest_of_the_wave_goes_on(house: Shop) -> None:
    put(house, ("SKU-1", 4, "A"))
    sold(house, ("SKU-1", 1))
    held = sold(house, ("SKU-1", 2))
    wave = opened(house)
    (order_id,) = house.rows("SELECT id FROM orders WHERE number = :n", n=held)[0]
    run(house.engine, lambda c: holds.hold(c, ADMIN, [order_id], "check"))
    first, second = shown(house, wave["number"])["stops"]
    why = f"{held} is on hold: check"
    assert (first["blocked"], second["blocked"]) == (None, why)
    page = picklist.as_page(shown(house, wave["number"]))
    assert (page.count("on hold"), page.count('class="box"')) == (1, 1)
    with pytest.raises(Conflict) as refusal:
        found(house, wave, 1, 2)
    assert [(e.field, e.code, e.message) for e in refusal.value.errors] == [
        (f"picks.{second['pick_id']}", "order_not_open", why)
    ]
    rest = found(house, wave)
    assert (rest["status"], [s["picked"] for s in rest["stops"]]) == ("open", [1, None])
    assert statuses(house) == [("ATL", "picked"), ("ATL", "allocated")]
    with pytest.raises(Conflict) as refusal:
        found(house, wave)
    assert refusal.value.errors[0].message == why
    run(house.engine, lambda c: holds.release(c, ADMIN, [order_id]))
    assert found(house, wave)["status"] == "done"
