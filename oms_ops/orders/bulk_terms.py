"""What a batch leaves to the shop: prices, taxes and shipping charges.

An order that states all of it is taken as it is. The others are priced one by one by the very
rules of a single capture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_rows, rowset
from oms_ops.money import EXPONENTS
from oms_ops.orders.bulk_shape import Fault
from oms_ops.orders.intake import AddressIn, CustomerIn, LineIn, OrderIn, PaymentIn
from oms_ops.orders.look import look
from oms_ops.orders.pricing import Priced, price
from oms_ops.orders.terms import SkuTerms
from oms_ops.payments.tables import CAPTURE_METHODS
from oms_ops.rules.document import Rules
from oms_ops.rules.store import Version

if TYPE_CHECKING:
    import polars as pl

#: Money that the shop's rules say where the frames do not.
_BY_RULE = ("shipping_minor", "shipping_tax_minor")

#: What a batch does not say of an order or a line: a copy costs a tenth of filling in each default.
_ORDER = OrderIn.model_construct(external_id=None, channel="")
_NOBODY = CustomerIn.model_construct(email="", name="")
_LINE = LineIn.model_construct()
_PAYMENTS = {method: PaymentIn(method=method) for method in CAPTURE_METHODS}


@dataclass(slots=True)
class Settled:
    """The frames with everything stated, and what pricing objects to.

    ``unpriced`` are orders that could not be priced: they have to be refused.
    """

    orders: pl.DataFrame
    lines: pl.DataFrame
    faults: list[Fault] = field(default_factory=list)
    unpriced: set[int] = field(default_factory=set)


def settle(
    connection: Connection,
    orders: pl.DataFrame,
    lines: pl.DataFrame,
    version: Version,
    refused: Collection[int],
) -> Settled:
    """State what the frames leave to the shop's rules; orders ``refused`` already stay as is."""
    import polars as pl

    rules = version.rules
    settled = Settled(
        orders.with_columns(pl.col("tax_included").fill_null(rules.prices_include_tax)), lines
    )
    asking = _asking(settled, rules) - set(refused)
    if asking:
        _price(connection, settled, version, asking)
    # What is null now is not charged, or of an order that is refused.
    settled.orders = settled.orders.with_columns(pl.col(*_BY_RULE).fill_null(0))
    settled.lines = settled.lines.with_columns(
        pl.col("tax_minor", "unit_price_minor", "tax_rate_ppm").fill_null(0)
    )
    return settled


def _asking(settled: Settled, rules: Rules) -> set[int]:
    """Return the orders that leave some of their money to the rules: all, where there are taxes."""
    import polars as pl

    if rules.taxes:
        return set(settled.orders["ref"])
    charged = pl.col("shipping_minor").is_null() if rules.shipping else pl.lit(value=False)
    to_cash = (pl.col("payment_method") == "cash") & pl.col("currency").is_in(
        list(rules.cash_rounding)
    )
    expected = pl.col("expected_total_minor").is_not_null()
    heads = settled.orders.filter(charged | to_cash | expected)
    rows = settled.lines.filter(
        pl.col("unit_price_minor").is_null() | pl.col("expected_unit_price_minor").is_not_null()
    )
    return set(heads["ref"]) | set(rows["ref"])


def _price(connection: Connection, settled: Settled, version: Version, asking: set[int]) -> None:
    """Price the orders that ask for it, one at a time: thousands at once would wear out memory."""
    import polars as pl

    mine = pl.col("ref").is_in(list(asking))
    heads, lines = settled.orders.filter(mine), settled.lines.filter(mine)
    groups = _groups(connection, heads["email"].to_list())
    by_ref: dict[int, list[dict[str, Any]]] = {}
    for row in lines.iter_rows(named=True):
        by_ref.setdefault(row["ref"], []).append(row)
    shipping: list[dict[str, Any]] = []
    money: list[dict[str, Any]] = []
    settled.unpriced = set(asking)
    for (currency,), members in heads.group_by("currency"):
        codes = lines.join(members.select("ref"), on="ref", how="semi")["sku"]
        known = _known(connection, str(currency), codes.unique().sort().to_list())
        for head in members.iter_rows(named=True):
            ref, rows = head["ref"], by_ref[head["ref"]]
            if any(row["sku"] not in known for row in rows):
                continue
            order = _submission(head, rows)
            priced, errors = price(order, known, version.rules, (), groups.get(head["email"]))
            settled.faults += [(ref, error) for error in errors]
            if priced is not None:
                settled.unpriced.discard(ref)
                shipping.append(_head_money(ref, priced))
                money += _line_money(rows, priced)
    settled.orders = _updated(settled.orders, shipping, ["ref"])
    settled.lines = _updated(settled.lines, money, ["ref", "line_no"])


