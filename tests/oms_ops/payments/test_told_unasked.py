"""What gateways tell that nobody asked for: it is counted once, seen, and collects nothing."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.orders import collecting
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK, order


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def tell(desk: Desk, place: int, kind: str, reference: str, amount: int, **more: Any) -> None:
    """Let the gateway tell of a payment (the order's first is 0) what nobody asked for."""
    payment = desk.till.payments(1)[place].gateway_reference
    event = {"key": None, "target": None, "currency": "USD", "payment": payment, **more}
    with desk.till.fake.books() as books:
        desk.till.fake.send(books, kind=kind, reference=reference, amount=amount, **event)
    desk.till.deliver_events()
    collecting.perform(desk.till.engine)


def needs(desk: Desk) -> list[tuple[str, str, str]]:
    """Return kind, what and amount of all that needs a person."""
    found = desk.get("/payments/attention").json()["data"]
    return [(each["kind"], each["what"], each["amount"]) for each in found]


def paid(desk: Desk) -> tuple[Any, ...]:
    """Return what is captured, refunded and still refundable of the first payment."""
    row = desk.till.payments(1)[0]
    rest = row.captured_minor - row.refunded_minor - row.refunding_minor - row.credited_minor
    return row.captured_minor, row.refunded_minor, rest - row.charged_back_minor


@pytest.mark.parametrize("destination", ["original", "store_credit"])
def test_a_charge_back_of_what_went_back_before_is_seen(desk: Desk, destination: str) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    body = {"reason": "x", "everything": True, "destination": destination}
    assert desk.post(f"/orders/{number(order_id)}/refunds", body).is_success
    tell(desk, 0, "charged_back", "fd_1", 398)
    assert needs(desk) == [
        ("events_beyond_payment", "charged_back", "3.98"), ("charge_back", "card", "3.98"),
    ]  # fmt: skip
    tell(desk, 0, "charge_back_reversed", "fd_1", 398)
    assert needs(desk) == []


def test_a_charge_back_is_told_whole_while_a_refund_is_on_its_way(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.pay(order_id)
    desk.till.fake.break_next("refund", "waiting")
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "3.00", "reason": "late"})
    tell(desk, 0, "charged_back", "fd_1", 398)
    assert needs(desk) == [("charge_back", "card", "3.98")]
    with desk.till.later(hours=2):
        desk.till.deliver_events()
        collecting.perform(desk.till.engine)
        assert needs(desk) == [
            ("events_beyond_payment", "charged_back", "3.00"), ("charge_back", "card", "3.98"),
        ]  # fmt: skip
    with desk.till.later(days=120):
        assert needs(desk) == []


@pytest.mark.parametrize("refund_first", [False, True])
def test_what_was_captured_twice_and_refunded_there_is_as_if_it_never_was(
    desk: Desk, *, refund_first: bool
) -> None:
    desk.pay(desk.till.sell(("SKU-1", 2)))
    news = [("captured", "fc_twice", 100, {}), ("refunded", "fr_1", 60, {"target": "fc_twice"}),
            ("refunded", "fr_2", 40, {"target": "fc_twice"})]  # fmt: skip
    for kind, reference, amount, more in reversed(news) if refund_first else news:
        tell(desk, 0, kind, reference, amount, **more)
        if (kind, refund_first) == ("captured", False):
            assert needs(desk) == [("events_beyond_payment", "captured", "1.00")]
        if reference == "fr_1" and not refund_first:
            assert needs(desk) == [("events_beyond_payment", "captured", "0.40")]
    assert paid(desk) == (398, 0, 398)
    assert needs(desk) == []
    assert desk.till.seen(1)["payment_status"] == "paid"
    # All that she paid can go back, and then the payment is refunded.
    answer = desk.post(f"/orders/{number(1)}/refunds", {"reason": "x", "everything": True})
    assert answer.is_success, answer.text
    assert paid(desk) == (398, 398, 0)
    assert needs(desk) == []


@pytest.mark.parametrize("capture_first", [False, True])
def test_a_refund_that_was_asked_for_here_is_not_for_what_was_captured_twice(
    desk: Desk, *, capture_first: bool
) -> None:
    payment_id = desk.pay(desk.till.sell(("SKU-1", 2)))

    def refund() -> None:
        body = {"amount": "1.50", "reason": "late"}
        assert desk.post(f"/payments/{payment_id}/refunds", body).is_success

    if not capture_first:
        refund()
    tell(desk, 0, "captured", "fc_twice", 100)
    if capture_first:
        refund()
    assert paid(desk) == (398, 150, 248)
    assert needs(desk) == [("events_beyond_payment", "captured", "1.00")]
    tell(desk, 0, "refunded", "fr_9", 100, target="fc_twice")
    assert paid(desk) == (398, 150, 248)
    assert needs(desk) == []


