"""The shape of a batch's orders: tidied as a single capture tidies one, and what is wrong in it.

The rules and codes are those of :mod:`oms_ops.orders.intake`, asked column by column; a fault's
field is the frame's column without its unit (``shipping`` for ``shipping_minor``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from oms_ops import cards, clock
from oms_ops.addresses import address_faults
from oms_ops.customers.phones import phone_number
from oms_ops.errors import FieldError
from oms_ops.money import EXPONENTS
from oms_ops.orders.intake import Email
from oms_ops.orders.pricing import MOST_MINOR
from oms_ops.payments.tables import CAPTURE_METHODS
from oms_ops.regions import code_of
from oms_ops.shapes import CONTROLS
from oms_ops.stock.names import MOST_UNITS

if TYPE_CHECKING:
    import polars as pl

#: A fault and the ``ref`` of the order that has it.
Fault = tuple[int, FieldError]

#: A rule: the column, the code, a message, and what is true of a row that breaks it.
_Test = tuple[str, str, str, "pl.Expr"]

_LONGEST = 200
_LONGEST_NOTE = 2000
#: Major units of any stated amount.
_MOST_MAJOR = 10_000_000
_TEXTS = ("channel", "customer_name", "ship_name", "ship_line1", "ship_line2", "ship_city",
          "ship_region", "ship_postal_code", "external_id")  # fmt: skip
#: What people write: a card's number gets into it.
_WRITTEN = ("note", "customer_name", "ship_name", "ship_line1", "ship_line2", "ship_city",
            "ship_region")  # fmt: skip
_REQUIRED = ("external_id", "channel", "currency", "email", "customer_name", "placed_at",
             "ship_name", "ship_line1", "ship_country")  # fmt: skip
_PHONES = ("customer_phone", "ship_phone")
_STRIPPED = (*_TEXTS, *_PHONES, "email", "currency", "ship_country", "warehouse", "payment_method",
             "customer_external_id")  # fmt: skip
#: A day's history is captured at its end, so what is placed later that day is not refused.
_AHEAD = timedelta(days=1)


def tidy(orders: pl.DataFrame, lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Strip the texts, and make none of those that are blank."""
    import polars as pl

    def stripped(name: str) -> pl.Expr:
        text = pl.col(name).cast(pl.String).str.strip_chars()
        return pl.when(text != "").then(text).alias(name)

    return (
        orders.with_columns(
            *(stripped(name) for name in _STRIPPED),
            pl.col("allow_backorder").fill_null(False),
        ),
        lines.with_columns(
            stripped("sku"), pl.col("discount_minor", "rounding_minor").fill_null(0)
        ),
    )


def faults(
    orders: pl.DataFrame, lines: pl.DataFrame, channels: list[str], *, live: bool
) -> list[Fault]:
    """Return what is wrong with orders and lines by themselves; both frames are tidy.

    ``channels`` are the shop's, none for any; the orders of a ``live`` batch are not of the future.
    """
    import polars as pl

    found = [
        *_broken(orders, _order_tests(channels, live)),
        *_address_faults(orders),
        *_broken(
            # Money of an unknown currency is measured in hundredths.
            lines.join(
                orders.select("ref", "tax_included", _most("currency")),
                on="ref",
                maintain_order="left",
            ),
            _line_tests(),
        ),
    ]
    empty = orders.join(lines.select("ref"), on="ref", how="anti")["ref"]
    found += [(ref, FieldError("lines", "required", "has none")) for ref in empty]
    totals = (
        lines.filter(pl.col("quantity").is_between(1, MOST_UNITS))
        .group_by("ref")
        .agg((pl.col("quantity") * _clipped("unit_price_minor")).sum().alias("gross"))
    )
    large = totals.filter(pl.col("gross") > MOST_MINOR)["ref"]
    found += [(ref, FieldError("lines", "too_large", "the order is too large")) for ref in large]
    return found


def _broken(frame: pl.DataFrame, tests: Iterator[_Test]) -> Iterator[Fault]:
    """Ask all tests of all rows at once; a row with a ``line_no`` is the fault's line."""
    import polars as pl

    tests_ = list(tests)
    marks = frame.select(
        pl.any_horizontal(test.fill_null(False)).alias(str(number))
        for number, (*_, test) in enumerate(tests_)
    )
    where = ["ref", *(["line_no"] if "line_no" in frame.columns else [])]
    for number, (name, code, message, _) in enumerate(tests_):
        if not marks[str(number)].any():
            continue
        field = name.removesuffix("_minor")
        for ref, *line in frame.filter(marks[str(number)]).select(where).iter_rows():
            place = f"lines[{line[0] - 1}].{field}" if line and line[0] is not None else field
            yield ref, FieldError(place, code, message)


