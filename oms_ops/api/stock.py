"""Routes of the stock."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from oms_ops.access.actor import STOCK_READ
from oms_ops.api.parts import Caller, Cursor, Database, Limit
from oms_ops.database import reading
from oms_ops.stock import queries

router = APIRouter(tags=["stock"])


@router.get("/stock")
def list_stock(
    engine: Database,
    actor: Caller,
    sku: str | None = None,
    warehouse: str | None = None,
    after: Cursor = 0,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Show units on hand, allocated, available and incoming, by SKU and warehouse."""
    actor.require(STOCK_READ)
    with reading(engine) as connection:
        page, cursor = queries.levels(
            connection, sku=sku, warehouse=warehouse, after=after, limit=limit
        )
    return {"data": page, "next": cursor}
