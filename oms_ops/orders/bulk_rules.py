"""What a bulk capture refuses: the rules of a single capture, asked of a whole batch at once."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.errors import FieldError
from oms_ops.orders.addresses import address_faults, phone_number
from oms_ops.orders.pricing import MOST_MINOR
from oms_ops.payments.tables import PAYMENT_METHODS
from oms_ops.rules.document import Rules

if TYPE_CHECKING:
    import polars as pl

#: A fault and the ``ref`` of the order that has it.
Fault = tuple[int, FieldError]

#: Texts are as long as a single capture takes them.
_LONGEST = {"note": 2000}
_TEXTS = ("external_id", "channel", "customer_name", "ship_name", "ship_line1", "ship_line2",
          "ship_city", "ship_region", "ship_postal_code", "note")  # fmt: skip
_REQUIRED = ("external_id", "channel", "customer_name", "ship_name", "ship_line1", "ship_city")
_PHONES = {"customer_phone": "ship_country", "ship_phone": "ship_country"}
#: A day's history is captured at its end, so what is placed later that day is not refused.
_AHEAD = timedelta(days=1)


@lru_cache(maxsize=65_536)
def _is_email(text: str) -> bool:
    from pydantic.networks import validate_email
    from pydantic_core import PydanticCustomError

    try:
        validate_email(text)
    except PydanticCustomError:
        return False
    return True


def with_phones(orders: pl.DataFrame) -> tuple[pl.DataFrame, list[Fault]]:
    """Write the phone numbers in E.164; name those that are none."""
    import polars as pl

    faults: list[Fault] = []
    for name, country in _PHONES.items():
        if orders[name].null_count() == len(orders):
            continue
        given = orders.filter(pl.col(name).is_not_null()).select(name, country).unique()
        known = [(text, place, phone_number(text, place)) for text, place in given.iter_rows()]
        schema = {name: pl.String, country: pl.String, "number": pl.String}
        joined = orders.select("ref", name, country).join(
            pl.DataFrame(known, schema=schema, orient="row"),
            on=[name, country], how="left", nulls_equal=True, maintain_order="left",
        )  # fmt: skip
        bad = joined.filter(pl.col(name).is_not_null() & pl.col("number").is_null())["ref"]
        faults += [(ref, FieldError(name, "invalid_phone", "is no phone number")) for ref in bad]
        orders = orders.with_columns(joined["number"].alias(name))
    return orders, faults


def shape_faults(orders: pl.DataFrame, rules: Rules) -> list[Fault]:
    """Check each order's own fields, column by column."""
    import polars as pl

    def amount(name: str) -> tuple[str, str, pl.Expr]:
        return "out_of_range", "is negative or too large", ~pl.col(name).is_between(0, MOST_MINOR)

    channels = sorted(rules.channels)
    bad_emails = [e for e in orders["email"].drop_nulls().unique() if not _is_email(e)]
    tests: list[tuple[str, tuple[str, str, pl.Expr]]] = [
        *((name, ("required", "must be given", pl.col(name).fill_null("").str.strip_chars() == ""))
          for name in _REQUIRED),
        *((name, _too_long(name)) for name in _TEXTS),
        ("email", ("invalid", "is no e-mail address",
                   pl.col("email").is_null() | pl.col("email").is_in(bad_emails))),
        ("channel", ("unknown_channel", f"is none of {', '.join(channels)}",
                     ~pl.col("channel").is_in(channels or ["*"]) & bool(channels))),
        *((name, amount(name)) for name in ("shipping_minor", "shipping_tax_minor")),
        ("tax_included", ("required", "must be given", pl.col("tax_included").is_null())),
        ("currency", ("no_exchange_rate", "has no exchange rate in this shop",
                      pl.col("exchange_rate").is_null())),
        ("allow_backorder", ("required", "must be given", pl.col("allow_backorder").is_null())),
        ("payment_method", ("unknown_method", "is none of the known methods",
                            ~pl.col("payment_method").is_in(PAYMENT_METHODS).fill_null(True))),
        ("placed_at", ("required", "must be given", pl.col("placed_at").is_null())),
        ("placed_at", ("invalid", "is in the future",
                       (pl.col("placed_at") > clock.now() + _AHEAD).fill_null(False))),
    ]  # fmt: skip
    faults = [
        (ref, FieldError(name, code, f"{name} {message}"))
        for name, (code, message, test) in tests
        for ref in orders.filter(test.fill_null(True))["ref"]
    ]
    return faults + _address_faults(orders)


def _too_long(name: str) -> tuple[str, str, pl.Expr]:
    import polars as pl

    longest = _LONGEST.get(name, 200)
    text = pl.col(name).fill_null("")
    test = (text.str.len_chars() > longest) | text.str.contains("\x00", literal=True)
    return "string_too_long", f"has more than {longest} characters or cannot be stored", test


def _address_faults(orders: pl.DataFrame) -> list[Fault]:
    """Ask the rules of its country about each different address."""
    import polars as pl

    parts = ("ship_country", "ship_region", "ship_postal_code")
    faults: list[Fault] = []
    for place in orders.select(parts).unique().iter_rows():
        found = address_faults(*place)
        if not found:
            continue
        same = [pl.col(name).eq_missing(value) for name, value in zip(parts, place, strict=True)]
        for ref in orders.filter(*same)["ref"]:
            faults += [
                (ref, FieldError(f"ship_{field}", code, f"ship_{field} {message}"))
                for field, code, message in found
            ]
    return faults


