"""The commands of the warehouse: a shipment's steps, and goods that come, go and are moved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.fulfilment import arrivals, counting, delivery, sending
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.fulfilment.delivery import Failed
from oms_ops.orders import reroute
from oms_ops.stock import bin_moves, counts, quarantine, transfers
from oms_ops.stock.adjustments import Adjustment
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.counts import Counted
from oms_ops.stock.names import Line as Named
from oms_ops.stock.quarantine import Suspect
from oms_ops.stock.transfer_receipts import Arrived
from tests.oms_ops.machine import handling
from tests.oms_ops.machine.base import Base, sites, skus, units
from tests.oms_ops.machine.model import BINS, SKUS, WAREHOUSES, Order, Parcel
from tests.oms_ops.shop import ADMIN

COUNTER = Actor("wanda", "warehouse")
_STATUSES = ("allocated", "picked", "packed", "shipped", "delivered", "delivery_failed", "returned")


class Goods(Base):
    """What the warehouse does."""

    # --- Shipments --------------------------------------------------------------------------

    def parcels(self, *statuses: str) -> list[tuple[Order, Parcel]]:
        return [
            (each, parcel)
            for each in self.model.orders.values()
            for parcel in each.parcels
            if parcel.status in statuses
        ]

    def ready(self) -> list[tuple[Order, Parcel, str]]:
        return [
            (each, parcel, step)
            for step, (needs, _) in handling.STEPS.items()
            for each, parcel in self.parcels(*needs)
            if each.status in ("open", "on_hold")
        ]

    def advance(self, each: Order, parcel: Parcel, step: str) -> None:
        if step == "fail":
            do = self.service(delivery.fail, [Failed(parcel.id, "nobody there")])
        else:
            room = fulfilment if step in ("pick", "pack", "ship") else delivery
            do = self.service(getattr(room, step), [parcel.id])
        self.step(handling.advance, each, parcel, step, do=do)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def advances(self, data: Any) -> None:
        self.advance(*data.draw(st.sampled_from(self.ready())))

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def ships_whole(self, data: Any) -> None:
        """Take a parcel through all the steps that are left in the house."""
        each, parcel, step = data.draw(st.sampled_from(self.ready()))
        self.ship_whole(each, parcel, step)

    def ship_whole(self, each: Order, parcel: Parcel, step: str = "pick") -> None:
        steps = ["pick", "pack", "ship"]
        for name in steps[steps.index(step) :] if step in steps else ():
            self.advance(each, parcel, name)
            each = self.model.orders[each.id]
            parcel = next(p for p in each.parcels if p.id == parcel.id)

    @precondition(lambda self: self.model.orders)
    @rule(data=st.data(), step=st.sampled_from(sorted(handling.STEPS)))
    def takes_any_step(self, data: Any, step: str) -> None:
        found = [pair for pair in self.parcels(*_STATUSES) if pair[1].id]
        if found:
            self.advance(*data.draw(st.sampled_from(found)), step)

    @precondition(lambda self: self.parcels("allocated"))
    @rule(data=st.data())
    def reroutes(self, data: Any) -> None:
        each, parcel = data.draw(st.sampled_from(self.parcels("allocated")))
        do = self.service(reroute.reroute, [parcel.id], reason="no room")
        self.step(handling.reroute, each, parcel, do=do)

    # --- Stock ------------------------------------------------------------------------------

    def place(self, data: Any, warehouse: str, *more: str) -> str:
        floor = f"{warehouse}-STORAGE"
        return data.draw(st.sampled_from([floor, *BINS[warehouse], *more]))

    def find(self, warehouse: str, place: str, sku: str, quantity: int) -> None:
        line = Adjustment(sku, quantity, None if place.endswith("STORAGE") else place)
        do = self.service(arrivals.adjust, warehouse, [line], "found")
        self.step(handling.adjust, warehouse, place, sku, quantity, "ADJUSTMENT", do=do)

    @rule(warehouse=sites, sku=skus, quantity=st.integers(-6, 6).filter(bool), data=st.data())
    def adjusts(self, warehouse: str, sku: str, quantity: int, data: Any) -> None:
        place = self.place(data, warehouse, f"{warehouse}-QUARANTINE")
        broken = quantity < 0 and data.draw(st.booleans())
        reason = "damaged" if broken else "correction"
        line = Adjustment(sku, quantity, None if place.endswith("STORAGE") else place)
        do = self.service(arrivals.adjust, warehouse, [line], reason)
        outside = "SCRAP" if broken else "ADJUSTMENT"
        self.step(handling.adjust, warehouse, place, sku, quantity, outside, do=do)

    def put_away(self, warehouse: str, source: str, target: str, sku: str, quantity: int) -> None:
        line = BinMove(sku, quantity, target, source)
        do = self.service(bin_moves.move, warehouse, [line])
        self.step(handling.put_away, warehouse, source, target, sku, quantity, do=do)

    @rule(warehouse=sites, sku=skus, quantity=units, data=st.data())
    def moves_in_the_house(self, warehouse: str, sku: str, quantity: int, data: Any) -> None:
        source, target = self.place(data, warehouse), self.place(data, warehouse)
        if source != target:
            self.put_away(warehouse, source, target, sku, quantity)

    @rule(warehouse=sites, data=st.data())
    def puts_away(self, warehouse: str, data: Any) -> None:
        """Put all that lies on the floor into bins."""
        for sku in SKUS:
            if loose := self.model.loose(warehouse, sku):
                target = data.draw(st.sampled_from(BINS[warehouse]))
                self.put_away(warehouse, f"{warehouse}-STORAGE", target, sku, loose)

    @rule(warehouse=sites, sku=skus, quantity=units, data=st.data())
    def suspects(self, warehouse: str, sku: str, quantity: int, data: Any) -> None:
        place = self.place(data, warehouse)
        line = Suspect(sku, quantity, None if place.endswith("STORAGE") else place)
        do = self.service(quarantine.put_in, warehouse, [line])
        self.step(handling.suspect, warehouse, place, sku, quantity, do=do)

    @rule(warehouse=sites, sku=skus, quantity=st.integers(1, 3), data=st.data())
    def disposes(self, warehouse: str, sku: str, quantity: int, data: Any) -> None:
        there = [(w, s) for w in WAREHOUSES for s in SKUS if self.model.units[f"{w}-QUARANTINE", s]]
        if there:
            warehouse, sku = data.draw(st.sampled_from(there))
        decision = data.draw(st.sampled_from(sorted(quarantine.DECISIONS)))
        targets = {"release": f"{warehouse}-STORAGE", "scrap": "SCRAP"}
        do = self.service(arrivals.dispose, warehouse, [Named(sku, quantity)], decision)
        target = targets.get(decision, "SUPPLIER")
        self.step(handling.dispose, warehouse, sku, quantity, target, do=do)

    @rule(source=sites, sku=skus, quantity=units, data=st.data())
    def transfers(self, source: str, sku: str, quantity: int, data: Any) -> None:
        target = next(each for each in WAREHOUSES if each != source)
        number = run(
            self.engine,
            lambda c: transfers.create(c, ADMIN, source, target, [Named(sku, quantity)]),
        )
        handling.new_transfer(
            self.model, number, source=source, target=target, sku=sku, units=quantity
        )
        sent = data.draw(st.integers(1, quantity))
        do = self.service(sending.send_transfer, number, {1: sent})
        self.step(handling.send, number, sent, do=do)
        if self.model.transfers[number]["status"] == "in_transit" and data.draw(st.booleans()):
            self.arrive(data, number, data.draw(st.integers(0, 1)))

    @precondition(lambda self: self.model.transfers)
    @rule(data=st.data(), lost=st.integers(0, 2))
    def transfer_arrives(self, data: Any, lost: int) -> None:
        known = self.model.transfers
        travel = [number for number, each in known.items() if each["status"] == "in_transit"]
        self.arrive(data, data.draw(st.sampled_from(travel or sorted(known))), lost)

    def arrive(self, data: Any, number: str, lost: int) -> None:
        came = data.draw(st.integers(0, self.model.transfers[number]["travels"] + 1))
        damaged = data.draw(st.integers(0, min(came, 2)))
        do = self.service(arrivals.receive_transfer, number, [Arrived(1, came, damaged, lost)])
        self.step(handling.arrive, number, came, damaged, lost, do=do)

    @rule(warehouse=sites, sku=skus, data=st.data(), variance=st.integers(-6, 3))
    def counts(self, warehouse: str, sku: str, data: Any, variance: int) -> None:
        place = self.place(data, warehouse)
        floor = place.endswith("STORAGE")
        books = self.model.loose(warehouse, sku) if floor else self.model.units[place, sku]
        variance = max(variance, -books)
        number = run(
            self.engine, lambda c: counts.open_count(c, COUNTER, warehouse, locations=[place])
        )
        found = {s: self.model.loose(warehouse, s) if floor else self.model.units[place, s]
                 for s in SKUS}  # fmt: skip
        found[sku] = books + variance
        lines = [Counted(place, each, number_of) for each, number_of in found.items()]
        run(self.engine, lambda c: counts.enter(c, COUNTER, number, lines))
        do = self.service(counting.approve, number)
        self.step(handling.count, warehouse, place, sku, variance, do=do)

    @rule(
        basket=st.sampled_from(["mary", "bob"]), sku=skus, quantity=st.integers(0, 5),
        minutes=st.sampled_from([10, 60]),
    )  # fmt: skip
    def fills_a_basket(self, basket: str, sku: str, quantity: int, minutes: int) -> None:
        do = self.service(arrivals.hold_basket, basket, [Named(sku, quantity)], minutes)
        self.step(handling.hold_basket, basket, sku, quantity, minutes, do=do)

    @precondition(lambda self: self.model.baskets)
    @rule(minutes=st.sampled_from([30, 90]))
    def time_goes_by(self, minutes: int) -> None:
        then = clock.now() + timedelta(minutes=minutes)
        do = lambda: run(self.engine, lambda c: arrivals.expire_baskets(c, then))  # noqa: E731
        self.step(handling.expire, minutes, do=do)
