"""The shop's books in plain Python: where every unit is, whom it is promised to, what is owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from oms_ops.errors import OmsError
from tests.oms_ops.machine.money import Amounts
from tests.oms_ops.machine.seen import Pair

WAREHOUSES = ("ATL", "NYC")
#: In the order of the pickers' walk.
BINS = {"ATL": ("A-1", "A-2"), "NYC": ("N-1",)}
SKUS = ("SKU-1", "SKU-2", "SKU-3")
IN_THE_HOUSE = ("allocated", "picked", "packed")
GONE = ("shipped", "delivered", "delivery_failed", "returned")


class Refused(Exception):
    """The model says that the shop will refuse, and how."""

    def __init__(self, kind: type[OmsError]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


def refuse(bad: object, kind: type[OmsError]) -> None:
    """Refuse if ``bad``."""
    if bad:
        raise Refused(kind)


@dataclass(slots=True)
class Line:
    """A line of an order, and where its units are."""

    no: int
    sku: str
    money: Amounts
    id: int | None = None
    allocated: int = 0
    backordered: int = 0
    shipped: int = 0
    cancelled: int = 0
    returned: int = 0

    @property
    def kept(self) -> int:
        return self.money.quantity - self.cancelled


@dataclass(slots=True)
class Row:
    """Units of an order's line in a shipment; the id is known once the database was seen."""

    id: int | None
    line_no: int
    units: int


@dataclass(slots=True)
class Parcel:
    """A shipment."""

    warehouse: str
    id: int | None = None
    status: str = "allocated"
    in_wave: bool = False
    rows: list[Row] = field(default_factory=list)

    def units(self) -> dict[int, int]:
        found: Counter[int] = Counter()
        for row in self.rows:
            found[row.line_no] += row.units
        return dict(found)


@dataclass(slots=True)
class Payment:
    """Money that is expected, came in, went back; ``given_back`` because units were cancelled."""

    amount: int
    id: int | None = None
    captured: int = 0
    refunded: int = 0
    voided: int = 0
    given_back: int = 0

    @property
    def open(self) -> int:
        return self.amount - self.captured - self.voided

    @property
    def refundable(self) -> int:
        return self.captured - self.refunded


@dataclass(slots=True)
class Order:
    """An order; ``place`` tells who came first."""

    id: int
    place: int
    region: str
    home: str
    included: bool
    shipping: int
    shipping_tax: int
    backorder: bool
    split: bool
    complete: bool
    code: str | None
    status: str = "open"
    lines: dict[int, Line] = field(default_factory=dict)
    parcels: list[Parcel] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    #: What came back before it was paid.
    forgiven: int = 0

    @property
    def total(self) -> int:
        tax = sum(li.money.tax for li in self.lines.values()) + self.shipping_tax
        goods = sum(li.money.net for li in self.lines.values())
        return goods + self.shipping + (0 if self.included else tax)

    def off(self, line: Line) -> int:
        """Return what the cancelled units of a line take off the total."""
        money = line.money
        whole = money.owed(money.quantity, included=self.included)
        return whole - money.owed(line.kept, included=self.included)

    @property
    def is_kept(self) -> bool:
        return any(line.kept for line in self.lines.values())

    @property
    def cost(self) -> int:
        return self.total - sum(map(self.off, self.lines.values())) if self.is_kept else 0

    @property
    def owed(self) -> int:
        return self.cost - self.forgiven

    @property
    def unpicked(self) -> list[Parcel]:
        return [p for p in self.parcels if p.status == "allocated" and not p.in_wave]

    def unpicked_of(self, line: Line) -> int:
        """Return the units of a line that are promised and in no picker's walk."""
        return sum(parcel.units().get(line.no, 0) for parcel in self.unpicked)

    @property
    def is_live(self) -> bool:
        return self.status in ("open", "on_hold")

    @property
    def is_picked(self) -> bool:
        return any(p.status != "cancelled" and p not in self.unpicked for p in self.parcels)

    def put(self, warehouse: str, line: Line, units: int) -> None:
        """Add units to the unpicked parcel from a warehouse, or to a new one."""
        parcel = next((p for p in self.unpicked if p.warehouse == warehouse), None)
        if parcel is None:
            parcel = Parcel(warehouse)
            self.parcels.append(parcel)
        parcel.rows.append(Row(None, line.no, units))
        line.allocated += units

    def take(self, parcel: Parcel, row: Row, units: int) -> None:
        """Take units off a parcel again; an empty one is void."""
        row.units -= units
        self.lines[row.line_no].allocated -= units
        parcel.rows = [each for each in parcel.rows if each.units]
        if not parcel.rows:
            parcel.status = "cancelled"


