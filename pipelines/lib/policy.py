"""The reorder decision: when a SKU in a warehouse is ordered again, and how much of it.

First cut: demand is the moving average of the mart ``inventory_health`` (28 days, days without
stock left out), its spread the standard deviation of one day. Stock must last through the
protection interval, lead time L plus review period R, because what is not ordered today arrives
L days after the next look in R days:

    safety        = ceil(z * sqrt((L + R) * sigma^2 + d^2 * sigma_L^2))
    reorder point = ceil(d * L) + safety
    order up to   = ceil(d * (L + R)) + safety

with d units a day, sigma their standard deviation, sigma_L that of the lead time in days and z the
normal quantile of the service level (the chance to get through one cycle without running out).
Everything after the ceilings is integers, so that a line's waterfall sums exactly.

Frames come in and go out; nothing here opens a file or a database.
"""

from __future__ import annotations

from statistics import NormalDist

import polars as pl

#: Receipts that the agreed lead time weighs as much as: few receipts move the estimate little.
PRIOR_RECEIPTS = 5

#: Keeps binary noise (0.1 * 30 = 3.0000000000000004) from buying one unit more.
_NOISE = 1e-9


def z_value(service_level: float) -> float:
    """Return the standard normal quantile; ``service_level`` lies strictly between 0 and 1."""
    if not 0 < service_level < 1:
        raise ValueError("the service level must lie between 0 and 1")
    return NormalDist().inv_cdf(service_level)


def protection_deviation(
    demand: pl.Expr, deviation: pl.Expr, protection: pl.Expr, lead_time_deviation: pl.Expr
) -> pl.Expr:
    """Return the standard deviation of the demand over the protection interval, in units.

    ``demand`` and ``deviation`` are units per period, ``protection`` (L + R) and
    ``lead_time_deviation`` are counted in the same periods.
    """
    return (protection * deviation.pow(2) + demand.pow(2) * lead_time_deviation.pow(2)).sqrt()


def whole(quantity: pl.Expr) -> pl.Expr:
    """Round a quantity up to whole units."""
    return (quantity - _NOISE).ceil().clip(lower_bound=0).cast(pl.Int64)


def lead_times(receipts: pl.DataFrame, suppliers: pl.DataFrame) -> pl.DataFrame:
    """Estimate each supplier's lead time from what arrived, shrunk to what was agreed.

    ``receipts`` has one row per purchase order that brought anything (``supplier``, ``days`` from
    order to its last receipt); partly received ones count with what they brought. ``suppliers``
    has ``supplier`` and ``agreed_days``. The mean is shrunk to the agreed days and the variance to
    the pooled variance of all suppliers, each with the weight of :data:`PRIOR_RECEIPTS` receipts.
    A shop without receipts gets the agreed days and no variance: nothing is known of it.

    Returns ``supplier``, ``lead_time_days`` (whole) and ``lead_time_standard_deviation`` (days).
    """
    joined = receipts.join(suppliers, on="supplier")
    within = (pl.col("days") - pl.col("days").mean().over("supplier")).pow(2).sum()
    freedom = pl.len() - pl.col("supplier").n_unique()
    pooled = joined.select(pl.when(freedom > 0).then(within / freedom).otherwise(0.0)).item() or 0.0
    observed = receipts.group_by("supplier").agg(
        pl.len().alias("n"),
        pl.col("days").sum().cast(pl.Float64).alias("total"),
        pl.col("days").pow(2).sum().cast(pl.Float64).alias("squares"),
    )
    weight = pl.col("n") + PRIOR_RECEIPTS
    mean = (pl.col("total") + PRIOR_RECEIPTS * pl.col("agreed_days")) / weight
    around = (
        pl.col("squares")
        - 2 * pl.col("mean") * pl.col("total")
        + pl.col("n") * pl.col("mean").pow(2)
    )
    return (
        suppliers.join(observed, on="supplier", how="left")
        .with_columns(pl.col("n", "total", "squares").fill_null(0))
        .with_columns(mean.alias("mean"))
        .select(
            "supplier",
            (pl.col("mean") + 0.5).floor().cast(pl.Int64).alias("lead_time_days"),
            ((around.clip(lower_bound=0.0) + PRIOR_RECEIPTS * pooled) / weight)
            .sqrt()
            .alias("lead_time_standard_deviation"),
        )
    )