def test_a_payment_whose_sums_forget_what_was_told_does_not_reconcile(shop: Any) -> None:
    """The proof of the fixture: the audit looks at charge backs and at refunds of the surplus."""
    desk = Desk(Till(shop))
    desk.pay(desk.till.sell(("SKU-1", 2)))
    tell(desk, 0, "captured", "fc_twice", 100)
    tell(desk, 0, "refunded", "fr_1", 100, target="fc_twice")
    tell(desk, 0, "charged_back", "fd_1", 98)
    for column, wrong in (("refunded_minor", 100), ("charged_back_minor", 0)):
        with shop.engine.begin() as connection:
            right = connection.exec_driver_sql(f"SELECT {column} FROM payments").scalar_one()
            connection.exec_driver_sql(f"UPDATE payments SET {column} = {wrong}")
        found = {finding.name for finding in reconcile(shop.engine) if finding.count}
        assert found == {"a payment is the fold of its events"}
        with shop.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE payments SET {column} = {right}")
    assert not any(finding.count for finding in reconcile(shop.engine))


def two_cards(desk: Desk) -> tuple[int, int]:
    """Sell two parcels, a card for each: one of 1.99 has left and is paid, one of 3.98 waits."""
    desk.till.shop.stock("SKU-1", 1, "ATL")
    desk.till.shop.stock("SKU-2", 1, "NYC")
    wanted = order(("SKU-1", 1), ("SKU-2", 1), allow_split=True, payment=None)
    made = capture(desk.till.engine, CLERK, wanted)["number"]
    cards = [add_card(desk, made, amount) for amount in ("1.99", "3.98")]
    parcel = desk.till.shop.rows(
        "SELECT s.id FROM shipments AS s JOIN warehouses AS w ON w.id = s.warehouse_id"
        " ORDER BY CASE WHEN w.code = 'ATL' THEN 0 ELSE 1 END"
    )
    assert [row[0] for row in parcel] == [1, 2]
    desk.till.ship(1, 0)
    collecting.perform(desk.till.engine)
    assert [row.captured_minor for row in desk.till.payments(1)] == [199, 0]
    return cards[0], cards[1]


def add_card(desk: Desk, made: str, amount: str) -> int:
    body = {"method": "card", "amount": amount}
    payment = desk.post(f"/orders/{made}/payments", body).json()
    assert desk.post(f"/payments/{payment['id']}/authorise", {"token": "t"}).is_success
    return int(payment["id"])


def captured(desk: Desk) -> list[int]:
    collecting.perform(desk.till.engine)
    return [row.captured_minor for row in desk.till.payments(1)]


