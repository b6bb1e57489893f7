"""Reads all that capturing an order needs to know, in one statement and so in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from pydantic_core import from_json
from sqlalchemy.engine import Connection

from oms_ops.database import as_rows, as_time, execute, rowset
from oms_ops.orders import holding
from oms_ops.orders.holding import UNPAID_SQL
from oms_ops.orders.intake import OrderIn
from oms_ops.orders.sites import Site, with_open_today
from oms_ops.orders.terms import DiscountTerms, ListPrice, SkuTerms
from oms_ops.rules import store


@dataclass(frozen=True, slots=True)
class Hold:
    """Units that the order's basket holds."""

    id: int
    warehouse_id: int
    sku_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class KnownCustomer:
    """The customer with the submission's e-mail address, as known before it."""

    id: int
    group: str | None
    name: str
    phone: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the database knows of a submission before anything is written.

    ``first`` is (request hash, response) of the idempotency key, if it came before. ``levels`` are
    the units available per (warehouse id, SKU id), those that the basket holds not among them.
    ``unpaid`` counts the customer's unpaid orders, None where no rule was expected to ask.
    """

    rules: store.Version
    first: tuple[str, Any] | None
    known: dict[str, SkuTerms]
    levels: dict[tuple[int, int], int]
    sites: list[Site]
    customer: KnownCustomer | None
    captured_as: str | None
    discounts: dict[str, DiscountTerms]
    holds: list[Hold]
    unpaid: int | None = None

    @property
    def customer_id(self) -> int | None:
        """The known customer's id."""
        return self.customer.id if self.customer else None

    @property
    def customer_group(self) -> str | None:
        """The known customer's group, whose price lists hold."""
        return self.customer.group if self.customer else None


#: (SQLite, PostgreSQL) names of what makes an array of values, and of rows.
_ARRAY = {"sqlite": "json_array", "postgresql": "json_build_array"}
_ROWS = {"sqlite": "json_group_array", "postgresql": "json_agg"}


def look(
    connection: Connection,
    order: OrderIn | None,
    key: tuple[str, str | None],
    codes: Sequence[str],
    now: datetime,
) -> Seen:
    """Look up ``codes`` (SKUs) and, where the submission has its shape, the rest.

    ``key`` is the idempotency key with its scope before it.
    """
    with_discounts = order is not None and bool(order.discount_codes)
    with_basket = order is not None and order.basket is not None
    with_history = holding.asks_history(store.expected(connection.engine).rules)
    parts = (with_discounts, with_basket, with_history)
    row = execute(
        connection,
        _statement(connection.dialect.name, len(codes), *parts),
        {
            "codes": as_rows({"code": code} for code in codes),
            "email": order.customer.email if order else None,
            "channel": order.channel if order else None,
            "external_id": order.external_id if order else None,
            "currency": order.currency if order else None,
            "scope": key[0],
            "key": key[1],
            "now": as_time(connection, now),
            "discounts": as_rows({"code": code} for code in order.discount_codes) if order else "",
            "basket": order.basket if order else None,
        },
    ).fetchone()
    first, customer, captured_as, sites, skus, discounts, holds = (_read(part) for part in row[1:8])
    known, levels = _catalogue(skus or ())
    version = store.version(connection, row[0])
    return Seen(
        rules=version,
        first=tuple(first) if first else None,
        known=known,
        levels=levels,
        sites=with_open_today(
            connection, [Site(*part) for part in sites or ()], version.rules.routing
        ),
        customer=KnownCustomer(*customer) if customer else None,
        captured_as=captured_as[0] if captured_as else None,
        discounts={part[1]: DiscountTerms(*part) for part in discounts or ()},
        holds=[Hold(*part) for part in holds or ()],
        unpaid=int(row[8]) if row[8] is not None and customer else None,
    )


def _read(part: Any) -> Any:
    return from_json(part) if isinstance(part, str) else part


