"""The rules that captures are measured under: one of every kind, so that none is left out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import SYSTEM
from oms_ops.catalog import prices
from oms_ops.catalog.prices import ListedPrice
from oms_ops.database import run
from oms_ops.rules import store
from tests.benchmarks import databases

#: Nothing refuses or holds the orders that are measured; everything is looked at for each of them.
RULES: dict[str, Any] = {
    "base_currency": "USD",
    "exchange_rates": {"CAD": "0.73", "EUR": "1.08"},
    "cash_rounding": {"USD": 5, "CAD": 5},
    "taxes": [
        {"percent": "8.875", "places": ["US-NY"]},
        {"percent": "6.5", "places": ["US-WA"]},
        {"percent": "2", "places": ["US-GA"], "categories": ["reduced"]},
        {"percent": "4", "places": ["US-GA"]},
    ],
    "delivery": [{"handling_days": 1, "transit_days": 3}],
    "shipping": [
        {"name": "free", "currency": "USD", "charge": "0", "places": ["US"], "min_net": "500"},
        {"name": "light", "currency": "USD", "charge": "4.95", "places": ["US"],
         "max_weight_grams": 500},
        {"name": "parcel", "currency": "USD", "charge": "6.95", "per_kilogram": "0.50",
         "places": ["US"]},
    ],
    "channels": {"web": {"reserve_units": 5}, "store": {}},
    "holds": [
        {"code": "large_order", "total_above": "100000"},
        {"code": "unpaid_history", "unpaid_orders": 3, "channels": ["web"]},
    ],
    "routing": {
        "rank": ["fill", "single_warehouse", "zone", "capacity", "distance", "cost", "priority"],
        "zones": {
            "south": ["US-GA", "US-FL", "US-AL", "US-SC"],
            "north": ["US-NY", "US-NJ", "US-CT"],
            "west": ["US-WA", "US-OR", "US-CA"],
        },
        "warehouses": {
            code: {"zones": [zone], "daily_capacity": 10_000_000, "cost_per_shipment": "3.50",
                   "cost_per_unit": "0.25", "cost_per_km": "0.002"}
            for code, zone in (("ATL", "south"), ("NYC", "north"), ("SEA", "west"))
        },
    },
    "alerts": {"low_stock_email": "stock@example.com"},
}  # fmt: skip

PRICE_LIST = "WEB"


def publish(engine: Engine) -> None:
    """Put the rules in force, price every SKU in a list with a quantity break, watch all levels."""
    run(engine, _publish)


def _publish(connection: Connection) -> None:
    store.publish(connection, SYSTEM, RULES)
    prices.put_list(connection, SYSTEM, PRICE_LIST, name="The shop's prices", currency="USD")
    rows = [
        ListedPrice(databases.sku_code(number), Decimal(databases.price(number) - cheaper) / 100, q)
        for number in range(databases.SKUS)
        for q, cheaper in ((1, 0), (3, 20))
    ]
    prices.set_prices(connection, SYSTEM, PRICE_LIST, rows)
    connection.execute(sa.text("UPDATE stock_levels SET low_threshold = 10"))
