"""Price lists: who pays what for a SKU, from how many units on, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CATALOG_WRITE, ORDERS_READ, Actor
from oms_ops.catalog.tables import PriceList
from oms_ops.database import as_rows, as_time, read_time, rowset
from oms_ops.errors import FieldError, NotFound, ValidationFailed
from oms_ops.money import to_minor, to_text
from oms_ops.shapes import coded, currency_faults

_PRICE = {"sku_id": "bigint", "min_quantity": "bigint", "price_minor": "bigint"}


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A SKU's price (decimal of the list's currency) from ``min_quantity`` units on."""

    sku: str
    price: Decimal
    min_quantity: int = 1


def put_list(
    connection: Connection,
    actor: Actor,
    code: str,
    *,
    name: str,
    currency: str,
    customer_group: str | None = None,
    priority: int = 0,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    is_active: bool = True,
) -> dict[str, Any]:
    """Create the price list ``code``, or change it to this; return it.

    Raises:
        ValidationFailed: with every bad field.
    """
    actor.require(CATALOG_WRITE)
    code = coded(code, "The price list")
    errors = currency_faults(currency)
    if valid_from and valid_to and valid_from >= valid_to:
        errors.append(FieldError("valid_to", "invalid", "comes before valid_from"))
    held = connection.scalar(sa.select(PriceList.currency).where(PriceList.code == code))
    if held is not None and held != currency:
        message = f"{code} is a list of {held}; its prices would change their meaning"
        errors.append(FieldError("currency", "fixed", message))
    if errors:
        raise ValidationFailed("The price list has bad fields.", errors)
    connection.execute(
        sa.text(
            "INSERT INTO price_lists (code, name, currency, customer_group, priority, valid_from,"
            " valid_to, is_active, version, changed_by, changed_at) VALUES (:code, :name,"
            " :currency, :customer_group, :priority, :valid_from, :valid_to, :is_active, 1, :actor,"
            " :now) ON CONFLICT (code) DO UPDATE SET name = excluded.name,"
            " customer_group = excluded.customer_group, priority = excluded.priority,"
            " valid_from = excluded.valid_from, valid_to = excluded.valid_to,"
            " is_active = excluded.is_active, version = price_lists.version + 1,"
            " changed_by = excluded.changed_by, changed_at = excluded.changed_at"
        ),
        {
            "code": code,
            "name": name,
            "currency": currency,
            "customer_group": customer_group,
            "priority": priority,
            "valid_from": as_time(connection, valid_from) if valid_from else None,
            "valid_to": as_time(connection, valid_to) if valid_to else None,
            "is_active": is_active,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
    return _shown(connection, code)


def set_prices(
    connection: Connection, actor: Actor, code: str, prices: Sequence[ListedPrice]
) -> int:
    """Put prices on the list, replacing those of the same SKU and quantity; return how many.

    Raises:
        NotFound: there is no such list.
        ValidationFailed: with every bad field; none is then set.
    """
    actor.require(CATALOG_WRITE)
    head = _head(connection, code)
    known = _sku_ids(connection, {price.sku for price in prices})
    rows, errors = [], []
    for index, price in enumerate(prices):
        where = f"prices[{index}]"
        if price.sku not in known:
            message = f"there is no SKU {price.sku!r}"
            errors.append(FieldError(f"{where}.sku", "unknown_sku", message))
        if price.min_quantity < 1:
            errors.append(FieldError(f"{where}.min_quantity", "out_of_range", "at least 1"))
        try:
            minor = to_minor(price.price, head.currency)
            if minor < 0:
                raise ValueError("is negative")
        except ValueError as error:
            errors.append(FieldError(f"{where}.price", "invalid_amount", str(error)))
            continue
        rows.append((known.get(price.sku), price.min_quantity, minor))
    if len({row[:2] for row in rows}) != len(rows):
        message = "a SKU has two prices for one quantity"
        errors.append(FieldError("prices", "repeated", message))
    if errors:
        raise ValidationFailed("The prices have bad fields.", errors)
    connection.execute(
        sa.text(
            "INSERT INTO prices (price_list_id, sku_id, min_quantity, price_minor, version,"
            " changed_by, changed_at)"
            " SELECT :list, sku_id, min_quantity, price_minor, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', _PRICE)}) AS r WHERE true ORDER BY sku_id"
            " ON CONFLICT (sku_id, price_list_id, min_quantity) DO UPDATE SET"
            " price_minor = excluded.price_minor, version = prices.version + 1,"
            " changed_by = excluded.changed_by, changed_at = excluded.changed_at"
        ),
        {
            "list": head.id,
            "rows": as_rows(dict(zip(_PRICE, row, strict=True)) for row in rows),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
    return len(rows)


def remove(
    connection: Connection, actor: Actor, code: str, sku: str, min_quantity: int | None = None
) -> int:
    """Take a SKU's prices off the list, or the one from ``min_quantity`` on; return how many.

    Raises:
        NotFound: there is no such list, or no such price on it.
    """
    actor.require(CATALOG_WRITE)
    chosen = (
        "price_list_id = :list AND sku_id = (SELECT id FROM skus WHERE code = :sku)"
        " AND min_quantity = coalesce(CAST(:min_quantity AS bigint), min_quantity)"
    )
    parameters = {
        "list": _head(connection, code).id,
        "sku": sku,
        "min_quantity": min_quantity,
        "actor": actor.name,
    }
    # The feed tells who deleted a row by what it held last.
    connection.execute(sa.text(f"UPDATE prices SET changed_by = :actor WHERE {chosen}"), parameters)
    removed = connection.execute(sa.text(f"DELETE FROM prices WHERE {chosen}"), parameters).rowcount
    if not removed:
        raise NotFound(f"{code} has no such price of {sku!r}.")
    return removed


def get(connection: Connection, actor: Actor, code: str) -> dict[str, Any]:
    """Return a price list with its prices as decimal text.

    Raises:
        NotFound: there is no such list.
    """
    actor.require(ORDERS_READ)
    return _shown(connection, code)


def _shown(connection: Connection, code: str) -> dict[str, Any]:
    head = _head(connection, code)
    prices = connection.execute(
        sa.text(
            "SELECT k.code, p.min_quantity, p.price_minor FROM prices AS p"
            " JOIN skus AS k ON k.id = p.sku_id WHERE p.price_list_id = :id"
            " ORDER BY k.code, p.min_quantity"
        ),
        {"id": head.id},
    )
    return {
        **_render(head),
        "prices": [
            {
                "sku": row.code,
                "min_quantity": row.min_quantity,
                "price": to_text(row.price_minor, head.currency),
            }
            for row in prices
        ],
    }


def listing(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return every price list without its prices."""
    actor.require(ORDERS_READ)
    return [_render(row) for row in connection.execute(sa.text(f"{_HEAD} ORDER BY code"))]


_HEAD = (
    "SELECT id, code, name, currency, customer_group, priority, valid_from, valid_to, is_active"
    " FROM price_lists"
)


def _head(connection: Connection, code: str) -> Any:
    row = connection.execute(sa.text(f"{_HEAD} WHERE code = :code"), {"code": code}).one_or_none()
    if row is None:
        raise NotFound(f"There is no price list {code!r}.")
    return row


def _render(row: Any) -> dict[str, Any]:
    moments = {name: read_time(getattr(row, name)) for name in ("valid_from", "valid_to")}
    return {
        **{key: getattr(row, key) for key in ("code", "name", "currency", "customer_group")},
        "priority": row.priority,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        "is_active": bool(row.is_active),
    }


def _sku_ids(connection: Connection, codes: set[str]) -> dict[str, int]:
    rows = connection.execute(
        sa.text(
            f"SELECT k.code, k.id FROM ({rowset(connection, 'codes', {'code': 'text'})}) AS c"
            " JOIN skus AS k ON k.code = c.code"
        ),
        {"codes": as_rows({"code": code} for code in sorted(codes))},
    )
    return {row.code: row.id for row in rows}
