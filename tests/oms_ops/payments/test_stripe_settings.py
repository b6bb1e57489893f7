"""Opening Stripe: where its secrets come from, and what is said when something is missing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from oms_ops.errors import NotFound, Unauthorised
from oms_ops.payments.gateways.registry import gateway
from oms_ops.payments.gateways.stripe import StripeSettings, open_gateway
from tests.oms_ops.payments.http_servers import Answer, serving
from tests.oms_ops.payments.stripe_bodies import CALLS, intent


def python(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_secrets_come_from_files_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "oms_stripe_api_key").write_text("sk_test_file\n")
    (tmp_path / "oms_stripe_webhook_secret").write_text("whsec_file\n")
    monkeypatch.setenv("OMS_SECRETS_DIR", str(tmp_path))
    # Set and empty is as good as not set.
    monkeypatch.setenv("OMS_STRIPE_API_KEY", "")
    with serving(lambda _: Answer(200, intent("requires_capture"))) as server:
        monkeypatch.setenv("OMS_STRIPE_API_BASE", server.url)
        open_gateway().call(CALLS[0])
        monkeypatch.setenv("OMS_STRIPE_API_KEY", "sk_test_environment")
        open_gateway().call(CALLS[0])
    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Bearer sk_test_file", "Bearer sk_test_environment"]
    assert StripeSettings.read().webhook_secret == "whsec_file"


def test_settings_are_shown_without_their_secrets() -> None:
    shown = repr(StripeSettings(api_key="sk_live_x", webhook_secret="whsec_x"))
    assert "_x" not in shown


def test_a_missing_key_is_told_by_its_name() -> None:
    with pytest.raises(NotFound, match="OMS_STRIPE_API_KEY"):
        open_gateway()


def test_the_key_is_not_sent_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_STRIPE_API_KEY", "sk_live_x")
    for base in ("http://stripe.example", "ftp://127.0.0.1", "127.0.0.1:80"):
        monkeypatch.setenv("OMS_STRIPE_API_BASE", base)
        with pytest.raises(ValidationError, match="must be https"):
            open_gateway()
    monkeypatch.setenv("OMS_STRIPE_API_BASE", "https://stripe.example/")
    assert StripeSettings.read().api_base == "https://stripe.example"


def test_without_a_webhook_secret_calls_work_and_webhooks_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMS_STRIPE_API_KEY", "sk_test_x")
    gateway.cache_clear()
    with pytest.raises(Unauthorised):
        gateway("stripe").verify({"stripe-signature": "t=1,v1=0"}, b"{}", datetime.now(UTC))
    gateway.cache_clear()


def test_the_library_is_loaded_only_where_the_gateway_is_opened() -> None:
    script = "import sys, oms_ops.api.app, oms_ops.payments.gateways.registry;"
    done = python(script + "sys.exit('stripe' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_without_the_library_the_extra_is_named() -> None:
    script = "import sys; sys.modules['stripe'] = None;"
    script += "from oms_ops.payments.gateways.registry import gateway; gateway('stripe')"
    done = python(script)
    assert done.returncode != 0
    assert "install order-platform[stripe]" in done.stderr.splitlines()[-1]
