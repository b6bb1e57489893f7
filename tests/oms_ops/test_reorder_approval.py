"""A reorder line becomes a purchase order once, and only from a list that is still true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, StaleList, ValidationFailed
from oms_ops.feed.reader import START, Cursor, read
from oms_ops.purchasing import orders, reorder
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.reorder import ApprovalLine
from tests.oms_ops.shop import BUYER, CLERK, Shop


def horizon(shop: Shop) -> Cursor:
    """Return the place of the newest change in the feed."""
    with reading(shop.engine) as connection:
        epoch, xid, seq = read(connection, START, 1_000_000)[-1][:3]
    return Cursor(epoch, xid, seq)


def line(sku: str, quantity: int = 12, warehouse: str = "ATL") -> ApprovalLine:
    return ApprovalLine(sku, warehouse, 12, quantity)


def test_approving_makes_one_order_per_supplier_and_warehouse(shop: Shop) -> None:
    made = reorder.approve(
        shop.engine,
        BUYER,
        "list-1",
        clock.now(),
        [line("SKU-1"), line("SKU-2", 18), line("SKU-1", 6, "NYC")],
        list_cursor=horizon(shop),
    )
    assert [(o["warehouse"], len(o["lines"]), o["total"]) for o in made] == [
        ("ATL", 2, "48.00"),
        ("NYC", 1, "6.00"),
    ]
    with reading(shop.engine) as connection:
        known = reorder.approved(connection, "list-1")
    assert known["SKU-2", "ATL"]["number"] == made[0]["number"]
    assert known["SKU-2", "ATL"]["approved_quantity"] == 18
    assert known["SKU-2", "ATL"]["approved_by"] == "mary"


def test_the_same_line_is_refused_the_second_time_and_all_with_it(shop: Shop) -> None:
    cursor = horizon(shop)
    made = reorder.approve(
        shop.engine, BUYER, "list-1", clock.now(), [line("SKU-1")], list_cursor=cursor
    )
    with pytest.raises(Conflict, match=made[0]["number"]):
        reorder.approve(
            shop.engine,
            BUYER,
            "list-1",
            clock.now(),
            [line("SKU-2"), line("SKU-1")],
            list_cursor=cursor,
        )
    assert shop.count("purchase_orders") == 1


def test_two_who_approve_at_once_make_one_order(shop: Shop) -> None:
    cursor = horizon(shop)

    def approve(_: int) -> bool:
        try:
            reorder.approve(
                shop.engine, BUYER, "list-1", clock.now(), [line("SKU-1")], list_cursor=cursor
            )
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(approve, range(8))) == 1
    assert shop.count("purchase_orders") == shop.count("reorder_approvals") == 1


def test_a_line_ordered_since_the_list_is_stale(shop: Shop) -> None:
    cursor = horizon(shop)
    bought = run(
        shop.engine,
        lambda c: orders.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=[PurchaseLine("SKU-1", 6)]
        ),
    )
    with pytest.raises(StaleList, match=bought["number"]):
        reorder.approve(
            shop.engine, BUYER, "list-1", clock.now(), [line("SKU-1")], list_cursor=cursor
        )
    # The same line from a list that knows the order is a fresh decision; so is another line.
    reorder.approve(
        shop.engine, BUYER, "list-2", clock.now(), [line("SKU-1")], list_cursor=horizon(shop)
    )
    reorder.approve(shop.engine, BUYER, "list-1", clock.now(), [line("SKU-2")], list_cursor=cursor)


def test_an_old_list_is_refused(shop: Shop) -> None:
    with pytest.raises(StaleList, match="hours old"):
        reorder.approve(
            shop.engine,
            BUYER,
            "list-1",
            clock.now() - timedelta(days=3),
            [line("SKU-1")],
            list_cursor=horizon(shop),
        )


def test_every_bad_line_is_named_and_nothing_is_ordered(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        reorder.approve(
            shop.engine,
            BUYER,
            "list-1",
            clock.now(),
            [line("SKU-1", 5), line("NOPE"), line("SKU-2", 0), line("SKU-3", 12)],
            list_cursor=horizon(shop),
        )
    assert {e.field for e in refusal.value.errors} == {
        "lines[0].quantity",
        "lines[1].sku",
        "lines[2].quantity",
    }
    assert shop.count("purchase_orders") == 0


def test_only_who_may_buy_approves(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        reorder.approve(
            shop.engine, CLERK, "list-1", clock.now(), [line("SKU-1")], list_cursor=horizon(shop)
        )
