"""The refund of a return that a gateway declined, and that staff make another way, is one."""

from __future__ import annotations

import pytest

from oms_ops.orders import collecting
from oms_ops.returns import queries
from oms_ops.returns.requests import Asked
from tests.oms_ops.payments.desk import Desk as Clerks
from tests.oms_ops.payments.desk import codes, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import charge_back, only_capture, refund_at_the_gateway
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.returns.test_refunds import declined, needs_a_person


@pytest.fixture
def clerks(till: Till) -> Clerks:
    return Clerks(till)


@pytest.fixture
def returns(till: Till) -> Desk:
    return Desk(till.shop)


def state(returns: Desk, return_id: int, order_id: int) -> tuple[str, str]:
    """Return a return's status, and what went back of its order."""
    return returns.seen(return_id)["status"], returns.totals(order_id)[2]


@pytest.mark.parametrize("named", [False, True])
def test_a_refund_of_a_payment_settles_the_return(
    clerks: Clerks, returns: Desk, *, named: bool
) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    rma = returns.seen(return_id)["number"]
    body = {"amount": "1.99", "reason": "again", **({"return": rma} if named else {})}
    answer = clerks.post(f"/payments/{till.payment(order_id)}/refunds", body)
    assert [each["return"] for each in answer.json()["made"]] == [rma]
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    assert returns.told().count("return.refunded") == 1
    assert "payment.refunded" not in returns.told()
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert clerks.post(f"/returns/{rma}/resolve", {}).status_code == 409
    assert (state(returns, return_id, order_id), needs_a_person(returns)) == (
        ("refunded", "1.99"), [],
    )  # fmt: skip


def test_dismissing_the_refund_of_a_return_settles_it(clerks: Clerks, returns: Desk) -> None:
    order_id, return_id, failed = declined(clerks.till, returns)
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert (state(returns, return_id, order_id), needs_a_person(returns)) == (
        ("refunded", "1.99"), [],
    )  # fmt: skip
    refunds = returns.seen(return_id)["refunds"]
    assert [each["destination"] for each in refunds] == ["original", "elsewhere"]
    rows = returns.shop.rows("SELECT payload FROM outbox_messages WHERE kind = 'return.refunded'")
    assert "another way" in str(rows[0].payload)
    assert clerks.post(f"/returns/{return_id}/resolve", {}).status_code == 409


def test_after_a_part_the_rest_of_a_return_is_resolved_or_dismissed(
    clerks: Clerks, returns: Desk
) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    path = f"/payments/{till.payment(order_id)}/refunds"
    assert clerks.post(path, {"amount": "0.99", "reason": "a part"}).is_success
    assert state(returns, return_id, order_id) == ("refund_failed", "0.99")
    assert needs_a_person(returns) == ["refund_failed"]
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert state(returns, return_id, order_id) == ("refunded", "1.99")


def test_no_more_goes_back_for_a_return_than_is_left_of_it(clerks: Clerks, returns: Desk) -> None:
    till = clerks.till
    order_id, return_id, _ = declined(till, returns)
    path = f"/payments/{till.payment(order_id)}/refunds"
    body = {"amount": "2.50", "reason": "x", "return": returns.seen(return_id)["number"]}
    assert codes(clerks.post(path, body)) == {"amount": "too_large"}
    assert clerks.post(path, {**body, "return": "RM-19999999"}).status_code == 404
    # Nobody named it: what is more than the return's is for the reason that is given.
    made = clerks.post(path, {"amount": "2.50", "reason": "x"}).json()["made"]
    parts = {each["amount"]: each["return"] is not None for each in made}
    assert parts == {"1.99": True, "0.51": False}
    collecting.perform(till.engine)
    assert state(returns, return_id, order_id) == ("refunded", "2.50")


def test_a_refund_names_a_return_of_its_own_order_that_still_has_money_to_come(
    clerks: Clerks, returns: Desk
) -> None:
    till = clerks.till
    _, return_id, _ = declined(till, returns)
    other = till.sell(("SKU-1", 2))
    clerks.pay(other)
    body = {"amount": "1.00", "reason": "x", "return": returns.seen(return_id)["number"]}
    refused = clerks.post(f"/payments/{till.payment(other)}/refunds", body)
    assert codes(refused) == {"return": "nothing_left"}
    with till.engine.connect() as connection:
        assert queries.head(connection, return_id)["status"] == "refund_failed"