def reorder(stock: pl.DataFrame, service_level: float) -> pl.DataFrame:
    """Return the lines to reorder, with every number of the decision.

    ``stock`` has one row per warehouse and SKU: ``average_daily_demand``,
    ``demand_standard_deviation`` (units a day), ``lead_time_days``,
    ``lead_time_standard_deviation``, ``review_days`` (days), ``on_hand``, ``on_order``,
    ``allocated``, ``backordered`` (units), ``moq`` and ``pack_multiple`` (units, at least 1).
    Other columns pass through.

    A line is due when its inventory position has fallen to the reorder point or below and something
    is missing up to the order-up-to level; a SKU that neither sells nor is owed is never due.
    """
    decided = _levels(stock, service_level).with_columns(
        (pl.col("order_up_to") - pl.col("inventory_position")).alias("_need")
    )
    due = decided.filter(
        (pl.col("inventory_position") <= pl.col("reorder_point")) & (pl.col("_need") > 0)
    )
    return _urgency(_rounded(due)).drop("_need")


def _levels(stock: pl.DataFrame, service_level: float) -> pl.DataFrame:
    demand = pl.col("average_daily_demand").fill_null(0.0)
    deviation = pl.col("demand_standard_deviation").fill_null(0.0)
    z = z_value(service_level)
    return (
        stock.with_columns(
            demand,
            deviation,
            pl.lit(service_level).alias("service_level"),
            pl.lit(z).alias("z"),
            (pl.col("lead_time_days") + pl.col("review_days")).alias("protection_days"),
            (
                pl.col("on_hand") + pl.col("on_order") - pl.col("allocated") - pl.col("backordered")
            ).alias("inventory_position"),
        )
        .with_columns(
            whole(pl.col("average_daily_demand") * pl.col("protection_days")).alias(
                "demand_quantity"
            ),
            whole(
                z
                * protection_deviation(
                    pl.col("average_daily_demand"),
                    pl.col("demand_standard_deviation"),
                    pl.col("protection_days"),
                    pl.col("lead_time_standard_deviation"),
                )
            ).alias("safety_quantity"),
        )
        .with_columns(
            (
                whole(pl.col("average_daily_demand") * pl.col("lead_time_days"))
                + pl.col("safety_quantity")
            ).alias("reorder_point"),
            (pl.col("demand_quantity") + pl.col("safety_quantity")).alias("order_up_to"),
        )
    )


def _rounded(due: pl.DataFrame) -> pl.DataFrame:
    """Raise the need to the minimum order, then to whole packs; keep what each step added."""
    at_least = pl.max_horizontal("_need", "moq")
    packs = (at_least + pl.col("pack_multiple") - 1) // pl.col("pack_multiple")
    return due.with_columns(
        (at_least - pl.col("_need")).alias("moq_excess"),
        (packs * pl.col("pack_multiple") - at_least).alias("pack_excess"),
        (packs * pl.col("pack_multiple")).alias("suggested_quantity"),
    )


def _urgency(lines: pl.DataFrame) -> pl.DataFrame:
    free = pl.col("on_hand") - pl.col("allocated") - pl.col("backordered")
    sells = pl.format("Sells {} a day", pl.col("average_daily_demand").round(1))
    owed = (
        pl.when(pl.col("backordered") > 0)
        .then(pl.format(", {} owed to customers", pl.col("backordered")))
        .otherwise(pl.lit(""))
    )
    return lines.with_columns(
        pl.when(pl.col("on_hand") <= 0)
        .then(pl.lit("stocked_out"))
        .when(free < pl.col("safety_quantity"))
        .then(pl.lit("below_safety"))
        .otherwise(pl.lit("below_reorder_point"))
        .alias("urgency"),
        pl.format(
            "{}{}: {} in stock and on the way after promises, at or below the reorder point of {};"
            " {} are needed for {} days.",
            sells,
            owed,
            pl.col("inventory_position"),
            pl.col("reorder_point"),
            pl.col("order_up_to"),
            pl.col("protection_days"),
        ).alias("reason"),
    )
