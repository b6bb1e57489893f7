"""Promises 3, 5 and 7 over an order's life: ship, return, cancel, backorder, hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import holds, queries
from oms_ops.orders.cancellation import cancel
from oms_ops.orders.capture import capture
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop, order


def placed(shop: Shop, *lines: tuple[str, int], **changes: Any) -> int:
    """Capture an order; return its id."""
    number = capture(shop.engine, CLERK, order(*lines, **changes))["number"]
    return int(shop.rows("SELECT id FROM orders WHERE number = :n", n=number)[0][0])


def seen(shop: Shop, order_id: int) -> dict[str, Any]:
    """Return the order as callers see it."""
    from oms_ops.database import reading

    with reading(shop.engine) as connection:
        return queries.get(connection, f"SO-{10_000_000 + order_id}")


def advance(shop: Shop, order_id: int, *steps: str) -> None:
    """Move all shipments of an order through the steps."""
    ids = [row[0] for row in shop.rows("SELECT id FROM shipments WHERE order_id = :i", i=order_id)]
    for step in steps:
        run(shop.engine, lambda c, s=step: getattr(fulfilment, s)(c, ADMIN, ids))


def pay(shop: Shop, order_id: int) -> int:
    """Capture the order's payment; return its id."""
    payment_id = int(shop.rows("SELECT id FROM payments WHERE order_id = :i", i=order_id)[0][0])
    run(shop.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    return payment_id


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Any:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def test_shipping_takes_the_units_out_and_closes_the_order(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 4))
    advance(shop, order_id, "pick", "pack", "ship")
    assert shop.level("SKU-1") == (6, 0)
    assert seen(shop, order_id)["fulfilment_status"] == "shipped"
    advance(shop, order_id, "deliver")
    assert seen(shop, order_id)["status"] == "closed"
    kinds = {row[0] for row in shop.rows("SELECT kind FROM outbox_messages")}
    assert kinds == {"order.confirmed", "shipment.shipped", "shipment.delivered"}


def test_a_step_out_of_turn_is_refused_and_changes_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 4))
    with pytest.raises(Conflict):
        advance(shop, order_id, "ship")
    advance(shop, order_id, "pick", "pack", "ship")
    with pytest.raises(Conflict):
        advance(shop, order_id, "ship")
    assert shop.level("SKU-1") == (6, 0)


def test_a_held_order_is_not_picked(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 4))
    run(shop.engine, lambda c: holds.hold(c, CLERK, [order_id], "large"))
    with pytest.raises(Conflict):
        advance(shop, order_id, "pick")
    run(shop.engine, lambda c: holds.release(c, CLERK, [order_id]))
    advance(shop, order_id, "pick")


def test_cancelling_releases_stock_and_money(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 12), allow_backorder=True)
    pay(shop, order_id)
    run(shop.engine, lambda c: cancel(c, CLERK, [order_id], "changed her mind"))
    assert shop.level("SKU-1") == (10, 0)
    answer = seen(shop, order_id)
    assert (answer["status"], answer["payment_status"]) == ("cancelled", "refunded")
    assert answer["lines"][0]["cancelled"] == 12
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: cancel(c, CLERK, [order_id], "again"))


def test_what_is_picked_cannot_be_cancelled(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 4))
    advance(shop, order_id, "pick")
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: cancel(c, CLERK, [order_id], "too late"))
    assert shop.level("SKU-1") == (10, 4)


def test_a_receipt_fills_backorders_oldest_first(shop: Shop) -> None:
    first = placed(shop, ("SKU-1", 4), allow_backorder=True)
    second = placed(shop, ("SKU-1", 4), allow_backorder=True)
    bought = run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=[PurchaseLine("SKU-1", 6)]
        ),
    )
    line = bought["lines"][0]["id"]
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, bought["id"], {line: 6}))
    assert seen(shop, first)["lines"][0]["backordered"] == 0
    assert seen(shop, second)["lines"][0] | {"sku": ""} == seen(shop, second)["lines"][0] | {
        "sku": "",
        "allocated": 2,
        "backordered": 2,
    }
    assert shop.level("SKU-1") == (6, 6)
    assert shop.rows("SELECT status FROM purchase_orders")[0][0] == "closed"
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: receipts.receive(c, ADMIN, bought["id"], {line: 1}))


