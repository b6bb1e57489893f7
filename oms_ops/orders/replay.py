"""Replays captured orders under given rules against stock that moves as it did. Pure, in memory.

What happened besides routing happens again at its moment: receipts and other moves, what earlier
orders took, cancellations of orders and of units, units added. What the replayed orders ship is
what their own routing gives them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from oms_ops.orders.criteria import Judge
from oms_ops.orders.routing import Routing, route
from oms_ops.orders.sites import Destination, Site
from oms_ops.rules.document import Rules

Pair = tuple[int, int]

#: What comes first of what happened in the same second: earlier orders, goods, then the new orders.
TAKEN, MOVED, PLACED, REDUCED, CANCELLED, ADDED = range(6)


@dataclass(frozen=True, slots=True)
class PastOrder:
    """A captured order; ``wanted`` is (SKU id, units) per line, ``day`` the shop's day it came on.

    ``override`` is the warehouse that a person named; one that is no more is nobody's wish. What an
    order ``from_basket`` wants was held for it, so its channel had nothing of it to leave.
    """

    id: int
    number: str
    channel: str
    destination: Destination
    allow_split: bool
    allow_backorder: bool
    override: str | None
    day: date
    wanted: Sequence[tuple[int, int]]
    from_basket: bool = False


#: (moment, what, details): an order, the id of a cancelled one, (order id, SKU id, units) that were
#: added or cancelled, or (warehouse id, SKU id, units).
Event = tuple[datetime, int, Any]


@dataclass(frozen=True, slots=True)
class Past:
    """What happened: units available at the start per (warehouse id, SKU id), and then the rest.

    ``events`` are sorted by moment (to the second) and kind.
    """

    sites: Sequence[Site]
    available: dict[Pair, int]
    events: Sequence[Event]


@dataclass(slots=True)
class Fate:
    """What became of an order: units shipped per warehouse id, and units that had to wait.

    ``parts`` are (warehouse id, SKU id, units) of what it holds. ``refused`` orders were short and
    allowed no backorder.
    """

    order: PastOrder
    routing: Routing
    shipped: dict[int, int] = field(default_factory=dict)
    parts: list[tuple[int, int, int]] = field(default_factory=list)
    backordered: int = 0
    refused: bool = False
    cancelled: bool = False

    @property
    def routed(self) -> dict[int, int]:
        """Units per warehouse id as they were routed when the order came."""
        units: dict[int, int] = {}
        for warehouse_id, _, part in self.routing.allocations:
            units[warehouse_id] = units.get(warehouse_id, 0) + part
        return units


@dataclass(slots=True)
class _Waiting:
    fate: Fate
    units: int


class Replay:
    """One run through the past under one set of rules; ``fates`` are in the order of capture."""

    def __init__(self, past: Past, rules: Rules) -> None:
        """Begin with the stock as it stood."""
        self.fates: dict[int, Fate] = {}
        self._rules = rules
        self._sites = list(past.sites)
        self._free = dict(past.available)
        self._waiting: dict[Pair, deque[_Waiting]] = defaultdict(deque)
        self._made: dict[tuple[int, date], int] = defaultdict(int)
        self._reserves = {code: rule.reserve_units for code, rule in rules.channels.items()}
        self._past = past

    def run(self) -> Replay:
        """Let everything happen again."""
        for _, kind, what in self._past.events:
            if kind == PLACED:
                self._place(what)
            elif kind == CANCELLED:
                self._cancel(what)
            elif kind == REDUCED:
                self._reduce(*what)
            elif kind == ADDED:
                self._add(*what)
            else:
                warehouse_id, sku_id, units = what
                self._change((warehouse_id, sku_id), units)
        return self

    def _place(self, order: PastOrder) -> None:
        reserve = 0 if order.from_basket else self._reserves.get(order.channel, 0)
        routing = self._route(order, order.wanted, reserve, order.override)
        fate = self.fates[order.id] = Fate(order, routing)
        fate.refused = not self._take(fate, order.wanted, routing)

    def _add(self, order_id: int, sku_id: int, units: int) -> None:
        """Let an order have more, as an amendment has it: unsplit, it comes from its home."""
        fate = self.fates.get(order_id)
        if fate is None or fate.refused or fate.cancelled:
            return
        order, wanted = fate.order, [(sku_id, units)]
        home = None if order.allow_split else fate.routing.home.code
        reserve = self._reserves.get(order.channel, 0)
        routing = self._route(order, wanted, reserve, home)
        if order.allow_backorder or not any(routing.backordered):
            self._take(fate, wanted, routing)

    def _route(
        self,
        order: PastOrder,
        wanted: Sequence[tuple[int, int]],
        reserve: int,
        override: str | None,
    ) -> Routing:
        skus = {sku_id for sku_id, _ in wanted}
        is_open = any(site.code == override for site in self._sites)
        available = {
            (site.id, sku_id): self._free.get((site.id, sku_id), 0) - reserve
            for site in self._sites
            for sku_id in skus
        }
        return route(
            wanted,
            available,
            self._open_on(order.day),
            order.destination,
            self._rules.routing,
            allow_split=order.allow_split,
            override=override if is_open else None,
        )

    def _take(self, fate: Fate, wanted: Sequence[tuple[int, int]], routing: Routing) -> bool:
        """Give an order what it is routed, and let it wait for the rest, unless it may not."""
        short = sum(routing.backordered)
        fate.backordered += short
        if short and not fate.order.allow_backorder:
            return False
        for warehouse_id, index, units in routing.allocations:
            self._give(fate, (warehouse_id, wanted[index][0]), units)
        for (sku_id, _), units in zip(wanted, routing.backordered, strict=True):
            if units:
                self._waiting[fate.routing.home.id, sku_id].append(_Waiting(fate, units))
        return True

    def _open_on(self, day: date) -> Sequence[Site]:
        if not self._rules.routing.limits_days:
            return self._sites
        return [site._replace(open_today=self._made[site.id, day]) for site in self._sites]

    def _give(self, fate: Fate, pair: Pair, units: int) -> None:
        warehouse_id, sku_id = pair
        if warehouse_id not in fate.shipped:
            self._made[warehouse_id, fate.order.day] += 1
        fate.shipped[warehouse_id] = fate.shipped.get(warehouse_id, 0) + units
        fate.parts.append((warehouse_id, sku_id, units))
        self._free[pair] = self._free.get(pair, 0) - units

    def _change(self, pair: Pair, units: int) -> None:
        """Let units come (or go); who waits longest gets them."""
        self._free[pair] = self._free.get(pair, 0) + units
        queue = self._waiting.get(pair)
        while queue and self._free[pair] > 0:
            first = queue[0]
            taken = 0 if first.fate.cancelled else min(first.units, self._free[pair])
            if taken:
                self._give(first.fate, pair, taken)
                first.units -= taken
            if first.fate.cancelled or not first.units:
                queue.popleft()

    def _reduce(self, order_id: int, sku_id: int, units: int) -> None:
        """Take units off an order: those that wait first, then what it was given last."""
        fate = self.fates.get(order_id)
        if fate is None or fate.refused or fate.cancelled:
            return
        for waiting in self._waiting.get((fate.routing.home.id, sku_id), ()):
            if waiting.fate is fate:
                gone = min(units, waiting.units)
                waiting.units -= gone
                units -= gone
        for place in reversed(range(len(fate.parts))):
            warehouse_id, held, given = fate.parts[place]
            if held == sku_id and (gone := min(units, given)):
                fate.parts[place] = (warehouse_id, held, given - gone)
                units -= gone
                self._change((warehouse_id, held), gone)

    def _cancel(self, order_id: int) -> None:
        fate = self.fates.get(order_id)
        if fate is None or fate.refused:
            return
        fate.cancelled = True
        for warehouse_id, sku_id, units in fate.parts:
            self._change((warehouse_id, sku_id), units)
        fate.parts.clear()


@dataclass(slots=True)
class Sums:
    """What a replay came to; ``cost_e4`` is in ten-thousandths of the base currency."""

    orders: int = 0
    refused: int = 0
    split_orders: int = 0
    shipments: int = 0
    units_shipped: int = 0
    orders_backordered: int = 0
    units_backordered: int = 0
    kilometres: int = 0
    cost_e4: int = 0


def sums(replay: Replay, past: Past, costs: Rules) -> Sums:
    """Add up a replay; distances are to each order's destination, costs by the rules ``costs``."""
    total = Sums(orders=len(replay.fates))
    sites = {site.id: site for site in past.sites}
    for fate in replay.fates.values():
        total.refused += fate.refused
        if fate.refused:
            continue
        total.split_orders += len(fate.shipped) > 1
        total.orders_backordered += fate.backordered > 0
        total.units_backordered += fate.backordered
        judge = Judge(costs.routing, fate.order.destination, 0)
        for warehouse_id, units in fate.shipped.items():
            site = sites[warehouse_id]
            way = judge.kilometres(site)
            per_shipment, per_unit, per_km = judge.rule(site).costs_e4
            total.shipments += 1
            total.units_shipped += units
            total.kilometres += way
            total.cost_e4 += per_shipment + per_unit * units + per_km * way
    return total
