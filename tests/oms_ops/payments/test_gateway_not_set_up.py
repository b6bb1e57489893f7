"""Rules that name a gateway whose secrets are missing: said early, and no order is stranded."""

from __future__ import annotations

from importlib import import_module

import pytest
from typer.testing import CliRunner

from oms_ops.cli import app
from oms_ops.database import make_engine, run
from oms_ops.doctor import examine
from oms_ops.errors import ValidationFailed
from oms_ops.orders import tenders
from oms_ops.orders.capture import capture
from oms_ops.payments import messages
from oms_ops.payments.gateways import registry
from oms_ops.payments.gateways.fake import Fake
from oms_ops.payments.gateways.registry import gateway
from oms_ops.rules import advice, store
from oms_ops.rules.document import Rules
from oms_ops.settings import settings
from oms_ops.setup import init
from oms_ops.worker import work_once
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, sent
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

RULES = {"payments": {"gateways": {"card": "stripe", "paypal": "paypal", "invoice": "manual"}}}
METHODS = ("card", "paypal")


@pytest.fixture
def unready(shop: Shop) -> Shop:
    """Return a shop whose rules name gateways that it has no secrets of."""
    shop.stock("SKU-1", 10)
    run(shop.engine, lambda c: store.publish(c, ADMIN, RULES))
    return shop


@pytest.mark.parametrize("method", METHODS)
def test_no_payment_is_taken_that_nobody_could_collect(unready: Shop, method: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        capture(unready.engine, CLERK, order(("SKU-1", 1), payment={"method": method}))
    refused = [(each.field, each.code) for each in refusal.value.errors]
    assert refused == [("payment.method", "gateway_not_set_up")]
    number = capture(unready.engine, CLERK, order(("SKU-1", 1), payment=None))["number"]
    order_id = unready.rows("SELECT id FROM orders WHERE number = :n", n=number)[0][0]
    with pytest.raises(ValidationFailed) as refusal:
        run(unready.engine, lambda c: tenders.add(c, CLERK, order_id, method))
    refused = [(each.field, each.code) for each in refusal.value.errors]
    assert refused == [("method", "gateway_not_set_up")]
    # What is settled otherwise is taken.
    run(unready.engine, lambda c: tenders.add(c, CLERK, order_id, "invoice"))


def test_rules_that_name_it_are_told_so() -> None:
    found = advice.warnings(Rules.model_validate(RULES), None, registry.problem)
    assert [(each.field, each.code) for each in found] == [
        (f"payments.gateways.{method}", "gateway_not_set_up") for method in METHODS
    ]
    other = Rules.model_validate({"payments": {"gateways": {"card": "strype"}}})
    assert [each.code for each in advice.warnings(other, None, registry.problem)]


def test_doctor_tells_which_gateway_is_not_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(settings().url)
    init(engine)
    rules = {"payments": {"gateways": {"card": "stripe", "paypal": "fake"}}}
    run(engine, lambda c: store.publish(c, ADMIN, rules))
    found = {each.detail.partition(":")[0]: each.ok for each in examine()
             if each.name == "payment gateway"}  # fmt: skip
    assert found == {"fake": True, "stripe": False}
    told = CliRunner().invoke(app, ["doctor"])
    assert (told.exit_code, "OMS_STRIPE_API_KEY" in told.output) == (1, True)


def test_what_was_asked_before_its_secrets_went_waits_and_is_done_when_they_are_back(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = till.sell(("SKU-1", 2))
    till.authorise(order_id)
    for event_id, body in sent(till.fake):
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))
    monkeypatch.delenv("OMS_FAKE_ENABLED")
    gateway.cache_clear()
    till.ship(order_id)
    assert None not in work_once(till.engine).values()
    waiting = till.shop.rows(
        "SELECT kind, status, problem FROM payment_operations WHERE status <> 'settled'"
    )
    assert [(row.kind, row.status) for row in waiting] == [("capture", "pending")]
    assert "not enabled" in waiting[0].problem
    kept = till.shop.rows("SELECT status, reason FROM gateway_messages")
    assert [row.status for row in kept] == ["unmatched"]

    monkeypatch.setenv("OMS_FAKE_ENABLED", "1")
    gateway.cache_clear()
    with till.later(minutes=5):
        work_once(till.engine)
    assert till.money(order_id) == ("0.00", "3.98", "3.98", "0.00")
    assert [tuple(row) for row in till.shop.rows("SELECT status FROM gateway_messages")] == [
        ("applied",)
    ]
    assert differences(till.shop, till.fake) == []


def test_how_a_gateway_captures_is_known_also_where_it_is_not_set_up() -> None:
    classes = {
        "fake": Fake,
        "paypal": import_module("oms_ops.payments.gateways.paypal").PayPalGateway,
        "stripe": import_module("oms_ops.payments.gateways.stripe").StripeGateway,
    }
    assert classes.keys() == registry.GATEWAYS.keys()
    for name, kind in classes.items():
        assert registry.captures_in_parts(name) == kind.captures_in_parts


def test_an_adapter_that_breaks_when_it_is_opened_is_not_set_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMS_FAKE_MILLISECONDS", "sk_live_in_the_wrong_place")
    gateway.cache_clear()
    why = registry.problem("fake")
    assert why is not None
    assert "cannot be opened" in why and "sk_live" not in why
