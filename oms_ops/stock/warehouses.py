"""Warehouses and the locations that stand for them and for the world around them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.stock.tables import LOCATION_KINDS, Location, Warehouse


def ensure_world(connection: Connection, actor: Actor) -> None:
    """Create the locations outside the warehouses (supplier, customer, ...) once."""
    known = set(connection.scalars(sa.select(Location.code)))
    rows = [
        {"code": kind.upper(), "kind": kind, "changed_by": actor.name, "changed_at": clock.now()}
        for kind in LOCATION_KINDS
        if kind != "storage" and kind.upper() not in known
    ]
    if rows:
        connection.execute(sa.insert(Location), rows)


def create(connection: Connection, actor: Actor, **fields: Any) -> int:
    """Create a warehouse (columns of ``Warehouse``) with its storage location; return its id."""
    actor.require(STOCK_WRITE)
    ensure_world(connection, actor)
    stamp = {"changed_by": actor.name, "changed_at": clock.now()}
    warehouse_id = connection.execute(
        sa.insert(Warehouse).values(**fields, **stamp).returning(Warehouse.id)
    ).scalar_one()
    connection.execute(
        sa.insert(Location).values(
            code=f"{fields['code']}-STORAGE", kind="storage", warehouse_id=warehouse_id, **stamp
        )
    )
    return int(warehouse_id)