def _catalogue(
    skus: Sequence[Sequence[Any]],
) -> tuple[dict[str, SkuTerms], dict[tuple[int, int], int]]:
    known: dict[str, SkuTerms] = {}
    levels: dict[tuple[int, int], int] = {}
    for *terms, channels, weight_grams, stock, prices in skus:
        listed = tuple(ListPrice(*price) for price in _read(prices) or ())
        sku = SkuTerms(*(*terms, _read(channels), weight_grams, listed))
        known[sku.code] = sku
        for warehouse_id, available in _read(stock) or ():
            levels[warehouse_id, sku.id] = available
    return known, levels


@lru_cache(maxsize=256)
def _statement(
    dialect: str, count: int, with_discounts: bool, with_basket: bool, with_history: bool
) -> str:
    """Return the statement; what few orders have (codes, a basket) is asked for by them only."""
    array, rows = _ARRAY[dialect], _ROWS[dialect]
    connection: Any = SimpleNamespace(dialect=SimpleNamespace(name=dialect))
    unpaid = UNPAID_SQL.format(customer="(SELECT id FROM customers WHERE email = :email)")
    valid = "({0}.valid_from IS NULL OR {0}.valid_from <= :now)" \
            " AND ({0}.valid_to IS NULL OR {0}.valid_to > :now)"  # fmt: skip
    stock = (
        f"(SELECT {rows}({array}(l.warehouse_id, l.on_hand - l.allocated))"
        " FROM stock_levels AS l WHERE l.sku_id = s.id)"
    )
    prices = (
        f"(SELECT {rows}({array}(p.id, p.code, p.customer_group, p.priority, e.min_quantity,"
        " e.price_minor)) FROM prices AS e JOIN price_lists AS p ON p.id = e.price_list_id"
        " WHERE e.sku_id = s.id AND p.currency = :currency AND p.is_active"
        f" AND {valid.format('p')})"
    )
    skus = (
        f"(SELECT {rows}({array}(s.id, s.code, s.name, s.is_active, s.currency, s.price_minor,"
        " coalesce(t.unit_cost_minor, 0), s.category, s.tax_category, s.min_quantity,"
        f" s.quantity_multiple, s.max_quantity, s.channels, s.weight_grams, {stock}, {prices}))"
        f" FROM ({rowset(connection, 'codes', {'code': 'text'}, count=count)}) AS c"
        " JOIN skus AS s ON s.code = c.code"
        " LEFT JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred)"
    )
    discounts = (
        f"(SELECT {rows}({array}(d.id, d.code, d.percent_ppm, d.amount_minor, d.currency,"
        " d.sku_id, d.category, d.customer_group, d.min_net_minor,"
        " coalesce(d.used >= d.use_limit, false)))"
        f" FROM ({rowset(connection, 'discounts', {'code': 'text'}, count=5)}) AS c"
        f" JOIN discounts AS d ON d.code = c.code WHERE d.is_active AND {valid.format('d')})"
    )
    holds = (
        f"(SELECT {rows}({array}(h.id, h.warehouse_id, h.sku_id, h.quantity))"
        " FROM basket_holds AS h WHERE h.basket = :basket AND h.expires_at > :now)"
    )
    return (
        f"SELECT ({store.NEWEST_SQL}),"
        f" (SELECT {array}(k.request_hash, k.response) FROM idempotency_keys AS k"
        "  WHERE k.scope = :scope AND k.key = :key),"
        f" (SELECT {array}(u.id, u.customer_group, u.name, u.phone) FROM customers AS u"
        "  WHERE u.email = :email),"
        f" (SELECT {array}(o.number) FROM orders AS o"
        "  WHERE o.channel = :channel AND o.external_id = :external_id),"
        f" (SELECT {rows}({array}(w.id, w.code, w.region, w.country, w.rank, w.latitude,"
        " w.longitude))"
        "  FROM warehouses AS w WHERE w.is_active),"
        f" {skus}, {discounts if with_discounts else 'NULL'}, {holds if with_basket else 'NULL'},"
        f" {f'({unpaid})' if with_history else 'NULL'}"
    )
