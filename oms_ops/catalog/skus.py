"""SKUs: put them into the catalogue, change them, find them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CATALOG_WRITE, ORDERS_READ, Actor
from oms_ops.catalog.tables import Sku
from oms_ops.database import as_rows, as_time, rowset
from oms_ops.errors import FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.rules import store
from oms_ops.shapes import Amount, Body, Code, Text, in_minor

Label = Annotated[str, Field(max_length=200)]


#: The most units that a catalogue speaks of: no order has more of a SKU in a line.
MOST_UNITS = 1_000_000


class SkuIn(Body):
    """A SKU with its own price (decimal of ``currency``) and the quantities it may be ordered in.

    There is one at least: a multiple of ``quantity_multiple`` from ``min_quantity`` to
    ``max_quantity``. ``channels`` lists the channels of the shop that sell it, one at least;
    without, every channel does.
    """

    code: Code
    name: Text
    department: Label = ""
    category: Label = ""
    brand: Label = ""
    pack_size: Label = ""
    barcode: Code | None = None
    is_active: bool = True
    currency: str
    price: Amount
    tax_category: Text = "standard"
    min_quantity: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 1
    quantity_multiple: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 1
    max_quantity: Annotated[int, Field(ge=1, le=MOST_UNITS)] | None = None
    channels: list[Text] | None = None
    weight_grams: Annotated[int, Field(ge=0, le=100_000_000)] | None = None


_COLUMNS = {
    "code": "text",
    "name": "text",
    "department": "text",
    "category": "text",
    "brand": "text",
    "pack_size": "text",
    "barcode": "text",
    "is_active": "boolean",
    "currency": "text",
    "price_minor": "bigint",
    "tax_category": "text",
    "min_quantity": "bigint",
    "quantity_multiple": "bigint",
    "max_quantity": "bigint",
    "channels": "json",
    "weight_grams": "bigint",
}


def put(connection: Connection, actor: Actor, wanted: Sequence[SkuIn]) -> int:
    """Create or change SKUs, told apart by their codes; return how many were given.

    Raises:
        ValidationFailed: with every bad field; none is then changed.
    """
    actor.require(CATALOG_WRITE)
    rows: list[dict[str, Any]] = []
    errors: list[FieldError] = []
    channels = store.current(connection).rules.channels
    for index, sku in enumerate(wanted):
        where = f"skus[{index}]"
        row = sku.model_dump(exclude={"price"})
        minor, faults = in_minor(sku.currency, {"price": sku.price}, f"{where}.")
        row["price_minor"] = minor["price"]
        errors += faults
        errors += _never_sold(sku, where, channels)
        rows.append(row)
    for name in ("code", "barcode"):
        seen: set[str] = set()
        for index, row in enumerate(rows):
            if row[name] is not None and row[name] in seen:
                message = "is there twice"
                errors.append(FieldError(f"skus[{index}].{name}", "repeated", message))
            seen.add(row[name])
    errors += _taken_barcodes(connection, rows)
    if errors:
        raise ValidationFailed("The SKUs have bad fields.", errors)
    names = ", ".join(_COLUMNS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "code")
    connection.execute(
        sa.text(
            f"INSERT INTO skus ({names}, version, changed_by, changed_at)"
            f" SELECT {names}, 1, :actor, :now FROM ({rowset(connection, 'rows', _COLUMNS)}) AS r"
            f" WHERE true ORDER BY code ON CONFLICT (code) DO UPDATE SET {changes},"
            " version = skus.version + 1, changed_by = excluded.changed_by,"
            " changed_at = excluded.changed_at"
        ),
        {
            "rows": as_rows(rows),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
    return len(rows)


def _never_sold(sku: SkuIn, where: str, channels: Collection[str]) -> Iterator[FieldError]:
    """Find why nobody could ever order a SKU; no ``channels`` of the shop mean any."""
    least = -(-sku.min_quantity // sku.quantity_multiple) * sku.quantity_multiple
    if least > (sku.max_quantity or MOST_UNITS):
        field = "quantity_multiple" if sku.max_quantity is None else "max_quantity"
        message = f"the least quantity that can be ordered is {least}"
        yield FieldError(f"{where}.{field}", "out_of_range", message)
    if not sku.is_active:
        # What is sold no more may have been of a channel that is no more.
        return
    if sku.channels is not None and not sku.channels:
        message = "at least one; left out, it is sold in all"
        yield FieldError(f"{where}.channels", "required", message)
    for index, channel in enumerate(sku.channels or ()):
        if channels and channel not in channels:
            message = f"one of {', '.join(sorted(channels))}"
            yield FieldError(f"{where}.channels[{index}]", "unknown_channel", message)


def _taken_barcodes(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[FieldError]:
    columns = {"code": "text", "barcode": "text", "position": "bigint"}
    taken = connection.execute(
        sa.text(
            f"SELECT r.position, k.code FROM ({rowset(connection, 'rows', columns)}) AS r"
            " JOIN skus AS k ON k.barcode = r.barcode AND k.code <> r.code ORDER BY r.position"
        ),
        {
            "rows": as_rows(
                {"code": row["code"], "barcode": row["barcode"], "position": index}
                for index, row in enumerate(rows)
                if row["barcode"] is not None
            )
        },
    )
    return [
        FieldError(f"skus[{row.position}].barcode", "taken", f"is that of {row.code}")
        for row in taken
    ]


def get(connection: Connection, actor: Actor, code: str) -> dict[str, Any]:
    """Return a SKU.

    Raises:
        NotFound: there is no such SKU.
    """
    actor.require(ORDERS_READ)
    row = connection.execute(sa.select(Sku.__table__).where(Sku.code == code)).one_or_none()
    if row is None:
        raise NotFound(f"There is no SKU {code!r}.")
    return _render(row)


def listing(
    connection: Connection, actor: Actor, *, search: str = "", after: int = 0, limit: int = 50
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of SKUs with ``search`` in code, name or barcode, and the next cursor."""
    actor.require(ORDERS_READ)
    query = sa.select(Sku.__table__).where(Sku.id > after).order_by(Sku.id).limit(limit + 1)
    if search:
        fields = (Sku.code, Sku.name, Sku.barcode)
        query = query.where(sa.or_(*(field.icontains(search, autoescape=True) for field in fields)))
    found = connection.execute(query).all()
    cursor = found[limit - 1].id if len(found) > limit else None
    return [_render(row) for row in found[:limit]], cursor


def _render(row: Any) -> dict[str, Any]:
    names = [name for name in _COLUMNS if name != "price_minor"]
    return {
        **{name: getattr(row, name) for name in names},
        "price": to_text(row.price_minor, row.currency),
    }