def _order_tests(channels: list[str], live: bool) -> Iterator[_Test]:
    import polars as pl

    for name in _REQUIRED:
        yield name, "required", "must be given", pl.col(name).is_null()
    for name in _TEXTS:
        yield from _text_tests(name, _LONGEST)
    yield from _text_tests("note", _LONGEST_NOTE)
    for name in _WRITTEN:
        yield name, cards.CODE, cards.MESSAGE, _card(name)
    for name in _PHONES:
        size = pl.col(name).str.len_chars()
        yield name, "string_too_short", "has less than 3 characters", size < 3
        yield name, "string_too_long", "has more than 40 characters", size > 40
    for name in ("shipping_minor", "shipping_tax_minor", "expected_total_minor"):
        yield from _amount_tests(name, pl.col(name), _most("currency"))
    inner = pl.col("tax_included") & pl.col("shipping_minor").is_between(0, _most("currency"))
    beyond = pl.col("shipping_tax_minor") > pl.col("shipping_minor")
    yield "shipping_tax", "too_large", "more than the charge it is in", inner & beyond
    known = pl.col("currency").is_in(list(EXPONENTS))
    yield "currency", "invalid", "is not accepted", ~known
    no_rate = known & pl.col("exchange_rate").is_null()
    yield "currency", "no_exchange_rate", "has no exchange rate in this shop", no_rate
    if channels:
        message = f"one of {', '.join(channels)}"
        yield "channel", "unknown_channel", message, ~pl.col("channel").is_in(channels)
    methods = pl.col("payment_method").is_in(CAPTURE_METHODS)
    yield "payment_method", "string_pattern_mismatch", f"one of {CAPTURE_METHODS}", ~methods
    latest = clock.now() + (timedelta() if live else _AHEAD)
    yield "placed_at", "invalid", "is in the future", pl.col("placed_at") > latest


def _line_tests() -> Iterator[_Test]:
    import polars as pl

    quantity, most = pl.col("quantity"), pl.col("most_minor")
    gross = quantity.clip(0, MOST_UNITS) * _clipped("unit_price_minor")
    amount = gross + _clipped("rounding_minor")
    yield "line_no", "required", "must be given", pl.col("line_no").is_null()
    repeated = pl.struct("ref", "line_no").is_duplicated() & pl.col("line_no").is_not_null()
    yield "line_no", "duplicate", "two lines have this number", repeated
    yield "sku", "required", "must be given", pl.col("sku").is_null()
    yield from _text_tests("sku", _LONGEST)
    yield "quantity", "required", "must be given", quantity.is_null()
    yield "quantity", "greater_than", "is not greater than 0", quantity < 1
    yield "quantity", "less_than_equal", f"is more than {MOST_UNITS}", quantity > MOST_UNITS
    for name in ("unit_price_minor", "expected_unit_price_minor", "discount_minor", "tax_minor"):
        yield from _amount_tests(name, pl.col(name), most)
    stated = pl.col("rounding_minor") != 0
    yield "amount", "greater_than_equal", "is negative", stated & (amount < 0)
    yield "amount", "less_than_equal", "is too large", stated & (amount > most)
    beyond = stated & amount.is_between(0, most) & (pl.col("rounding_minor").abs() > quantity)
    message = "more off quantity times unit price than rounding is"
    yield "amount", "beyond_rounding", message, beyond & pl.col("unit_price_minor").is_not_null()
    net = amount - pl.col("discount_minor")
    inner = pl.col("tax_included") & pl.col("unit_price_minor").is_not_null() & (net >= 0)
    beyond = inner & pl.col("tax_minor").is_between(net + 1, most)
    yield "tax", "too_large", "more than the net price it is in", beyond
    yield "quantity", "too_large", "the line's price is too large", gross > MOST_MINOR
    yield (
        "discount", "too_large", "more than the line's price",
        pl.col("discount_minor").is_between(0, most) & (amount >= 0)
        & (pl.col("discount_minor") > amount),
    )  # fmt: skip


