"""What a batch leaves to the shop: prices, taxes, shipping charges, the warehouse.

An order that states all of it is taken as it is. The others are priced one by one by the very
rules of a single capture, and sent to the warehouse that routing chooses, in the order in which
they were placed; what is bad in them stays as it is for :mod:`oms_ops.orders.bulk_rules` to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_rows, rowset
from oms_ops.money import EXPONENTS
from oms_ops.orders import sites
from oms_ops.orders.bulk_rules import Fault
from oms_ops.orders.intake import AddressIn, CustomerIn, LineIn, OrderIn, PaymentIn
from oms_ops.orders.look import Seen, look
from oms_ops.orders.pricing import Priced, price
from oms_ops.orders.routing import route
from oms_ops.orders.sites import Destination
from oms_ops.rules.document import Rules
from oms_ops.rules.store import Version
from oms_ops.stock.names import MOST_UNITS

if TYPE_CHECKING:
    import polars as pl

#: Money that the shop's rules say where the frames do not.
_BY_RULE = ("shipping_minor", "shipping_tax_minor")


@dataclass(slots=True)
class Settled:
    """The frames with everything stated, and what pricing objects to.

    ``unpriced`` are the orders that are too broken to be priced: they have to be refused.
    """

    orders: pl.DataFrame
    lines: pl.DataFrame
    faults: list[Fault] = field(default_factory=list)
    unpriced: set[int] = field(default_factory=set)


def settle(
    connection: Connection, orders: pl.DataFrame, lines: pl.DataFrame, version: Version
) -> Settled:
    """State what the frames leave to the shop's rules."""
    import polars as pl

    rules = version.rules
    settled = Settled(
        orders.with_columns(
            pl.col("tax_included").fill_null(rules.prices_include_tax),
            *([] if rules.shipping else [pl.col("shipping_minor").fill_null(0)]),
            *([] if rules.taxes else [pl.col("shipping_tax_minor").fill_null(0)]),
        ),
        lines.with_columns(
            pl.col("rounding_minor", "tax_rate_ppm").fill_null(0),
            *([] if rules.taxes else [pl.col("tax_minor").fill_null(0)]),
        ),
    )
    asking = _asking(settled, rules)
    if asking:
        _price(connection, settled, version, asking)
    homeless = set(settled.orders.filter(pl.col("warehouse").is_null())["ref"])
    if homeless:
        settled.orders = _routed(connection, settled, rules, homeless)
    return settled


def _asking(settled: Settled, rules: Rules) -> set[int]:
    """Return the orders that leave some of their money to the rules: all, where there are taxes."""
    import polars as pl

    if rules.taxes:
        return set(settled.orders["ref"])
    to_cash = (pl.col("payment_method") == "cash") & pl.col("currency").is_in(
        list(rules.cash_rounding)
    )
    heads = settled.orders.filter(pl.any_horizontal(pl.col(*_BY_RULE).is_null()) | to_cash)
    rows = settled.lines.filter(pl.col("unit_price_minor").is_null())
    return set(heads["ref"]) | set(rows["ref"])


def _price(connection: Connection, settled: Settled, version: Version, asking: set[int]) -> None:
    """Price the orders that ask for it."""
    import polars as pl

    mine = pl.col("ref").is_in(list(asking))
    heads = settled.orders.filter(mine)
    groups = _groups(connection, heads["email"].drop_nulls().to_list())
    by_ref: dict[int, list[dict[str, Any]]] = {}
    for row in settled.lines.filter(mine).iter_rows(named=True):
        by_ref.setdefault(row["ref"], []).append(row)
    shipping: list[dict[str, Any]] = []
    money: list[dict[str, Any]] = []
    settled.unpriced = set(asking)
    for (currency,), members in heads.group_by("currency"):
        submissions = dict(_submissions(members, by_ref)) if currency in EXPONENTS else {}
        known = _known(connection, submissions)
        for ref, order in submissions.items():
            if any(line.sku not in known for line in order.lines):
                continue
            group = groups.get(order.customer.email.lower())
            priced, errors = price(order, known, version.rules, (), group)
            settled.faults += [(ref, error) for error in errors]
            if priced is not None:
                settled.unpriced.discard(ref)
                shipping.append(_head_money(ref, priced))
                money += _line_money(by_ref[ref], priced)
    settled.orders = _updated(settled.orders, shipping, ["ref"])
    settled.lines = _updated(settled.lines, money, ["ref", "line_no"])
    # They are refused; what they leave open is no fault of its own.
    settled.orders = settled.orders.with_columns(pl.col(*_BY_RULE).fill_null(0))
    settled.lines = settled.lines.with_columns(pl.col("tax_minor", "unit_price_minor").fill_null(0))


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


def _submissions(
    heads: pl.DataFrame, by_ref: Mapping[int, list[dict[str, Any]]]
) -> Iterator[tuple[int, OrderIn]]:
    """Return the orders that are whole enough to be priced, as a single capture has them."""
    for head in heads.iter_rows(named=True):
        rows = by_ref.get(head["ref"], [])
        if not rows or not all(_is_whole(row) for row in rows) or not head["ship_country"]:
            continue
        method = head["payment_method"]
        yield (
            head["ref"],
            OrderIn.model_construct(
                channel=head["channel"],
                currency=head["currency"],
                customer=CustomerIn.model_construct(email=head["email"] or "", name=""),
                ship_to=AddressIn.model_construct(
                    country=head["ship_country"], region=head["ship_region"]
                ),
                lines=[_line(row, head["currency"]) for row in rows],
                shipping=_decimal(head["shipping_minor"], head["currency"]),
                shipping_tax=_decimal(head["shipping_tax_minor"], head["currency"]),
                tax_included=head["tax_included"],
                payment=PaymentIn.model_construct(method=method) if method else None,
            ),
        )


