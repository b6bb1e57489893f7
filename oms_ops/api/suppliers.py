"""Routes of the suppliers and their terms."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from oms_ops.api.parts import Caller, Database
from oms_ops.database import reading, run
from oms_ops.purchasing import suppliers
from oms_ops.purchasing.suppliers import SupplierIn, TermIn

router = APIRouter(tags=["purchasing"])

Code = Annotated[str, Path(min_length=1, max_length=50, pattern=r"^[^\s/]+$")]


@router.get("/suppliers")
def list_suppliers(engine: Database, actor: Caller) -> dict[str, Any]:
    """List the suppliers by code."""
    with reading(engine) as connection:
        return {"data": suppliers.listing(connection, actor), "next": None}


@router.get("/suppliers/{code}")
def get_supplier(engine: Database, actor: Caller, code: str) -> dict[str, Any]:
    """Show one supplier with its terms."""
    with reading(engine) as connection:
        return suppliers.get(connection, actor, code)


@router.put("/suppliers/{code}")
def put_supplier(engine: Database, actor: Caller, code: Code, body: SupplierIn) -> dict[str, Any]:
    """Create a supplier or change it."""
    return run(engine, lambda connection: suppliers.put(connection, actor, code, body))


@router.put("/suppliers/{code}/terms/{sku}")
def put_terms(engine: Database, actor: Caller, code: str, sku: str, body: TermIn) -> dict[str, Any]:
    """Set what a supplier asks for a SKU."""
    return run(engine, lambda connection: suppliers.put_terms(connection, actor, code, sku, body))