def _text_tests(name: str, longest: int) -> Iterator[_Test]:
    import polars as pl

    text = pl.col(name)
    yield (
        name,
        "string_too_long",
        f"has more than {longest} characters",
        (text.str.len_chars() > longest),
    )
    yield (
        name,
        "not_storable",
        "holds a character that cannot be stored",
        text.str.contains(CONTROLS),
    )


def _card(name: str) -> pl.Expr:
    """Return whether a text holds a card's number; only one of many digits is looked at."""
    import polars as pl

    text = pl.col(name).cast(pl.String)
    suspect = pl.when(text.str.contains(r"(?:\d\D{0,24}){14}")).then(text)
    return suspect.map_elements(cards.looks_like_card, return_dtype=pl.Boolean)


def _amount_tests(name: str, amount: pl.Expr, most: pl.Expr) -> Iterator[_Test]:
    yield name, "greater_than_equal", "is negative", amount < 0
    yield name, "less_than_equal", "is too large", amount > most


def _clipped(name: str) -> pl.Expr:
    """Return an amount that times a quantity stays a 64 bit number; larger ones are refused."""
    import polars as pl

    return pl.col(name).clip(-MOST_MINOR, MOST_MINOR)


def _most(currency: str) -> pl.Expr:
    """Return the largest stated amount in minor units of a currency."""
    import polars as pl

    most = {code: _MOST_MAJOR * 10**digits for code, digits in EXPONENTS.items()}
    return (
        pl.col(currency)
        .replace_strict(most, default=_MOST_MAJOR * 100, return_dtype=pl.Int64)
        .alias("most_minor")
    )


def with_contacts(orders: pl.DataFrame) -> tuple[pl.DataFrame, list[Fault]]:
    """Write e-mail addresses, phone numbers and regions as they are kept; name what is none."""
    import polars as pl

    found: list[Fault] = []
    known = {text: _email(text) for text in orders["email"].drop_nulls().unique()}
    emails = orders["email"].replace_strict(known, default=None, return_dtype=pl.String)
    bad = orders.filter(pl.col("email").is_not_null() & emails.is_null())["ref"]
    found += [(ref, FieldError("email", "invalid", "is no e-mail address")) for ref in bad]
    # What is no address is kept beside its fault: it is given, if wrongly.
    orders = orders.with_columns(
        email=emails.fill_null(orders["email"]), ship_region=_region_codes(orders)
    )
    for name in _PHONES:
        if orders[name].null_count() == len(orders):
            continue
        rows = orders.select("ref", name, "ship_country")
        numbers = pl.Series(
            [None if text is None else phone_number(text, country)
             for _, text, country in rows.iter_rows()],
            dtype=pl.String,
        )  # fmt: skip
        sized = pl.col(name).str.len_chars().is_between(3, 40)
        bad = rows.filter(sized & numbers.is_null())["ref"]
        found += [(ref, FieldError(name, "invalid_phone", "is no phone number")) for ref in bad]
        orders = orders.with_columns(numbers.fill_null(orders[name]).alias(name))
    return orders, found


def _region_codes(orders: pl.DataFrame) -> pl.Series:
    """Return the regions' codes; what is none of the country's stays, to be refused or kept."""
    import polars as pl

    rows = orders.select("ship_country", "ship_region").iter_rows()
    return pl.Series(
        [(country and region and code_of(country, region)) or region for country, region in rows],
        dtype=pl.String,
    )


@cache
def _adapter() -> TypeAdapter[str]:
    return TypeAdapter(Email)


def _email(text: str) -> str | None:
    """Return an e-mail address as a single capture keeps it, None where it is none."""
    try:
        return _adapter().validate_python(text)
    except ValidationError:
        return None


def _address_faults(orders: pl.DataFrame) -> list[Fault]:
    """Ask the rules of its country about each different address."""
    import polars as pl

    parts = ("ship_country", "ship_city", "ship_region", "ship_postal_code")
    wrong: dict[tuple[Any, ...], tuple[tuple[str, str, str], ...]] = {}
    for place in orders.select(parts).unique().drop_nulls("ship_country").iter_rows():
        if objections := address_faults(*place):
            wrong[place] = objections
    if not wrong:
        return []
    return [
        (ref, FieldError(f"ship_{field}", code, message))
        for ref, *place in orders.select("ref", *parts).filter(
            pl.col("ship_country").is_not_null()
        ).iter_rows()
        for field, code, message in wrong.get(tuple(place), ())
    ]  # fmt: skip