def _updated(frame: pl.DataFrame, rows: list[dict[str, Any]], key: list[str]) -> pl.DataFrame:
    import polars as pl

    if not rows:
        return frame
    schema = {name: frame.schema[name] if name in key else _kind(name) for name in rows[0]}
    new = pl.DataFrame(rows, schema=schema)
    return frame.update(new, on=key, how="left")


def _kind(name: str) -> Any:
    import polars as pl

    return pl.String if name == "price_source" else pl.Int64


def _head_money(ref: int, priced: Priced) -> dict[str, Any]:
    totals = priced.totals
    return {
        "ref": ref,
        "shipping_minor": totals.shipping,
        "shipping_tax_minor": totals.shipping_tax,
        "cash_rounding_minor": totals.rounding - sum(line.rounding_minor for line in priced.lines),
    }


def _line_money(rows: list[dict[str, Any]], priced: Priced) -> list[dict[str, Any]]:
    return [
        {
            "ref": row["ref"],
            "line_no": row["line_no"],
            "unit_price_minor": line.unit_price_minor,
            "price_source": line.price_source,
            "rounding_minor": line.rounding_minor,
            "tax_minor": line.tax_minor,
            "tax_rate_ppm": line.tax_rate_ppm,
        }
        for row, line in zip(rows, priced.lines, strict=True)
    ]


def order_of(head: Mapping[str, Any]) -> OrderIn:
    """Return what the rules ask of an order without its lines, as a single capture has it."""
    return _ORDER.model_copy(
        update={
            "channel": head["channel"],
            "currency": head["currency"],
            "ship_to": _address(head["ship_country"], head["ship_region"]),
        }
    )


def _submission(head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> OrderIn:
    currency = head["currency"]
    return order_of(head).model_copy(
        update={
            "lines": [_line(row, currency) for row in rows],
            "shipping": _decimal(head["shipping_minor"], currency),
            "shipping_tax": _decimal(head["shipping_tax_minor"], currency),
            "expected_total": _decimal(head["expected_total_minor"], currency),
            "tax_included": head["tax_included"],
            "payment": _PAYMENTS.get(head["payment_method"]),
        }
    )


@lru_cache(maxsize=1024)
def _address(country: str, region: str | None) -> AddressIn:
    return AddressIn.model_construct(country=country, region=region)


def _line(row: Mapping[str, Any], currency: str) -> LineIn:
    unit, rounding = row["unit_price_minor"], row["rounding_minor"]
    stated = None if unit is None or not rounding else unit * row["quantity"] + rounding
    return _LINE.model_copy(
        update={
            "sku": row["sku"],
            "quantity": row["quantity"],
            "unit_price": _decimal(unit, currency),
            "expected_unit_price": _decimal(row["expected_unit_price_minor"], currency),
            "amount": _decimal(stated, currency),
            "discount": _decimal(row["discount_minor"], currency),
            "tax": _decimal(row["tax_minor"], currency),
        }
    )


def _decimal(minor: int | None, currency: str) -> Any:
    return None if minor is None else Decimal(minor).scaleb(-EXPONENTS[currency])


def _known(connection: Connection, currency: str, codes: Sequence[str]) -> dict[str, SkuTerms]:
    """Look up SKUs, with the prices in a currency of the lists that are valid now."""
    order = _ORDER.model_copy(update={"currency": currency, "customer": _NOBODY})
    return look(connection, order, ("", None), codes, clock.now()).known


def _groups(connection: Connection, emails: list[str]) -> dict[str, str]:
    """Return the customer groups of those who have one, by e-mail."""
    found = connection.execute(
        sa.text(
            "SELECT c.email, c.customer_group FROM customers AS c"
            f" JOIN ({rowset(connection, 'rows', {'email': 'text'})}) AS r ON r.email = c.email"
            " WHERE c.customer_group IS NOT NULL"
        ),
        {"rows": as_rows({"email": email} for email in sorted(set(emails)))},
    )
    return {row.email: row.customer_group for row in found}
