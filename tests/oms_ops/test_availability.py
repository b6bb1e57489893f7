"""Availability is what the rows say at this moment, and arrivals count from their day on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Forbidden
from oms_ops.orders.capture import capture
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.stock import availability, bin_moves, bins, quarantine, transfers
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from oms_ops.stock.names import Line
from oms_ops.stock.quarantine import Suspect
from tests.oms_ops.shop import BUYER, CLERK, Shop, order

WORKER = Actor("wanda", "warehouse")
FAR = date(2999, 1, 1)


def seen(shop: Shop, **asked: Any) -> list[dict[str, Any]]:
    with reading(shop.engine) as connection:
        return availability.view(connection, CLERK, **asked)[0]


def bought(shop: Shop, sku: str, units: int, expected_on: date) -> int:
    made = run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=[PurchaseLine(sku, units)],
            expected_on=expected_on,
        ),
    )  # fmt: skip
    return int(made["lines"][0]["id"])


def sent(shop: Shop, sku: str, units: int, expected_on: date | None) -> None:
    def work(connection: sa.Connection) -> None:
        number = transfers.create(
            connection, WORKER, "NYC", "ATL", [Line(sku, units)], expected_on=expected_on
        )
        transfers.send(connection, WORKER, number)

    run(shop.engine, work)


def test_every_unit_is_where_it_is(shop: Shop) -> None:
    shop.stock("SKU-1", 20)
    run(shop.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A")]))
    run(shop.engine, lambda c: bin_moves.move(c, WORKER, "ATL", [BinMove("SKU-1", 8, "A")]))
    run(shop.engine, lambda c: quarantine.put_in(c, WORKER, "ATL", [Suspect("SKU-1", 3)]))
    capture(shop.engine, CLERK, order(("SKU-1", 5)))
    (row,) = seen(shop)
    assert row == {
        "sku": "SKU-1",
        "name": "Thing 1",
        "warehouse": "ATL",
        "on_hand": 17,
        "allocated": 5,
        "low_threshold": None,
        "on_floor": 9,
        "in_bins": 8,
        "available": 12,
        "in_quarantine": 3,
        "in_transit": 0,
        "backordered": 0,
        "available_to_promise": 12,
        "incoming": [],
    }


def test_what_can_be_promised_grows_with_each_arrival_and_less_what_is_owed(shop: Shop) -> None:
    shop.stock("SKU-1", 4, "NYC")
    capture(shop.engine, CLERK, order(("SKU-1", 10), allow_backorder=True, warehouse="ATL"))
    line = bought(shop, "SKU-1", 12, FAR.replace(day=20))
    with clock.at(datetime(2020, 1, 1, 12, tzinfo=UTC)):
        bought(shop, "SKU-1", 6, date(2020, 1, 1))
    sent(shop, "SKU-1", 3, FAR.replace(day=10))
    sent(shop, "SKU-1", 1, None)
    confirmed = sa.text("UPDATE purchase_order_lines SET confirmed_on = '2999-01-10' WHERE id = :i")
    run(shop.engine, lambda c: c.execute(confirmed, {"i": line}))
    row = seen(shop, warehouse="ATL")[0]
    assert (row["backordered"], row["available_to_promise"], row["in_transit"]) == (10, -10, 4)
    assert [tuple(due.values()) for due in row["incoming"]] == [
        ("2020-01-01", 6, -4, True),
        ("2999-01-10", 15, 11, False),
        (None, 1, 12, False),
    ]


def test_what_was_received_or_closed_is_no_longer_incoming(shop: Shop) -> None:
    line = bought(shop, "SKU-1", 12, FAR)
    assert seen(shop)[0]["incoming"][0]["quantity"] == 12
    part = sa.text("UPDATE purchase_order_lines SET received = 6 WHERE id = :i")
    run(shop.engine, lambda c: c.execute(part, {"i": line}))
    assert seen(shop)[0]["incoming"][0]["quantity"] == 6
    run(shop.engine, lambda c: c.execute(sa.text("UPDATE purchase_orders SET status = 'closed'")))
    assert seen(shop) == []


def test_pages_follow_the_cursor_and_miss_no_sku(shop: Shop) -> None:
    for number in (1, 3, 4):
        shop.stock(f"SKU-{number}", 1)
        shop.stock(f"SKU-{number}", 1, "NYC")
    found: list[tuple[str, str]] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        with reading(shop.engine) as connection:
            page, after = availability.view(connection, CLERK, after=after, limit=2)
        found += [(row["sku"], row["warehouse"]) for row in page]
        pages += 1
    assert found == [(f"SKU-{n}", w) for n in (1, 3, 4) for w in ("ATL", "NYC")]
    assert pages == 3
    asked = seen(shop, skus=["SKU-4", "SKU-1", "SKU-4"], warehouse="NYC")
    assert [row["sku"] for row in asked] == ["SKU-1", "SKU-4"]


def test_whoever_may_not_read_stock_is_refused(shop: Shop) -> None:
    with reading(shop.engine) as connection, pytest.raises(Forbidden):
        availability.view(connection, Actor("nobody", "visitor"))
