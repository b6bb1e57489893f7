"""What the model thinks of goods in hand: steps of shipments, receipts, moves, counts, baskets."""

from __future__ import annotations

from collections import Counter
from typing import Any

from oms_ops.errors import Conflict, OutOfStock, ValidationFailed
from tests.oms_ops.machine.model import BINS, WAREHOUSES, Model, Order, Parcel, refuse
from tests.oms_ops.machine.seen import Pair
from tests.oms_ops.machine.selling import Act

#: step -> (statuses it needs, what it leaves)
STEPS = {
    "pick": (("allocated",), "picked"),
    "pack": (("picked",), "packed"),
    "ship": (("packed",), "shipped"),
    "deliver": (("shipped", "delivery_failed"), "delivered"),
    "fail": (("shipped", "delivery_failed"), "delivery_failed"),
    "retry": (("delivery_failed",), "shipped"),
    "bring_back": (("shipped", "delivery_failed"), "returned"),
}
_IN_THE_HOUSE = ("pick", "pack", "ship")


def advance(model: Model, act: Act, order: Order, parcel: Parcel, step: str) -> None:
    needs, leaves = STEPS[step]
    allowed = ("open",) if step in _IN_THE_HOUSE else ("open", "on_hold")
    waits = order.complete and any(line.backordered for line in order.lines.values())
    refuse(parcel.status not in needs or order.status not in allowed, Conflict)
    refuse(waits and step in ("pick", "ship"), Conflict)
    if step == "pick":
        _to_floor(model, order, parcel)
    parcel.status = leaves
    if step == "ship":
        for no, units in parcel.units().items():
            line = order.lines[no]
            line.allocated -= units
            line.shipped += units
            model.move(f"{parcel.warehouse}-STORAGE", "CUSTOMER", line.sku, units)
    if step in ("deliver", "bring_back", "fail", "retry"):
        model.conclude(order)


def _to_floor(model: Model, order: Order, parcel: Parcel) -> None:
    """Take the goods from the bins in the order of the walk; the rest lies on the floor."""
    for row in parcel.rows:
        sku, left = order.lines[row.line_no].sku, row.units
        for place in BINS[parcel.warehouse]:
            part = min(left, model.units[place, sku])
            model.move(place, f"{parcel.warehouse}-STORAGE", sku, part)
            left -= part


def reroute(model: Model, act: Act, order: Order, parcel: Parcel) -> None:
    """The parcel comes from the other warehouse, and what waited where it was waits there."""
    refuse(parcel not in order.unpicked, Conflict)
    left = parcel.warehouse
    other = next(w for w in WAREHOUSES if w != left)
    rest = {
        p.warehouse for p in order.parcels if p is not parcel and p.status != "cancelled" and p.rows
    }
    stuck = not order.split and rest and rest != {other}
    # What may wait at home needs no other warehouse.
    refuse(stuck and order.home == left, Conflict)
    moves_home = order.home == left
    want: Counter[int] = Counter(parcel.units())
    freed = [(left, order.lines[no].sku) for no in want]
    for row in list(parcel.rows):
        order.take(parcel, row, row.units)
    if moves_home:
        order.home = other
        for line in order.lines.values():
            want[line.no] += line.backordered
            line.backordered = 0
    if stuck:
        for no, units in want.items():
            order.lines[no].backordered += units
    else:
        _plan(model, order, other, want)
    model.fill(freed, sent_away=order)


def _plan(model: Model, order: Order, warehouse: str, want: Counter[int]) -> None:
    """Promise units of lines from a warehouse, the first line first; the rest waits."""
    free = Counter({line.sku: model.free(warehouse, line.sku) for line in order.lines.values()})
    for no in sorted(want):
        line = order.lines[no]
        part = min(want[no], max(0, free[line.sku]))
        if part:
            order.put(warehouse, line, part)
            free[line.sku] -= part
        line.backordered += want[no] - part


