"""The forecasts of customers are the published ones, and say nothing where nothing is known."""

from __future__ import annotations

import csv
from datetime import date
from importlib import metadata
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.special import gammaln

from pipelines.lib import clv, customer_value
from pipelines.lib.clv import Array, BgNbd, GammaGamma

#: Fader, Hardie and Lee's estimates on CDNOW, in weeks, and Fader and Hardie's of the spending.
CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426, -9582.43)
CDNOW_SPENDING = GammaGamma(6.25, 3.74, 15.44)
DATA = Path(__file__).parents[3] / "shared" / "data"
FILE = "cdnow_customers_summary_with_transactions.csv"


def one(value: float) -> Array:
    return np.array([value])


def test_the_orders_of_one_customer_to_expect_are_the_published_ones() -> None:
    orders = CDNOW.expected(one(2), one(30.43), one(38.86), 39)
    assert orders[0] == pytest.approx(1.226, abs=0.0005)


def test_whoever_came_once_is_alive_by_construction_and_whoever_stays_away_less_and_less() -> None:
    waiting = np.array([31.0, 40.0, 60.0, 200.0])
    assert CDNOW.alive(one(0), one(0), one(500))[0] == 1
    alive = CDNOW.alive(np.full(4, 5.0), np.full(4, 30.0), waiting)
    assert (np.diff(alive) < 0).all()
    assert 0 < alive[-1] < 0.1


def test_nobody_is_expected_to_spend_what_only_she_did() -> None:
    """The mean of few orders is drawn towards that of all customers, the more the fewer."""
    everyone = CDNOW_SPENDING.p * CDNOW_SPENDING.v / (CDNOW_SPENDING.q - 1)
    worth = CDNOW_SPENDING.expected(np.array([0.0, 1.0, 10.0]), np.array([0.0, 100.0, 100.0]))
    assert worth[0] == pytest.approx(everyone)
    assert everyone < worth[1] < worth[2] < 100


def cdnow() -> Path:
    """Return the file of CDNOW's customers, where this machine has it."""
    shared = DATA / FILE
    if shared.exists():
        return shared
    try:
        files = metadata.files("lifetimes") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == FILE:
            return Path(str(file.locate()))
    pytest.skip("CDNOW's customers are neither in ../shared/data nor in a lifetimes wheel")


def test_fits_on_cdnow_are_the_published_ones() -> None:
    with cdnow().open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    frequency, recency, age, value = (
        np.array([float(row[name]) for row in rows]) for name in ("x", "t_x", "T", "zbar")
    )
    assert len(rows) == 2357
    coming = clv.fit_bg_nbd(frequency, recency, age)
    assert coming is not None
    assert coming.r == pytest.approx(0.243, abs=0.0005)
    assert coming.alpha == pytest.approx(4.414, abs=0.001)
    assert coming.a == pytest.approx(0.793, abs=0.001)
    assert coming.b == pytest.approx(2.426, abs=0.001)
    assert coming.log_likelihood == pytest.approx(-9582.43, abs=0.005)
    spending = clv.fit_gamma_gamma(frequency, value)
    assert spending is not None
    assert spending.p == pytest.approx(6.25, abs=0.005)
    assert spending.q == pytest.approx(3.74, abs=0.005)
    assert spending.v == pytest.approx(15.44, abs=0.01)


def simulated(count: int) -> tuple[Array, Array, Array]:
    """Return customers who buy and leave as CDNOW's parameters say, over 20 to 40 weeks."""
    rng = np.random.default_rng(2026)
    age = rng.uniform(20, 40, count)
    rate = rng.gamma(CDNOW.r, 1 / CDNOW.alpha, count)
    leaving = rng.beta(CDNOW.a, CDNOW.b, count)
    frequency, recency, now = np.zeros(count), np.zeros(count), np.zeros(count)
    stays = np.ones(count, dtype=bool)
    while stays.any():
        now = now + rng.exponential(1 / rate)
        bought = stays & (now < age)
        frequency, recency = frequency + bought, np.where(bought, now, recency)
        stays = bought & (rng.uniform(size=count) > leaving)
    return frequency, recency, age