def test_a_charge_back_on_one_card_collects_nothing_from_another(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    assert captured(desk) == [199, 0], "its goods have not left"
    assert desk.till.seen(1)["totals"]["due"] == "5.97"
    # The other card pays for its own parcel, and for no more than that.
    desk.till.ship(1, 1)
    assert captured(desk) == [199, 398]
    tell(desk, 0, "charge_back_reversed", "fd_1", 199)
    assert captured(desk) == [199, 398]
    assert desk.till.seen(1)["totals"]["due"] == "0.00"


def test_a_charge_back_that_is_won_leaves_nothing_collected_for_what_has_not_left(
    desk: Desk,
) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    tell(desk, 0, "charge_back_reversed", "fd_1", 199)
    assert captured(desk) == [199, 0]


def test_a_person_collects_what_was_charged_back_and_later_parcels_still_pay(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    third = desk.post(f"/orders/{number(1)}/payments", {"method": "bank_transfer"}).json()
    assert third["amount"] == "1.99"
    assert desk.post(f"/payments/{third['id']}/capture").is_success
    assert captured(desk) == [199, 0, 199]
    desk.till.ship(1, 1)
    assert captured(desk) == [199, 398, 199]
    assert desk.till.seen(1)["totals"]["due"] == "0.00"


def test_a_card_that_is_added_is_collected_in_the_stead_of_the_charge_back(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    with desk.till.later(minutes=1):
        add_card(desk, number(1), "1.99")
        assert captured(desk) == [199, 0, 199]
        desk.till.ship(1, 1)
        assert captured(desk) == [199, 398, 199]


def test_what_is_cancelled_after_a_charge_back_is_let_go_of_and_not_collected(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    lines = [{"line_no": 2, "quantity": 1}]
    assert desk.post(f"/orders/{number(1)}/cancel", {"reason": "x", "lines": lines}).is_success
    assert captured(desk) == [199, 0]
    assert [row.voided_minor for row in desk.till.payments(1)] == [0, 398]
    assert desk.till.operations()[-1] == ("void", "settled")


def test_goods_that_nobody_pays_for_are_seen_before_they_leave_and_after(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.authorise(order_id)
    assert needs(desk) == []
    tell(desk, 0, "voided", "fv_1", 398)
    assert needs(desk) == [("authorisation_lost", "card", "3.98")]
    refused = desk.post(f"/payments/{payment_id}/authorise", {"token": "t"})
    assert refused.status_code == 409
    assert "is voided" in refused.json()["detail"]
    desk.till.ship(order_id)
    collecting.perform(desk.till.engine)
    assert needs(desk) == [("shipped_unpaid", "card", "3.98")]
    found = desk.get("/payments/attention").json()["data"][0]
    assert (found["order"], found["payment"]) == (number(order_id), payment_id)
    # Another card pays for what has left; what a person renounces is not asked for any more.
    with desk.till.later(minutes=1):
        add_card(desk, number(order_id), "3.00")
        assert needs(desk) == [("shipped_unpaid", "card", "0.98")]
        body = {"method": "bank_transfer"}
        rest = desk.post(f"/orders/{number(order_id)}/payments", body).json()
        assert needs(desk) == []
        assert desk.post(f"/payments/{rest['id']}/void").is_success
        assert needs(desk) == []
        assert captured(desk) == [0, 300, 0]


def test_of_what_was_let_go_of_each_part_is_seen_once(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 1, "voided", "fv_1", 398)
    assert needs(desk) == [("authorisation_lost", "card", "3.98")]
    tell(desk, 0, "charged_back", "fd_1", 199)
    assert needs(desk)[1:] == [("authorisation_lost", "card", "3.98")]
    desk.till.ship(1, 1)
    assert needs(desk)[1:] == [("shipped_unpaid", "card", "3.98")]


def test_what_a_cancellation_let_go_of_is_nobodys_trouble(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), ("SKU-2", 1))
    desk.till.authorise(order_id)
    path = f"/orders/{number(order_id)}"
    lines = [{"line_no": 2, "quantity": 1}]
    assert desk.post(f"{path}/cancel", {"reason": "x", "lines": lines}).is_success
    assert needs(desk) == []
    desk.till.ship(order_id)
    collecting.perform(desk.till.engine)
    assert needs(desk) == []
    assert desk.till.money(order_id)[0] == "0.00"
    other = desk.till.sell(("SKU-1", 2))
    desk.till.authorise(other)
    assert desk.post(f"/orders/{number(other)}/cancel", {"reason": "x"}).is_success
    collecting.perform(desk.till.engine)
    assert needs(desk) == []


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_a_person_adds_after_a_charge_back_is_waited_for(desk: Desk, *, by_hand: bool) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 99)
    with desk.till.later(minutes=1):
        body = {"method": "bank_transfer" if by_hand else "card"}
        assert desk.post(f"/orders/{number(1)}/payments", body).json()["amount"] == "0.99"
        tell(desk, 0, "charged_back", "fd_2", 50)
        assert captured(desk)[:2] == [199, 0], "its goods have not left"
        desk.till.ship(1, 1)
        assert captured(desk)[:2] == [199, 398]


def test_a_transfer_that_was_voided_before_hides_no_lost_card(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), payment={"method": "bank_transfer"})
    assert desk.post(f"/payments/{desk.till.payment(order_id)}/void").is_success
    add_card(desk, number(order_id), "3.98")
    tell(desk, 1, "voided", "fv", 398)
    assert needs(desk) == [("authorisation_lost", "card", "3.98")]
    desk.till.ship(order_id)
    assert needs(desk) == [("shipped_unpaid", "card", "3.98")]


def test_what_a_cancellation_gave_up_of_a_transfer_hides_no_lost_card(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 4), payment=None)
    made = number(order_id)
    add_card(desk, made, "3.98")
    assert desk.post(f"/orders/{made}/payments", {"method": "bank_transfer"}).is_success
    gone = {"reason": "x", "lines": [{"line_no": 1, "quantity": 2}]}
    assert desk.post(f"/orders/{made}/cancel", gone).is_success
    tell(desk, 0, "voided", "fv", 398)
    assert needs(desk) == [("authorisation_lost", "card", "3.98")]
    desk.till.ship(order_id)
    assert needs(desk) == [("shipped_unpaid", "card", "3.98")]


def test_a_charge_back_that_was_collected_anew_hides_no_lost_card(desk: Desk) -> None:
    two_cards(desk)
    tell(desk, 0, "charged_back", "fd_1", 199)
    with desk.till.later(minutes=1):
        add_card(desk, number(1), "1.99")
        assert captured(desk) == [199, 0, 199]
        tell(desk, 1, "voided", "fv", 398)
        assert needs(desk)[1:] == [("authorisation_lost", "card", "3.98")]
        desk.till.ship(1, 1)
        collecting.perform(desk.till.engine)
        assert needs(desk)[1:] == [("shipped_unpaid", "card", "3.98")]


@pytest.mark.parametrize("tried", [False, True])
def test_goods_that_left_without_any_authorisation_are_seen(desk: Desk, *, tried: bool) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    if tried:
        desk.till.fake.break_next("authorise", "declined")
        desk.post(f"/payments/{desk.till.payment(order_id)}/authorise", {"token": "t"})
    assert needs(desk) == []
    desk.till.ship(order_id)
    assert needs(desk) == [("shipped_unpaid", "card", "3.98")]
    desk.till.authorise(order_id)
    collecting.perform(desk.till.engine)
    assert needs(desk) == []
