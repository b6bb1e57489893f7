"""A parcel leaves with what is to be sent: every difference is named before it is closed."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.fulfilment.packing import Packed, pack_checked
from oms_ops.rules import store
from tests.oms_ops.picking import WORKER, sold, statuses
from tests.oms_ops.shop import ADMIN, Shop


@pytest.fixture
def picked(shop: Shop) -> Shop:
    """Return the shop with one shipment picked: two of SKU-1 (barcode 4006), one of SKU-2."""
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE skus SET barcode = '4006' WHERE code = 'SKU-1'")
        connection.exec_driver_sql("UPDATE skus SET barcode = 'SKU-1' WHERE code = 'SKU-3'")
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 5)
    sold(shop, ("SKU-1", 2), ("SKU-2", 1))
    run(shop.engine, lambda c: fulfilment.pick(c, WORKER, [1]))
    return shop


def packed(shop: Shop, *parcels: dict[str, int], weight: int | None = None) -> None:
    wanted = [Packed(contents, weight) for contents in parcels]
    run(shop.engine, lambda c: pack_checked(c, WORKER, 1, wanted))


def test_scanned_codes_and_barcodes_fill_the_parcels(picked: Shop) -> None:
    packed(picked, {"4006": 1, "SKU-2": 1}, {"SKU-1": 1}, weight=800)
    assert statuses(picked) == [("ATL", "packed")]
    rows = picked.rows("SELECT parcel_no, weight_grams FROM parcels ORDER BY parcel_no")
    assert [tuple(row) for row in rows] == [(1, 800), (2, 800)]


@pytest.mark.parametrize(
    ("parcels", "faults"),
    [
        ([{"SKU-1": 2}], [("contents.SKU-2", "missing")]),
        ([{"SKU-1": 3, "SKU-2": 1}], [("contents.SKU-1", "too_many")]),
        ([{"SKU-1": 2, "SKU-2": 1, "SKU-3": 1}], [("contents.SKU-3", "too_many")]),
        ([{"SKU-1": 2, "SKU-2": 1, "nothing": 1}],
         [("parcels[0].contents.nothing", "unknown_sku")]),
        ([{"SKU-1": 2, "SKU-2": 1}, {}], [("parcels[1].contents", "required")]),
        ([], [("parcels", "required"), ("contents.SKU-1", "missing"),
              ("contents.SKU-2", "missing")]),
        ([{"SKU-1": 0, "SKU-2": 1}],
         [("parcels[0].contents.SKU-1", "out_of_range"), ("contents.SKU-1", "missing")]),
    ],
)  # fmt: skip
def test_every_difference_is_named_and_nothing_is_packed(
    picked: Shop, parcels: list[dict[str, int]], faults: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        packed(picked, *parcels)
    assert [(error.field, error.code) for error in refusal.value.errors] == faults
    assert statuses(picked) == [("ATL", "picked")]
    assert picked.count("parcels") == 0


def test_a_shipment_is_packed_once(picked: Shop) -> None:
    whole: dict[str, Any] = {"SKU-1": 2, "SKU-2": 1}
    packed(picked, whole)
    with pytest.raises(Conflict):
        packed(picked, whole)
    assert picked.count("parcels") == 1


def test_where_the_rules_ask_for_it_nothing_is_packed_unchecked(picked: Shop) -> None:
    rules = {"packing": {"check": "required"}}
    run(picked.engine, lambda c: store.publish(c, ADMIN, rules))
    with pytest.raises(ValidationFailed) as refusal:
        run(picked.engine, lambda c: fulfilment.pack(c, WORKER, [1]))
    assert [(e.field, e.code) for e in refusal.value.errors] == [("parcels", "required")]
    assert statuses(picked) == [("ATL", "picked")]
    packed(picked, {"SKU-1": 2, "SKU-2": 1})
    assert statuses(picked) == [("ATL", "packed")]
