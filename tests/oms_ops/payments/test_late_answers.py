"""What happens while a gateway does not answer is for what it was for, whatever the answer is."""

from __future__ import annotations

import pytest

from oms_ops.database import run
from oms_ops.orders import claims, collecting, queries, tenders
from oms_ops.orders.capture import capture
from oms_ops.payments import commands as payments
from oms_ops.payments import operations
from oms_ops.payments.gateways import registry
from oms_ops.payments.settling import MANY_ATTEMPTS
from oms_ops.reconcile import reconcile
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.test_dead_ends import listed
from tests.oms_ops.payments.test_unread_news import (
    UNITS,
    inspected,
    later,
    needs,
    on_the_pages,
    settled,
    unanswered,
)
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences
from tests.oms_ops.returns.desk import Desk as Returns
from tests.oms_ops.shop import CLERK, order


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def broken(desk: Desk) -> list[str]:
    """Return what does not hold in the books."""
    return [each.name for each in reconcile(desk.till.engine) if each.count]


def waiting_message(desk: Desk) -> int:
    (row,) = desk.till.shop.rows("SELECT id FROM gateway_messages WHERE status = 'unmatched'")
    return int(row[0])


def answered(desk: Desk, *faults: str) -> None:
    """Ask the gateway for the next operation, and for no other one."""
    desk.till.fake.break_next("refund", *faults)
    (claimed,) = run(desk.till.engine, operations.claim)
    outcome = desk.till.fake.call(claimed.call)
    run(desk.till.engine, lambda c: collecting._settle(c, [(claimed, outcome)]))


def owed(desk: Desk) -> int:
    """Return what is listed, in minor units."""
    return sum(round(float(each["amount"]) * 100) for each in needs(desk))


@pytest.mark.parametrize("is_return", [True, False])
@pytest.mark.parametrize("answer", ["done", "declined"])
def test_good_will_from_before_is_for_no_claim_that_came_later(
    desk: Desk, answer: str, *, is_return: bool
) -> None:
    order_id, payment_id, _ = unanswered(desk, "lost_before")
    if is_return:
        desk.till.ship(order_id)
    on_the_pages(desk, payment_id, 100)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    if is_return:
        Returns(desk.till.shop).back(order_id, Asked(1, 1, "damaged"))
    else:
        assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    with desk.till.later(hours=2):
        # The refunds of a payment are asked for one after the other.
        answered(desk, *(["declined"] if answer == "declined" else []))
        answered(desk, "declined")
    # Of what was declined first she has got a part on the pages; of the other one nothing.
    assert owed(desk) == (199 if answer == "done" else 298)
    # And so it stays, whatever is heard next.
    desk.till.deliver_events()
    later(desk, hours=9)
    assert owed(desk) == (199 if answer == "done" else 298)
    assert broken(desk) == []


def test_it_may_still_be_for_what_was_being_collected(desk: Desk) -> None:
    """Units are cancelled while their money is being collected: it was for that, when it comes."""
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = till.authorise(order_id)
    desk.post(f"/payments/{payment_id}/capture", {"amount": "1.99"})
    till.deliver_events()
    till.fake.break_next("capture", "lost_before")
    desk.post(f"/payments/{payment_id}/capture")
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    on_the_pages(desk, payment_id, 199)
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    later(desk, hours=2)
    assert (sum(amount for amount, _ in settled(desk)), listed(desk)) == (398, [])
    assert differences(till.shop, till.fake) == []


def test_it_may_still_be_for_a_return_that_was_unanswered(desk: Desk) -> None:
    """Units are cancelled meanwhile, and theirs is declined as well: that she has not got."""
    till = desk.till
    till.shop.stock("SKU-1", 1, "ATL")
    till.shop.stock("SKU-2", 1, "NYC")
    wanted = order(("SKU-1", 1), ("SKU-2", 1), allow_split=True)
    order_id = queries.id_of(capture(till.engine, CLERK, wanted)["number"], "SO")
    payment_id = desk.pay(order_id)
    rows = till.shop.rows(
        "SELECT w.code FROM shipments AS s JOIN warehouses AS w ON w.id = s.warehouse_id"
        " ORDER BY s.id"
    )
    till.ship(order_id, [row[0] for row in rows].index("ATL"))
    till.deliver_events()
    till.fake.break_next("refund", "lost_before")
    Returns(till.shop).back(order_id, Asked(1, 1, "damaged"))
    collecting.perform(till.engine)
    on_the_pages(desk, payment_id, 199)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    units = {"reason": "x", "lines": [{"line_no": 2, "quantity": 1}]}
    assert desk.post(f"/orders/{number(order_id)}/cancel", units).is_success
    with till.later(hours=2):
        answered(desk, "declined")
        assert listed(desk) == []
        answered(desk, "declined")
    assert owed(desk) == 398
    assert till.shop.rows("SELECT status FROM returns")[0][0] == "refunded"