def test_a_fit_finds_the_parameters_that_customers_were_made_with_in_any_unit_of_time() -> None:
    frequency, recency, age = simulated(20_000)
    weeks = clv.fit_bg_nbd(frequency, recency, age)
    days = clv.fit_bg_nbd(frequency, recency * 7, age * 7)
    assert weeks is not None and days is not None
    assert weeks.r == pytest.approx(CDNOW.r, rel=0.05)
    assert weeks.alpha == pytest.approx(CDNOW.alpha, rel=0.1)
    assert weeks.a / (weeks.a + weeks.b) == pytest.approx(CDNOW.a / (CDNOW.a + CDNOW.b), rel=0.1)
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=0.001)
    assert weeks.expected(one(3), one(20), one(30), 10) == pytest.approx(
        days.expected(one(3), one(140), one(210), 70), rel=0.001
    )


def test_a_fit_of_the_worth_ends_where_the_likelihood_grows_no_more() -> None:
    rng = np.random.default_rng(11)
    frequency = rng.integers(1, 9, 20_000).astype(float)
    rate = rng.gamma(CDNOW_SPENDING.q, 1 / CDNOW_SPENDING.v, frequency.size)
    value = rng.gamma(CDNOW_SPENDING.p * frequency, 1 / rate) / frequency
    found = clv.fit_gamma_gamma(frequency, value)
    assert found is not None
    assert found.p == pytest.approx(CDNOW_SPENDING.p, rel=0.05)
    assert found.q == pytest.approx(CDNOW_SPENDING.q, rel=0.05)
    assert found.v == pytest.approx(CDNOW_SPENDING.v, rel=0.05)
    at = np.array([found.p, found.q, found.v])

    def likelihood(parameters: Array) -> float:
        p, q, v = parameters
        whole = p * frequency
        return float(
            (
                gammaln(whole + q) - gammaln(whole) - gammaln(q) + q * np.log(v)
                + (whole - 1) * np.log(value) + whole * np.log(frequency)
                - (whole + q) * np.log(frequency * value + v)
            ).sum()
        )  # fmt: skip

    for step in np.diag(0.001 * at):
        assert likelihood(at) > max(likelihood(at + step), likelihood(at - step))


def test_customers_who_bought_alike_are_forecast_each_as_if_alone() -> None:
    frequency = np.array([2.0, 0.0, 2.0, 5.0, 2.0])
    recency = np.array([30.0, 0.0, 10.0, 20.0, 30.0])
    age = np.array([40.0, 40.0, 40.0, 40.0, 41.0])
    together = CDNOW.expected(frequency, recency, age, 39)
    alone = [CDNOW.expected(one(f), one(r), one(t), 39)[0]
             for f, r, t in zip(frequency, recency, age, strict=True)]  # fmt: skip
    assert together == pytest.approx(alone)
    assert len(set(together)) == 5


def test_a_fit_to_a_part_of_many_customers_is_that_of_all_and_whoever_asks_gets_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frequency, recency, age = simulated(40_000)
    worth = np.random.default_rng(7).gamma(6, 5, 40_000)
    bought = pl.DataFrame(
        {
            "customer_id": np.arange(1, 40_001), "frequency": frequency, "recency": recency,
            "age": age, "value": np.where(frequency > 0, worth, np.nan),
        }
    ).with_columns(pl.col("value").fill_nan(None))  # fmt: skip
    whole, _ = customer_value.fit(bought)
    seen: list[int] = []
    fit = clv.fit_bg_nbd

    def noted(*arrays: Array) -> BgNbd | None:
        seen.append(int(arrays[-1].sum()))
        return fit(*arrays)

    monkeypatch.setattr(customer_value, "ENOUGH", 10_000)
    monkeypatch.setattr(clv, "fit_bg_nbd", noted)
    part, _ = customer_value.fit(bought)
    again, _ = customer_value.fit(bought.reverse())
    assert whole is not None and part is not None
    assert part == again
    assert seen[0] == pytest.approx(10_000, rel=0.02)
    ahead = [each.expected(one(3), one(20), one(30), 10)[0] for each in (whole, part)]
    assert ahead[1] == pytest.approx(ahead[0], rel=0.05)


