"""A day and a silence unlike the shop's own are told; the shop's own ups and downs are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest

from oms_ops import clock
from pipelines.lib import rhythm, status
from tests.pipelines.world import World
from tests.proofs import only_at_length

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = date(2026, 11, 23)


def shop(orders: dict[date, int]) -> duckdb.DuckDBPyConnection:
    """Return a warehouse with so many orders a day, of two units and 30.00 each."""
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA marts")
    connection.execute(
        "CREATE TABLE marts.orders_daily (day DATE, warehouse VARCHAR, orders BIGINT,"
        " units BIGINT, net_sales DECIMAL(18, 2))"
    )
    connection.execute("CREATE TABLE marts.fct_orders (ordered_on DATE, placed_at TIMESTAMPTZ)")
    for day, count in orders.items():
        connection.execute("INSERT INTO marts.fct_orders VALUES (?, NULL)", [day])
        if count:
            row = [day, "A", count, 2 * count, 30 * count]
            connection.execute("INSERT INTO marts.orders_daily VALUES (?, ?, ?, ?, ?)", row)
    return connection


def mondays(last: int, before: Sequence[int]) -> dict[date, int]:
    """Return orders on a Monday and on those before it, and 5 on every other day."""
    days = {MONDAY - timedelta(days=n): 5 for n in range(7 * len(before) + 1)}
    days |= {MONDAY - timedelta(weeks=n): count for n, count in enumerate(before, 1)}
    return days | {MONDAY: last}


def odd(last: int, before: Sequence[int]) -> set[str]:
    """Return the measures that are unlike those of the weeks before."""
    readings, weeks = rhythm.day(shop(mondays(last, before)), MONDAY)
    assert weeks == min(len(before), rhythm.WEEKS)
    return {reading.measure for reading in readings if not reading.is_usual}


EVEN = [100, 104, 96, 101, 99, 103, 97, 100]


@pytest.mark.parametrize("last", [30, 60, 145, 200, 0])
def test_a_day_far_from_its_weekday_is_odd(last: int) -> None:
    assert odd(last, EVEN) == set(rhythm.MEASURES)


@pytest.mark.parametrize("last", [70, 90, 110, 130])
def test_a_day_near_its_weekday_is_usual(last: int) -> None:
    assert odd(last, EVEN) == set()


def test_one_odd_week_before_neither_hides_nor_makes_an_odd_day() -> None:
    closed = [100, 104, 0, 101, 99, 103, 97, 100]
    assert odd(100, closed) == set()
    assert odd(40, closed) == set(rhythm.MEASURES)


def test_a_shop_whose_weeks_differ_may_differ_more() -> None:
    assert odd(60, [100, 60, 140, 80, 120, 70, 130, 100]) == set()


def test_few_orders_a_day_come_by_chance() -> None:
    assert odd(1, [4, 3, 5, 4, 4, 3, 5, 4]) == set()


def test_a_weekday_without_orders_is_usual_where_there_never_are_any() -> None:
    assert odd(0, [0] * 8) == set()


def test_nothing_is_judged_before_enough_weeks_are_known() -> None:
    few = EVEN[: rhythm.ENOUGH - 1]
    assert rhythm.day(shop(mondays(0, few)), MONDAY) == ([], len(few))
    assert rhythm.day(shop({}), MONDAY) == ([], 0)
    assert odd(0, EVEN[: rhythm.ENOUGH]) == set(rhythm.MEASURES)


def test_a_reading_says_what_was_expected_and_seen() -> None:
    readings, _ = rhythm.day(shop(mondays(30, EVEN)), MONDAY)
    assert str(readings[0]) == "orders 30, usually 100 (65 to 135)"


def opening_hours(gap: Callable[[], float], weeks: int = 9, *, closed: int = -1) -> list[float]:
    """Return moments of orders from 9 to 18 on every day but Sunday until Monday, 12:00."""
    moments = []
    end = datetime(2026, 11, 23, 12, tzinfo=NEW_YORK)
    for days in range(7 * weeks, -1, -1):
        begin = end.replace(hour=9) - timedelta(days=days)
        if begin.weekday() == 6 or days // 7 == closed:
            continue
        at = begin
        while at <= min(begin.replace(hour=18), end):
            moments.append(at.timestamp())
            at += timedelta(minutes=gap())
    return moments


def at(moments: Sequence[float], **later: float) -> rhythm.Silence:
    """Return the silence some time after the last order."""
    moment = datetime.fromtimestamp(moments[-1], UTC) + timedelta(**later)
    found = rhythm.silence(moments, moment, NEW_YORK)
    assert found is not None
    return found


def test_silence_in_the_rush_is_odd_and_at_night_it_is_not() -> None:
    moments = opening_hours(lambda: 10.0)
    assert at(moments, minutes=12).is_usual
    assert not at(moments, minutes=45).is_usual
    assert "45 min ago, at this hour usually at most 10 min" in str(at(moments, minutes=45))
    # From 18 to 9 it is usual; here Monday's last order was at noon, so by night it is not.
    until_evening = [m for m in moments if m < moments[-1] - 24 * 3600]
    assert at(until_evening, hours=10).is_usual
    assert at(until_evening, hours=36).is_usual
    assert not at(until_evening, hours=60).is_usual


def test_orders_by_chance_seldom_warn() -> None:
    source = random.Random(7)
    moments = opening_hours(lambda: source.expovariate(1 / 10))
    checked = wrong = 0
    for days in (7, 6, 5, 4, 3):
        for minutes in range(0, 8 * 60, 15):
            now = datetime(2026, 11, 23, 9, 30, tzinfo=NEW_YORK) - timedelta(days=days)
            now += timedelta(minutes=minutes)
            known = [moment for moment in moments if moment <= now.timestamp()]
            found = rhythm.silence(known, now, NEW_YORK)
            checked += found is not None
            wrong += found is not None and not found.is_usual
    assert checked > 100
    assert wrong / checked < 0.02


def test_one_week_of_silence_does_not_make_silence_usual() -> None:
    moments = opening_hours(lambda: 10.0, closed=3)
    assert not at(moments, minutes=45).is_usual


def test_silence_is_not_judged_before_enough_weeks_are_known() -> None:
    moments = opening_hours(lambda: 10.0, weeks=rhythm.ENOUGH - 1)
    end = datetime.fromtimestamp(moments[-1], UTC) + timedelta(hours=3)
    assert rhythm.silence(moments, end, NEW_YORK) is None
    assert rhythm.silence([], end, NEW_YORK) is None


def test_the_moments_are_those_of_the_weeks_that_are_looked_at_in_order() -> None:
    until = datetime(2026, 11, 23, 12, tzinfo=UTC)
    wanted = [until - timedelta(weeks=rhythm.WEEKS), until - timedelta(hours=1), until]
    warehouse = shop({})
    for moment in (wanted[1], wanted[0], until - timedelta(weeks=rhythm.WEEKS + 2), wanted[2]):
        warehouse.execute("INSERT INTO marts.fct_orders VALUES (NULL, ?)", [moment])
    assert rhythm.orders(warehouse, until) == [moment.timestamp() for moment in wanted]
    assert rhythm.orders(shop({}), until) == []


def test_it_is_known_when_silence_will_be_odd() -> None:
    moments = opening_hours(lambda: 10.0)
    end = datetime.fromtimestamp(moments[-1], UTC)
    assert rhythm.odd_from(moments, end, NEW_YORK) == end + timedelta(hours=1)


@only_at_length
def test_a_shop_that_falls_silent_is_told_though_nothing_changes(shop_on_sqlite: World) -> None:
    """The feed alone would let every run end with nothing to do."""
    world = shop_on_sqlite
    now = clock.now()
    for day in range(7 * (rhythm.WEEKS + 1), 10, -1):
        with clock.at(now - timedelta(days=day)):
            world.sell(1)
    world.sell(1)
    world.publish()
    assert "marts/fct_orders: freshness" not in world.status["warnings"]
    again = datetime.fromisoformat(world.status["look_again_at"])
    # An order a day, so half a day more than a day is odd.
    assert now + timedelta(hours=35) < again < now + timedelta(hours=38)
    assert "unchanged" in world.publish()
    assert datetime.fromisoformat(world.status["look_again_at"]) == again
    with world.settings(), clock.at(again - timedelta(minutes=1)):
        folder = world.home / "published"
        last = status.load(folder)
        assert last is not None
        assert last.basis is not None
        assert status.is_current(folder, last.basis)
    with clock.at(again):
        assert not status.is_current(folder, last.basis)
        world.publish()
    assert "marts/fct_orders: freshness" in world.status["warnings"]
    assert world.status["look_again_at"] is None
    assert world.query(
        "SELECT severity, detail LIKE 'newest order % ago, at this hour usually%'"
        " FROM meta.check_results WHERE check_name = 'freshness' AND NOT passed"
    ) == [("WARN", True)]
