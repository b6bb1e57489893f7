"""Which messages are PayPal's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from oms_ops.errors import NotFound, Unauthorised, ValidationFailed
from oms_ops.payments.gateways.interface import Arrival, NotNow
from oms_ops.payments.gateways.paypal import PayPalGateway
from tests.oms_ops.payments.paypal_server import (
    CERTIFICATE,
    NOW,
    PayPalServer,
    certificate,
)
from tests.oms_ops.payments.paypal_shop import opened

EVENT = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {}}
BODY = json.dumps(EVENT).encode()


@pytest.fixture
def paypal() -> Iterator[PayPalServer]:
    """Run a server in PayPal's place."""
    with PayPalServer() as server:
        yield server


@pytest.fixture
def gateway(paypal: PayPalServer) -> PayPalGateway:
    """Return a gateway that asks the server, and waits for it on a busy machine."""
    return opened(paypal.url, timeout_seconds=10)


def test_a_signed_message_is_taken_and_its_certificate_fetched_once(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    for _ in range(3):
        arrival = gateway.verify(paypal.signed(BODY), BODY, NOW)
        assert arrival == Arrival("WH-1", "PAYMENT.CAPTURE.COMPLETED")
    assert paypal.requests == [("GET", CERTIFICATE)]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("paypal-transmission-id", "another"),
        ("paypal-transmission-id", ""),
        ("paypal-transmission-time", "2026-11-02T11:59:59Z"),
        ("paypal-transmission-time", "2026-11-02T12:00:00"),
        ("paypal-transmission-time", "lately"),
        ("paypal-transmission-sig", "AAAA"),
        ("paypal-transmission-sig", "no base64!"),
        ("paypal-auth-algo", "SHA1withRSA"),
    ],
)
def test_a_header_that_was_tampered_with_is_refused(
    gateway: PayPalGateway, paypal: PayPalServer, header: str, value: str
) -> None:
    headers = paypal.signed(BODY)
    gateway.verify(headers, BODY, NOW)
    with pytest.raises(Unauthorised):
        gateway.verify(headers | {header: value}, BODY, NOW)
    del headers[header]
    with pytest.raises(Unauthorised):
        gateway.verify(headers, BODY, NOW)


def test_a_body_that_was_tampered_with_is_refused(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    with pytest.raises(Unauthorised):
        gateway.verify(paypal.signed(BODY), BODY.replace(b"WH-1", b"WH-2"), NOW)


def test_a_message_for_another_webhook_is_refused(paypal: PayPalServer) -> None:
    with pytest.raises(Unauthorised):
        opened(paypal.url, webhook_id="ANOTHER").verify(paypal.signed(BODY), BODY, NOW)


def test_a_message_that_another_key_signed_is_refused(
    gateway: PayPalGateway, paypal: PayPalServer
) -> None:
    key, _ = certificate(NOW, NOW + timedelta(days=1))
    with pytest.raises(Unauthorised):
        gateway.verify(paypal.signed(BODY, key=key), BODY, NOW)


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (timedelta(days=2, hours=23), True),
        (timedelta(days=3, seconds=1), False),
        (timedelta(minutes=-4), True),
        (timedelta(minutes=-5, seconds=-1), False),
    ],
)
def test_a_message_has_its_age(
    gateway: PayPalGateway, paypal: PayPalServer, age: timedelta, taken: bool
) -> None:
    headers = paypal.signed(BODY, NOW - age)
    if taken:
        assert gateway.verify(headers, BODY, NOW).id == "WH-1"
    else:
        with pytest.raises(Unauthorised):
            gateway.verify(headers, BODY, NOW)
        assert not paypal.requests  # not even the certificate was fetched


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example" + CERTIFICATE,
        "https://api.paypal.com.evil.example" + CERTIFICATE,
        "https://evilpaypal.com" + CERTIFICATE,
        "https://paypal.com" + CERTIFICATE,
        "http://api.paypal.com" + CERTIFICATE,
        "https://api.paypal.com@evil.example" + CERTIFICATE,
        "https://evil.example\\@api.paypal.com" + CERTIFICATE,
        "https://api.paypal.com:8443" + CERTIFICATE,
        "https://api.paypal.com/redirect?to=//evil.example" + CERTIFICATE,
        "https://api.paypal.com" + CERTIFICATE + "/../../../../upload",
        "",
    ],
)
@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_a_certificate_from_elsewhere_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch, paypal: PayPalServer, url: str, environment: str
) -> None:
    fetched = served_by(monkeypatch, paypal)
    headers = paypal.signed(BODY) | {"paypal-cert-url": url}
    with pytest.raises(Unauthorised):
        opened("", environment=environment).verify(headers, BODY, NOW)
    assert not fetched