def test_few_customers_give_no_forecast_and_the_table_says_so_by_empty_cells() -> None:
    warehouse = orders((1, "2026-03-01", 10), (1, "2026-03-05", 20), (2, "2026-03-04", 5))
    bought = customer_value.history(warehouse, date(2026, 3, 11))
    assert bought.rows() == [(1, 1, 4.0, 10.0, 20.0), (2, 0, 0.0, 7.0, None)]
    assert customer_value.fit(bought) == (None, None)
    customer_value.store(warehouse, customer_value.forecast(bought, None, None))
    assert warehouse.sql(
        "SELECT customer_id, frequency, recency_days, age_days, days_since_last_order, p_alive,"
        " churn_risk, expected_orders, expected_order_value, customer_value"
        " FROM marts.customer_value ORDER BY customer_id"
    ).fetchall() == [
        (1, 1, 4, 10, 6, None, None, None, None, None),
        (2, 0, 0, 7, 7, None, None, None, None, None),
    ]


def test_orders_of_a_day_are_one_purchase_and_cancelled_ones_none() -> None:
    warehouse = orders(
        (1, "2026-03-01", 10), (1, "2026-03-01", 30), (1, "2026-03-03", 4), (1, "2026-03-03", 2),
        (1, "2026-03-12", 99),
    )  # fmt: skip
    warehouse.execute("INSERT INTO marts.fct_orders VALUES (1, '2026-03-05', 'cancelled', 0)")
    bought = customer_value.history(warehouse, date(2026, 3, 11))
    assert bought.rows() == [(1, 1, 2.0, 10.0, 6.0)]


def test_a_year_of_orders_at_their_worth_is_the_value_and_the_risk_follows_p_alive() -> None:
    bought = pl.DataFrame(
        {
            "customer_id": [1, 2, 3], "frequency": [6, 6, 0], "recency": [250.0, 40.0, 0.0],
            "age": [260.0, 260.0, 260.0], "value": [30.0, 30.0, None],
        }
    )  # fmt: skip
    coming = BgNbd(CDNOW.r, 7 * CDNOW.alpha, CDNOW.a, CDNOW.b, 0)
    warehouse = orders()
    customer_value.store(warehouse, customer_value.forecast(bought, coming, CDNOW_SPENDING))
    found = warehouse.sql(
        "SELECT churn_risk, p_alive, expected_orders, expected_order_value, customer_value"
        " FROM marts.customer_value ORDER BY customer_id"
    ).fetchall()
    assert [row[0] for row in found] == ["low", "lost", "unproven"]
    frequency, recency, age = (np.array([x]) for x in (6.0, 250.0, 260.0))
    year = coming.expected(frequency, recency, age, 365)[0]
    worth = CDNOW_SPENDING.expected(frequency, one(30))[0]
    assert float(found[0][4]) == pytest.approx(year * worth, abs=0.01)
    assert found[0][2] < year
    assert found[2][1] == 1


def orders(*rows: tuple[int, str, float]) -> duckdb.DuckDBPyConnection:
    """Return a warehouse with these orders: customer, day, net sales."""
    warehouse = duckdb.connect()
    warehouse.execute(
        "CREATE SCHEMA marts; CREATE TABLE marts.fct_orders"
        " (customer_id BIGINT, ordered_on DATE, status VARCHAR, net_sales DECIMAL(18, 2))"
    )
    for customer, day, net in rows:
        warehouse.execute(
            "INSERT INTO marts.fct_orders VALUES (?, ?, 'closed', ?)", [customer, day, net]
        )
    return warehouse
