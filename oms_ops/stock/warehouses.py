"""Warehouses and the locations that stand for them and for the world around them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.regions import code_of
from oms_ops.stock.tables import WORLD_KINDS, Location, Warehouse


def ensure_world(connection: Connection, actor: Actor) -> None:
    """Create once the locations that must be: the world's, and each warehouse's quarantine."""
    known = set(connection.scalars(sa.select(Location.code)))
    wanted: list[tuple[str, str, int | None]] = [(kind.upper(), kind, None) for kind in WORLD_KINDS]
    for warehouse_id, code in connection.execute(sa.select(Warehouse.id, Warehouse.code)):
        wanted.append((f"{code}-QUARANTINE", "quarantine", warehouse_id))
    rows = [
        {
            "code": code,
            "kind": kind,
            "warehouse_id": warehouse_id,
            "changed_by": actor.name,
            "changed_at": clock.now(),
        }
        for code, kind, warehouse_id in wanted
        if code not in known
    ]
    if rows:
        connection.execute(sa.insert(Location), rows)


def create(connection: Connection, actor: Actor, **fields: Any) -> int:
    """Create a warehouse (columns of ``Warehouse``) with storage and quarantine; return its id.

    Its region is kept as addresses keep theirs.
    """
    actor.require(STOCK_WRITE)
    region = code_of(fields["country"], fields["region"]) or fields["region"]
    fields = {**fields, "region": region}
    stamp = {"changed_by": actor.name, "changed_at": clock.now()}
    warehouse_id = connection.execute(
        sa.insert(Warehouse).values(**fields, **stamp).returning(Warehouse.id)
    ).scalar_one()
    connection.execute(
        sa.insert(Location).values(
            code=f"{fields['code']}-STORAGE", kind="storage", warehouse_id=warehouse_id, **stamp
        )
    )
    ensure_world(connection, actor)
    return int(warehouse_id)
