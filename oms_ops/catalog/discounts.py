"""Discount codes: who may use them for what, how long and how often."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CATALOG_WRITE, ORDERS_READ, Actor
from oms_ops.catalog.tables import Discount, Sku
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.rules import store
from oms_ops.shapes import Amount, Body, Text, in_minor, one_line, storable
from oms_ops.texts import MaybeText


class DiscountIn(Body):
    """A discount code: ``percent`` or ``amount`` (decimal of ``currency``), never both.

    Without ``currency`` its amounts are of the base currency of the rules in force.
    ``sku`` or ``category`` limit it to those lines, ``customer_group`` to those customers. It needs
    goods for ``min_net`` and is given ``use_limit`` times at most. An ``amount`` comes off orders
    of its currency only; a ``percent`` off those of every currency, ``min_net`` being exchanged at
    the rates in force.
    """

    code: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=50, to_upper=True),
        AfterValidator(storable),
        AfterValidator(one_line),
    ]
    name: Text
    percent: Annotated[Decimal, Field(gt=0, le=100, decimal_places=4)] | None = None
    amount: Annotated[Amount, Field(gt=0)] | None = None
    currency: str | None = None
    sku: MaybeText = None
    category: MaybeText = None
    customer_group: MaybeText = None
    min_net: Amount = Decimal(0)
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    use_limit: Annotated[int, Field(ge=1)] | None = None
    is_active: bool = True


def put(connection: Connection, actor: Actor, wanted: DiscountIn) -> dict[str, Any]:
    """Create a discount code, or change it to this; how often it was used stays.

    Raises:
        ValidationFailed: with every bad field.
        Conflict: the limit is below the uses that orders hold already.
    """
    actor.require(CATALOG_WRITE)
    values = _values(connection, wanted)
    now = clock.now()
    stamp = {"changed_by": actor.name, "changed_at": now}
    used = connection.execute(
        sa.select(Discount.id, Discount.used).where(Discount.code == wanted.code).with_for_update()
    ).one_or_none()
    if used is None:
        connection.execute(sa.insert(Discount).values(**values, **stamp))
        return _shown(connection, wanted.code)
    if wanted.use_limit is not None and wanted.use_limit < used.used:
        raise Conflict(
            f"{wanted.code} is used {used.used} times already.",
            [FieldError("use_limit", "below_uses", f"at least {used.used}")],
        )
    connection.execute(
        sa.update(Discount)
        .where(Discount.id == used.id)
        .values(**values, **stamp, version=Discount.version + 1)
    )
    return _shown(connection, wanted.code)


def _values(connection: Connection, wanted: DiscountIn) -> dict[str, Any]:
    currency = wanted.currency or _base_currency(connection)
    amounts = {"amount": wanted.amount, "min_net": wanted.min_net}
    minor, errors = in_minor(currency, amounts)
    if (wanted.percent is None) == (wanted.amount is None):
        errors.append(FieldError("percent", "one_of", "either percent or amount"))
    sku_id = None
    if wanted.sku is not None:
        sku_id = connection.scalar(sa.select(Sku.id).where(Sku.code == wanted.sku))
        if sku_id is None:
            errors.append(FieldError("sku", "unknown_sku", f"there is no SKU {wanted.sku!r}"))
    if wanted.valid_from and wanted.valid_to and wanted.valid_from >= wanted.valid_to:
        errors.append(FieldError("valid_to", "invalid", "comes before valid_from"))
    if errors:
        raise ValidationFailed("The discount has bad fields.", errors)
    return {
        **wanted.model_dump(
            include={
                "code", "name", "category", "customer_group", "valid_from", "valid_to",
                "use_limit", "is_active",
            }
        ),
        "percent_ppm": None if wanted.percent is None else int(wanted.percent * 10_000),
        "amount_minor": None if wanted.amount is None else minor["amount"],
        "currency": currency if wanted.amount is not None or minor["min_net"] else None,
        "sku_id": sku_id,
        "min_net_minor": minor["min_net"],
    }  # fmt: skip


def _base_currency(connection: Connection) -> str:
    return store.current(connection).rules.base_currency


def get(connection: Connection, actor: Actor, code: str) -> dict[str, Any]:
    """Return a discount code with how often it is used.

    Raises:
        NotFound: there is no such code.
    """
    actor.require(ORDERS_READ)
    return _shown(connection, code)


def _shown(connection: Connection, code: str) -> dict[str, Any]:
    row = connection.execute(_QUERY.where(Discount.code == code.upper())).one_or_none()
    if row is None:
        raise NotFound(f"There is no discount code {code!r}.")
    return _render(row, _base_currency(connection))


def listing(connection: Connection, actor: Actor, *, limit: int = 200) -> list[dict[str, Any]]:
    """Return the newest discount codes."""
    actor.require(ORDERS_READ)
    rows = connection.execute(_QUERY.order_by(Discount.id.desc()).limit(limit))
    base_currency = _base_currency(connection)
    return [_render(row, base_currency) for row in rows]


_QUERY = sa.select(Discount, Sku.code.label("sku")).join(
    Sku, Sku.id == Discount.sku_id, isouter=True
)


def _render(row: Any, base_currency: str) -> dict[str, Any]:
    currency = row.currency or base_currency

    def moment(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    return {
        **{key: getattr(row, key) for key in ("code", "name", "sku", "category")},
        "percent": None if row.percent_ppm is None else str(Decimal(row.percent_ppm) / 10_000),
        "amount": None if row.amount_minor is None else to_text(row.amount_minor, currency),
        "currency": row.currency,
        "customer_group": row.customer_group,
        "min_net": to_text(row.min_net_minor, currency),
        "valid_from": moment(row.valid_from),
        "valid_to": moment(row.valid_to),
        "use_limit": row.use_limit,
        "used": row.used,
        "is_active": bool(row.is_active),
    }