class Model:
    """The whole shop."""

    def __init__(self) -> None:
        #: What came to each place less what left it, by (location, SKU): all of it sums to nothing.
        self.units: Counter[Pair] = Counter()
        self.orders: dict[int, Order] = {}
        #: Units by (basket, warehouse, SKU), and minutes by basket.
        self.baskets: dict[tuple[str, str, str], int] = {}
        self.minutes: dict[str, int] = {}
        self.used: Counter[str] = Counter()
        #: Open purchase orders and transfers, by their ids and numbers.
        self.purchases: dict[int, dict[str, Any]] = {}
        self.transfers: dict[str, dict[str, Any]] = {}
        #: Where pickers of the one wave are sent.
        self.picks: list[Any] = []

    # --- Goods ------------------------------------------------------------------------------

    def move(self, source: str, target: str, sku: str, units: int) -> None:
        self.units[source, sku] -= units
        self.units[target, sku] += units

    def binned(self, warehouse: str, sku: str) -> int:
        return sum(self.units[place, sku] for place in BINS[warehouse])

    def on_hand(self, warehouse: str, sku: str) -> int:
        return self.units[f"{warehouse}-STORAGE", sku] + self.binned(warehouse, sku)

    def _in_parcels(self, warehouse: str, sku: str, statuses: Iterable[str]) -> int:
        return sum(
            row.units
            for order in self.orders.values()
            for parcel in order.parcels
            if parcel.warehouse == warehouse and parcel.status in statuses
            for row in parcel.rows
            if order.lines[row.line_no].sku == sku
        )

    def promised(self, warehouse: str, sku: str) -> int:
        held = sum(u for (_, w, s), u in self.baskets.items() if (w, s) == (warehouse, sku))
        return held + self._in_parcels(warehouse, sku, IN_THE_HOUSE)

    def free(self, warehouse: str, sku: str) -> int:
        """Return the units that are promised to nobody."""
        return self.on_hand(warehouse, sku) - self.promised(warehouse, sku)

    def loose(self, warehouse: str, sku: str) -> int:
        """Return the units on the floor that nobody picked."""
        picked = self._in_parcels(warehouse, sku, ("picked", "packed"))
        return self.units[f"{warehouse}-STORAGE", sku] - picked

    def leave(self, warehouse: str, place: str, sku: str, units: int) -> bool:
        """Tell whether so many units may leave the warehouse from one of its places."""
        there = self.loose(warehouse, sku) if place.endswith("STORAGE") else self.units[place, sku]
        return units <= self.free(warehouse, sku) and units <= there

    # --- Promises ---------------------------------------------------------------------------

    def fill(self, pairs: Iterable[Pair], sent_away: Order | None = None) -> None:
        """Give what is free to open orders that wait for it, at home or where they may be split.

        An order that was ``sent_away`` from there a moment ago is served at home alone.
        """
        free = {pair: self.free(*pair) for pair in set(pairs)}
        queue = [
            (order.place, line.no, warehouse != order.home, warehouse, order, line)
            for order in self.orders.values()
            for line in order.lines.values()
            for warehouse, sku in free
            if sku == line.sku
            and ((order.split and order is not sent_away) or warehouse == order.home)
        ]
        for *_, warehouse, order, line in sorted(queue, key=lambda each: each[:4]):
            units = min(free[warehouse, line.sku], line.backordered)
            if order.status == "open" and units > 0:
                line.backordered -= units
                order.put(warehouse, line, units)
                free[warehouse, line.sku] -= units

    def cancel_units(self, order: Order, line: Line, units: int) -> Counter[Pair]:
        """Cancel units that wait, then such that nobody picked, the newest first; return freed."""
        waited = min(units, line.backordered)
        line.backordered -= waited
        line.cancelled += units
        freed: Counter[Pair] = Counter()
        rows = [(row, p) for p in order.unpicked for row in p.rows if row.line_no == line.no]
        rest = units - waited
        for row, parcel in sorted(rows, key=lambda each: each[0].id or 0, reverse=True):
            part = min(rest, row.units)
            if part:
                order.take(parcel, row, part)
                freed[parcel.warehouse, line.sku] += part
                rest -= part
        assert not rest
        return freed

    # --- Consequences -----------------------------------------------------------------------

    def conclude(self, order: Order) -> None:
        """Cancel an order of which nothing is kept, close one of which nothing is left to do."""
        if not order.is_live:
            return
        if not order.is_kept:
            order.status = "cancelled"
        elif not any(li.allocated + li.backordered for li in order.lines.values()) and all(
            p.status in ("delivered", "returned", "cancelled") for p in order.parcels
        ):
            order.status = "closed"
        if order.status == "cancelled" and order.code:
            self.used[order.code] -= 1

    @staticmethod
    def settle(order: Order) -> None:
        """Give back what was collected beyond what is owed, and expect no more than the rest."""
        collected = sum(p.captured - p.given_back for p in order.payments)
        expected = sum(p.open for p in order.payments)
        due = max(0, collected - order.owed)
        surplus = max(0, expected - max(0, order.owed - collected))
        for payment in sorted(order.payments, key=lambda p: (-p.refundable, p.id)):
            part = min(due, payment.refundable)
            payment.refunded += part
            payment.given_back += part
            due -= part
        for payment in reversed(order.payments):
            part = min(surplus, payment.open)
            payment.voided += part
            surplus -= part
