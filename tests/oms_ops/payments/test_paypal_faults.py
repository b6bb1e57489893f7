"""PayPal when it fails: lost answers, refusals to listen, missing credentials."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oms_ops.errors import NotFound
from oms_ops.payments.gateways.interface import Call, NotNow, Uncertain
from oms_ops.payments.gateways.paypal import PayPalGateway, open_gateway
from oms_ops.payments.gateways.paypal_client import PayPalSettings
from tests.oms_ops.payments.paypal_server import CLIENT, SECRET, WEBHOOK, Fault, PayPalServer
from tests.oms_ops.payments.paypal_shop import Paid, asked, by_button, opened


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


# Lost answers

ACTS = ("authorise", "capture", "void", "refund")


def prepared(kind: str, gateway: PayPalGateway, paypal: PayPalServer) -> tuple[Call, str]:
    """Return a call that is ready to be made and a part of the path that does it."""
    if kind == "authorise":
        return asked("op-1", "authorise", token=by_button(paypal, "100.00")), "/authorize"
    paid = Paid(gateway, paypal)
    if kind == "capture":
        return paid.capture("op-2", 4_000), "/capture"
    if kind == "void":
        return paid.void("op-2"), "/void"
    capture = gateway.call(paid.capture("op-2", 10_000)).reference
    return paid.refund("op-3", 4_000, capture), "/refund"


@pytest.mark.parametrize("fault", ["cut", "slow", "garbled"])
@pytest.mark.parametrize("kind", ACTS)
def test_a_lost_answer_is_found_and_nothing_is_done_twice(
    gateway: PayPalGateway, paypal: PayPalServer, kind: str, fault: Fault
) -> None:
    call, path = prepared(kind, gateway, paypal)
    paypal.fail(fault, path)
    with pytest.raises(Uncertain):
        gateway.call(call)
    found = gateway.look_up(call)
    assert found is not None and found.state == "done" and found.reference
    assert found.amount_minor == call.amount_minor
    assert gateway.call(call) == found
    # Also after PayPal has forgotten the request: what it made still bears the key.
    paypal.forget_requests()
    assert gateway.look_up(call) == found
    if kind != "refund":  # nothing but the request's id stops a second refund
        assert gateway.call(call) == found
    assert paypal.books.done(kind) == 1


@pytest.mark.parametrize("kind", ACTS)
def test_what_paypal_never_heard_of_is_unknown_and_looking_does_not_do_it(
    gateway: PayPalGateway, paypal: PayPalServer, kind: str
) -> None:
    call, path = prepared(kind, gateway, paypal)
    before = paypal.posts(path)
    paypal.fail("500", path)
    with pytest.raises(Uncertain):
        gateway.call(call)
    assert gateway.look_up(call) is None
    assert paypal.posts(path) == before
    assert gateway.call(call).state == "done"


def test_a_lost_order_is_unknown_and_made_once_by_asking_again(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    call = asked("op-1", "authorise")
    paypal.fail("cut", "/orders")
    with pytest.raises(Uncertain):
        gateway.call(call)
    assert gateway.look_up(call) is None
    assert gateway.call(call).payment in paypal.books.orders
    assert len(paypal.books.orders) == 1


def test_a_lost_answer_is_found_without_the_orders_id(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    done = gateway.call(paid.capture("op-2", 4_000))
    back = gateway.call(paid.refund("op-3", 1_000, done.reference))
    assert gateway.look_up(asked("op-2", "capture", 4_000, target=paid.authorisation)) == done
    assert gateway.look_up(asked("op-3", "refund", 1_000, target=done.reference)) == back


def test_a_key_does_what_it_did_first(gateway: PayPalGateway, paypal: PayPalServer) -> None:
    paid = Paid(gateway, paypal)
    first = gateway.call(paid.capture("op-2", 4_000))
    assert gateway.call(paid.capture("op-2", 5_000)) == first
    assert len(paypal.books.captures) == 1


# Failures


def test_two_requests_with_one_key_at_once_leave_it_open(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    # PayPal refuses the second while the first, not listed yet, is at work.
    path = f"/v2/payments/authorizations/{paid.authorisation}/capture"
    paypal.answered["op-2", path] = ({"another": "body"}, 201, {})
    with pytest.raises(Uncertain):
        gateway.call(paid.capture("op-2", 4_000))


@pytest.mark.parametrize("fault", ["429", "401"])
def test_a_request_that_was_not_taken_up_was_not_done(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid, fault: Fault
) -> None:
    paypal.fail(fault, "/capture")
    with pytest.raises(NotNow):
        gateway.call(paid.capture("op-2", 4_000))
    assert not paypal.books.captures
    assert gateway.call(paid.capture("op-2", 4_000)).state == "done"


@pytest.mark.parametrize("kind", ["authorise", "void"])
def test_a_limit_that_is_met_after_the_act_does_not_say_it_was_not_done(
    monkeypatch: pytest.MonkeyPatch, gateway: PayPalGateway, paypal: PayPalServer, kind: str
) -> None:
    call, path = prepared(kind, gateway, paypal)

    def limited(method: str, asked: str, *rest: Any) -> Any:
        if path in asked:
            paypal.fail("429")
        return answer(method, asked, *rest)

    answer: Callable[..., Any] = paypal.answer
    monkeypatch.setattr(paypal, "answer", limited)
    with pytest.raises(Uncertain):
        gateway.call(call)


def test_a_withdrawn_token_is_replaced(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid
) -> None:
    before, paypal.tokens = paypal.tokens, paypal.tokens + 7
    with pytest.raises(NotNow):
        gateway.call(paid.capture("op-2", 4_000))
    assert gateway.call(paid.capture("op-2", 4_000)).state == "done"
    assert before == 1 and paypal.tokens == 9


@pytest.mark.parametrize("fault", ["500", "429", "cut", "slow", "garbled"])
def test_without_a_token_nothing_was_done(
    gateway: PayPalGateway, paypal: PayPalServer, fault: Fault
) -> None:
    paypal.fail(fault, "/oauth2/token")
    with pytest.raises(NotNow):
        gateway.call(asked("op-1", "authorise"))
    assert not paypal.requests


def test_a_wrong_secret_is_told_without_the_secret(
    paypal: PayPalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotNow, match="401") as refusal:
        opened(paypal.url, client_secret="not-the-secret").call(asked("op-1", "authorise"))
    assert "not-the-secret" not in str(refusal.value)
    opened(paypal.url).call(asked("op-1", "authorise", order="order-in-a-body"))
    assert caplog.text  # the HTTP library does write, at this level
    for secret in ("not-the-secret", SECRET, "token-1", "order-in-a-body", "Basic "):
        assert secret not in caplog.text


@pytest.mark.parametrize("fault", ["500", "cut", "slow"])
def test_a_failing_request_is_sent_once(
    gateway: PayPalGateway, paypal: PayPalServer, paid: Paid, fault: Fault
) -> None:
    before = len(paypal.requests)
    paypal.fail(fault)
    with pytest.raises(Uncertain):  # a second try would have been answered
        gateway.look_up(paid.capture("op-2", 4_000))
    assert len(paypal.requests) - before == (fault != "500")  # that one is not written down


@pytest.mark.parametrize("kind", ["capture", "refund"])
def test_an_answer_that_lacks_what_it_should_tell_is_a_lost_one(
    gateway: PayPalGateway, paypal: PayPalServer, kind: str
) -> None:
    call, path = prepared(kind, gateway, paypal)
    paypal.fail("empty", path)
    with pytest.raises(Uncertain):
        gateway.call(call)
    paypal.fail("empty")
    with pytest.raises(Uncertain):  # not None: an order that lists nothing is no order
        gateway.look_up(call)
    assert (found := gateway.look_up(call)) and found.state == "done"


# Settings


def test_credentials_come_from_the_environment_or_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paypal: PayPalServer
) -> None:
    monkeypatch.setenv("OMS_PAYPAL_CLIENT_ID", CLIENT)
    monkeypatch.setenv("OMS_PAYPAL_BASE_URL", paypal.url)
    monkeypatch.delenv("OMS_PAYPAL_CLIENT_SECRET", raising=False)
    with pytest.raises(NotFound, match="OMS_PAYPAL_CLIENT_SECRET"):
        open_gateway()
    (tmp_path / "oms_paypal_client_secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("OMS_SECRETS_DIR", str(tmp_path))
    assert open_gateway().call(asked("op-1", "authorise")).state == "waiting"


def test_secrets_are_not_shown() -> None:
    shown = repr(PayPalSettings(client_id="a", client_secret=SECRET, webhook_id=WEBHOOK))
    assert "environment" in shown and SECRET not in shown and WEBHOOK not in shown


def test_production_is_paypals_own_server() -> None:
    with pytest.raises(ValueError, match="OMS_PAYPAL_BASE_URL") as refusal:
        opened("http://127.0.0.1:9", environment="production")
    assert SECRET not in str(refusal.value)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paypalserversdk.configuration", None)
    with pytest.raises(NotFound, match=r"order-platform\[paypal\]"):
        opened("http://127.0.0.1:9")