@pytest.mark.parametrize(
    ("environment", "host", "taken"),
    [
        ("production", "https://api.paypal.com", True),
        ("production", "https://api.sandbox.paypal.com", False),
        ("sandbox", "https://api.sandbox.paypal.com", True),
    ],
)
def test_a_certificate_of_paypals_is_fetched_without_following_redirects(
    monkeypatch: pytest.MonkeyPatch,
    paypal: PayPalServer,
    environment: str,
    host: str,
    taken: bool,
) -> None:
    fetched = served_by(monkeypatch, paypal)
    headers = paypal.signed(BODY) | {"paypal-cert-url": host + CERTIFICATE}
    gateway = opened("", environment=environment)
    if taken:
        assert gateway.verify(headers, BODY, NOW).id == "WH-1"
        assert fetched == [(host + CERTIFICATE, False)]
    else:
        with pytest.raises(Unauthorised):
            gateway.verify(headers, BODY, NOW)
        assert not fetched


def test_the_test_servers_certificate_is_none_in_production(paypal: PayPalServer) -> None:
    with pytest.raises(Unauthorised):
        opened("", environment="production").verify(paypal.signed(BODY), BODY, NOW)
    with pytest.raises(Unauthorised):
        opened("").verify(paypal.signed(BODY), BODY, NOW)
    assert not paypal.requests


def served_by(monkeypatch: pytest.MonkeyPatch, paypal: PayPalServer) -> list[tuple[str, bool]]:
    """Let every host give the server's certificate; return the addresses asked for."""
    fetched: list[tuple[str, bool]] = []

    def get(url: str, *, timeout: float, follow_redirects: bool) -> httpx.Response:
        fetched.append((url, follow_redirects))
        return httpx.Response(200, content=paypal.pem)

    monkeypatch.setattr("oms_ops.payments.gateways.paypal_signature.httpx.get", get)
    return fetched


@pytest.mark.parametrize(
    ("begin", "end", "bits"),
    [(-2, -1, 2048), (1, 2, 2048), (-1, 1, 1024)],
    ids=["over", "not yet", "weak key"],
)
def test_a_certificate_must_be_in_force_and_strong(
    gateway: PayPalGateway, paypal: PayPalServer, begin: int, end: int, bits: int
) -> None:
    days = (NOW + timedelta(days=begin), NOW + timedelta(days=end))
    paypal.key, paypal.pem = certificate(*days, bits)
    with pytest.raises(Unauthorised, match="certificate"):
        gateway.verify(paypal.signed(BODY), BODY, NOW)


def test_without_the_certificate_the_message_may_come_again(paypal: PayPalServer) -> None:
    gateway = opened(paypal.url)
    headers = paypal.signed(BODY)
    for fault in ("500", "cut", "slow"):
        paypal.fail(fault)
        with pytest.raises(NotNow):
            gateway.verify(headers, BODY, NOW)
    paypal.certificate_status = 302
    with pytest.raises(NotNow):
        gateway.verify(headers, BODY, NOW)
    paypal.certificate_status = 200
    pem, paypal.pem = paypal.pem, b"<html>"
    with pytest.raises(NotNow):
        gateway.verify(headers, BODY, NOW)
    paypal.pem = pem
    assert gateway.verify(headers, BODY, NOW).id == "WH-1"  # no failure was remembered


@pytest.mark.parametrize("body", [b"[]", b"no json", b'{"id": "WH-1"}', b"\xff\xfe"])
def test_a_signed_message_that_cannot_be_read_is_bad_input(
    gateway: PayPalGateway, paypal: PayPalServer, body: bytes
) -> None:
    with pytest.raises(ValidationFailed):
        gateway.verify(paypal.signed(body), body, NOW)


def test_without_our_webhooks_id_nothing_is_taken(paypal: PayPalServer) -> None:
    with pytest.raises(NotFound, match="OMS_PAYPAL_WEBHOOK_ID"):
        opened(paypal.url, webhook_id="").verify(paypal.signed(BODY), BODY, NOW)
