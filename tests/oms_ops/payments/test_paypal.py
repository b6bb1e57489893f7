"""Pay with PayPal: through its SDK, over HTTP, against a server that keeps its books."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from oms_ops.payments.gateways.interface import Outcome, ShipTo
from oms_ops.payments.gateways.paypal import PayPalGateway
from tests.oms_ops.payments.paypal_server import PayPalServer
from tests.oms_ops.payments.paypal_shop import BACK, Paid, asked, by_button, opened


@pytest.fixture
def paypal() -> Iterator[PayPalServer]:
    """Run a server in PayPal's place."""
    with PayPalServer() as server:
        yield server


@pytest.fixture
def gateway(paypal: PayPalServer) -> PayPalGateway:
    """Return a gateway that asks the server."""
    return opened(paypal.url)


@pytest.fixture
def paid(gateway: PayPalGateway, paypal: PayPalServer) -> Paid:
    return Paid(gateway, paypal)


# Authorise


def test_the_customer_is_sent_to_paypal_and_her_approval_is_completed_by_looking(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    sent = gateway.call(asked("op-1", "authorise"))
    assert sent.state == "waiting"
    assert sent.action == {"redirect_url": f"{paypal.url}/checkoutnow?token={sent.payment}"}
    order = paypal.books.orders[str(sent.payment)]
    context = order["payment_source"]["paypal"]["experience_context"]
    assert (context["return_url"], context["cancel_url"]) == (BACK, BACK)
    unit = order["purchase_units"][0]
    assert unit["amount"] == {"currency_code": "USD", "value": "100.00"}
    assert (unit["invoice_id"], unit["custom_id"]) == ("op-1", "1001")

    again = asked("op-1", "authorise", payment=sent.payment)
    assert gateway.look_up(again) == sent  # she has not approved yet
    assert not paypal.books.authorisations
    paypal.books.approve(str(sent.payment))
    done = gateway.look_up(again)
    (authorisation,) = paypal.books.authorisations
    assert done == Outcome("done", authorisation, sent.payment, 10_000, "USD")
    assert gateway.look_up(again) == done
    assert paypal.posts("/authorize") == 1


def test_an_order_that_the_button_made_is_authorised_at_once_and_marked_as_ours(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    token = by_button(paypal, "100.00")
    call = asked("op-1", "authorise", token=token)
    assert gateway.look_up(call) is None  # to look does not take up the approval
    assert not paypal.books.authorisations
    done = gateway.call(call)
    assert (done.state, done.payment, done.amount_minor) == ("done", token, 10_000)
    assert gateway.call(call) == gateway.look_up(call) == done
    assert paypal.books.authorisations[str(done.reference)]["invoice_id"] == "op-1"


def test_one_approval_does_not_pay_two_orders(gateway: PayPalGateway, paypal: PayPalServer) -> None:
    token = by_button(paypal, "100.00")
    assert gateway.call(asked("op-1", "authorise", token=token)).state == "done"
    second = gateway.call(asked("op-2", "authorise", token=token, order="1002"))
    assert (second.state, second.code) == ("declined", "ORDER_COMPLETED")


@pytest.mark.parametrize("body", [{"value": "1.00"}, {"currency": "EUR"}, {"intent": "CAPTURE"}])
def test_a_browser_cannot_pay_with_an_order_of_its_own_terms(
    gateway: PayPalGateway, paypal: PayPalServer, body: dict[str, str]
) -> None:
    token = by_button(paypal, **({"value": "100.00"} | body))
    refused = gateway.call(asked("op-1", "authorise", token=token))
    assert (refused.state, refused.code) == ("declined", "ORDER_MISMATCH")
    assert not paypal.books.authorisations


def test_a_declined_instrument_is_declined_with_paypals_reason(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    sent = gateway.call(asked("op-1", "authorise"))
    paypal.books.approve(str(sent.payment))
    paypal.books.instrument_declines = True
    declined = gateway.look_up(asked("op-1", "authorise", payment=sent.payment))
    assert declined is not None
    assert (declined.state, declined.code) == ("declined", "INSTRUMENT_DECLINED")


def test_a_cancelled_or_forgotten_order_is_declined(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    sent = gateway.call(asked("op-1", "authorise"))
    again = asked("op-1", "authorise", payment=sent.payment)
    paypal.books.orders[str(sent.payment)]["status"] = "VOIDED"
    assert (outcome := gateway.look_up(again)) and outcome.code == "ORDER_VOIDED"
    del paypal.books.orders[str(sent.payment)]  # never approved, PayPal drops it after hours
    assert (outcome := gateway.look_up(again)) and outcome.state == "declined"


def test_yen_have_no_decimals_and_dinars_are_not_taken(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    sent = gateway.call(asked("op-1", "authorise", 12_345, currency="JPY"))
    (unit,) = paypal.books.orders[str(sent.payment)]["purchase_units"]
    assert unit["amount"] == {"currency_code": "JPY", "value": "12345"}
    before = len(paypal.requests)
    refused = gateway.call(asked("op-2", "authorise", 12_345, currency="KWD"))
    assert (refused.state, refused.code) == ("declined", "CURRENCY_NOT_SUPPORTED")
    assert len(paypal.requests) == before


# Capture, void, refund


def test_an_authorisation_is_captured_in_parts_and_no_further(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    first = gateway.call(paid.capture("op-2", 3_999))
    assert (first.state, first.payment, first.amount_minor) == ("done", paid.payment, 3_999)
    over = gateway.call(paid.capture("op-3", 6_002))
    assert (over.state, over.code) == ("declined", "MAX_CAPTURE_AMOUNT_EXCEEDED")
    last = gateway.call(paid.capture("op-4", 6_000, final=True))
    assert last.state == "done" and last.reference != first.reference
    late = gateway.call(paid.capture("op-5", 1))
    assert (late.state, late.code) == ("declined", "AUTHORIZATION_ALREADY_CAPTURED")
    made = paypal.books.captures.values()
    assert [(c["amount"]["value"], c["final_capture"], c["invoice_id"]) for c in made] == [
        ("39.99", False, "op-2"),
        ("60.00", True, "op-4"),
    ]


def test_a_capture_is_refunded_in_parts_and_no_further(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    capture = gateway.call(paid.capture("op-2", 10_000)).reference
    first = gateway.call(paid.refund("op-3", 2_500, capture))
    second = gateway.call(paid.refund("op-4", 2_500, capture))
    assert (first.state, first.amount_minor, first.currency) == ("done", 2_500, "USD")
    assert first.reference != second.reference
    over = gateway.call(paid.refund("op-5", 5_001, capture))
    assert (over.state, over.code) == ("declined", "REFUND_AMOUNT_EXCEEDED")
    assert over.message == "It is refund amount exceeded."
    assert gateway.call(paid.refund("op-6", 5_000, capture)).state == "done"
    assert sorted(paypal.books.refunds) == sorted({r["id"] for r in paypal.books.refunds.values()})
    assert len(paypal.books.refunds) == 3


def test_a_void_is_of_what_was_not_captured_and_done_once(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    gateway.call(paid.capture("op-2", 4_000))
    assert gateway.look_up(paid.void("op-3", 6_000)) is None
    done = gateway.call(paid.void("op-3", 6_000))
    assert done == Outcome("done", paid.authorisation, paid.payment, 6_000, "USD")
    assert gateway.look_up(paid.void("op-3", 6_000)) == done
    # Voided already, by another hand: there is nothing left to do.
    assert gateway.call(paid.void("op-4", 6_000)) == done
    late = gateway.call(paid.capture("op-5", 100))
    assert (late.state, late.code) == ("declined", "AUTHORIZATION_VOIDED")


def test_what_is_captured_whole_cannot_be_voided(gateway: PayPalGateway, paid: Paid) -> None:
    gateway.call(paid.capture("op-2", 10_000))
    refused = gateway.call(paid.void("op-3"))
    assert (refused.state, refused.code) == ("declined", "PREVIOUSLY_CAPTURED")


def test_what_paypal_still_works_on_is_waited_for(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    capture = gateway.call(paid.capture("op-2", 10_000)).reference
    paypal.books.next_status = "PENDING"
    call = paid.refund("op-3", 2_500, capture)
    waits = gateway.call(call)
    assert waits.state == "waiting" and waits.reference in paypal.books.refunds
    assert gateway.look_up(call) == waits
    paypal.books.refunds[str(waits.reference)]["status"] = "COMPLETED"
    assert (done := gateway.look_up(call)) and (done.state, done.reference) == (
        "done",
        waits.reference,
    )


def test_a_capture_that_fails_is_declined(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    paypal.books.next_status = "DECLINED"
    refused = gateway.call(paid.capture("op-2", 10_000))
    assert (refused.state, refused.code) == ("declined", "DECLINED")


HOME = ShipTo("Bob", "1 Main Street", "US", None, "Atlanta", "GA", "30301")


@pytest.mark.parametrize(
    ("to", "preference"),
    [
        (HOME, "SET_PROVIDED_ADDRESS"),
        (replace(HOME, line2="Flat 2"), "SET_PROVIDED_ADDRESS"),
        # PayPal would refuse the whole order for it.
        (replace(HOME, region=None), "NO_SHIPPING"),
        (None, "NO_SHIPPING"),
    ],
)
def test_paypal_is_told_where_the_goods_go(
    gateway: PayPalGateway, paypal: PayPalServer, to: ShipTo | None, preference: str
) -> None:
    sent = gateway.call(asked("op-1", "authorise", ship_to=to))
    order = paypal.books.orders[str(sent.payment)]
    context = order["payment_source"]["paypal"]["experience_context"]
    assert context["shipping_preference"] == preference
    shipping = order["purchase_units"][0].get("shipping")
    if preference == "NO_SHIPPING":
        assert shipping is None
    else:
        assert shipping["name"] == {"full_name": "Bob"}
        optional = {"address_line_2": "Flat 2"} if to and to.line2 else {}
        assert shipping["address"] == {
            "country_code": "US", "address_line_1": "1 Main Street", "admin_area_2": "Atlanta",
            "admin_area_1": "GA", "postal_code": "30301", **optional,
        }  # fmt: skip
