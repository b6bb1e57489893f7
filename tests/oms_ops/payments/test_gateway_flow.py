"""From authorisation to refund through a gateway: what is asked, what counts, what follows."""

from __future__ import annotations

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.orders import collecting
from oms_ops.orders.cancellation import cancel
from oms_ops.payments import commands as payments
from oms_ops.payments import operations
from oms_ops.payments.commands import RefundRequest
from oms_ops.payments.gateways.interface import ShipTo
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK


def test_money_is_held_at_the_order_and_collected_when_the_parcel_leaves(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    assert till.money(order_id) == ("3.98", "0.00", "0.00", "0.00")
    till.authorise(order_id)
    assert till.money(order_id) == ("3.98", "3.98", "0.00", "0.00")
    assert till.seen(order_id)["payment_status"] == "authorised"
    till.ship(order_id)
    assert till.operations() == [("authorise", "settled"), ("capture", "pending")]
    collecting.perform(till.engine)
    assert till.money(order_id) == ("0.00", "3.98", "3.98", "0.00")
    assert till.seen(order_id)["payment_status"] == "paid"


def test_each_parcel_collects_its_share_and_the_last_one_the_rest_exactly(till: Till) -> None:
    till.shop.stock("SKU-1", 2, "ATL")
    till.shop.stock("SKU-2", 1, "NYC")
    order_id = till.sell(("SKU-1", 2), ("SKU-2", 1), stock=1, allow_split=True, shipping="1.01")
    till.authorise(order_id)
    parcels = len(till.shop.rows("SELECT id FROM shipments WHERE order_id = :i", i=order_id))
    for place in range(parcels):
        till.ship(order_id, place)
        collecting.perform(till.engine)
    assert till.money(order_id) == ("0.00", "8.97", "8.97", "0.00")


def test_cancelling_lets_go_of_what_is_held(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    run(till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    collecting.perform(till.engine)
    assert till.operations() == [("authorise", "settled"), ("void", "settled")]
    assert till.seen(order_id)["payment_status"] == "voided"


def test_cancelling_gives_back_what_was_collected(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    payment_id = till.authorise(order_id)
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    collecting.perform(till.engine)
    run(till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    assert till.shop.rows("SELECT status FROM refunds")[0][0] == "pending"
    assert till.money(order_id)[3] == "0.00"
    collecting.perform(till.engine)
    assert till.money(order_id) == ("0.00", "3.98", "3.98", "3.98")
    told = till.shop.rows("SELECT recipient FROM outbox_messages WHERE kind = 'payment.refunded'")
    assert [row[0] for row in told] == ["bob@example.com"]


def test_a_capture_in_flight_while_the_order_is_cancelled_comes_back(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    payment_id = till.authorise(order_id)
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    run(till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    collecting.perform(till.engine)
    assert till.money(order_id) == ("0.00", "3.98", "3.98", "3.98")


def test_cancelling_before_the_authorisation_was_asked_for_asks_nothing(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    run(till.engine, lambda c: operations.authorise(c, CLERK, till.payment(order_id)))
    run(till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    assert collecting.perform(till.engine) == 0
    assert till.operations() == [("authorise", "failed")]


def test_an_authorisation_that_comes_after_the_cancellation_is_let_go(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.fake.break_next("authorise", "waiting")
    till.authorise(order_id)
    assert till.operations() == [("authorise", "waiting")]
    run(till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    with till.later(minutes=5):
        collecting.perform(till.engine)
    assert till.operations() == [("authorise", "settled"), ("void", "settled")]


def test_a_declined_refund_is_visible_and_takes_nothing(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    payment_id = till.authorise(order_id)
    till.ship(order_id)
    collecting.perform(till.engine)
    till.fake.break_next("refund", "declined")
    run(till.engine, lambda c: payments.refund(c, CLERK, [RefundRequest(payment_id, 100, "late")]))
    collecting.perform(till.engine)
    rows = till.shop.rows(
        "SELECT o.status, o.code, r.status AS refund FROM payment_operations AS o"
        " JOIN refunds AS r ON r.id = o.refund_id"
    )
    assert [tuple(row) for row in rows] == [("failed", "card_declined", "failed")]
    run(till.engine, lambda c: payments.refund(c, CLERK, [RefundRequest(payment_id, 398, "all")]))
    collecting.perform(till.engine)
    assert till.money(order_id)[3] == "3.98"


def test_refunds_go_back_a_capture_at_a_time(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    payment_id = till.authorise(order_id)
    for part in (198, 200):
        run(till.engine, lambda c, p=part: payments.capture(c, CLERK, [payment_id], p))
        collecting.perform(till.engine)
    run(till.engine, lambda c: payments.refund(c, CLERK, [RefundRequest(payment_id, 300, "x")]))
    collecting.perform(till.engine)
    rows = till.shop.rows(
        "SELECT amount_minor FROM payment_operations WHERE kind = 'refund' ORDER BY amount_minor"
    )
    assert [row[0] for row in rows] == [102, 198]
    with pytest.raises(Conflict):
        run(till.engine, lambda c: payments.refund(c, CLERK, [RefundRequest(payment_id, 99, "x")]))


@pytest.mark.parametrize("fault", ["lost_after", "lost_before", "refused", "slow"])
def test_a_lost_answer_is_asked_for_and_nothing_is_done_twice(till: Till, fault: str) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    till.ship(order_id)
    till.fake.break_next("capture", fault)
    collecting.perform(till.engine)
    if fault != "slow":
        assert till.money(order_id)[2] == "0.00"
        assert collecting.perform(till.engine) == 0, "its lease is not over"
    with till.later(minutes=5):
        collecting.perform(till.engine)
    assert till.money(order_id)[2] == "3.98"
    with till.fake.books() as books:
        done = books.execute("SELECT count(*) FROM acts WHERE kind = 'capture'").fetchone()[0]
    assert done == 1


def test_a_wrong_amount_is_flagged_and_never_applied(till: Till) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    till.ship(order_id)
    till.fake.break_next("capture", "wrong_amount")
    collecting.perform(till.engine)
    assert till.operations()[-1] == ("capture", "flagged")
    assert till.money(order_id)[2] == "0.00"


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_events_alone_bring_the_ledger_to_the_same_place(
    till: Till, *, times: int, backwards: bool
) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.fake.break_next("authorise", "lost_after")
    payment_id = till.authorise(order_id)
    assert till.money(order_id)[1] == "0.00"
    till.deliver_events(times=times)
    assert till.money(order_id)[1] == "3.98"
    till.fake.break_next("capture", "lost_after")
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    collecting.perform(till.engine)
    order = [1, 0] if backwards else [0, 1]
    till.deliver_events(order=order, times=times)
    assert till.money(order_id) == ("0.00", "3.98", "3.98", "0.00")
    with till.later(minutes=5):
        assert collecting.perform(till.engine) == 0


def test_what_is_declined_is_not_asked_again_without_end(till: Till) -> None:
    """Neither the capture of a parcel that left nor the refund of a cancelled order."""
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    till.ship(order_id)
    till.fake.break_next("capture", *["declined"] * 20)
    assert collecting.perform(till.engine) == 1
    other = till.sell(("SKU-2", 1))
    payment_id = till.authorise(other)
    with till.fake.books() as books:
        books.execute("DELETE FROM faults")
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    collecting.perform(till.engine)
    till.fake.break_next("refund", *["declined"] * 20)
    run(till.engine, lambda c: cancel(c, CLERK, [other], "no"))
    assert collecting.perform(till.engine) == 1
    assert till.operations()[-1] == ("refund", "failed")


def test_the_gateway_is_told_where_the_goods_go_when_it_authorises(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    really = till.fake.call
    monkeypatch.setattr(till.fake, "call", lambda call: (asked.append(call), really(call))[1])
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    till.ship(order_id)
    collecting.perform(till.engine)
    home = ShipTo("Bob", "1 Main Street", "US", None, "Atlanta", "GA", "30301")
    assert [(call.kind, call.ship_to) for call in asked] == [("authorise", home), ("capture", None)]
    assert "Main Street" not in repr(asked)
