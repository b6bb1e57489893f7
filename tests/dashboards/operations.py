"""The operational database that belongs to the simulated shop, made through ``oms_ops``."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.catalog.tables import Sku, Supplier, SupplierTerm
from oms_ops.database import reading, run
from oms_ops.feed.reader import Cursor
from oms_ops.stock import warehouses
from tests.dashboards.shop import SUPPLIERS, WAREHOUSES, Shop

ADMIN = Actor("tester", "admin")


def lay(engine: Engine, shop: Shop) -> None:
    """Create the shop's warehouses, suppliers, SKUs and terms."""
    run(engine, lambda connection: _lay(connection, shop))


def _lay(connection: Connection, shop: Shop) -> None:
    stamp = {"changed_by": ADMIN.name, "changed_at": clock.now()}
    for code, name, city in WAREHOUSES:
        warehouses.create(
            connection, ADMIN, code=code, name=name, city=city, region="NA", postal_code="00001",
            country="US",
        )  # fmt: skip
    suppliers = {
        code: connection.execute(
            sa.insert(Supplier)
            .values(code=code, name=name, lead_time_days=lead, **stamp)
            .returning(Supplier.id)
        ).scalar_one()
        for code, name, lead in SUPPLIERS
    }
    for sku in shop.skus:
        sku_id = connection.execute(
            sa.insert(Sku)
            .values(
                code=sku["sku"], name=sku["sku_name"], department=sku["department"],
                category=sku["category"], brand=sku["brand"], pack_size=sku["pack_size"],
                currency="USD", price_minor=sku["unit_price"], **stamp,
            )
            .returning(Sku.id)
        ).scalar_one()  # fmt: skip
        connection.execute(
            sa.insert(SupplierTerm).values(
                supplier_id=suppliers[sku["supplier"]], sku_id=sku_id, currency="USD",
                unit_cost_minor=sku["unit_cost"], moq=sku["moq"],
                pack_multiple=sku["pack_multiple"], **stamp,
            )
        )  # fmt: skip


def cursor(engine: Engine) -> str:
    """Return the place of the newest change, as a snapshot made now would carry it."""
    with reading(engine) as connection:
        epoch, seq = connection.execute(
            sa.text("SELECT coalesce(max(epoch), 0), coalesce(max(seq), 0) FROM change_log")
        ).one()
    return str(Cursor(epoch, 0, seq))


def key(engine: Engine, role: str, name: str) -> str:
    """Create an API key for ``role`` and return it."""
    return run(engine, lambda connection: keys.create(connection, role, name))