#: The channels of a SKU as rows of ``value``.
_CHANNELS = {
    "sqlite": "SELECT value FROM json_each(k.channels)",
    "postgresql": "SELECT value FROM json_array_elements_text(k.channels) AS c(value)",
}

#: field, code, message and the query that finds the refs (and line numbers) it is true of.
_RULES: tuple[tuple[str, str, str, str], ...] = (
    ("warehouse", "unknown_warehouse", "there is no such active warehouse",
     "SELECT ref, NULL FROM bulk_orders WHERE warehouse_id IS NULL"),
    ("external_id", "duplicate", "this order is already captured",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN orders AS o"
     " ON o.channel = b.channel AND o.external_id = b.external_id"),
    ("external_id", "duplicate", "this order is in the batch before",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN (SELECT channel, external_id,"
     " min(ref) AS first_ref FROM bulk_orders GROUP BY channel, external_id"
     " HAVING count(*) > 1) AS f ON f.channel = b.channel AND f.external_id = b.external_id"
     " WHERE b.ref > f.first_ref"),
    ("lines", "required", "an order has at least one line",
     "SELECT b.ref, NULL FROM bulk_orders AS b"
     " WHERE NOT EXISTS (SELECT 1 FROM bulk_lines AS l WHERE l.ref = b.ref)"),
    ("sku", "unknown_sku", "there is no such SKU",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NULL"),
    ("sku", "inactive_sku", "this SKU is not sold any more",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE NOT k.is_active"),
    ("sku", "not_in_channel", "this SKU is not sold in that channel",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref"
     " JOIN skus AS k ON k.id = l.sku_id AND k.channels IS NOT NULL"
     " WHERE b.channel NOT IN ({channels})"),
    ("quantity", "out_of_range", "between 1 and 1,000,000",
     "SELECT ref, line_no FROM bulk_lines WHERE quantity IS NULL OR quantity NOT BETWEEN 1 AND"
     " 1000000"),
    ("quantity", "below_minimum", "less than the SKU's minimum quantity",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE l.quantity >= 1 AND l.quantity < k.min_quantity"),
    ("quantity", "not_a_multiple", "no multiple of the SKU's quantity multiple",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " AND k.quantity_multiple > 1 WHERE l.quantity % k.quantity_multiple <> 0"),
    ("quantity", "above_maximum", "more than the SKU's maximum quantity in one order",
     "SELECT ref, line_no FROM (SELECT l.ref, l.line_no, k.max_quantity, sum(l.quantity) OVER ("
     "PARTITION BY l.ref, l.sku_id ORDER BY l.line_no) AS ordered FROM bulk_lines AS l"
     " JOIN skus AS k ON k.id = l.sku_id AND k.max_quantity IS NOT NULL) AS o"
     " WHERE ordered > max_quantity"),
    ("unit_price", "out_of_range", "between 0 and 10,000,000.00",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NOT NULL"
     " AND (unit_price_minor IS NULL OR unit_price_minor NOT BETWEEN 0 AND 1000000000)"),
    ("line_no", "required", "must be given",
     "SELECT ref, NULL FROM bulk_lines WHERE line_no IS NULL"),
    ("discount", "out_of_range", "must be given and not be negative",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NOT NULL"
     " AND (discount_minor IS NULL OR discount_minor < 0)"),
    ("discount", "too_large", "more than the line's price",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NOT NULL"
     " AND discount_minor > 1.0 * quantity * unit_price_minor"),
    ("amount", "out_of_range", "the line's amount is negative or too large",
     "SELECT ref, line_no FROM bulk_lines WHERE rounding_minor IS NULL"
     f" OR rounding_minor NOT BETWEEN -{MOST_MINOR} AND {MOST_MINOR}"
     " OR (rounding_minor < discount_minor - 1.0 * quantity * unit_price_minor"
     "  AND discount_minor <= 1.0 * quantity * unit_price_minor)"),
    ("tax", "out_of_range", "the line's tax is negative or too large",
     "SELECT ref, line_no FROM bulk_lines WHERE tax_minor IS NULL"
     f" OR tax_minor NOT BETWEEN 0 AND {MOST_MINOR}"),
    ("lines", "too_large", "the order's total is too large",
     "SELECT ref, NULL FROM bulk_lines WHERE unit_price_minor <= 1000000000"
     " AND quantity <= 1000000 GROUP BY ref"
     " HAVING sum(quantity * unit_price_minor + abs(rounding_minor) + tax_minor)"
     f" > {MOST_MINOR}"),
    ("line_no", "duplicate", "two lines have this number",
     "SELECT ref, line_no FROM bulk_lines GROUP BY ref, line_no HAVING count(*) > 1"),
)  # fmt: skip


def database_faults(connection: Connection) -> list[Fault]:
    """Ask of the staged batch what the catalogue, the warehouses and earlier orders object to."""
    channels = _CHANNELS[connection.dialect.name]
    faults: list[Fault] = []
    for name, code, message, query in _RULES:
        found = connection.execute(sa.text(query.replace("{channels}", channels)))
        for row in found:
            where = name if row[1] is None else f"lines[{row[1] - 1}].{name}"
            faults.append((row[0], FieldError(where, code, message)))
    return faults


def short_faults(rows: list[Any]) -> list[Fault]:
    """Name the lines that are short in orders that may not wait."""
    return [
        (
            ref,
            FieldError(
                f"lines[{line_no - 1}].quantity",
                "out_of_stock",
                f"{take} of {quantity} available",
            ),
        )
        for ref, line_no, take, quantity in rows
    ]
