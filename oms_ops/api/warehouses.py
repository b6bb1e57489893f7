"""Routes of the warehouses."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from oms_ops.api.parts import Caller, Database
from oms_ops.database import reading, run
from oms_ops.stock import warehouses
from oms_ops.stock.warehouses import Code, WarehouseIn

router = APIRouter(prefix="/warehouses", tags=["stock"])


@router.get("")
def list_warehouses(engine: Database, actor: Caller) -> dict[str, Any]:
    """List the warehouses, the closed ones too."""
    with reading(engine) as connection:
        return {"data": warehouses.listing(connection, actor), "next": None}


@router.put("/{code}")
def put_warehouse(engine: Database, actor: Caller, code: Code, body: WarehouseIn) -> dict[str, Any]:
    """Create a warehouse or change it; one that is not empty cannot be closed."""
    return run(engine, lambda connection: warehouses.put(connection, actor, code, body))
