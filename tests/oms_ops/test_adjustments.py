"""Stock is corrected with a reason and a name; what is promised stays, what is found is given."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, OutOfStock, ValidationFailed
from oms_ops.fulfilment import arrivals
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import bin_moves, bins, quarantine
from oms_ops.stock.adjustments import REASONS, Adjustment
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from oms_ops.stock.names import Line
from oms_ops.stock.quarantine import Suspect
from tests.oms_ops.shop import CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Any:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def adjust(shop: Shop, reason: str, *lines: Adjustment, note: str = "") -> int:
    return run(shop.engine, lambda c: arrivals.adjust(c, WORKER, "ATL", lines, reason, note))


def suspect(shop: Shop, *lines: Suspect) -> None:
    run(shop.engine, lambda c: quarantine.put_in(c, WORKER, "ATL", lines, "wet"))


def decide(shop: Shop, decision: str, *lines: Line) -> int:
    return run(shop.engine, lambda c: arrivals.dispose(c, WORKER, "ATL", lines, decision))


def places(shop: Shop) -> dict[str, int]:
    """Return units by place, of the places that keep their content."""
    rows = shop.rows(
        "SELECT p.code, c.quantity FROM location_levels AS c"
        " JOIN locations AS p ON p.id = c.location_id WHERE c.quantity > 0"
    )
    return {row[0]: row[1] for row in rows}


def test_a_loss_says_why_and_who(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    adjust(shop, "lost", Adjustment("SKU-1", -2), note="fell off the truck")
    assert shop.level("SKU-1") == (3, 0)
    move = shop.rows("SELECT reason, reference, changed_by FROM stock_moves ORDER BY id DESC")[0]
    assert tuple(move) == ("adjustment", "lost: fell off the truck", "wanda")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_posted(shop: Shop, reason: str) -> None:
    shop.stock("SKU-1", 5)
    units = 1 if "+" in REASONS[reason].signs else -1
    adjust(shop, reason, Adjustment("SKU-1", units))
    assert shop.level("SKU-1") == (5 + units, 0)


def test_promised_units_are_not_written_off_and_the_answer_says_how_many(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    capture(shop.engine, CLERK, order(("SKU-1", 3)))
    with pytest.raises(OutOfStock) as refused:
        adjust(shop, "lost", Adjustment("SKU-1", -1), Adjustment("SKU-1", -2))
    assert refused.value.status == 409
    assert [e.message for e in refused.value.errors] == [
        "SKU-1: 3 of 5 are promised, 2 can be taken"
    ]
    adjust(shop, "lost", Adjustment("SKU-1", -2))
    assert shop.level("SKU-1") == (3, 3)


def test_found_units_go_to_who_waits(shop: Shop) -> None:
    made = capture(shop.engine, CLERK, order(("SKU-1", 3), allow_backorder=True))
    assert made["lines"][0]["backordered"] == 3
    assert adjust(shop, "found", Adjustment("SKU-1", 2, unit_cost_minor=90)) == 2
    assert shop.level("SKU-1") == (2, 2)
    told = shop.rows("SELECT kind FROM outbox_messages ORDER BY id DESC")[0][0]
    assert told == "order.backorder_filled"


def test_a_correction_between_bins_changes_no_level(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    run(
        shop.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A"), NewBin("B", None, 1, 2)])
    )
    run(shop.engine, lambda c: bin_moves.move(c, WORKER, "ATL", [BinMove("SKU-1", 5, "A")]))
    capture(shop.engine, CLERK, order(("SKU-1", 5)))
    adjust(shop, "correction", Adjustment("SKU-1", -2, "A"), Adjustment("SKU-1", 2, "B"))
    assert places(shop) == {"A": 3, "B": 2}
    assert shop.level("SKU-1") == (5, 5)
    with pytest.raises(Conflict) as refused:
        adjust(shop, "correction", Adjustment("SKU-1", -1, "A"), Adjustment("SKU-1", 1, "B"))
    assert [e.code for e in refused.value.errors] == ["over_capacity"]


def test_what_lies_in_bins_is_not_taken_off_the_floor(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    run(shop.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A")]))
    run(shop.engine, lambda c: bin_moves.move(c, WORKER, "ATL", [BinMove("SKU-1", 4, "A")]))
    with pytest.raises(OutOfStock) as refused:
        adjust(shop, "lost", Adjustment("SKU-1", -2))
    assert [e.code for e in refused.value.errors] == ["not_on_floor"]
    adjust(shop, "lost", Adjustment("SKU-1", -1), Adjustment("SKU-1", -1, "A"))
    assert places(shop) == {"A": 3}


def test_every_bad_field_is_named(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        adjust(
            shop, "found", Adjustment("SKU-9", 1), Adjustment("SKU-1", -1),
            Adjustment("SKU-1", 0), Adjustment("SKU-1", 1, "NYC-STORAGE"),
        )  # fmt: skip
    assert sorted((e.field, e.code) for e in refused.value.errors) == [
        ("lines[0].sku", "unknown_sku"),
        ("lines[1].quantity", "wrong_sign"),
        ("lines[2].quantity", "out_of_range"),
        ("lines[3].location", "unknown_location"),
    ]
    with pytest.raises(ValidationFailed) as refused:
        adjust(shop, "because", Adjustment("SKU-1", 1))
    assert [(e.field, e.code) for e in refused.value.errors] == [("reason", "unknown_reason")]


def test_damaged_goods_wait_in_quarantine_and_are_released_scrapped_or_sent_back(
    shop: Shop,
) -> None:
    shop.stock("SKU-1", 10)
    suspect(shop, Suspect("SKU-1", 6))
    assert shop.level("SKU-1") == (4, 0)
    waiting = capture(shop.engine, CLERK, order(("SKU-1", 5), allow_backorder=True))
    assert waiting["lines"][0]["backordered"] == 1
    assert decide(shop, "release", Line("SKU-1", 2)) == 1
    decide(shop, "scrap", Line("SKU-1", 1))
    decide(shop, "return_to_supplier", Line("SKU-1", 2))
    assert places(shop) == {"ATL-QUARANTINE": 1}
    assert shop.level("SKU-1") == (6, 5)
    with pytest.raises(OutOfStock):
        decide(shop, "scrap", Line("SKU-1", 2))


def test_promised_goods_do_not_go_into_quarantine(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    capture(shop.engine, CLERK, order(("SKU-1", 3)))
    with pytest.raises(OutOfStock):
        suspect(shop, Suspect("SKU-1", 3))


def test_a_clerk_adjusts_nothing(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        run(
            shop.engine,
            lambda c: arrivals.adjust(c, CLERK, "ATL", [Adjustment("SKU-1", 1)], "found"),
        )