def test_older_good_will_stays_where_another_was_counted_before(desk: Desk) -> None:
    """The one that was the answer after all is taken out, not one that resembles it."""
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    payment_id = desk.pay(order_id)
    till.deliver_events()
    on_the_pages(desk, payment_id, 199)
    till.fake.break_next("refund", "lost_after")
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    collecting.perform(till.engine)
    with till.fake.books() as books:
        books.execute("UPDATE events SET body = replace(body, '\"key\"', '\"nothing\"')")
    till.deliver_events()
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    later(desk, hours=2)
    rows = till.shop.rows(
        "SELECT f.status, f.lowers_cost, EXISTS (SELECT 1 FROM refund_items AS i"
        " WHERE i.refund_id = f.id) FROM refunds AS f ORDER BY f.id"
    )
    assert [(row[0], bool(row[1]), bool(row[2])) for row in rows] == [
        ("settled", False, True), ("settled", True, False), ("failed", False, False),
    ]  # fmt: skip
    till.fake.break_next("refund", "declined")
    with till.later(hours=3):
        assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
        collecting.perform(till.engine)
        assert listed(desk) == [("refund_failed", "1.99")]
    assert broken(desk) == []


def test_what_was_counted_for_another_claim_opens_it_again(desk: Desk) -> None:
    """And what was good will only meanwhile is for it at once."""
    till = desk.till
    order_id, payment_id, _ = unanswered(desk, "declined", "lost_after")
    body = {"reason": "x", "goodwill": "1.00"}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).status_code == 201
    with till.fake.books() as books:
        books.execute("UPDATE events SET body = replace(body, '\"key\"', '\"nothing\"')")
    till.deliver_events()
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    on_the_pages(desk, payment_id, 100)
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    # What is left of the claim is asked for anew, after what is not answered yet.
    later(desk, hours=2)
    assert sorted(settled(desk)) == [(99, True), (100, False), (100, True)]
    assert (listed(desk), broken(desk)) == ([], [])


def test_what_came_before_is_met_once() -> None:
    """Of two claims that fail at once, only the older one is met by what was given before."""
    then = claims._Horizon(7, 1, 597)
    order = claims._Order(
        [claims._There(each, 1, None, {None: 100}, horizon=then) for each in (5, 6)],
        {1: 200},
        {1: 0},
    )
    claims._attribute(order, claims._Rests(surplus=299, room=299, before={then: 100}))
    assert [each.parts for each in order.refunds] == [{"surplus": 100}, {None: 100}]


@pytest.mark.parametrize("decision", ["accept", "dismiss"])
def test_an_answer_that_contradicts_what_was_counted_is_decided_by_a_person(
    desk: Desk, decision: str
) -> None:
    till = desk.till
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "lost_after")
    assert desk.post(f"/orders/{number(order_id)}/cancel", UNITS).is_success
    collecting.perform(till.engine)
    with till.fake.books() as books:
        books.execute(
            "UPDATE events SET body = replace(replace(body, '\"key\"', '\"nothing\"'),"
            " '\"amount\": 199', '\"amount\": 100') WHERE body LIKE '%refunded%'"
        )
    till.deliver_events()
    assert desk.post(f"/gateway-messages/{waiting_message(desk)}/count").is_success
    later(desk, hours=2)
    (flagged,) = needs(desk)
    assert (flagged["kind"], "1.00" in flagged["problem"]) == ("operation_flagged", True)
    assert broken(desk) == []
    assert desk.post(f"/payment-operations/{flagged['operation']}/{decision}").is_success
    collecting.perform(till.engine)
    assert sum(amount for amount, _ in settled(desk)) + owed(desk) == 199
    assert broken(desk) == []


def stuck(desk: Desk) -> tuple[int, int]:
    """Let a gateway not answer for a return's refund; return the return and the operation."""
    till, returns = desk.till, Returns(desk.till.shop)
    order_id = till.sell(("SKU-1", 3))
    desk.pay(order_id)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", *["lost_before"] * MANY_ATTEMPTS)
    return_id = inspected(returns, order_id)
    returns.resolve(return_id)
    for hours in range(MANY_ATTEMPTS):
        with till.later(hours=hours):
            collecting.perform(till.engine)
    (row,) = till.shop.rows("SELECT id FROM payment_operations WHERE kind = 'refund'")
    return return_id, int(row[0])


def test_what_a_gateway_never_answers_can_be_given_up(desk: Desk) -> None:
    return_id, operation = stuck(desk)
    dismiss = f"/payment-operations/{operation}/dismiss"
    with desk.till.later(hours=5):
        assert [(each["kind"], each["can"]) for each in needs(desk)] == [
            ("operation_stuck", ["retry", "dismiss"])
        ]
        assert desk.post(dismiss, role="support").status_code == 403
        assert desk.post(dismiss).is_success
        assert listed(desk) == [("refund_failed", "1.99")]
        Returns(desk.till.shop).resolve(return_id)
        collecting.perform(desk.till.engine)
    assert (settled(desk), listed(desk), broken(desk)) == ([(199, False)], [], [])


