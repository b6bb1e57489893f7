"""Two actions on one order meet at its row: whichever comes second sees what the first did.

Each race stops the first action in the middle, inside its transaction, starts the second, and lets
the first go on; on PostgreSQL both are then in flight at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from oms_ops.database import run
from oms_ops.errors import Conflict, OmsError
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders.cancellation import cancel
from oms_ops.orders.holds import hold
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop
from tests.oms_ops.test_order_life import advance, pay, placed, seen


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """However a race ended, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def both(
    shop: Shop, first: Callable[[Connection], Any], second: Callable[[Connection], Any]
) -> Any:
    """Run ``first``, keep its transaction open, start ``second``; return how ``second`` ended."""
    inside, go_on = threading.Event(), threading.Event()
    ended: list[Any] = []

    def slow(connection: Connection) -> None:
        first(connection)
        inside.set()
        go_on.wait(0.4)

    def other() -> None:
        inside.wait(10)
        try:
            ended.append(run(shop.engine, second))
        except OmsError as error:
            ended.append(error)
        finally:
            go_on.set()

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(run, shop.engine, slow), pool.submit(other)]
        for future in waiting:
            future.result(30)
    return ended[0]


def bought(shop: Shop, units: int) -> tuple[int, int]:
    """Order ``units`` of SKU-1; return the purchase order's id and its line's."""
    order = run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=[PurchaseLine("SKU-1", units)]
        ),
    )
    return order["id"], order["lines"][0]["id"]


def shipments(shop: Shop, order_id: int) -> list[int]:
    rows = shop.rows("SELECT id FROM shipments WHERE order_id = :i ORDER BY id", i=order_id)
    return [row[0] for row in rows]


def test_cancel_while_a_receipt_fills_the_backorder(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    purchase, line = bought(shop, 6)
    both(
        shop,
        lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}),
        lambda c: cancel(c, CLERK, [order_id], "changed her mind"),
    )
    assert seen(shop, order_id)["status"] == "cancelled"
    assert shop.level("SKU-1") == (6, 0)


def test_a_receipt_while_the_waiting_order_is_cancelled(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    purchase, line = bought(shop, 6)
    both(
        shop,
        lambda c: cancel(c, CLERK, [order_id], "changed her mind"),
        lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}),
    )
    assert shop.level("SKU-1") == (6, 0)


@pytest.mark.parametrize("steps", [("pick",), ("pick", "pack"), ("pick", "pack", "ship")])
def test_a_shipment_does_not_grow_once_it_is_picked(shop: Shop, steps: tuple[str, ...]) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 5), allow_backorder=True)
    (shipment,) = shipments(shop, order_id)
    purchase, line = bought(shop, 6)

    def fulfil(connection: Connection) -> None:
        for step in steps:
            getattr(fulfilment, step)(connection, ADMIN, [shipment])

    both(shop, lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}), fulfil)
    rows = shop.rows(
        "SELECT s.id, s.status, sum(sl.quantity) FROM shipments AS s JOIN shipment_lines AS sl"
        " ON sl.shipment_id = s.id GROUP BY s.id, s.status ORDER BY s.id"
    )
    # The receipt came first here: its units are in the shipment when it is picked.
    assert [int(row[2]) for row in rows] == [5]


def test_a_receipt_after_the_pick_opens_a_second_shipment(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 5), allow_backorder=True)
    (shipment,) = shipments(shop, order_id)
    purchase, line = bought(shop, 6)
    both(
        shop,
        lambda c: fulfilment.pick(c, ADMIN, [shipment]),
        lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}),
    )
    rows = shop.rows(
        "SELECT s.status, sl.quantity FROM shipments AS s JOIN shipment_lines AS sl"
        " ON sl.shipment_id = s.id ORDER BY s.id"
    )
    assert [tuple(row) for row in rows] == [("picked", 2), ("allocated", 3)]


def test_cancel_and_pick_do_not_both_win(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 2))
    (shipment,) = shipments(shop, order_id)
    ended = both(
        shop,
        lambda c: fulfilment.pick(c, ADMIN, [shipment]),
        lambda c: cancel(c, CLERK, [order_id], "changed her mind"),
    )
    assert isinstance(ended, Conflict)
    assert seen(shop, order_id)["status"] == "open"


def test_hold_and_pick_do_not_both_win(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 2))
    (shipment,) = shipments(shop, order_id)
    ended = both(
        shop,
        lambda c: hold(c, CLERK, [order_id], "check"),
        lambda c: fulfilment.pick(c, ADMIN, [shipment]),
    )
    assert isinstance(ended, Conflict)


def test_units_sent_back_at_once_are_refunded_to_the_cent(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    order_id = placed(shop, ("SKU-1", 4), discount="7.86")
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    pay(shop, order_id)
    line = shop.rows("SELECT id FROM order_lines")[0][0]

    def send_back(_: int) -> None:
        request = ReturnRequest(order_id, (ReturnedLine(line, 1),), "damaged")
        run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send_back, range(4)))
    refunds = sorted(row[0] for row in shop.rows("SELECT refund_minor FROM return_lines"))
    assert (sum(refunds), len(refunds)) == (10, 4)


def test_what_a_cancelled_order_leaves_goes_to_who_waits(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    first = placed(shop, ("SKU-1", 4))
    waiting = placed(shop, ("SKU-1", 3), allow_backorder=True)
    run(shop.engine, lambda c: cancel(c, CLERK, [first], "changed her mind"))
    assert seen(shop, waiting)["lines"][0]["allocated"] == 3
    assert shop.level("SKU-1") == (4, 3)