def test_a_refund_on_the_gateways_pages_settles_the_return(clerks: Clerks, returns: Desk) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    capture = only_capture(till.shop, till.payment(order_id))
    refund_at_the_gateway(till.fake, capture, 150)
    till.deliver_events()
    assert state(returns, return_id, order_id) == ("refund_failed", "1.50")
    refund_at_the_gateway(till.fake, capture, 60)
    till.deliver_events(times=2)
    collecting.perform(till.engine)
    assert state(returns, return_id, order_id) == ("refunded", "2.10")
    assert [each["amount"] for each in returns.seen(return_id)["refunds"]] == [
        "1.99", "1.50", "0.49",
    ]  # fmt: skip
    assert clerks.post(f"/payment-operations/{failed}/retry").status_code == 409
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert clerks.post(f"/returns/{return_id}/resolve", {}).status_code == 409
    assert (state(returns, return_id, order_id), needs_a_person(returns)) == (
        ("refunded", "2.10"), [],
    )  # fmt: skip
    assert returns.told().count("return.refunded") == 1


def two_cards(clerks: Clerks, returns: Desk) -> tuple[int, int, dict[int, int]]:
    """Let the refunds of a return of 5.97 fail on two cards; return order, return, operations."""
    till = clerks.till
    order_id = till.sell(("SKU-1", 3), payment=None)
    for amount in ("1.99", "3.98"):
        made = clerks.post(
            f"/orders/{number(order_id)}/payments", {"method": "card", "amount": amount}
        )
        clerks.post(f"/payments/{made.json()['id']}/authorise", {"token": "t"})
        clerks.post(f"/payments/{made.json()['id']}/capture")
    till.ship(order_id)
    till.fake.break_next("refund", "declined", "declined")
    return_id = returns.back(order_id, Asked(1, 3, "damaged"))
    collecting.perform(till.engine)
    rows = till.shop.rows(
        "SELECT payment_id, id FROM payment_operations WHERE kind = 'refund' ORDER BY payment_id"
    )
    return order_id, return_id, {row.payment_id: row.id for row in rows}


def test_each_refund_of_a_return_stands_for_its_own_part(clerks: Clerks, returns: Desk) -> None:
    order_id, return_id, failed = two_cards(clerks, returns)
    first, second = sorted(failed)
    body = {"amount": "1.99", "reason": "again"}
    assert clerks.post(f"/payments/{first}/refunds", body).is_success
    assert clerks.post(f"/payment-operations/{failed[first]}/dismiss").is_success
    assert state(returns, return_id, order_id) == ("refund_failed", "1.99")
    assert clerks.post(f"/payment-operations/{failed[second]}/retry").is_success
    assert state(returns, return_id, order_id) == ("refunded", "5.97")
    assert needs_a_person(returns) == []


@pytest.mark.parametrize("what", ["refunded here", "asked for again", "both"])
def test_a_refund_of_a_return_that_was_done_after_all_counts_for_what_is_left(
    clerks: Clerks, returns: Desk, what: str
) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    payment_id = till.payment(order_id)
    if what != "refunded here":
        till.fake.break_next("refund", "declined")
        assert clerks.post(f"/payment-operations/{failed}/retry").is_success
    if what != "asked for again":
        body = {"amount": "1.99", "reason": "again"}
        assert clerks.post(f"/payments/{payment_id}/refunds", body).is_success
    key = till.shop.rows("SELECT key FROM payment_operations WHERE id = :i", i=failed)[0][0]
    (payment,) = till.payments(order_id)
    with till.fake.books() as books:
        till.fake.send(books, kind="refunded", key=key, payment=payment.gateway_reference,
                       reference="re_late", target=only_capture(till.shop, payment_id),
                       amount=199, currency="USD")  # fmt: skip
    till.deliver_events()
    collecting.perform(till.engine)
    back = "1.99" if what == "asked for again" else "3.98"
    assert state(returns, return_id, order_id) == ("refunded", back)
    assert needs_a_person(returns) == ["message_flagged"]


def test_dismissing_during_a_charge_back_settles_the_return(clerks: Clerks, returns: Desk) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    (payment,) = till.payments(order_id)
    charge_back(till.fake, payment.gateway_reference, payment.captured_minor, reverse=False)
    till.deliver_events()
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    assert needs_a_person(returns) == ["events_beyond_payment", "charge_back"]
    charge_back(till.fake, payment.gateway_reference, payment.captured_minor, reverse=True)
    till.deliver_events()
    collecting.perform(till.engine)
    assert clerks.post(f"/returns/{return_id}/resolve", {}).status_code == 409
    assert state(returns, return_id, order_id) == ("refunded", "1.99")


