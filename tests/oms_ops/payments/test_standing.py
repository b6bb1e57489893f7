"""What an order is said to stand at is true: after charge backs, what was given up, and parts."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.orders import collecting
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def tell(desk: Desk, kind: str, reference: str, amount: int, payment: str) -> None:
    """Let the gateway send an event that nobody here asked for, and fold it."""
    with desk.till.fake.books() as books:
        desk.till.fake.send(books, kind=kind, key=None, payment=payment, reference=reference,
                            target=None, amount=amount, currency="USD")  # fmt: skip
    desk.till.deliver_events()


def test_what_the_bank_took_back_is_not_paid(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    payment = desk.till.payments(order_id)[0].gateway_reference
    seen = []
    for kind, reference, amount in (
        ("charged_back", "d1", 98), ("charged_back", "d2", 300), ("charge_back_reversed", "d1", 98),
        ("charge_back_reversed", "d2", 300),
    ):  # fmt: skip
        tell(desk, kind, reference, amount, payment)
        order = desk.till.seen(order_id)
        seen.append((order["payment_status"], order["totals"]["due"]))
    assert seen == [
        ("partly_paid", "0.98"), ("unpaid", "3.98"), ("partly_paid", "3.00"), ("paid", "0.00"),
    ]  # fmt: skip


def test_what_was_given_up_is_not_authorised_any_more(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 4))
    desk.till.authorise(order_id)

    def amended(units: int) -> tuple[Any, ...]:
        lines = [{"line_no": 1, "quantity": units}]
        answer = desk.post(f"/orders/{number(order_id)}/amend", {"lines": lines}).json()
        order = answer["order"]
        return answer["to_pay"], order["payment_status"], order["totals"]["authorised"]

    assert amended(2) == ("0.00", "authorised", "3.98")
    # The other half would have to be authorised anew: it is not collected when the parcel leaves.
    assert amended(4) == ("3.98", "unpaid", "3.98")
    desk.till.ship(order_id)
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id) == ("3.98", "3.98", "3.98", "0.00")


def test_nothing_is_authorised_of_a_cancelled_order(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.authorise(order_id)
    assert desk.post(f"/payments/{payment_id}/capture", {"amount": "1.00"}).is_success
    assert desk.post(f"/orders/{number(order_id)}/cancel").is_success
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id) == ("0.00", "1.00", "1.00", "1.00")


def test_an_invoice_that_was_paid_in_part_is_collected_on_or_given_up(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), payment={"method": "invoice"})
    path = f"/payments/{desk.till.payment(order_id)}"
    assert desk.post(f"{path}/capture", {"amount": "1.00"}).json()["open"] == "2.98"
    again = desk.post(f"{path}/capture")
    assert again.status_code == 409, "told twice, it would count as the rest"
    assert "2.98 has arrived" in again.json()["detail"]
    assert "2.98 is open" in desk.post(f"{path}/capture", {"amount": "2.99"}).json()["detail"]
    assert desk.post(f"{path}/capture", {"amount": "1.00"}).json()["captured"] == "2.00"
    given_up = desk.post(f"{path}/void").json()
    assert (given_up["captured"], given_up["voided"], given_up["open"]) == ("2.00", "1.98", "0.00")
    for step in ("capture", "void"):
        refused = desk.post(f"{path}/{step}")
        assert refused.status_code == 409
        assert "captured or voided" in refused.json()["detail"]
    assert desk.till.money(order_id) == ("1.98", "0.00", "2.00", "0.00")


def test_what_a_gateway_holds_beyond_a_part_is_let_go_of(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.authorise(order_id)
    assert desk.post(f"/payments/{payment_id}/capture", {"amount": "1.00"}).is_success
    voided = desk.post(f"/payments/{payment_id}/void").json()
    assert [(each["kind"], each["status"], each["amount"]) for each in voided["operations"]] == [
        ("authorise", "settled", "3.98"), ("capture", "settled", "1.00"),
        ("void", "settled", "2.98"),
    ]  # fmt: skip


def test_an_amount_is_refused_in_the_words_of_money(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    refused = desk.post(f"/orders/{number(order_id)}/refunds",
                        {"reason": "x", "goodwill": "0.001"}).json()  # fmt: skip
    assert refused["errors"][0]["message"] == "'0.001' has more decimal places than USD allows"


@pytest.mark.parametrize("preview", [True, False])
def test_an_amendment_tells_what_a_gateway_is_going_to_give_back(
    desk: Desk, *, preview: bool
) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    path = f"/orders/{number(order_id)}/amend?preview={str(preview).lower()}"
    answer = desk.post(path, {"lines": [{"line_no": 1, "quantity": 1}]}).json()
    assert (answer["to_refund"], answer["to_pay"]) == ("1.99", "0.00")
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id)[3] == ("0.00" if preview else "1.99")
    told = desk.till.shop.rows("SELECT payload FROM outbox_messages WHERE kind = 'order.amended'")
    assert ["1.99" in str(row[0]) for row in told] == ([] if preview else [True])