def count(model: Model, act: Act, warehouse: str, place: str, sku: str, variance: int) -> None:
    """A count found more or fewer; what is missing is taken from whoever was promised it last."""
    if variance >= 0:
        model.move("ADJUSTMENT", place, sku, variance)
        model.fill([(warehouse, sku)] if variance else [])
        return
    missing = -variance - max(0, model.free(warehouse, sku))
    rows = [
        (order, parcel, row)
        for order in model.orders.values()
        for parcel in order.unpicked
        if parcel.warehouse == warehouse
        for row in parcel.rows
        if order.lines[row.line_no].sku == sku
    ]
    refuse(missing > sum(row.units for _, _, row in rows), Conflict)
    rows.sort(key=lambda each: (each[0].place, each[2].id or 0), reverse=True)
    gone: dict[int, Counter[int]] = {}
    for order, parcel, row in rows:
        part = min(max(0, missing), row.units)
        if part:
            gone.setdefault(order.id, Counter())[row.line_no] += part
            order.take(parcel, row, part)
            missing -= part
    for order_id in sorted(gone, key=lambda each: model.orders[each].place):
        elsewhere(model, model.orders[order_id], warehouse, gone[order_id])
    model.move(place, "ADJUSTMENT", sku, -variance)


def elsewhere(model: Model, order: Order, left: str, want: Counter[int]) -> None:
    """Promise the units from the other warehouse, if the order may ship from there."""
    other = next(w for w in WAREHOUSES if w != left)
    rest = {p.warehouse for p in order.parcels if p.status != "cancelled" and p.rows}
    if order.split or not rest or rest == {other}:
        _plan(model, order, other, want)
    else:
        for no, units in want.items():
            order.lines[no].backordered += units


# --- Goods that come and go ---------------------------------------------------------------------


#: step -> what it makes of a purchase order, by what that was
PURCHASE_STEPS = {
    "send": {"draft": "sent"},
    "confirm": {
        "sent": "confirmed", "confirmed": "confirmed", "partly_received": "partly_received",
    },
    "cancel": {
        "draft": "cancelled", "sent": "cancelled", "confirmed": "cancelled",
        "partly_received": "closed",
    },
}  # fmt: skip
_EXPECTED = ("sent", "confirmed", "partly_received")


def purchase_step(model: Model, act: Act, purchase: int, step: str) -> None:
    """A supplier is sent an order, confirms it, or hears that it is given up: no goods move."""
    order = model.purchases[purchase]
    refuse(order["status"] not in PURCHASE_STEPS[step], Conflict)
    order["status"] = PURCHASE_STEPS[step][order["status"]]


def receive(model: Model, act: Act, purchase: int, came: int, damaged: int, short: bool) -> None:
    """A delivery of a purchase order of one line."""
    order = model.purchases[purchase]
    refuse(order["status"] not in _EXPECTED, Conflict)
    most = order["units"] + order["units"] // 5 - order["received"]
    refuse(not 0 < came <= most, ValidationFailed)
    order["received"] += came
    arrived = short or order["received"] >= order["units"]
    order["status"] = "closed" if arrived else "partly_received"
    warehouse, sku = order["warehouse"], order["sku"]
    model.move("SUPPLIER", f"{warehouse}-STORAGE", sku, came - damaged)
    model.move("SUPPLIER", f"{warehouse}-QUARANTINE", sku, damaged)
    model.fill([(warehouse, sku)])


def adjust(
    model: Model, act: Act, warehouse: str, place: str, sku: str, units: int, outside: str
) -> None:
    """Goods are found (+) or gone (-)."""
    in_quarantine = place.endswith("QUARANTINE")
    if units < 0:
        there = model.units[place, sku] >= -units
        may = there if in_quarantine else model.leave(warehouse, place, sku, -units)
        refuse(not may, OutOfStock)
    model.move(outside, place, sku, units)
    if units > 0 and not in_quarantine:
        model.fill([(warehouse, sku)])


