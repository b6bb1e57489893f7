"""The operational totals are those of exactly the changes that landed, however busy the shop is."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest
from sqlalchemy.engine import Engine

from oms_ops.database import transaction
from oms_ops.orders.capture import capture
from pipelines.lib import landing
from tests.oms_ops.shop import CLERK, Shop, order
from tests.pipelines.test_landing import add_customers

#: The same totals from the lake: the newest landed state of each row.
FROM_THE_LAKE = """
WITH latest AS (
    SELECT entity, op, payload FROM read_parquet($files)
    QUALIFY row_number() OVER (PARTITION BY entity, entity_id ORDER BY epoch DESC, seq DESC) = 1
)
SELECT
    count(*) FILTER (entity = 'orders'),
    coalesce(sum(CAST(payload ->> 'total_minor' AS BIGINT)) FILTER (entity = 'orders'), 0),
    count(*) FILTER (entity = 'order_lines'),
    coalesce(sum(CAST(payload ->> 'allocated' AS BIGINT)) FILTER (entity = 'order_lines'), 0),
    coalesce(sum(CAST(payload ->> 'backordered' AS BIGINT)) FILTER (entity = 'order_lines'), 0)
FROM latest WHERE op <> 'D'
"""
NAMES = ("orders", "order_totals", "order_lines", "units_allocated", "units_backordered")


def _from_the_lake(folder: Path) -> tuple[int, ...]:
    with duckdb.connect() as connection:
        row = connection.execute(FROM_THE_LAKE, {"files": f"{folder}/*.parquet"}).fetchone()
    assert row is not None
    return tuple(int(value) for value in row)


@pytest.mark.parametrize("summed", ["whole", "by parts"])
def test_totals_belong_to_the_landed_changes_while_orders_come_in(
    database: Engine, tmp_path: Path, summed: str, request: pytest.FixtureRequest
) -> None:
    if summed == "by parts":
        request.getfixturevalue("small_parts")
    folder = tmp_path / "lake"
    shop = Shop(database)
    for number in range(1, 5):
        shop.stock(f"SKU-{number}", 50)
    closing = threading.Event()

    def sell(clerk: int) -> None:
        number = clerk
        while not closing.wait(0.002):
            number += 1
            skus = [f"SKU-{(number + k) % 4 + 1}" for k in range(2)]
            capture(database, CLERK, order(*((sku, 2) for sku in skus), allow_backorder=True))

    def dawdle() -> None:
        """Hold a transaction open: on PostgreSQL whatever commits meanwhile has to wait."""
        number = 0
        while not closing.wait(0.01):
            number += 1
            with transaction(database) as connection:
                add_customers(connection, f"slow{number}")
                closing.wait(0.03)

    clerks = [threading.Thread(target=sell, args=[clerk]) for clerk in range(3)]
    clerks.append(threading.Thread(target=dawdle))
    for clerk in clerks:
        clerk.start()
    try:
        for _ in range(15):
            totals = landing.land(database, folder).horizon.totals
            assert tuple(totals[name] for name in NAMES) == _from_the_lake(folder)
    finally:
        closing.set()
        for clerk in clerks:
            clerk.join()
    totals = landing.land(database, folder).horizon.totals
    assert tuple(totals[name] for name in NAMES) == _from_the_lake(folder)
    assert totals["orders"] == shop.count("orders") > 0
