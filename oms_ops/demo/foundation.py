"""What is there before the first day of the demo: warehouses, SKUs, suppliers, opening stock."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.catalog.tables import Sku, Supplier, SupplierTerm
from oms_ops.demo import assumptions as assume
from oms_ops.demo.source import Source, moment
from oms_ops.rules import store
from oms_ops.settings import settings
from oms_ops.stock import ledger, warehouses
from oms_ops.stock.ledger import Move
from oms_ops.stock.tables import Warehouse

if TYPE_CHECKING:
    import polars as pl


def lay(connection: Connection, actor: Actor, source: Source) -> None:
    """Create everything as of the evening before the first day."""
    eve = moment(source.first - timedelta(days=1), 20, settings().timezone)
    with clock.at(eve):
        _promise(connection, actor)
        sites = [_warehouse(connection, actor, *row) for row in assume.WAREHOUSES]
        skus = _skus(connection, actor, source.products)
        _suppliers(connection, actor, source.products, skus)
        _opening_stock(connection, actor, source, sites, skus)


def _promise(connection: Connection, actor: Actor) -> None:
    """Say by when orders are to be with their customers, unless the shop's rules say it."""
    rules = store.current(connection).rules
    if not rules.delivery:
        days = {"handling_days": assume.HANDLING_DAYS, "transit_days": assume.TRANSIT_DAYS}
        store.publish(connection, actor, rules.model_dump(mode="json") | {"delivery": [days]})


def _stamp(actor: Actor) -> dict[str, Any]:
    return {"changed_by": actor.name, "changed_at": clock.now()}


def _warehouse(
    connection: Connection,
    actor: Actor,
    code: str,
    name: str,
    city: str,
    region: str,
    postal_code: str,
    latitude: float,
    longitude: float,
) -> int:
    found = connection.scalar(sa.select(Warehouse.id).where(Warehouse.code == code))
    if found is not None:
        return int(found)
    return warehouses.create(
        connection,
        actor,
        code=code,
        name=name,
        city=city,
        region=region,
        postal_code=postal_code,
        country="US",
        latitude=latitude,
        longitude=longitude,
    )


def _skus(connection: Connection, actor: Actor, products: pl.DataFrame) -> dict[int, int]:
    """Create the SKUs; return their ids by product id."""
    stamp = _stamp(actor)
    rows = [
        {
            "code": str(row["product_id"]),
            "name": " ".join(f"{row['kind']} {row['pack_size']}".split()),
            "department": row["department"],
            "category": row["category"],
            "brand": row["brand"],
            "pack_size": row["pack_size"],
            "barcode": None,
            "is_active": True,
            "currency": assume.CURRENCY,
            "price_minor": row["price_minor"],
            "version": 1,
            **stamp,
        }
        for row in products.iter_rows(named=True)
    ]
    connection.execute(sa.insert(Sku), rows)
    codes = connection.execute(sa.select(Sku.code, Sku.id))
    return {int(row.code): row.id for row in codes if row.code.isdecimal()}


def _suppliers(
    connection: Connection, actor: Actor, products: pl.DataFrame, skus: dict[int, int]
) -> None:
    stamp = _stamp(actor)
    connection.execute(
        sa.insert(Supplier),
        [
            {
                "code": f"V{number:02}",
                "name": f"Supplier {number:02}",
                "email": f"orders@supplier-{number:02}.example",
                "lead_time_days": assume.lead_time_days(number),
                "review_days": assume.REVIEW_DAYS,
                "version": 1,
                **stamp,
            }
            for number in range(1, assume.SUPPLIERS + 1)
        ],
    )
    ids = {row.code: row.id for row in connection.execute(sa.select(Supplier.code, Supplier.id))}
    rows = []
    for product, price, maker in products.select(
        "product_id", "price_minor", "manufacturer_id"
    ).iter_rows():
        number = assume.between("supplier", maker, 1, assume.SUPPLIERS)
        terms = assume.terms(product, price)
        rows.append(
            {
                "supplier_id": ids[f"V{number:02}"],
                "sku_id": skus[product],
                "currency": assume.CURRENCY,
                "unit_cost_minor": terms.unit_cost_minor,
                "moq": terms.moq,
                "pack_multiple": terms.pack_multiple,
                "is_preferred": True,
                "version": 1,
                **stamp,
            }
        )
    connection.execute(sa.insert(SupplierTerm), rows)


def _opening_stock(
    connection: Connection,
    actor: Actor,
    source: Source,
    sites: list[int],
    skus: dict[int, int],
) -> None:
    """Put some days of early demand on the shelves, for some SKUs more than for others."""
    import polars as pl

    early = source.first + timedelta(days=assume.EARLY_DAYS)
    demand = (
        source.lines.filter(pl.col("day") < early)
        .group_by("warehouse_index", "product_id")
        .agg(pl.col("quantity").sum())
        .sort("warehouse_index", "product_id")
    )
    costs = {
        product: assume.terms(product, price).unit_cost_minor
        for product, price in source.products.select("product_id", "price_minor").iter_rows()
    }
    low, high = assume.OPENING_DAYS
    moves = []
    for index, product, units in demand.iter_rows():
        days = low + (high - low) * assume.chance("opening", f"{index}:{product}")
        quantity = math.ceil(units / assume.EARLY_DAYS * days)
        moves.append(
            Move(sites[index], skus[product], quantity, "adjustment", True, "opening", "OPENING",
                 costs[product])
        )  # fmt: skip
    ledger.receive(connection, actor, moves)
