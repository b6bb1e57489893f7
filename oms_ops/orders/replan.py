"""Plan again for units that leave their shipments: which order, which lines, where to. Pure.

Units of an order that may not be split go only to where the rest of it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from oms_ops.orders.routing import Destination, Routing, Site, route
from oms_ops.rules.document import RoutingRules


@dataclass(frozen=True, slots=True)
class Leaving:
    """``units`` of the ``quantity`` in a shipment line that leave it and its warehouse."""

    shipment_id: int
    shipment_line_id: int
    order_line_id: int
    order_id: int
    sku_id: int
    quantity: int
    warehouse_id: int
    units: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order: where its units are now."""

    id: int
    line_no: int
    sku_id: int
    sku: str
    backordered: int


@dataclass(frozen=True, slots=True)
class Affected:
    """An order with units that leave; ``elsewhere`` are the warehouses with the rest of it."""

    id: int
    number: str
    email: str
    channel: str
    allow_split: bool
    home_id: int
    destination: Destination
    placed_at: datetime
    lines: Sequence[Line]
    leaving: Sequence[Leaving]
    elsewhere: frozenset[int]

    @property
    def left(self) -> frozenset[int]:
        """The warehouses that units leave."""
        return frozenset(each.warehouse_id for each in self.leaving)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where an order's units go: shares per (warehouse id, order line), the rest waits at home.

    ``backordered`` holds, for each order line that was planned again, the units that wait after it.
    """

    order: Affected
    home_id: int
    reason: dict[str, object]
    shares: list[tuple[int, Line, int]] = field(default_factory=list)
    backordered: dict[int, int] = field(default_factory=dict)

    def lines(self) -> list[Line]:
        """Return the lines that were planned again."""
        return [line for line in self.order.lines if line.id in self.backordered]

    @property
    def moved(self) -> bool:
        """Whether the order got a new home."""
        return self.home_id != self.order.home_id

    def more_waiting(self, line: Line) -> int:
        """Return how many more units of a line wait than before; fewer is negative."""
        return self.backordered[line.id] - line.backordered

    def joining(self, line: Line) -> int:
        """Return how many units of a line begin to wait at the order's home."""
        return self.backordered[line.id] if self.moved else max(0, self.more_waiting(line))


def plan(
    order: Affected,
    available: Mapping[tuple[int, int], int],
    sites: Sequence[Site],
    rules: RoutingRules,
    *,
    exclude: Collection[str] = (),
    to: str | None = None,
    move_home: bool = False,
) -> Plan | None:
    """Plan an order's leaving units without the warehouses that they leave and ``exclude``.

    With ``move_home`` the order's home moves away from these, and all that waits there with it.
    ``to`` is the only warehouse to ask. Returns None when no warehouse is left to ask and the units
    may not wait where they are, or not elsewhere than ``to``.
    """
    barred = {site.code for site in sites if site.id in order.left} | set(exclude)
    keeps_home = any(site.id == order.home_id and site.code not in barred for site in sites)
    homeless = move_home and not keeps_home
    units = {line.id: line.backordered if homeless else 0 for line in order.lines}
    for each in order.leaving:
        units[each.order_line_id] += each.units
    lines = [line for line in order.lines if units[line.id]]
    candidates = [
        site
        for site in sites
        if site.code not in barred
        and (to is None or site.code == to)
        # Units of an order that may not be split join the rest of it, or find no place.
        and (order.allow_split or not order.elsewhere or order.elsewhere == {site.id})
    ]
    if candidates:
        wanted = [(line.sku_id, units[line.id]) for line in lines]
        routing = route(
            wanted, available, candidates, order.destination, rules, allow_split=order.allow_split
        )
        return _planned(order, routing, lines, homeless)
    if homeless or to is not None:
        return None
    waits = {line.id: line.backordered + units[line.id] for line in lines}
    return Plan(order, order.home_id, {"rule": "no_other_warehouse"}, [], waits)


def _planned(order: Affected, routing: Routing, lines: Sequence[Line], homeless: bool) -> Plan:
    return Plan(
        order=order,
        home_id=routing.home.id if homeless else order.home_id,
        reason=routing.reason,
        shares=[(site_id, lines[index], units) for site_id, index, units in routing.allocations],
        backordered={
            line.id: units + (0 if homeless else line.backordered)
            for line, units in zip(lines, routing.backordered, strict=True)
        },
    )