def _is_whole(row: dict[str, Any]) -> bool:
    quantity, discount, unit = row["quantity"], row["discount_minor"], row["unit_price_minor"]
    return (
        row["sku"] is not None
        and row["line_no"] is not None
        and quantity is not None
        and 1 <= quantity <= MOST_UNITS
        and discount is not None
        and discount >= 0
        and (unit is None or unit >= 0)
        and (row["tax_minor"] is None or row["tax_minor"] >= 0)
    )


def _line(row: dict[str, Any], currency: str) -> LineIn:
    unit, rounding = row["unit_price_minor"], row["rounding_minor"]
    stated = None if unit is None or not rounding else unit * row["quantity"] + rounding
    return LineIn.model_construct(
        sku=row["sku"],
        quantity=row["quantity"],
        unit_price=_decimal(unit, currency),
        amount=_decimal(stated, currency),
        discount=_decimal(row["discount_minor"], currency),
        tax=_decimal(row["tax_minor"], currency),
    )


def _decimal(minor: int | None, currency: str) -> Any:
    return None if minor is None else Decimal(minor).scaleb(-EXPONENTS[currency])


def _known(connection: Connection, submissions: Mapping[int, OrderIn]) -> dict[str, Any]:
    """Look up the SKUs of orders of one currency, with the prices of the lists valid now."""
    if not submissions:
        return {}
    codes = sorted({line.sku for order in submissions.values() for line in order.lines})
    one = next(iter(submissions.values()))
    seen: Seen = look(connection, one, ("", None), codes, clock.now())
    return seen.known


def _groups(connection: Connection, emails: list[str]) -> dict[str, str]:
    """Return the customer groups of those who have one, by e-mail."""
    found = connection.execute(
        sa.text(
            "SELECT c.email, c.customer_group FROM customers AS c"
            f" JOIN ({rowset(connection, 'rows', {'email': 'text'})}) AS r ON r.email = c.email"
            " WHERE c.customer_group IS NOT NULL"
        ),
        {"rows": as_rows({"email": email} for email in sorted({e.lower() for e in emails}))},
    )
    return {row.email: row.customer_group for row in found}


def _routed(
    connection: Connection, settled: Settled, rules: Rules, homeless: set[int]
) -> pl.DataFrame:
    """Give the orders that name no warehouse the one that routing chooses, without a split.

    What an order before takes is not there for the next; orders that name a warehouse are not
    looked at, the claim itself sees to them.
    """
    import polars as pl

    orders, lines = settled.orders, settled.lines
    known = sites.read(connection, rules.routing)
    if not known:
        return orders
    ids, available = _stock(connection, lines["sku"].drop_nulls().unique().sort().to_list())
    wanted: dict[int, list[tuple[int, int]]] = {}
    for ref, sku, units in lines.select("ref", "sku", "quantity").iter_rows():
        if ref in homeless and sku in ids and units and units > 0:
            wanted.setdefault(ref, []).append((ids[sku], units))
    homes: dict[int, str] = {}
    columns = ("ref", "ship_country", "ship_region", "reserve")
    chosen = orders.filter(pl.col("ref").is_in(list(homeless))).sort("placed_at", "ref")
    for ref, country, region, reserve in chosen.select(columns).iter_rows():
        units = wanted.get(ref, [])
        pairs = [(site.id, sku_id) for site in known for sku_id, _ in units]
        routing = route(
            units,
            {pair: max(0, available.get(pair, 0) - reserve) for pair in pairs},
            known,
            Destination(country or "", region),
            rules.routing,
            allow_split=False,
        )
        for site_id, index, taken in routing.allocations:
            available[site_id, units[index][0]] -= taken
        homes[ref] = routing.home.code
    kind: Any = orders.schema["ref"]
    schema = {"ref": kind, "warehouse": pl.String}
    new = pl.DataFrame(list(homes.items()), schema=schema, orient="row")
    return orders.with_columns(pl.col("warehouse").cast(pl.String)).update(
        new, on="ref", how="left"
    )


def _stock(
    connection: Connection, codes: list[str]
) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
    """Return the SKUs' ids by code, and what is available per (warehouse id, SKU id)."""
    found = connection.execute(
        sa.text(
            "SELECT k.id, k.code, l.warehouse_id, l.on_hand - l.allocated AS units"
            f" FROM ({rowset(connection, 'rows', {'code': 'text'})}) AS r"
            " JOIN skus AS k ON k.code = r.code LEFT JOIN stock_levels AS l ON l.sku_id = k.id"
        ),
        {"rows": as_rows({"code": code} for code in codes)},
    ).all()
    levels = {(r.warehouse_id, r.id): r.units for r in found if r.warehouse_id is not None}
    return {row.code: row.id for row in found}, levels
