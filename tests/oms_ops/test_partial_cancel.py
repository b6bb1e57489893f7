"""Promises 3, 4, 5 and 7 when units are cancelled: stock, codes and money follow to the cent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, NotFound, ValidationFailed
from oms_ops.fulfilment import waves
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders import amounts, holds, tenders
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.units import CancelledUnits
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import advance, pay, placed, seen


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def drop(shop: Shop, order_id: int, *lines: tuple[int, int]) -> dict[str, Any]:
    """Cancel units of lines (number, units); return the order."""
    wanted = [CancelledUnits(order_id, line_no, units) for line_no, units in lines]
    run(shop.engine, lambda c: cancel_units(c, CLERK, wanted, "changed her mind"))
    return seen(shop, order_id)


def line(order: dict[str, Any], number: int = 1) -> tuple[int, int, int]:
    """Return (allocated, backordered, cancelled) of a line."""
    found = order["lines"][number - 1]
    return found["allocated"], found["backordered"], found["cancelled"]


def test_units_that_wait_go_first_then_those_in_unpicked_shipments(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 8), allow_backorder=True)
    assert line(drop(shop, order_id, (1, 2))) == (5, 1, 2)
    assert line(drop(shop, order_id, (1, 3))) == (3, 0, 5)
    assert shop.level("SKU-1") == (5, 3)


def test_a_shipment_that_is_left_with_nothing_is_cancelled(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 2), ("SKU-2", 2), allow_split=True)
    answer = drop(shop, order_id, (2, 2))
    assert answer["status"] == "open"
    statuses = shop.rows("SELECT status FROM shipments ORDER BY warehouse_id")
    assert [row[0] for row in statuses] == ["allocated", "cancelled"]
    assert shop.level("SKU-2", "NYC") == (5, 0)


def test_what_is_picked_is_not_cancelled_and_each_line_is_named(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    advance(shop, order_id, "pick")
    with pytest.raises(Conflict) as refusal:
        drop(shop, order_id, (1, 3))
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("lines[0].quantity", "being_picked")
    ]
    assert line(drop(shop, order_id, (1, 2))) == (2, 0, 2)


def test_each_line_that_cannot_be_cancelled_is_named_with_where_its_units_are(shop: Shop) -> None:
    for sku in ("SKU-1", "SKU-2", "SKU-3"):
        shop.stock(sku, 3)
    order_id = placed(shop, ("SKU-1", 3), ("SKU-2", 3), ("SKU-3", 3))
    drop(shop, order_id, (3, 2))
    advance(shop, order_id, "pick", "pack", "ship")
    with pytest.raises(Conflict) as refusal:
        drop(shop, order_id, (3, 1), (1, 2))
    assert [(e.field, e.code, e.message) for e in refusal.value.errors] == [
        (
            "lines[0].quantity",
            "shipped",
            "of line 3 (SKU-3) of SO-10000001, 0 of 3 units can be cancelled:"
            " 1 in SH-10000001, which is shipped; 2 cancelled already",
        ),
        (
            "lines[1].quantity",
            "shipped",
            "of line 1 (SKU-1) of SO-10000001, 0 of 3 units can be cancelled:"
            " 3 in SH-10000001, which is shipped",
        ),
    ]


def test_more_units_than_a_line_has_are_refused_by_name(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    order_id = placed(shop, ("SKU-1", 4))
    with pytest.raises(Conflict) as refusal:
        drop(shop, order_id, (1, 5))
    assert [(e.code, e.message) for e in refusal.value.errors] == [
        ("beyond_quantity", "of line 1 (SKU-1) of SO-10000001, 4 of 4 units can be cancelled")
    ]
    drop(shop, order_id, (1, 1))
    with pytest.raises(Conflict) as refusal:
        drop(shop, order_id, (1, 4))
    assert [e.code for e in refusal.value.errors] == ["cancelled"]


def test_each_order_that_cannot_be_cancelled_is_named_with_why(shop: Shop) -> None:
    shop.stock("SKU-1", 20)
    orders = [placed(shop, ("SKU-1", 2)) for _ in range(6)]
    over, done, picked, gone, walked, free = orders
    run(shop.engine, lambda c: cancel(c, CLERK, [over], "no more"))
    advance(shop, done, "pick", "pack", "ship", "deliver")
    advance(shop, picked, "pick")
    advance(shop, gone, "pick", "pack", "ship")
    run(shop.engine, lambda c: waves.open_wave(c, ADMIN, "ATL", Limits(shipments=1)))
    with pytest.raises(Conflict) as refusal:
        run(shop.engine, lambda c: cancel(c, CLERK, orders, "all of them"))
    assert [(e.field, e.code, e.message) for e in refusal.value.errors] == [
        ("number", "cancelled", "SO-10000001 is cancelled"),
        ("number", "closed", "SO-10000002 is closed"),
        ("number", "being_picked", "SH-10000003 of SO-10000003 is picked"),
        ("number", "shipped", "SH-10000004 of SO-10000004 is shipped"),
        ("number", "being_picked", "SH-10000005 of SO-10000005 is in a wave"),
    ]
    assert [seen(shop, order_id)["status"] for order_id in (picked, walked, free)] == ["open"] * 3
    with pytest.raises(Conflict) as refusal:
        drop(shop, over, (1, 1))
    assert [(e.field, e.code) for e in refusal.value.errors] == [("number", "cancelled")]


def test_an_order_that_there_is_not_is_not_cancelled(shop: Shop) -> None:
    with pytest.raises(NotFound, match="SO-10000009"):
        run(shop.engine, lambda c: cancel(c, CLERK, [9], "which?"))


def test_bad_lines_are_all_named(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 4), allow_backorder=True)
    with pytest.raises(ValidationFailed) as refusal:
        drop(shop, order_id, (1, 1), (1, 0), (7, 1))
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("lines[1].line_no", "repeated_line"),
        ("lines[1].quantity", "not_positive"),
        ("lines[2].line_no", "unknown_line"),
    ]


def test_the_last_unit_cancels_the_order_with_its_shipping_charge(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 2), shipping="5.00", discount="0.99")
    first = drop(shop, order_id, (1, 1))
    # Half of the discount, rounded down to the cent, stays with the unit that is kept.
    assert first["totals"] | {"owed": "6.50", "cancelled": "1.49"} == first["totals"]
    answer = drop(shop, order_id, (1, 1))
    assert (answer["status"], answer["totals"]["owed"]) == ("cancelled", "0.00")
    assert answer["payment_status"] == "voided"
    assert answer["cancel_reason"] == "changed her mind"
    assert answer["hold_reason"] is None


def test_a_held_order_that_is_cancelled_keeps_its_reasons_apart(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 2), allow_backorder=True)
    run(shop.engine, lambda c: holds.hold(c, CLERK, [order_id], "large"))
    assert drop(shop, order_id, (1, 1))["hold_reason"] == "large"
    run(shop.engine, lambda c: cancel(c, CLERK, [order_id], "no answer"))
    answer = seen(shop, order_id)
    assert (answer["hold_reason"], answer["cancel_reason"]) == (None, "no answer")


def test_captured_money_beyond_what_is_owed_goes_back(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 5))
    pay(shop, order_id)
    answer = drop(shop, order_id, (1, 2))
    assert answer["totals"]["refunded"] == "3.98"
    assert answer["payment_status"] == "partly_refunded"
    drop(shop, order_id, (1, 1))
    assert seen(shop, order_id)["totals"]["refunded"] == "5.97"


def test_an_open_payment_is_reduced_and_captured_for_the_rest(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 5))
    assert drop(shop, order_id, (1, 2))["payment_status"] == "unpaid"
    pay(shop, order_id)
    answer = seen(shop, order_id)
    assert (answer["totals"]["captured"], answer["payment_status"]) == ("5.97", "paid")
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: tenders.add(c, CLERK, order_id, "cash"))


def test_goodwill_does_not_eat_the_refund_of_cancelled_units(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 5))
    payment = pay(shop, order_id)
    kind = RefundRequest(payment, 100, "sorry for the wait")
    run(shop.engine, lambda c: payments.refund(c, CLERK, [kind]))
    assert drop(shop, order_id, (1, 1))["totals"]["refunded"] == "2.99"


def test_a_return_before_does_not_eat_the_refund_of_cancelled_units(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    pay(shop, order_id)
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    line_id = shop.rows("SELECT id FROM order_lines")[0][0]
    request = ReturnRequest(order_id, (ReturnedLine(line_id, 1),), "wrong item")
    run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))
    # The unit that came back fills the backorder, and is cancelled with it.
    answer = drop(shop, order_id, (1, 1))
    assert answer["totals"]["refunded"] == "3.98"


def test_an_order_of_which_all_that_is_left_was_delivered_is_closed(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    assert seen(shop, order_id)["status"] == "open"
    assert drop(shop, order_id, (1, 1))["status"] == "closed"


def test_what_is_given_back_goes_to_who_waits_longest(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    first = placed(shop, ("SKU-1", 4))
    waiting = placed(shop, ("SKU-1", 3), allow_backorder=True)
    drop(shop, first, (1, 2))
    assert line(seen(shop, waiting)) == (2, 1, 0)
    assert shop.level("SKU-1") == (4, 4)


def test_the_customer_is_told_with_the_change(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    drop(shop, order_id, (1, 1))
    run(shop.engine, lambda c: cancel(c, CLERK, [order_id], "no answer"))
    kinds = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert kinds[1:] == ["order.units_cancelled", "order.cancelled"]


LINE = st.fixed_dictionaries(
    {
        "quantity": st.integers(1, 60),
        "unit_price_minor": st.integers(0, 5_000),
        "share": st.integers(0, 100),
        "rounding_minor": st.integers(-3, 3),
        "tax_minor": st.integers(0, 999),
    }
)


@given(LINE, st.booleans())
def test_kept_and_cancelled_amounts_sum_to_the_line(drawn: dict[str, int], included: bool) -> None:
    quantity, gross = drawn["quantity"], drawn["quantity"] * drawn["unit_price_minor"]
    row = {**drawn, "discount_minor": gross * drawn["share"] // 100}
    row["rounding_minor"] = max(row["rounding_minor"], row["discount_minor"] - gross)
    net = gross - row["discount_minor"] + row["rounding_minor"]
    whole = net + (0 if included else row["tax_minor"])
    assert amounts.owed(row, quantity, tax_included=included) == whole
    assert amounts.owed(row, 0, tax_included=included) == 0
    for units in range(quantity):
        assert amounts.owed(row, units, tax_included=included) <= whole


def test_sql_and_python_agree_on_what_is_kept(database: Any) -> None:
    rows = [
        (amount, quantity, units)
        for amount in (-7, -1, 0, 1, 99, 10**11)
        for quantity in (1, 2, 3, 7, 10**6)
        for units in {0, 1, quantity // 2, quantity}
    ]
    sql = amounts.kept_sql("CAST(:a AS bigint)", "CAST(:q AS bigint)", "CAST(:u AS bigint)")
    with database.connect() as connection:
        for amount, quantity, units in rows:
            found = connection.scalar(
                sa.text(f"SELECT {sql}"), {"a": amount, "q": quantity, "u": units}
            )
            assert found == amounts.kept(amount, quantity, units)


def test_cuts_of_a_line_sum_to_the_whole(shop: Shop) -> None:
    shop.stock("SKU-3", 7)
    order_id = placed(shop, ("SKU-3", 7), discount="1.00", shipping="2.00")
    steps = [seen(shop, order_id)["totals"]["owed"]]
    steps += [drop(shop, order_id, (1, 1))["totals"]["owed"] for _ in range(7)]
    owed = [int(step.replace(".", "")) for step in steps]
    assert all(before >= after for before, after in pairwise(owed))
    assert owed[-1] == 0


def test_who_may_cancel_need_not_be_allowed_to_take_payments(shop: Shop) -> None:
    """What was paid goes back because the order is cancelled, not because somebody refunds it."""
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 2))
    pay(shop, order_id)
    desk = Actor("desk", "clerk", frozenset({"orders:write"}))
    run(shop.engine, lambda c: cancel(c, desk, [order_id], "no"))
    assert seen(shop, order_id)["payment_status"] == "refunded"
