"""Which warehouse ships what: ranked rules over the stock as it is, with the reason kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from oms_ops.stock.ledger import Quantity


@dataclass(frozen=True, slots=True)
class Site:
    """A warehouse that may ship."""

    id: int
    code: str
    region: str
    country: str
    rank: int


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


def route(
    wanted: Sequence[tuple[int, int]],
    available: Mapping[tuple[int, int], int],
    sites: Sequence[Site],
    *,
    region: str | None,
    country: str,
    allow_split: bool,
    override: str | None = None,
) -> Routing:
    """Decide for ``wanted`` (SKU id, units) per line, given units available per (site, SKU).

    Sites are tried nearest first: the ship-to region, then its country, then by rank. The first
    that fills every line ships all of it. Else, with ``allow_split``, each line is taken from the
    sites in that order; without it the site that fills the most units is home. What is not filled
    is backordered at home. ``override`` names the one site to use. ``sites`` must not be empty.
    """
    if override is not None:
        sites = [site for site in sites if site.code == override]
    near_first = sorted(
        sites, key=lambda s: (s.region != region or s.country != country, s.country != country,
                              s.rank, s.id)
    )  # fmt: skip
    for site in near_first:
        taken = _take(wanted, available, [site])
        if sum(units for *_, units in taken) == sum(units for _, units in wanted):
            rule = "override" if override else "single_warehouse_fills_all"
            return _decision(site, taken, wanted, rule, near_first)
    if allow_split:
        taken = _take(wanted, available, near_first)
        shares: dict[int, int] = {}
        for site_id, _, units in taken:
            shares[site_id] = shares.get(site_id, 0) + units
        home = max(near_first, key=lambda s: (shares.get(s.id, 0), -near_first.index(s)))
        return _decision(home, taken, wanted, "split", near_first)
    tries = [(site, _take(wanted, available, [site])) for site in near_first]
    home, taken = max(
        tries, key=lambda t: (sum(units for *_, units in t[1]), -near_first.index(t[0]))
    )
    return _decision(home, taken, wanted, "override" if override else "most_units", near_first)


def _take(
    wanted: Sequence[tuple[int, int]],
    available: Mapping[tuple[int, int], int],
    sites: Sequence[Site],
) -> list[tuple[int, int, int]]:
    """Fill the lines from ``sites`` in order; two lines of one SKU share what there is."""
    left = dict(available)
    taken = []
    for index, (sku_id, units) in enumerate(wanted):
        for site in sites:
            part = min(units, left.get((site.id, sku_id), 0))
            if part > 0:
                left[site.id, sku_id] -= part
                units -= part  # noqa: PLW2901 - what is still wanted
                taken.append((site.id, index, part))
    return taken


def _decision(
    home: Site,
    taken: list[tuple[int, int, int]],
    wanted: Sequence[tuple[int, int]],
    rule: str,
    considered: Sequence[Site],
) -> Routing:
    backordered = [units for _, units in wanted]
    for _, index, units in taken:
        backordered[index] -= units
    reason: dict[str, object] = {
        "rule": rule,
        "warehouse": home.code,
        "considered": [site.code for site in considered],
    }
    return Routing(home, taken, backordered, reason)
