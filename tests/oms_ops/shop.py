"""A small shop to test with, in the words of the business."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.catalog.tables import Sku, Supplier, SupplierTerm
from oms_ops.database import reading, run
from oms_ops.stock import ledger, warehouses
from oms_ops.stock.ledger import Move

ADMIN = Actor("tester", "admin")
CLERK = Actor("carla", "clerk")
BUYER = Actor("mary", "merchandiser")


class Shop:
    """A database with two warehouses, one supplier (MOQ 6, packs of 6) and some SKUs."""

    def __init__(self, engine: Engine) -> None:
        """Lay the foundation, where it is not there yet."""
        self.engine = engine
        self.warehouse_ids = self._ids("warehouses")
        self.sku_ids = self._ids("skus")
        if not self.sku_ids:
            run(engine, self._lay)

    def _lay(self, connection: Connection) -> None:
        stamp = {"changed_by": ADMIN.name, "changed_at": clock.now()}
        for code, region in (("ATL", "GA"), ("NYC", "NY")):
            self.warehouse_ids[code] = warehouses.create(
                connection, ADMIN, code=code, name=code, city=code, region=region,
                postal_code="00001", country="US",
            )  # fmt: skip
        supplier = connection.execute(
            sa.insert(Supplier)
            .values(code="ACME", name="Acme", lead_time_days=5, **stamp)
            .returning(Supplier.id)
        ).scalar_one()
        for number in range(1, 6):
            sku = connection.execute(
                sa.insert(Sku)
                .values(code=f"SKU-{number}", name=f"Thing {number}", department="Things",
                        category="Small", brand="Own", pack_size="1", currency="USD",
                        price_minor=199 * number, is_active=number != 5, **stamp)
                .returning(Sku.id)
            ).scalar_one()  # fmt: skip
            self.sku_ids[f"SKU-{number}"] = sku
            connection.execute(
                sa.insert(SupplierTerm).values(
                    supplier_id=supplier, sku_id=sku, currency="USD", unit_cost_minor=100 * number,
                    moq=6, pack_multiple=6, **stamp,
                )
            )  # fmt: skip

    def _ids(self, table: str) -> dict[str, int]:
        return dict(tuple(row) for row in self.rows(f"SELECT code, id FROM {table} ORDER BY id"))

    def stock(self, sku: str, quantity: int, warehouse: str = "ATL") -> None:
        """Put units on the shelf."""
        move = Move(self.warehouse_ids[warehouse], self.sku_ids[sku], quantity, "adjustment", True,
                    "opening", "OPENING", 100)  # fmt: skip
        run(self.engine, lambda connection: ledger.receive(connection, ADMIN, [move]))

    def level(self, sku: str, warehouse: str = "ATL") -> tuple[int, int]:
        """Return (on hand, allocated)."""
        rows = self.rows(
            "SELECT on_hand, allocated FROM stock_levels"
            " WHERE sku_id = :sku AND warehouse_id = :warehouse",
            sku=self.sku_ids[sku],
            warehouse=self.warehouse_ids[warehouse],
        )
        return tuple(rows[0]) if rows else (0, 0)

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """Read."""
        with reading(self.engine) as connection:
            return list(connection.execute(sa.text(statement), parameters))

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


def order(*lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
    """Return a submission: ``order(("SKU-1", 2), allow_backorder=True)``."""
    return {
        "channel": "web",
        "currency": "USD",
        "customer": {"email": "bob@example.com", "name": "Bob"},
        "ship_to": {
            "name": "Bob",
            "line1": "1 Main Street",
            "city": "Atlanta",
            "region": "GA",
            "postal_code": "30301",
            "country": "US",
        },
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
        "payment": {"method": "card"},
        **changes,
    }
