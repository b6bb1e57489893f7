"""Routes of the catalogue: SKUs, price lists, discount codes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from oms_ops.api.parts import Caller, Cursor, Database, Limit, Search, Units
from oms_ops.catalog import discounts, prices, skus
from oms_ops.catalog.discounts import DiscountIn
from oms_ops.catalog.prices import ListedPrice
from oms_ops.catalog.skus import SkuIn
from oms_ops.database import reading, run
from oms_ops.shapes import Amount, Body, Text

router = APIRouter(tags=["catalogue"])


class Skus(Body):
    """SKUs to create or change."""

    skus: Annotated[list[SkuIn], Field(min_length=1, max_length=1000)]


class PriceListBody(Body):
    """What a price list says of itself."""

    name: Text
    currency: str
    customer_group: Text | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    is_active: bool = True


class PriceBody(Body):
    """A SKU's price from a quantity on."""

    sku: Text
    price: Amount
    min_quantity: Units = 1


class Prices(Body):
    """Prices to put on a list."""

    prices: Annotated[list[PriceBody], Field(min_length=1, max_length=10_000)]


@router.get("/skus")
def list_skus(
    engine: Database,
    actor: Caller,
    search: Search = "",
    after: Cursor = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List SKUs; ``search`` looks into code, name and barcode."""
    with reading(engine) as connection:
        page, cursor = skus.listing(connection, actor, search=search, after=after, limit=limit)
    return {"data": page, "next": cursor}


@router.get("/skus/{code}")
def get_sku(engine: Database, actor: Caller, code: str) -> dict[str, Any]:
    """Show a SKU."""
    with reading(engine) as connection:
        return skus.get(connection, actor, code)


@router.put("/skus")
def put_skus(engine: Database, actor: Caller, body: Skus) -> dict[str, Any]:
    """Create or change SKUs: all of them, or none when one has a bad field."""
    return {"skus": run(engine, lambda connection: skus.put(connection, actor, body.skus))}


@router.get("/price-lists")
def list_price_lists(engine: Database, actor: Caller) -> dict[str, Any]:
    """List the price lists."""
    with reading(engine) as connection:
        return {"data": prices.listing(connection, actor), "next": None}


@router.get("/price-lists/{code}")
def get_price_list(engine: Database, actor: Caller, code: str) -> dict[str, Any]:
    """Show a price list with its prices."""
    with reading(engine) as connection:
        return prices.get(connection, actor, code)


@router.put("/price-lists/{code}")
def put_price_list(
    engine: Database, actor: Caller, code: str, body: PriceListBody
) -> dict[str, Any]:
    """Create or change a price list."""
    return run(
        engine,
        lambda connection: prices.put_list(connection, actor, code, **body.model_dump()),
    )


@router.put("/price-lists/{code}/prices")
def put_prices(engine: Database, actor: Caller, code: str, body: Prices) -> dict[str, Any]:
    """Put prices on a list: all of them, or none when one has a bad field."""
    wanted = [ListedPrice(**price.model_dump()) for price in body.prices]
    return {
        "prices": run(engine, lambda connection: prices.set_prices(connection, actor, code, wanted))
    }


@router.delete("/price-lists/{code}/prices")
def remove_prices(
    engine: Database,
    actor: Caller,
    code: str,
    sku: Annotated[str, Query(max_length=200)],
    min_quantity: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> dict[str, Any]:
    """Take the prices of a SKU off a list, or the one from a quantity on."""
    return {"removed": run(engine, lambda c: prices.remove(c, actor, code, sku, min_quantity))}


@router.get("/discounts")
def list_discounts(engine: Database, actor: Caller) -> dict[str, Any]:
    """List discount codes, newest first."""
    with reading(engine) as connection:
        return {"data": discounts.listing(connection, actor), "next": None}


@router.put("/discounts")
def put_discount(engine: Database, actor: Caller, body: DiscountIn) -> dict[str, Any]:
    """Create or change a discount code."""
    return run(engine, lambda connection: discounts.put(connection, actor, body))