def put_away(
    model: Model, act: Act, warehouse: str, source: str, target: str, sku: str, units: int
) -> None:
    floor = source.endswith("STORAGE")
    there = model.loose(warehouse, sku) if floor else model.units[source, sku]
    refuse(units > there, OutOfStock)
    model.move(source, target, sku, units)


def suspect(model: Model, act: Act, warehouse: str, place: str, sku: str, units: int) -> None:
    """Goods go to quarantine."""
    refuse(not model.leave(warehouse, place, sku, units), OutOfStock)
    model.move(place, f"{warehouse}-QUARANTINE", sku, units)


def dispose(model: Model, act: Act, warehouse: str, sku: str, units: int, target: str) -> None:
    """Quarantined goods are released (to the floor), scrapped, or go back to the supplier."""
    source = f"{warehouse}-QUARANTINE"
    refuse(units > model.units[source, sku], OutOfStock)
    model.move(source, target, sku, units)
    if target.endswith("STORAGE"):
        model.fill([(warehouse, sku)])


def send(model: Model, act: Act, number: str, units: int) -> None:
    transfer = model.transfers[number]
    refuse(transfer["status"] != "draft", Conflict)
    refuse(not 0 < units <= transfer["units"], ValidationFailed)
    source, sku = transfer["source"], transfer["sku"]
    loose = model.loose(source, sku)
    may = units <= model.free(source, sku) and units <= loose + model.binned(source, sku)
    refuse(not may, OutOfStock)
    for place in BINS[source]:
        part = min(max(0, units - loose), model.units[place, sku])
        model.move(place, f"{source}-STORAGE", sku, part)
        loose += part
    transfer["status"], transfer["travels"] = "in_transit", units
    model.move(f"{source}-STORAGE", "TRANSIT", sku, units)


def arrive(model: Model, act: Act, number: str, came: int, damaged: int, lost: int) -> None:
    transfer = model.transfers[number]
    refuse(transfer["status"] != "in_transit", Conflict)
    refuse(not 0 < came + lost <= transfer["travels"], ValidationFailed)
    target, sku = transfer["target"], transfer["sku"]
    transfer["travels"] -= came + lost
    if not transfer["travels"]:
        transfer["status"] = "received"
    model.move("TRANSIT", f"{target}-STORAGE", sku, came - damaged)
    model.move("TRANSIT", f"{target}-QUARANTINE", sku, damaged)
    model.move("TRANSIT", "ADJUSTMENT", sku, lost)
    model.fill([(target, sku)])


# --- Baskets ------------------------------------------------------------------------------------


def hold_basket(model: Model, act: Act, basket: str, sku: str, units: int, minutes: int) -> None:
    """A basket holds so many units of a SKU, where it holds some or else where there are enough."""
    own = {w: u for (b, w, s), u in model.baskets.items() if (b, s) == (basket, sku)}
    enough = [w for w in WAREHOUSES if model.free(w, sku) + own.get(w, 0) >= units]
    refuse(units and not enough, OutOfStock)
    before = _held(model, basket)
    for warehouse in own:
        del model.baskets[basket, warehouse, sku]
    if units:
        place = next((w for w in enough if w in own), enough[0])
        model.baskets[basket, place, sku] = units
    model.minutes[basket] = minutes
    model.fill(before)


def expire(model: Model, act: Act, minutes: int) -> None:
    """So many minutes go by."""
    late = {basket for basket, lasts in model.minutes.items() if lasts <= minutes}
    freed = [pair for basket in sorted(late) for pair in _held(model, basket)]
    model.baskets = {key: u for key, u in model.baskets.items() if key[0] not in late}
    model.fill(freed)


def _held(model: Model, basket: str) -> list[Pair]:
    return [(w, s) for (b, w, s) in model.baskets if b == basket]


def new_purchase(model: Model, purchase: int, **fields: Any) -> None:
    model.purchases[purchase] = {"received": 0, **fields}


def new_transfer(model: Model, number: str, **fields: Any) -> None:
    model.transfers[number] = {"status": "draft", "travels": 0, **fields}