def test_a_gateway_that_was_asked_only_lately_is_not_given_up(desk: Desk) -> None:
    _, _, operation = unanswered(desk, "lost_before")
    assert desk.post(f"/payment-operations/{operation}/dismiss").status_code == 409


@pytest.mark.parametrize("is_paid_again", [False, True])
def test_an_answer_that_comes_after_all_counts(desk: Desk, *, is_paid_again: bool) -> None:
    """A process was asking the gateway while a person gave it up."""
    return_id, operation = stuck(desk)
    with desk.till.later(hours=9):
        (claimed,) = run(desk.till.engine, operations.claim)
        done = desk.till.fake.call(claimed.call)
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        if is_paid_again:
            Returns(desk.till.shop).resolve(return_id)
        run(desk.till.engine, lambda c: collecting._settle(c, [(claimed, done)]))
        collecting.perform(desk.till.engine)
        desk.till.deliver_events()
    assert [amount for amount, _ in settled(desk)] == ([199, 199] if is_paid_again else [199])
    # Whether it was made twice a person sees.
    assert (listed(desk), broken(desk)) == ([("operation_late", "1.99")], [])
    assert differences(desk.till.shop, desk.till.fake) == []


def test_what_was_done_after_all_and_was_told_before_counts_once(desk: Desk) -> None:
    """A gateway tells of what it had declined: first without the key, then with it."""
    till = desk.till
    _, payment_id, failed = unanswered(desk, "declined")
    (row,) = till.shop.rows("SELECT key FROM payment_operations WHERE id = :i", i=failed)
    (payment,) = till.shop.rows(
        "SELECT gateway_reference FROM payments WHERE id = :i", i=payment_id
    )
    for key in (None, row[0]):
        with till.fake.books() as books:
            till.fake.send(books, kind="refunded", key=key, payment=payment[0], reference="late",
                           target=None, amount=199, currency="USD")  # fmt: skip
        till.deliver_events()
    assert settled(desk) == [(199, True)]
    assert broken(desk) == []


def test_a_message_that_waits_is_read_when_the_gateway_names_what_it_was_asked(desk: Desk) -> None:
    """Another name is another act: nothing has to wait for the end of what was asked."""
    _, payment_id, _ = unanswered(desk, "lost_before", "waiting")
    on_the_pages(desk, payment_id, 100)
    waiting_message(desk)
    # It is looked at less and less often.
    for minutes in (2, 5):
        with desk.till.later(minutes=minutes):
            collecting.hear(desk.till.engine)
    with desk.till.later(minutes=6):
        collecting.perform(desk.till.engine)
        assert ("refund", "waiting") in desk.till.operations()
        collecting.hear(desk.till.engine)
    assert settled(desk) == [(100, False)]


def test_a_message_that_waits_is_read_when_what_was_asked_is_given_up(desk: Desk) -> None:
    _, operation = stuck(desk)
    (payment,) = desk.till.shop.rows("SELECT id FROM payments")
    on_the_pages(desk, payment[0], 100)
    for minutes in (2, 5, 10):
        with desk.till.later(minutes=minutes):
            collecting.hear(desk.till.engine)
    with desk.till.later(minutes=17):
        assert desk.post(f"/payment-operations/{operation}/dismiss").is_success
        collecting.hear(desk.till.engine)
    assert [amount for amount, _ in settled(desk)] == [100]
    assert listed(desk) == [("refund_failed", "0.99")]


def test_what_waits_for_a_gateway_that_is_shut_is_only_dismissed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, payment_id, _ = unanswered(desk, "lost_before")
    on_the_pages(desk, payment_id, 100)
    monkeypatch.setattr(registry, "problem", lambda _: "it is not set up")
    with desk.till.later(minutes=5):
        shown = [each for each in needs(desk) if each["kind"] == "message_waits"]
    assert [each["can"] for each in shown] == [["dismiss"]]


def test_a_return_over_two_cards_is_under_way_until_both_are_answered(desk: Desk) -> None:
    till = desk.till
    till.shop.stock("SKU-1", 3)
    captured = capture(till.engine, CLERK, order(("SKU-1", 3), payment=None))
    order_id = queries.id_of(captured["number"], "SO")
    for amount in (97, 500):
        card = run(till.engine, lambda c, m=amount: tenders.add(c, CLERK, order_id, "card", m))
        run(till.engine, lambda c, p=card: operations.authorise(c, CLERK, p, token="tok"))
        collecting.perform(till.engine)
        run(till.engine, lambda c, p=card: payments.capture(c, CLERK, [p]))
        collecting.perform(till.engine)
    till.ship(order_id)
    till.deliver_events()
    till.fake.break_next("refund", "declined", "lost_before")
    Returns(till.shop).back(order_id, Asked(1, 3, "damaged"))
    collecting.perform(till.engine)
    rows = till.shop.rows("SELECT status FROM refunds ORDER BY status")
    assert [row[0] for row in rows] == ["failed", "pending"]
    assert till.shop.rows("SELECT status FROM returns")[0][0] == "refunding"
    assert broken(desk) == []
