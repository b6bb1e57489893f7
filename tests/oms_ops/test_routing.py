"""Routing: what every plan keeps to, and what each criterion decides."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_ops.database import run
from oms_ops.orders.capture import capture
from oms_ops.orders.criteria import Judge, Plan
from oms_ops.orders.places import centre, kilometres
from oms_ops.orders.routing import Destination, Routing, Site, route
from oms_ops.rules import store
from oms_ops.rules.document import RoutingRules
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

ATL = Site(1, "ATL", "GA", "US", 100, 33.75, -84.39)
NYC = Site(2, "NYC", "NY", "US", 100, 40.71, -74.01)
LAX = Site(3, "LAX", "CA", "US", 100, 34.05, -118.24)
TOR = Site(4, "TOR", "ON", "CA", 100, 43.65, -79.38)
SITES = [ATL, NYC, LAX, TOR]
GEORGIA = Destination("US", "GA")
CRITERIA = ["fill", "single_warehouse", "zone", "distance", "fewest_splits", "cost", "capacity",
            "priority"]  # fmt: skip


def rules(*rank: str, **changes: Any) -> RoutingRules:
    return RoutingRules.model_validate({**({"rank": rank} if rank else {}), **changes})


def stock(**units: int) -> dict[tuple[int, int], int]:
    """Return units of SKU 1 per site code."""
    return {(site.id, 1): units[site.code] for site in SITES if site.code in units}


def shares(routing: Routing) -> dict[str, int]:
    codes = {site.id: site.code for site in SITES}
    total: dict[str, int] = {}
    for site_id, _, units in routing.allocations:
        total[codes[site_id]] = total.get(codes[site_id], 0) + units
    return total


def ask(units: int, available: dict[tuple[int, int], int], *rank: str, **how: Any) -> Routing:
    changes = how.pop("rules", {})
    to = how.pop("to", GEORGIA)
    how.setdefault("allow_split", True)
    return route(
        [(1, units)], available, how.pop("sites", SITES), to, rules(*rank, **changes), **how
    )


# -- what always holds ---------------------------------------------------------------------------

_SITES = st.lists(
    st.builds(
        Site,
        id=st.integers(1, 9),
        code=st.text("ABCDEF", min_size=3, max_size=12),
        region=st.sampled_from(["GA", "NY", "CA", "ON"]),
        country=st.sampled_from(["US", "CA"]),
        rank=st.integers(1, 3),
        latitude=st.none() | st.floats(-60, 60),
        longitude=st.none() | st.floats(-180, 180),
        open_today=st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
    unique_by=(lambda site: site.id, lambda site: site.code),
)
_WANTED = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=5)
_AVAILABLE = st.dictionaries(st.tuples(st.integers(1, 9), st.integers(1, 4)), st.integers(-2, 6))
_RULES = st.builds(
    lambda rank, splits, limits, cost: rules(
        *rank,
        max_splits=splits,
        zones={"south": ["US-GA"], "all": ["US"]},
        warehouses={
            code: {"daily_capacity": limit, "cost_per_km": cost, "zones": ["south"]}
            for code, limit in limits.items()
        },
    ),
    st.permutations(CRITERIA).flatmap(lambda all_of: st.integers(1, 8).map(lambda n: all_of[:n])),
    st.integers(1, 4),
    st.dictionaries(st.text("ABCDEF", min_size=3, max_size=4), st.integers(0, 3), max_size=3),
    st.sampled_from(["0", "0.01"]),
)
_PLACES = st.builds(
    Destination,
    country=st.sampled_from(["US", "CA", "ZZ"]),
    region=st.sampled_from([None, "GA", "ON", "XX"]),
    latitude=st.none() | st.floats(-60, 60),
    longitude=st.none() | st.floats(-180, 180),
)


@given(_WANTED, _AVAILABLE, _SITES, _PLACES, _RULES, st.booleans())
def test_a_plan_takes_what_there_is_and_accounts_for_every_unit(
    wanted: list[tuple[int, int]],
    available: dict[tuple[int, int], int],
    sites: list[Site],
    to: Destination,
    by: RoutingRules,
    allow_split: bool,
) -> None:
    plan = route(wanted, available, sites, to, by, allow_split=allow_split)
    taken: dict[tuple[int, int], int] = {}
    filled = [0] * len(wanted)
    for site_id, index, units in plan.allocations:
        assert units > 0
        pair = (site_id, wanted[index][0])
        taken[pair] = taken.get(pair, 0) + units
        filled[index] += units
    assert all(units <= available[pair] for pair, units in taken.items())
    assert [a + b for a, b in zip(filled, plan.backordered, strict=True)] == [u for _, u in wanted]
    assert min(plan.backordered) >= 0
    shipping = {site_id for site_id, *_ in plan.allocations}
    assert shipping <= {site.id for site in sites}
    assert len(shipping) <= (by.max_splits if allow_split else 1)
    assert not shipping or plan.home.id in shipping
    assert len(json.dumps(plan.reason)) < 1024


@given(_WANTED, _AVAILABLE, _SITES, _PLACES, _RULES, st.booleans(), st.randoms())
def test_the_order_of_the_sites_does_not_matter(
    wanted: list[tuple[int, int]],
    available: dict[tuple[int, int], int],
    sites: list[Site],
    to: Destination,
    by: RoutingRules,
    allow_split: bool,
    chance: random.Random,
) -> None:
    shuffled = list(sites)
    chance.shuffle(shuffled)
    first = route(wanted, available, sites, to, by, allow_split=allow_split)
    assert route(wanted, available, shuffled, to, by, allow_split=allow_split) == first


@given(_WANTED, _AVAILABLE, _SITES, _PLACES, st.integers(1, 4), st.booleans())
def test_one_more_site_never_fills_less(
    wanted: list[tuple[int, int]],
    available: dict[tuple[int, int], int],
    sites: list[Site],
    to: Destination,
    most: int,
    allow_split: bool,
) -> None:
    by = rules(max_splits=most)
    more = route(wanted, available, sites, to, by, allow_split=allow_split)
    for gone in sites[1:]:
        rest = [site for site in sites if site is not gone]
        less = route(wanted, available, rest, to, by, allow_split=allow_split)
        assert sum(more.backordered) <= sum(less.backordered)


@given(_WANTED, _AVAILABLE, _SITES, _PLACES, _RULES, st.booleans())
def test_no_single_site_is_better_than_the_plan_chosen(
    wanted: list[tuple[int, int]],
    available: dict[tuple[int, int], int],
    sites: list[Site],
    to: Destination,
    by: RoutingRules,
    allow_split: bool,
) -> None:
    judge = Judge(by, to, sum(units for _, units in wanted))
    scores = [_scores(judge, wanted, route(wanted, available, [s], to, by, allow_split=False), [s])
              for s in sites]  # fmt: skip
    chosen = route(wanted, available, sites, to, by, allow_split=allow_split)
    assert _scores(judge, wanted, chosen, sites) <= min(scores)


def _scores(
    judge: Judge, wanted: list[tuple[int, int]], plan: Routing, sites: list[Site]
) -> tuple[int, ...]:
    """Score a decision, by its allocations alone."""
    units: dict[int, int] = {}
    for site_id, _, taken in plan.allocations:
        units[site_id] = units.get(site_id, 0) + taken
    used = [site for site in sites if site.id in units] or [plan.home]
    again = Plan(plan.allocations, [units.get(s.id, 0) for s in used], used, sum(plan.backordered))
    again.home = plan.home
    return judge.scores(again)


def test_many_sites_are_planned_in_few_steps() -> None:
    sites = [ATL._replace(id=i, code=f"W{i:02}", rank=i) for i in range(1, 31)]
    available = {(site.id, 1): 1 for site in sites} | {(30, 1): 5, (29, 1): 4}
    plan = route([(1, 10)], available, sites, GEORGIA, rules(), allow_split=True)
    assert plan.backordered == [0]
    assert len({site_id for site_id, *_ in plan.allocations}) == 3


# -- what the criteria decide --------------------------------------------------------------------


def test_by_default_one_warehouse_that_fills_it_all_comes_first_the_nearest_of_those() -> None:
    everywhere = stock(ATL=5, NYC=5, LAX=5, TOR=5)
    for region, country, code in (
        ("GA", "US", "ATL"), ("NY", "US", "NYC"), ("TX", "US", "ATL"), ("QC", "CA", "TOR"),
        (None, "FR", "ATL"),
    ):  # fmt: skip
        assert shares(ask(5, everywhere, to=Destination(country, region))) == {code: 5}
    assert shares(ask(5, stock(ATL=4, LAX=5, TOR=5))) == {"LAX": 5}
    ranked = [LAX._replace(rank=1), ATL, NYC]
    assert shares(ask(5, everywhere, sites=ranked, to=Destination("US", "TX"))) == {"LAX": 5}


def test_by_default_a_split_takes_what_it_can_from_near() -> None:
    plan = ask(6, stock(ATL=1, NYC=1, LAX=4))
    assert shares(plan) == {"ATL": 1, "NYC": 1, "LAX": 4}
    assert plan.home == LAX
    assert plan.reason["rule"] == "fill"
    assert plan.reason["split"] == {"ATL": 1, "NYC": 1, "LAX": 4}


def test_an_order_is_split_only_if_it_may_be() -> None:
    plan = ask(6, stock(ATL=2, NYC=4), allow_split=False)
    assert shares(plan) == {"NYC": 4}
    assert plan.backordered == [2]
    assert plan.home == NYC


def test_fewest_splits_beats_near_when_it_is_ranked_before() -> None:
    available = stock(ATL=1, NYC=1, TOR=5)
    assert len(shares(ask(6, available, "fill", "fewest_splits", "zone"))) == 2
    assert len(shares(ask(6, available, "fill", "zone", "fewest_splits"))) == 3
    few = ask(6, available, "fill", "zone", rules={"max_splits": 2})
    assert len(shares(few)) == 2
    assert len(shares(ask(7, available, rules={"max_splits": 1}))) == 1


def test_distance_is_measured_to_the_address_or_to_the_middle_of_its_region() -> None:
    everywhere = stock(ATL=5, NYC=5, LAX=5, TOR=5)
    toronto = ask(5, everywhere, "fill", "distance", to=Destination("US", "NY", 43.0, -79.0))
    assert shares(toronto) == {"TOR": 5}
    assert toronto.reason["rule"] == "distance"
    nevada = ask(5, everywhere, "fill", "distance", to=Destination("US", "NV"))
    assert shares(nevada) == {"LAX": 5}
    # Where nobody knows the place, distance decides nothing.
    nowhere = ask(5, everywhere, "fill", "distance", "priority", to=Destination("ZZ", None))
    assert nowhere.reason["rule"] == "tie"
    assert shares(nowhere) == {"ATL": 5}


def test_a_warehouse_without_coordinates_is_where_its_region_is() -> None:
    bare = [site._replace(latitude=None, longitude=None) for site in SITES]
    everywhere = stock(ATL=5, NYC=5, LAX=5, TOR=5)
    assert shares(ask(5, everywhere, "distance", sites=bare, to=Destination("US", "NJ"))) == {
        "NYC": 5
    }


def test_zones_say_whom_a_warehouse_serves() -> None:
    zones = {
        "zones": {"east": ["US-GA", "US-NY", "CA"], "west": ["US-CA", "US-TX"]},
        "warehouses": {"NYC": {"zones": ["east"]}, "LAX": {"zones": ["west"]}},
    }
    everywhere = stock(NYC=5, LAX=5)
    sites = [NYC, LAX]
    for region, country, code in (("GA", "US", "NYC"), ("TX", "US", "LAX"), ("QC", "CA", "NYC")):
        plan = ask(5, everywhere, rules=zones, sites=sites, to=Destination(country, region))
        assert shares(plan) == {code: 5}
        assert plan.reason["rule"] == "zone"


def test_cost_counts_shipments_units_and_kilometres() -> None:
    def costs(**of_nyc: str) -> dict[str, Any]:
        return {"warehouses": {"NYC": of_nyc, "ATL": {"cost_per_shipment": "10"}}}

    both = stock(ATL=5, NYC=5)
    cheap = ask(5, both, "fill", "cost", rules=costs(cost_per_unit="1.9"), sites=[ATL, NYC])
    assert shares(cheap) == {"NYC": 5}
    assert cheap.reason["scores"]["cost"] == "9.5000"  # type: ignore[index]
    dear = ask(5, both, "fill", "cost", rules=costs(cost_per_unit="2.1"), sites=[ATL, NYC])
    assert shares(dear) == {"ATL": 5}
    far = ask(5, both, "fill", "cost", rules=costs(cost_per_km="0.1"), sites=[ATL, NYC])
    assert shares(far) == {"ATL": 5}


def test_a_full_warehouse_is_avoided_where_capacity_is_ranked() -> None:
    limits = {"warehouses": {"ATL": {"daily_capacity": 100}}}
    both = stock(ATL=5, NYC=5)
    for today, rank, code in (
        (99, ("fill", "capacity", "zone"), "ATL"),
        (100, ("fill", "capacity", "zone"), "NYC"),
        (100, ("fill", "zone", "capacity"), "ATL"),
    ):
        sites = [ATL._replace(open_today=today), NYC]
        assert shares(ask(5, both, *rank, rules=limits, sites=sites)) == {code: 5}
    # It is still used when nobody else has the units.
    sites = [ATL._replace(open_today=100), NYC]
    alone = ask(5, stock(ATL=5), "fill", "capacity", rules=limits, sites=sites)
    assert shares(alone) == {"ATL": 5}


def test_ranking_near_before_full_lets_the_rest_wait_there() -> None:
    plan = ask(5, stock(ATL=2, NYC=5), "zone", "fill")
    assert shares(plan) == {"ATL": 2}
    assert plan.backordered == [3]
    assert plan.reason["rule"] == "zone"


def test_an_override_is_followed_and_an_excluded_site_is_not_asked() -> None:
    everywhere = stock(ATL=5, NYC=5, LAX=2)
    named = ask(5, everywhere, override="LAX")
    assert (shares(named), named.backordered, named.reason["rule"]) == ({"LAX": 2}, [3], "override")
    assert shares(ask(5, everywhere, exclude={"ATL"})) == {"NYC": 5}
    with pytest.raises(ValueError, match="needs a warehouse"):
        ask(5, everywhere, exclude={"ATL", "NYC", "LAX", "TOR"})


def test_the_reason_shows_winner_and_runner_up() -> None:
    reason = ask(5, stock(ATL=5, NYC=5)).reason
    assert reason == {
        "rule": "zone",
        "warehouse": "ATL",
        "scores": {"fill": 0, "single_warehouse": 0, "zone": 0.0, "priority": 100.0},
        "considered": ["ATL", "NYC", "LAX", "TOR"],
        "runner_up": {
            "warehouses": ["NYC"],
            "scores": {"fill": 0, "single_warehouse": 0, "zone": 1.0, "priority": 100.0},
        },
    }


def test_two_lines_of_one_sku_share_what_a_site_has() -> None:
    plan = route([(1, 3), (1, 3)], stock(ATL=4, NYC=2), SITES, GEORGIA, rules(), allow_split=True)
    assert plan.allocations == [(1, 0, 3), (1, 1, 1), (2, 1, 2)]


def test_distances_are_those_of_an_atlas() -> None:
    assert kilometres(33.75, -84.39, 40.71, -74.01) == pytest.approx(1200, abs=10)
    assert kilometres(51.5, -0.1, -33.9, 151.2) == pytest.approx(16_990, abs=30)
    assert kilometres(10, 179, 10, -179) == pytest.approx(219, abs=2)
    assert kilometres(0, 0, 0, 180) == 20_015
    assert centre("US", "ga") == centre("US", "GA") != centre("US", None)
    assert centre("US", "Atlantis") == centre("US", None)
    assert centre("ZZ", "GA") is None


# -- as capture uses it --------------------------------------------------------------------------


def test_capture_follows_the_published_rules(shop: Shop) -> None:
    shop.stock("SKU-1", 9, "ATL")
    shop.stock("SKU-1", 9, "NYC")
    near_nyc = order(("SKU-1", 1))
    near_nyc["ship_to"] |= {"latitude": 40.7, "longitude": -74.0}
    assert capture(shop.engine, CLERK, near_nyc)["warehouse"] == "ATL"
    publish(shop, rank=["fill", "distance"])
    answer = capture(shop.engine, CLERK, near_nyc)
    assert answer["warehouse"] == "NYC"
    assert answer["routing"]["rule"] == "distance"


def test_a_day_that_is_full_sends_the_next_order_elsewhere(shop: Shop) -> None:
    shop.stock("SKU-1", 9, "ATL")
    shop.stock("SKU-1", 9, "NYC")
    publish(
        shop,
        rank=["fill", "capacity", "zone"],
        warehouses={"ATL": {"daily_capacity": 2}},
    )
    answers = [capture(shop.engine, CLERK, order(("SKU-1", 1))) for _ in range(4)]
    assert [answer["warehouse"] for answer in answers] == ["ATL", "ATL", "NYC", "NYC"]
    assert answers[2]["routing"]["rule"] == "capacity"


def publish(shop: Shop, **routing: Any) -> None:
    run(shop.engine, lambda c: store.publish(c, ADMIN, {"routing": routing}))
