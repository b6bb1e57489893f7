"""Reads how customers bought from the marts, and writes the mart ``customer_value``.

A purchase is a day on which a customer ordered something that was not cancelled; times are days.
The models are :mod:`pipelines.lib.clv`. Where too few came back to fit them, there is no forecast.
"""

from __future__ import annotations

from datetime import date

import duckdb
import numpy as np
import polars as pl

from pipelines.lib import clv
from pipelines.lib.clv import Array, BgNbd, GammaGamma

#: Days that the forecasts look ahead: a quarter for orders, a year for the value.
QUARTER, YEAR = 90, 365

#: Customers that a fit looks at.
ENOUGH = 50_000
#: Ids that follow one another lie far apart among so many places (Knuth's multiplicative hash).
_SPREAD, _PLACES = 2_654_435_761, 2**32

#: P(alive) of a customer who came back, down to which the risk of having lost her is this.
RISKS = (("low", 0.8), ("medium", 0.5), ("high", 0.2), ("lost", 0.0))
#: Whoever ordered once is alive by construction of the model: nothing is known of her.
UNPROVEN = "unproven"

_HISTORY = """
WITH days AS (
    SELECT customer_id, ordered_on, sum(net_sales) AS net_sales
    FROM marts.fct_orders WHERE status <> 'cancelled' AND ordered_on <= $today
    GROUP BY customer_id, ordered_on
)
SELECT customer_id, count(*) - 1 AS frequency,
    CAST(max(ordered_on) - min(ordered_on) AS DOUBLE) AS recency,
    CAST($today - min(ordered_on) AS DOUBLE) AS age,
    -- Of the days after the first.
    CASE WHEN count(*) > 1 THEN CAST(sum(net_sales) - arg_min(net_sales, ordered_on) AS DOUBLE)
        / (count(*) - 1) END AS value
FROM days GROUP BY customer_id ORDER BY customer_id
"""

#: Column -> type and constraint, in the order in which the table shows them.
COLUMNS = {
    "customer_id": "BIGINT PRIMARY KEY",
    "frequency": "INTEGER NOT NULL CHECK (frequency >= 0)",
    "recency_days": "INTEGER NOT NULL CHECK (recency_days BETWEEN 0 AND age_days)",
    "age_days": "INTEGER NOT NULL",
    "days_since_last_order": "INTEGER NOT NULL"
    " CHECK (days_since_last_order = age_days - recency_days)",
    "p_alive": "DOUBLE CHECK (p_alive BETWEEN 0 AND 1)",
    "churn_risk": "VARCHAR CHECK (churn_risk IN ('low', 'medium', 'high', 'lost', 'unproven'))",
    "expected_orders": "DOUBLE CHECK (expected_orders >= 0)",
    "expected_order_value": "DECIMAL(18, 2) CHECK (expected_order_value >= 0)",
    "customer_value": "DECIMAL(18, 2) CHECK (customer_value >= 0)",
}


def history(warehouse: duckdb.DuckDBPyConnection, today: date) -> pl.DataFrame:
    """Return frequency, recency and age (days) and mean repeat value of each who bought."""
    return warehouse.execute(_HISTORY, {"today": today}).pl()


def fit(bought: pl.DataFrame) -> tuple[BgNbd | None, GammaGamma | None]:
    """Fit both models; who bought alike is taken together, which does not change the fit.

    Of more customers than :data:`ENOUGH` about so many are looked at: more of them would move the
    parameters by less than what a day brings, and take as much longer as the shop is larger. Who is
    looked at follows from her id alone, so that all builds fit the same ones.
    """
    if bought.height > ENOUGH:
        place = (pl.col("customer_id") * _SPREAD) % _PLACES
        bought = bought.filter(place < _PLACES * ENOUGH // bought.height)
    alike = bought.group_by("frequency", "recency", "age").len().sort("frequency", "recency", "age")
    coming = None
    if alike.height and alike["age"].max() != 0:
        coming = clv.fit_bg_nbd(*_arrays(alike, "frequency", "recency", "age", "len"))
    spending = clv.fit_gamma_gamma(*_spending(bought))
    return coming, spending


def forecast(
    bought: pl.DataFrame, coming: BgNbd | None, spending: GammaGamma | None
) -> pl.DataFrame:
    """Return the columns of the mart; forecasts are empty without a model."""
    frequency, recency, age = _arrays(bought, "frequency", "recency", "age")
    nothing = np.full(bought.height, np.nan)
    alive = orders = in_a_year = worth = nothing
    if coming is not None:
        alive = coming.alive(frequency, recency, age)
        orders = coming.expected(frequency, recency, age, QUARTER)
        in_a_year = coming.expected(frequency, recency, age, YEAR)
    if spending is not None:
        worth = spending.expected(*_spending(bought))
    risk = pl.lit("lost")
    for name, least in reversed(RISKS):
        risk = pl.when(pl.col("p_alive") >= least).then(pl.lit(name)).otherwise(risk)
    whole = pl.col("frequency", "recency", "age").cast(pl.Int32)
    return (
        bought.select("customer_id", whole)
        .with_columns(
            pl.Series("p_alive", alive),
            pl.Series("expected_orders", np.maximum(orders, 0)),
            pl.Series("expected_order_value", worth),
            pl.Series("customer_value", np.maximum(in_a_year, 0) * worth),
            (pl.col("age") - pl.col("recency")).alias("days_since_last_order"),
        )
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .with_columns(
            pl.when(pl.col("p_alive").is_null())
            .then(None)
            .when(pl.col("frequency") == 0)
            .then(pl.lit(UNPROVEN))
            .otherwise(risk)
            .alias("churn_risk")
        )
        .rename({"recency": "recency_days", "age": "age_days"})
    )


def store(warehouse: duckdb.DuckDBPyConnection, customers: pl.DataFrame) -> None:
    """Replace the mart; a row that its constraints refuse leaves the old one as it was."""
    definitions = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    warehouse.register("forecast", customers)
    warehouse.execute("BEGIN")
    try:
        warehouse.execute("DROP TABLE IF EXISTS marts.customer_value")
        warehouse.execute(f"CREATE TABLE marts.customer_value ({definitions})")
        warehouse.execute(
            f"INSERT INTO marts.customer_value SELECT {', '.join(COLUMNS)} FROM forecast"
        )
        warehouse.execute("COMMIT")
    except duckdb.Error:
        warehouse.execute("ROLLBACK")
        raise
    finally:
        warehouse.unregister("forecast")


def _arrays(frame: pl.DataFrame, *columns: str) -> list[Array]:
    return [frame[name].cast(pl.Float64).to_numpy() for name in columns]


def _spending(bought: pl.DataFrame) -> list[Array]:
    """Return times and mean value; repeat orders that brought nothing say nothing of the worth."""
    worth = pl.col("value").fill_null(0)
    times = pl.when(worth > 0).then(pl.col("frequency")).otherwise(0).alias("frequency")
    return _arrays(bought.select(times, worth), "frequency", "value")
