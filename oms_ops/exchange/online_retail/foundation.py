"""What history needs before its first day: the warehouse, the SKUs and the opening stock.

The data knows of no purchases. What a SKU needs beyond what is there lies in the warehouse on the
eve of the file's first day, as ``opening`` stock; costs are not known.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CATALOG_WRITE, Actor
from oms_ops.catalog.tables import Sku
from oms_ops.errors import Conflict
from oms_ops.exchange.online_retail.source import CURRENCY, TIMEZONE
from oms_ops.rules import store
from oms_ops.stock import ledger, warehouses
from oms_ops.stock.ledger import Move
from oms_ops.stock.tables import StockLevel, Warehouse

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

#: Invented: the data names no place.
WAREHOUSE = "UK"
DEPARTMENT = "Gift-ware"


def moment(day: date, hour: int) -> datetime:
    """Return ``hour`` o'clock of the shop's day."""
    return datetime.combine(day, time(hour), ZoneInfo(TIMEZONE))


def lay(connection: Connection, actor: Actor, rows: pl.DataFrame) -> None:
    """Create what is missing for ``rows``, those of the file that are not imported yet."""
    actor.require(CATALOG_WRITE)
    _accept_the_currency(connection, actor)
    first = rows["day"].min()
    with clock.at(moment(first, 0) - timedelta(hours=4)):  # type: ignore[arg-type]
        warehouse_id = _warehouse(connection, actor)
        skus = _skus(connection, actor, rows)
        _opening_stock(connection, actor, rows, warehouse_id, skus)


def _accept_the_currency(connection: Connection, actor: Actor) -> None:
    version = store.current(connection)
    if version.rules.rate_of(CURRENCY) is not None:
        return
    if version.id is not None:
        raise Conflict(f"The shop's rules do not accept {CURRENCY}, the currency of this history.")
    store.publish(connection, actor, {"base_currency": CURRENCY}, "Online Retail is in pounds")


def _warehouse(connection: Connection, actor: Actor) -> int:
    found = connection.scalar(sa.select(Warehouse.id).where(Warehouse.code == WAREHOUSE))
    if found is not None:
        return int(found)
    return warehouses.create(
        connection, actor, code=WAREHOUSE, name="United Kingdom", line1="1 Warehouse Road",
        city="London", region="", postal_code="SW1A 1AA", country="GB", latitude=51.5,
        longitude=-0.13,
    )  # fmt: skip


def _skus(connection: Connection, actor: Actor, rows: pl.DataFrame) -> dict[str, int]:
    """Create the SKUs that are missing; return all their ids by code."""
    known = set(connection.scalars(sa.select(Sku.code)))
    made = [
        {
            "code": code,
            "name": name or code,
            "department": DEPARTMENT,
            "category": DEPARTMENT,
            "brand": "Unknown",
            "pack_size": "1",
            "is_active": True,
            "currency": CURRENCY,
            "price_minor": price or 0,
            "version": 1,
            "changed_by": actor.name,
            "changed_at": clock.now(),
        }
        for code, name, price in described(rows).iter_rows()
        if code not in known
    ]
    if made:
        connection.execute(sa.insert(Sku), made)
    return {row.code: row.id for row in connection.execute(sa.select(Sku.code, Sku.id))}


def described(rows: pl.DataFrame) -> pl.DataFrame:
    """Return (code, name, price in pence) of the goods: what their priced sales say most often.

    Clerks' notes stand on unpriced rows alone, so they never become a name.
    """
    import polars as pl

    goods = rows.filter(pl.col("plan").is_in(["sale", "return", "adjustment"]))
    priced = goods.filter((pl.col("plan") == "sale") & (pl.col("price") > 0))

    def usual(column: str) -> pl.DataFrame:
        counted = priced.drop_nulls(column).group_by("code", column).len()
        return counted.sort("len", column, descending=True).unique("code", keep="first")

    return (
        goods.select("code")
        .unique()
        .join(usual("description").drop("len"), on="code", how="left")
        .join(usual("price").drop("len"), on="code", how="left")
        .select("code", "description", pl.col("price") // 100)
        .sort("code")
    )


def needed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return (code, units) that must be there at the start so that no day ends below zero.

    Within a day goods come in before they go out. Returned goods are not counted on.
    """
    import polars as pl

    leaves = (pl.col("plan") == "sale") | (pl.col("reason") == "stock_out")
    return (
        rows.filter(pl.col("plan").is_in(["sale", "adjustment"]))
        .group_by("code", "day")
        .agg(
            out=pl.when(leaves).then(pl.col("quantity").abs()).otherwise(-pl.col("quantity")).sum()
        )
        .sort("code", "day")
        .group_by("code")
        .agg(units=pl.col("out").cum_sum().max().clip(lower_bound=0))
        .filter(pl.col("units") > 0)
        .sort("code")
    )


def _opening_stock(
    connection: Connection,
    actor: Actor,
    rows: pl.DataFrame,
    warehouse_id: int,
    skus: dict[str, int],
) -> None:
    levels: dict[int, Any] = {
        row.sku_id: row.available
        for row in connection.execute(
            sa.select(
                StockLevel.sku_id, (StockLevel.on_hand - StockLevel.allocated).label("available")
            ).where(StockLevel.warehouse_id == warehouse_id)
        )
    }
    short = [
        (skus[code], units - levels.get(skus[code], 0)) for code, units in needed(rows).iter_rows()
    ]
    ledger.receive(
        connection,
        actor,
        [
            Move(warehouse_id, sku_id, units, "adjustment", True, "opening", "OPENING")
            for sku_id, units in short
            if units > 0
        ],
    )