def test_a_purchase_order_names_every_bad_line(shop: Shop) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        run(
            shop.engine,
            lambda c: purchasing.create(
                c,
                BUYER,
                supplier="ACME",
                warehouse="NOWHERE",
                lines=[PurchaseLine("SKU-1", 4), PurchaseLine("NOPE", 6), PurchaseLine("SKU-2", 7)],
            ),
        )
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("warehouse", "unknown_warehouse"),
        ("lines[0].quantity", "below_moq"),
        ("lines[0].quantity", "not_a_pack_multiple"),
        ("lines[1].sku", "unknown_sku"),
        ("lines[2].quantity", "not_a_pack_multiple"),
    ]
    assert shop.count("purchase_orders") == 0


def test_a_return_restocks_scraps_and_refunds(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    order_id = placed(shop, ("SKU-1", 3), discount="1.00")
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    pay(shop, order_id)
    line = shop.rows("SELECT id FROM order_lines")[0][0]

    def send_back(units: int, disposition: str) -> None:
        request = ReturnRequest(order_id, (ReturnedLine(line, units, disposition),), "damaged")
        run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))

    send_back(1, "restock")
    assert shop.level("SKU-1") == (8, 0)
    send_back(2, "scrap")
    assert shop.level("SKU-1") == (8, 0)
    assert seen(shop, order_id)["totals"]["refunded"] == "4.97"
    assert seen(shop, order_id)["payment_status"] == "refunded"
    with pytest.raises(Conflict):
        send_back(1, "restock")


def test_returned_units_go_to_those_who_wait(shop: Shop) -> None:
    shop.stock("SKU-1", 3)
    order_id = placed(shop, ("SKU-1", 3))
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    pay(shop, order_id)
    waiting = placed(shop, ("SKU-1", 2), allow_backorder=True)
    line = shop.rows("SELECT id FROM order_lines WHERE order_id = :i", i=order_id)[0][0]
    request = ReturnRequest(order_id, (ReturnedLine(line, 1),), "wrong item")
    run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))
    assert seen(shop, waiting)["lines"][0]["allocated"] == 1


def test_refunds_never_exceed_captures_when_eight_ask_at_once(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    payment_id = pay(shop, placed(shop, ("SKU-1", 1)))

    def refund(_: int) -> bool:
        try:
            request = RefundRequest(payment_id, 199, "goodwill")
            run(shop.engine, lambda c: payments.refund(c, CLERK, [request]))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(refund, range(8))) == 1
    assert shop.rows("SELECT refunded_minor FROM payments")[0][0] == 199


def test_the_ledgers_refuse_to_be_rewritten(shop: Shop) -> None:
    shop.stock("SKU-1", 1)
    pay(shop, placed(shop, ("SKU-1", 1)))
    for statement in (
        "UPDATE stock_moves SET quantity = 5",
        "DELETE FROM stock_moves",
        "UPDATE payment_events SET amount_minor = 0",
        "DELETE FROM payment_events",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="ledger"):
            run(shop.engine, lambda c, s=statement: c.execute(sa.text(s)))


@pytest.mark.parametrize("role", ["analyst", "support", "engineer"])
def test_the_services_ask_for_the_role(shop: Shop, role: str) -> None:
    from oms_ops.access.actor import Actor

    with pytest.raises(Forbidden):
        capture(shop.engine, Actor("anna", role), order(("SKU-1", 1)))
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: fulfilment.pick(c, Actor("anna", role), [1]))
