"""What the model thinks of a pick wave: where pickers are sent, and what they find."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from oms_ops.errors import Conflict
from tests.oms_ops.machine.handling import elsewhere
from tests.oms_ops.machine.model import BINS, Model, Order, Parcel, refuse
from tests.oms_ops.machine.seen import Pair
from tests.oms_ops.machine.selling import Act


@dataclass(frozen=True, slots=True)
class Pick:
    """Units of a parcel's row that a picker takes from a place."""

    order: int
    parcel: int | None
    row: int | None
    sku: str
    place: str
    units: int


def open_wave(model: Model, act: Act, warehouse: str, most: int) -> None:
    """The oldest parcels that may be picked; nobody is sent twice for the same units."""
    waiting = [
        (order.place, parcel.id, order, parcel)
        for order in model.orders.values()
        for parcel in order.unpicked
        if parcel.warehouse == warehouse and order.status == "open"
        if not (order.complete and any(line.backordered for line in order.lines.values()))
    ]
    refuse(not waiting, Conflict)
    for *_, order, parcel in sorted(waiting, key=lambda each: each[:2])[:most]:
        parcel.in_wave = True
        for row in parcel.rows:
            sku, left = order.lines[row.line_no].sku, row.units
            for place in (*BINS[warehouse], f"{warehouse}-STORAGE"):
                on_floor = place.endswith("STORAGE")
                part = left if on_floor else min(left, _unspoken(model, place, sku))
                if part:
                    sent = Pick(order.id, parcel.id, row.id, sku, place, part)
                    model.picks.append(sent)
                left -= part


def _unspoken(model: Model, place: str, sku: str) -> int:
    """Return the units in a place that no picker was sent for."""
    sent = sum(p.units for p in model.picks if (p.place, p.sku) == (place, sku))
    there: int = model.units[place, sku]
    return there - sent


def give_back(model: Model, act: Act) -> None:
    """The wave is cancelled."""
    refuse(not model.picks, Conflict)
    for _, parcel in waved(model):
        parcel.in_wave = False
    model.picks.clear()


def waved(model: Model) -> list[tuple[Order, Parcel]]:
    """Return what is in the wave."""
    return [(o, p) for o in model.orders.values() for p in o.parcels if p.in_wave]


def pick_parcel(model: Model, act: Act, order: Order, parcel: Parcel) -> None:
    """One parcel is picked before the others."""
    mine = [p for p in model.picks if p.parcel == parcel.id]
    model.picks = [p for p in model.picks if p.parcel != parcel.id]
    for each in mine:
        _to_floor(model, parcel.warehouse, each.place, each.sku, each.units)
    parcel.status, parcel.in_wave = "picked", False


def pick_all(model: Model, act: Act) -> None:
    refuse(not model.picks, Conflict)
    for order, parcel in waved(model):
        pick_parcel(model, act, order, parcel)


def pick_short(model: Model, act: Act, index: int, missing: int) -> None:
    """All is found but some units of one pick; these are sought in the house, then elsewhere."""
    short = model.picks[index]
    order = model.orders[short.order]
    parcel = next(p for p in order.parcels if p.id == short.parcel)
    floor = f"{parcel.warehouse}-STORAGE"
    others = [place for place in BINS[parcel.warehouse] if place != short.place]
    there = sum(_unspoken(model, place, short.sku) for place in others)
    if short.place != floor:
        sent = sum(p.units for p in model.picks if (p.place, p.sku) == (floor, short.sku))
        there += max(0, model.loose(parcel.warehouse, short.sku) - sent)
    free = model.free(parcel.warehouse, short.sku)
    again = min(missing, max(0, min(free, there)))
    if gone := missing - again:
        _leave(model, order, parcel, short, gone)
    for each in model.picks:
        found = each.units - (missing if each is short else 0)
        _to_floor(model, parcel.warehouse, each.place, each.sku, found)
    model.move(short.place, f"{parcel.warehouse}-QUARANTINE", short.sku, missing)
    for place in others:
        part = min(again, model.units[place, short.sku])
        _to_floor(model, parcel.warehouse, place, short.sku, part)
        again -= part
    model.picks.clear()
    for _, each in waved(model):
        each.in_wave = False
        each.status = "picked" if each.rows else "cancelled"


def _leave(model: Model, order: Order, parcel: Parcel, short: Pick, gone: int) -> None:
    row = next(row for row in parcel.rows if row.id == short.row)
    order.take(parcel, row, gone)
    elsewhere(model, order, parcel.warehouse, Counter({row.line_no: gone}))


def _to_floor(model: Model, warehouse: str, place: str, sku: str, units: int) -> None:
    if not place.endswith("STORAGE"):
        model.move(place, f"{warehouse}-STORAGE", sku, units)


def sent_for(model: Model) -> list[tuple[Pair, int]]:
    """Return where pickers are sent, in their order."""
    return [((pick.place, pick.sku), pick.units) for pick in model.picks]
