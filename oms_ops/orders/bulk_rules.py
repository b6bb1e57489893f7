"""What a bulk capture refuses: the rules of a single capture, asked of a whole batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.errors import FieldError
from oms_ops.orders.countries import COUNTRIES
from oms_ops.orders.intake import POSTAL_CODES, REGION_REQUIRED
from oms_ops.orders.pricing import MOST_MINOR
from oms_ops.payments.tables import PAYMENT_METHODS

if TYPE_CHECKING:
    import polars as pl

#: A fault and the ``ref`` of the order that has it.
Fault = tuple[int, FieldError]

_EMAIL = r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$"


def shape_faults(orders: pl.DataFrame) -> list[Fault]:
    """Check each order's own fields, column by column."""
    import polars as pl

    country, postal = pl.col("ship_country"), pl.col("ship_postal_code").fill_null("")
    no_postal = pl.lit(False)
    for code, form in POSTAL_CODES.items():
        no_postal = no_postal | ((country == code) & ~postal.str.contains(f"^{form.pattern}$"))
    blank = {
        name: pl.col(name).fill_null("").str.strip_chars() == ""
        for name in ("external_id", "channel", "customer_name", "ship_name", "ship_line1",
                     "ship_city")
    }  # fmt: skip
    rules = {
        **{name: ("required", "must be given", test) for name, test in blank.items()},
        "email": ("invalid", "is no e-mail address",
                  ~pl.col("email").fill_null("").str.contains(_EMAIL)),
        "ship_country": ("invalid", "is no ISO country code",
                         ~country.is_in(sorted(COUNTRIES)).fill_null(False)),
        "ship_postal_code": ("invalid", "is no postal code of that country", no_postal),
        "ship_region": ("required", "must be given in that country",
                        country.is_in(sorted(REGION_REQUIRED))
                        & (pl.col("ship_region").fill_null("") == "")),
        "shipping_minor": ("out_of_range", "is negative or too large",
                           ~pl.col("shipping_minor").is_between(0, MOST_MINOR)),
        "shipping_tax_minor": ("out_of_range", "is negative or too large",
                               ~pl.col("shipping_tax_minor").is_between(0, MOST_MINOR)),
        "tax_included": ("required", "must be given", pl.col("tax_included").is_null()),
        "currency": ("not_accepted", "is none that the shop accepts",
                     pl.col("exchange_rate").is_null()),
        "allow_backorder": ("required", "must be given", pl.col("allow_backorder").is_null()),
        "payment_method": ("unknown_method", "is none of the known methods",
                           ~pl.col("payment_method").is_in(PAYMENT_METHODS).fill_null(True)),
        "placed_at": ("required", "must be given", pl.col("placed_at").is_null()),
    }  # fmt: skip
    return [
        (ref, FieldError(name, code, f"{name} {message}"))
        for name, (code, message, test) in rules.items()
        for ref in orders.filter(test.fill_null(True))["ref"]
    ]


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
    ("currency", "no_price", "a SKU has no price in this currency",
     "SELECT DISTINCT b.ref, NULL FROM bulk_orders AS b JOIN bulk_lines AS l ON l.ref = b.ref"
     " JOIN skus AS k ON k.id = l.sku_id WHERE k.currency <> b.currency"),
    ("quantity", "out_of_range", "between 1 and 1,000,000",
     "SELECT ref, line_no FROM bulk_lines WHERE quantity IS NULL OR quantity NOT BETWEEN 1 AND"
     " 1000000"),
    ("quantity", "below_minimum", "less than the SKU's minimum quantity",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE l.quantity >= 1 AND l.quantity < k.min_quantity"),
    ("quantity", "not_a_multiple", "no multiple of the SKU's quantity multiple",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " AND k.quantity_multiple > 1 WHERE l.quantity % k.quantity_multiple <> 0"),
    ("quantity", "above_maximum", "more than the SKU's maximum quantity",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE l.quantity > k.max_quantity"),
    ("unit_price", "out_of_range", "between 0 and 10,000,000.00",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NOT NULL"
     " AND (unit_price_minor IS NULL OR unit_price_minor NOT BETWEEN 0 AND 1000000000)"),
    ("line_no", "required", "must be given",
     "SELECT ref, NULL FROM bulk_lines WHERE line_no IS NULL"),
    ("discount", "out_of_range", "between 0 and the line's price",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NOT NULL AND (discount_minor IS NULL"
     " OR discount_minor < 0 OR discount_minor > 1.0 * quantity * unit_price_minor)"),
    ("amount", "out_of_range", "the line's amount is negative or too large",
     "SELECT ref, line_no FROM bulk_lines WHERE rounding_minor IS NULL"
     f" OR rounding_minor NOT BETWEEN -{MOST_MINOR} AND {MOST_MINOR}"
     " OR rounding_minor < discount_minor - 1.0 * quantity * unit_price_minor"),
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
