"""Which warehouse ships what: plans compared by ranked rules, with the reason kept.

A plan is one warehouse or several, asked in turn for what is still wanted. The rules rank criteria
(:mod:`oms_ops.orders.criteria`); the plan that is better by the first one on which two plans differ
is the better plan. Pure: the same input always gives the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb

from oms_ops.orders.criteria import Judge, Plan, Score
from oms_ops.orders.sites import Destination, Site
from oms_ops.rules.document import RoutingRules
from oms_ops.stock.ledger import Quantity

__all__ = ["Destination", "Routing", "Site", "available_words", "route"]

#: Up to so many combinations of warehouses are all compared; of more, the promising ones.
_COMBINATIONS = 60
#: Names that a stored reason lists at most.
_NAMED = 10

Wanted = Sequence[tuple[int, int]]
Available = Mapping[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Routing:
    """The decision: the home warehouse, units per warehouse and line, and why.

    ``allocations`` holds (warehouse_id, line index, units); ``backordered`` units per line wait at
    the home warehouse.
    """

    home: Site
    allocations: list[tuple[int, int, int]]
    backordered: list[int]
    reason: dict[str, object] = field(default_factory=dict)

    def claims(self, sku_ids: Sequence[int]) -> list[Quantity]:
        """Return what is to be allocated."""
        return [Quantity(w, sku_ids[index], units) for w, index, units in self.allocations]


def available_words(units: int, wanted: int, reserve: int) -> str:
    """Return how many of the units that are ``wanted`` are there for a channel with a reserve."""
    kept = f", beyond the {reserve} that the channel leaves to others" if reserve else ""
    return f"{units} of {wanted} available{kept}"


def route(
    wanted: Wanted,
    available: Available,
    sites: Sequence[Site],
    destination: Destination,
    rules: RoutingRules,
    *,
    allow_split: bool,
    override: str | None = None,
    exclude: Collection[str] = frozenset(),
) -> Routing:
    """Decide for ``wanted`` (SKU id, units) per line, given units available per (site, SKU).

    Every site that is not excluded is a plan; with ``allow_split`` so are combinations of up to
    ``rules.max_splits`` sites. What the best plan does not fill is backordered at its home, the
    site that ships the most. ``override`` names the one site to use.

    Raises:
        ValueError: no site is left to choose from.
    """
    if override is not None:
        sites = [site for site in sites if site.code == override]
    elif exclude:
        sites = [site for site in sites if site.code not in exclude]
    if not sites:
        raise ValueError("routing needs a warehouse")
    judge = Judge(rules, destination, sum([units for _, units in wanted]))
    singles = _singles(judge, wanted, available, sites)
    plans = singles
    if allow_split and len(singles) > 1 and not _splits_lose(judge, singles):
        plans = singles + list(_splits(judge, wanted, available, singles))
        plans.sort(key=lambda ranked: ranked[0])
    rule = "override" if override is not None else None
    return _decision(judge, wanted, plans, [plan.home for _, plan in singles], rule)


_Ranked = tuple[tuple[Score, ...], Plan]


def _singles(
    judge: Judge, wanted: Wanted, available: Available, sites: Iterable[Site]
) -> list[_Ranked]:
    """Return the plans of one site each, the best first."""
    found = []
    for site in sites:
        plan = _ask(wanted, available, (site,))
        found.append((judge.scores(plan), site.rank, site.id, plan))
    found.sort(key=lambda each: each[:3])
    return [(scores, plan) for scores, _, _, plan in found]


def _splits_lose(judge: Judge, singles: Sequence[_Ranked]) -> bool:
    """Tell whether no split can be better than the best single plan, which fills everything."""
    if singles[0][1].short:
        return False
    decisive = [name for name in judge.rank if name != "fill"][:1]
    return decisive in (["single_warehouse"], ["fewest_splits"])


def _splits(
    judge: Judge, wanted: Wanted, available: Available, singles: Sequence[_Ranked]
) -> Iterator[_Ranked]:
    """Yield the plans of several sites that each ship something."""
    useful = [plan.home for _, plan in singles if plan.allocations]
    most = min(judge.rules.max_splits, len(useful))
    sizes = range(2, most + 1)
    if sum(comb(len(useful), size) for size in sizes) <= _COMBINATIONS:
        chosen: Iterable[Sequence[Site]] = (
            sites for size in sizes for sites in combinations(_near_first(judge, useful), size)
        )
    else:
        chosen = _promising(judge, wanted, available, useful, most)
    seen = set()
    for sites in chosen:
        plan = _ask(wanted, available, sites)
        key = tuple(plan.allocations)
        if len(plan.sites) > 1 and key not in seen:
            seen.add(key)
            yield judge.scores(plan), plan


def _near_first(judge: Judge, sites: Iterable[Site]) -> list[Site]:
    """Return sites in the order in which a split asks them: as the rank sees a full shipment."""
    return sorted(
        sites,
        key=lambda s: (judge.scores(Plan([], [judge.wanted], (s,), 0)), s.rank, s.id),
    )


def _promising(
    judge: Judge, wanted: Wanted, available: Available, sites: Sequence[Site], most: int
) -> Iterator[Sequence[Site]]:
    """Yield, for each size, the sites that are first by each criterion, or fill the most."""
    full = {s.id: judge.scores(Plan([], [judge.wanted], (s,), 0)) for s in sites}
    near_first = _near_first(judge, sites)
    orders = [near_first, _most_units_first(wanted, available, near_first, most)]
    orders += [
        sorted(near_first, key=lambda s, by=index: full[s.id][by])  # type: ignore[misc]
        for index in range(len(judge.rank))
    ]
    for order in orders:
        for size in range(2, most + 1):
            yield order[:size]


def _most_units_first(
    wanted: Wanted, available: Available, sites: Sequence[Site], most: int
) -> list[Site]:
    chosen: list[Site] = []
    left = list(sites)
    while left and len(chosen) < most:
        best = min(left, key=lambda s: _ask(wanted, available, (*chosen, s)).short)
        chosen.append(best)
        left.remove(best)
    return chosen


def _ask(wanted: Wanted, available: Available, sites: Sequence[Site]) -> Plan:
    """Fill the lines from ``sites`` in order; two lines of one SKU share what there is."""
    left: dict[tuple[int, int], int] = {}
    allocations = []
    units = [0] * len(sites)
    short = 0
    for index, (sku_id, open_units) in enumerate(wanted):
        for number, site in enumerate(sites):
            pair = (site.id, sku_id)
            stock = left.get(pair)
            if stock is None:
                stock = available.get(pair, 0)
            part = stock if stock < open_units else open_units
            if part > 0:
                left[pair] = stock - part
                open_units -= part  # noqa: PLW2901 - what is still wanted
                units[number] += part
                allocations.append((site.id, index, part))
                if not open_units:
                    break
        short += open_units
    if len(sites) > 1 and 0 in units:
        sites = [site for site, shipped in zip(sites, units, strict=True) if shipped] or sites[:1]
        units = [shipped for shipped in units if shipped] or [0]
    return Plan(allocations, units, sites, short)


def _decision(
    judge: Judge,
    wanted: Wanted,
    plans: Sequence[_Ranked],
    considered: Sequence[Site],
    rule: str | None,
) -> Routing:
    scores, best = plans[0]
    backordered = [units for _, units in wanted]
    for _, index, units in best.allocations:
        backordered[index] -= units
    reason: dict[str, object] = {
        "rule": rule or "only_choice",
        "warehouse": best.home.code,
        "scores": judge.shown(scores),
        "considered": [site.code for site in considered[:_NAMED]],
    }
    if len(best.sites) > 1:
        reason["split"] = {
            site.code: units for site, units in zip(best.sites, best.units, strict=True)
        }
    if len(plans) > 1:
        others, second = plans[1]
        differ = (name for name, a, b in zip(judge.rank, scores, others, strict=True) if a != b)
        reason["rule"] = rule or next(differ, "tie")
        reason["runner_up"] = {
            "warehouses": [site.code for site in second.sites],
            "scores": judge.shown(others),
        }
    return Routing(best.home, best.allocations, backordered, reason)