def test_what_was_dismissed_gave_back_no_double_capture(clerks: Clerks, returns: Desk) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    (payment,) = till.payments(order_id)
    with till.fake.books() as books:
        till.fake.send(books, kind="captured", payment=payment.gateway_reference, key=None,
                       reference="twice", target=None, amount=100, currency="USD")  # fmt: skip
    till.deliver_events()
    assert clerks.post(f"/payment-operations/{failed}/dismiss").is_success
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    assert needs_a_person(returns) == ["events_beyond_payment"]


def test_a_double_capture_that_is_heard_of_late_opens_the_return_again(
    clerks: Clerks, returns: Desk
) -> None:
    till = clerks.till
    order_id, return_id, failed = declined(till, returns)
    (payment,) = till.payments(order_id)
    refund_at_the_gateway(till.fake, only_capture(till.shop, payment.id), 199)
    till.deliver_events()
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    with till.fake.books() as books:
        till.fake.send(books, kind="captured", payment=payment.gateway_reference, key=None,
                       reference="twice", target=None, amount=199, currency="USD")  # fmt: skip
    till.deliver_events()
    assert state(returns, return_id, order_id) == ("refund_failed", "0.00")
    assert needs_a_person(returns) == ["refund_failed"]
    assert clerks.post(f"/payment-operations/{failed}/retry").is_success
    assert state(returns, return_id, order_id) == ("refunded", "1.99")


@pytest.mark.parametrize(("remedy", "needs"), [("dismiss", "refund_failed"),
                                               ("accept", "refund_missing")])  # fmt: skip
def test_a_flagged_refund_leaves_nothing_of_a_return_unseen(
    clerks: Clerks, returns: Desk, remedy: str, needs: str
) -> None:
    till = clerks.till
    order_id = till.sell(("SKU-1", 2))
    clerks.pay(order_id)
    till.ship(order_id)
    till.fake.break_next("refund", "wrong_amount")
    return_id = returns.back(order_id, Asked(1, 1, "damaged"))
    collecting.perform(till.engine)
    (flagged,) = clerks.get("/payments/attention").json()["data"]
    assert clerks.post(f"/payment-operations/{flagged['operation']}/{remedy}").is_success
    (listed,) = clerks.get("/payments/attention").json()["data"]
    left = "1.99" if remedy == "dismiss" else "0.01"
    assert (listed["kind"], listed["amount"]) == (needs, left)
    assert clerks.post(f"/returns/{return_id}/resolve", {}).is_success
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    assert needs_a_person(returns) == []


@pytest.mark.parametrize("door", ["here", "on the pages"])
def test_what_is_due_is_met_before_what_a_charge_back_may_bring(
    clerks: Clerks, returns: Desk, door: str
) -> None:
    till = clerks.till
    order_id = till.sell(("SKU-1", 2))
    first = till.authorise(order_id)
    till.ship(order_id)
    collecting.perform(till.engine)
    (paid,) = till.payments(order_id)
    charge_back(till.fake, paid.gateway_reference, paid.captured_minor, reverse=False)
    till.deliver_events()
    # Collected anew: now a surplus would be to go back if the charge back were won.
    assert clerks.post(f"/orders/{number(order_id)}/payments", {"method": "card"}).is_success
    second = till.payments(order_id)[-1].id
    assert second != first
    assert clerks.post(f"/payments/{second}/authorise", {"token": "tok_1"}).is_success
    collecting.perform(till.engine)
    till.fake.break_next("refund", "declined")
    return_id = returns.back(order_id, Asked(1, 1, "other"))
    collecting.perform(till.engine)
    assert state(returns, return_id, order_id) == ("refund_failed", "0.00")
    if door == "here":
        body = {"amount": "1.99", "reason": "again"}
        assert clerks.post(f"/payments/{second}/refunds", body).is_success
    else:
        refund_at_the_gateway(till.fake, only_capture(till.shop, second), 199)
        till.deliver_events()
    collecting.perform(till.engine)
    assert state(returns, return_id, order_id) == ("refunded", "1.99")
    assert "refund_failed" not in needs_a_person(returns)
