from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from oms_ops.payments.gateways.registry import gateway
from oms_ops.payments.gateways.stripe import StripeGateway, StripeSettings
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.http_servers import Answer, Asked, Server, serving
from tests.oms_ops.payments.stripe_bodies import KEY, Given
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import Shop


@pytest.fixture(autouse=True)
def _play_money(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the fake gateway be opened, anew in each test."""
    monkeypatch.setenv("OMS_FAKE_ENABLED", "1")
    gateway.cache_clear()
    yield
    gateway.cache_clear()


@pytest.fixture
def till(shop: Shop) -> Iterator[Till]:
    """Return a shop whose cards go through the fake gateway; its ledgers agree afterwards."""
    yield Till(shop)
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture(scope="session")
def localstripe() -> Iterator[str]:
    """Start one localstripe for all tests; return its URL."""
    script = Path(__file__).with_name("localstripe_server.py")
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "localstripe did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def given() -> Iterator[Given]:
    """Return a maker of gateways whose server gives the answers one by one, the last for ever."""
    with ExitStack() as stack:

        def make(*answers: Answer | Callable[[Asked], Answer]) -> tuple[StripeGateway, Server]:
            left = list(answers)

            def answer(asked: Asked) -> Answer:
                one = left.pop(0) if len(left) > 1 else left[0]
                return one if isinstance(one, Answer) else one(asked)

            server = stack.enter_context(serving(answer))
            at = StripeSettings(api_key=KEY, api_base=server.url, timeout_seconds=0.4)
            return StripeGateway(at), server

        yield make
