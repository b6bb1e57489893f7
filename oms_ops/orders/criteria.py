"""How good a plan of shipments is, by each criterion that routing can rank. Smaller is better.

What waits counts as if it came from where it waits, so that a plan that ships nothing is not the
nearest and the cheapest of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oms_ops.orders.places import centre, kilometres
from oms_ops.orders.sites import Destination, Site
from oms_ops.rules.document import RoutingRules, WarehouseRule, place_names

#: Kilometres where a warehouse cannot be placed: half around the Earth.
UNKNOWN_KM = 20_015

_NO_RULE = WarehouseRule()

Score = int


class Plan:
    """Units per (site id, line) and per site, and what waits at ``home``.

    ``sites`` are those that ship, in the order in which they were asked, or home alone.
    """

    __slots__ = ("allocations", "home", "short", "sites", "units")

    def __init__(
        self,
        allocations: list[tuple[int, int, int]],
        units: list[int],
        sites: Sequence[Site],
        short: int,
    ) -> None:
        """Keep the parts; home is the site with the most units, the first of equals."""
        self.allocations = allocations
        self.short = short
        self.sites = sites
        self.units = units
        self.home = sites[units.index(max(units))] if len(sites) > 1 else sites[0]


class Judge:
    """Compares the plans for one order under one set of rules."""

    def __init__(self, rules: RoutingRules, destination: Destination, wanted: int) -> None:
        """Prepare for ``wanted`` units in all that go to ``destination``."""
        self.rules = rules
        self.destination = destination
        self.wanted = wanted
        self.rank: list[str] = list(rules.rank)
        self._measures = [_MEASURES[criterion] for criterion in rules.rank]
        self._places = frozenset(place_names(destination.country, destination.region))
        self._zones: dict[int, int] = {}
        self._kilometres: dict[int, int] = {}
        point = (destination.latitude, destination.longitude)
        self._point: Any = point if None not in point else centre(*_place(destination))

    def scores(self, plan: Plan) -> tuple[Score, ...]:
        """Return the scores in the order of the rank; plans compare as these tuples do."""
        return tuple([measure(self, plan) for measure in self._measures])

    def shown(self, scores: Sequence[Score]) -> dict[str, Any]:
        """Return scores as people read them: means for a unit, costs as decimal text."""
        return {
            name: _SHOWN[name](score, self.wanted) if name in _SHOWN else score
            for name, score in zip(self.rank, scores, strict=True)
        }

    def zone(self, site: Site) -> int:
        """Return 0 where a site serves the destination's region, else how far out it is.

        A site with zones serves them alone: 0, else 3. Without zones it is 0 for its own region, 1
        for its own country, 2 for the rest of the world.
        """
        level = self._zones.get(site.id)
        if level is None:
            level = self._zones[site.id] = self._zone(site)
        return level

    def _zone(self, site: Site) -> int:
        served = self.rules.served.get(site.code)
        if served is not None:
            return 3 if served.isdisjoint(self._places) else 0
        if site.country != self.destination.country:
            return 2
        return 0 if site.region == self.destination.region else 1

    def kilometres(self, site: Site) -> int:
        """Return the way from a site; 0 for all where nobody knows the destination."""
        way = self._kilometres.get(site.id)
        if way is None:
            way = self._kilometres[site.id] = self._way(site)
        return way

    def _way(self, site: Site) -> int:
        if self._point is None:
            return 0
        at: Any = (site.latitude, site.longitude)
        if None in at:
            at = centre(*_place(site))
        return UNKNOWN_KM if at is None else kilometres(*self._point, *at)

    def rule(self, site: Site) -> WarehouseRule:
        """Return what the rules say of a site."""
        return self.rules.warehouses.get(site.code, _NO_RULE)


def distance(judge: Judge, plan: Plan) -> Score:
    """Return the kilometres of all the shipments together."""
    if len(plan.sites) == 1:
        return judge.kilometres(plan.home)
    return sum([judge.kilometres(site) for site in plan.sites])


def cost(judge: Judge, plan: Plan) -> Score:
    """Return what the shipments cost, in ten-thousandths of the base currency."""
    total = 0
    for site, units in zip(plan.sites, plan.units, strict=True):
        per_shipment, per_unit, per_km = judge.rule(site).costs_e4
        total += per_shipment + per_unit * units
        if per_km:
            total += per_km * judge.kilometres(site)
    return total + judge.rule(plan.home).costs_e4[1] * plan.short


def _fill(_: Judge, plan: Plan) -> Score:
    return plan.short


def _single_warehouse(_: Judge, plan: Plan) -> Score:
    return 0 if len(plan.sites) == 1 else 1


def _fewest_splits(_: Judge, plan: Plan) -> Score:
    return len(plan.sites)


def _zone(judge: Judge, plan: Plan) -> Score:
    total = judge.zone(plan.home) * plan.short
    for site, units in zip(plan.sites, plan.units, strict=True):
        total += judge.zone(site) * units
    return total


def _priority(_: Judge, plan: Plan) -> Score:
    total = plan.home.rank * plan.short
    for site, units in zip(plan.sites, plan.units, strict=True):
        total += site.rank * units
    return total


def _capacity(judge: Judge, plan: Plan) -> Score:
    full = 0
    for site in plan.sites:
        limit = judge.rule(site).daily_capacity
        full += limit is not None and site.open_today >= limit
    return full


_MEASURES: dict[str, Callable[[Judge, Plan], Score]] = {
    "fill": _fill,
    "single_warehouse": _single_warehouse,
    "zone": _zone,
    "distance": distance,
    "fewest_splits": _fewest_splits,
    "cost": cost,
    "capacity": _capacity,
    "priority": _priority,
}


def _mean(score: Score, wanted: int) -> float:
    return round(score / wanted, 2) if wanted else 0


_SHOWN: dict[str, Callable[[Score, int], Any]] = {
    "zone": _mean,
    "priority": _mean,
    "cost": lambda score, _: f"{score // 10_000}.{score % 10_000:04d}",
}


def _place(at: Site | Destination) -> tuple[str, str | None]:
    return at.country, at.region
