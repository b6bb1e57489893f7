"""Compares the model with the database, number by number."""

from __future__ import annotations

from typing import Any

from tests.oms_ops.machine.model import (
    BINS,
    GONE,
    IN_THE_HOUSE,
    SKUS,
    WAREHOUSES,
    Model,
    Order,
    Row,
)
from tests.oms_ops.machine.money import PERCENT_CODE
from tests.oms_ops.machine.seen import Box, Pair, Seen


def agree(model: Model, seen: Seen) -> None:
    """Compare every number, and learn the ids of what the last step made."""
    pairs = [(warehouse, sku) for warehouse in WAREHOUSES for sku in SKUS]
    assert {pair: seen.levels.get(pair, (0, 0)) for pair in pairs} == {
        pair: (model.on_hand(*pair), model.promised(*pair)) for pair in pairs
    }
    assert _some(seen.nets) == _some(model.units)
    kept = [*BINS["ATL"], *BINS["NYC"], "ATL-QUARANTINE", "NYC-QUARANTINE", "TRANSIT"]
    assert _some(seen.contents) == {k: n for k, n in _some(model.units).items() if k[0] in kept}
    assert seen.baskets == model.baskets
    assert seen.codes.get(PERCENT_CODE, 0) == model.used[PERCENT_CODE]
    bought = {i: (each["status"], each["received"]) for i, each in model.purchases.items()}
    assert seen.purchases == bought
    assert seen.heads.keys() == model.orders.keys()
    for order_id, order in model.orders.items():
        _agree_on_money(order, seen)
        _agree_on_lines(order, seen.lines[order_id])
        _agree_on_parcels(order, seen.boxes.get(order_id, []))


def _some(numbers: dict[Pair, int]) -> dict[Pair, int]:
    return {key: number for key, number in numbers.items() if number}


def _agree_on_money(order: Order, seen: Seen) -> None:
    lines, head = list(order.lines.values()), seen.heads[order.id]
    assert (head["status"], head["home"]) == (order.status, order.home), order
    tax = sum(li.money.tax for li in lines) + order.shipping_tax
    expected = {
        "gross_minor": sum(li.money.unit * li.money.quantity for li in lines),
        "discount_minor": sum(li.money.discount for li in lines),
        "rounding_minor": sum(li.money.rounding for li in lines),
        "shipping_minor": order.shipping,
        "shipping_tax_minor": order.shipping_tax,
        "tax_minor": tax,
        "total_minor": order.total,
        "cancelled_minor": order.total - order.cost,
    }
    assert {name: head[name] for name in expected} == expected, order
    stored = sorted(seen.payments.get(order.id, {}).items())
    assert len(stored) == len(order.payments), (order, stored)
    for (payment_id, amounts), own in zip(stored, order.payments, strict=True):
        own.id = payment_id
        assert amounts == (own.amount, own.captured, own.refunded, own.voided), order


_COUNTS = ("allocated", "backordered", "shipped", "cancelled", "returned")


def _agree_on_lines(order: Order, rows: dict[int, dict[str, Any]]) -> None:
    assert rows.keys() == order.lines.keys()
    for no, line in order.lines.items():
        row, money = rows[no], line.money
        counts = {name: getattr(line, name) for name in _COUNTS}
        assert {name: row[name] for name in _COUNTS} == counts, (order, no)
        assert sum(counts.values()) - line.returned == money.quantity
        assert (row["sku"], row["quantity"]) == (line.sku, money.quantity)
        assert (row["net_minor"], row["tax_minor"]) == (money.net, money.tax), (order, no)
        assert row["cancelled_minor"] == order.off(line), (order, no)
        line.id = row["id"]
        promised = sum(p.units().get(no, 0) for p in order.parcels if p.status in IN_THE_HOUSE)
        gone = sum(p.units().get(no, 0) for p in order.parcels if p.status in GONE)
        assert (line.allocated, line.shipped) == (promised, gone), (order, no)


def _agree_on_parcels(order: Order, boxes: list[Box]) -> None:
    known = {parcel.id: parcel for parcel in order.parcels if parcel.id is not None}
    new = [parcel for parcel in order.parcels if parcel.id is None]
    for box in boxes:
        shape = (box.warehouse, box.status, box.units())
        parcel = known.pop(box.id, None)
        if parcel is None:
            parcel = next((p for p in new if (p.warehouse, p.status, p.units()) == shape), None)
            assert parcel is not None, (order, box)
            new.remove(parcel)
        assert (parcel.warehouse, parcel.status, parcel.units()) == shape, (order, box)
        parcel.id = box.id
        parcel.rows = [Row(*row) for row in box.rows]
    assert not known, order
    assert not new, order
