"""What goes wrong is seen by people, who can put it right; nothing is asked again for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from oms_ops import clock
from oms_ops.cli import app
from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.units import CancelledUnits
from oms_ops.payments import commands as payments
from oms_ops.payments import messages
from oms_ops.settings import settings
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


def needs(desk: Desk, role: str = "support") -> list[tuple[str, list[str]]]:
    found = desk.get("/payments/attention", role=role).json()["data"]
    assert all(each["how"] for each in found)
    return [(each["kind"], each["can"]) for each in found]


def operation(desk: Desk) -> int:
    return int(desk.get("/payments/attention").json()["data"][0]["operation"])


def tell(desk: Desk, **event: Any) -> None:
    """Let the gateway send an event, and fold it."""
    fake = desk.till.fake
    with fake.books() as books:
        fake.send(books, **event)
    desk.till.deliver_events()


@pytest.mark.parametrize("kind", ["capture", "refund", "void"])
def test_what_the_gateway_declines_is_not_asked_again_for_ever(desk: Desk, kind: str) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    payment_id = desk.till.authorise(order_id)
    desk.till.fake.break_next(kind, *["declined"] * 20)
    if kind == "capture":
        desk.till.ship(order_id)
    elif kind == "refund":
        run(desk.till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
        collecting.perform(desk.till.engine)
    if kind != "capture":
        run(desk.till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    collecting.perform(desk.till.engine)
    assert desk.till.operations().count((kind, "failed")) == 1
    assert needs(desk) == [(f"{kind}_failed", ["retry", "dismiss"])]
    # A person asks again, and once more when the gateway has come to its senses.
    assert desk.post(f"/payment-operations/{operation(desk)}/retry").is_success
    assert needs(desk) == [(f"{kind}_failed", ["retry", "dismiss"])]
    with desk.till.fake.books() as books:
        books.execute("DELETE FROM faults")
    again = operation(desk)
    assert desk.post(f"/payment-operations/{again}/retry").is_success
    assert needs(desk) == []
    assert desk.till.operations().count((kind, "settled")) == 1
    assert desk.post(f"/payment-operations/{again}/retry").status_code == 409


def test_a_refund_that_the_gateway_takes_back_is_not_asked_again_by_itself(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "waiting")
    run(desk.till.engine, lambda c: cancel(c, CLERK, [order_id], "no"))
    collecting.perform(desk.till.engine)
    key = desk.till.shop.rows("SELECT key FROM payment_operations WHERE kind = 'refund'")[0][0]
    tell(desk, kind="failed", key=key, payment=None, reference="fr_x", target=None, amount=398,
         currency="USD")  # fmt: skip
    assert desk.till.operations().count(("refund", "failed")) == 1
    assert ("refund", "pending") not in desk.till.operations()
    assert needs(desk) == [("refund_failed", ["retry", "dismiss"])]


def test_a_retry_asks_under_a_new_key_and_the_refund_settles(desk: Desk) -> None:
    payment_id = desk.pay(desk.till.sell(("SKU-1", 2)))
    desk.till.fake.break_next("refund", "declined")
    desk.post(f"/payments/{payment_id}/refunds", {"amount": "1", "reason": "late"})
    desk.post(f"/payment-operations/{operation(desk)}/retry")
    rows = desk.till.shop.rows("SELECT key, status FROM payment_operations WHERE kind = 'refund'")
    assert len({row.key for row in rows}) == 2
    refunds = desk.till.shop.rows("SELECT status FROM refunds")
    assert [row.status for row in refunds] == ["settled"]


def test_a_refund_that_went_back_another_way_is_not_retried(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), ("SKU-2", 5))
    desk.pay(order_id)
    path = f"/orders/{number(order_id)}/refunds"
    desk.till.fake.break_next("refund", "declined")
    body = {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}]}
    desk.post(path, body)
    failed = operation(desk)
    desk.post(path, {"reason": "x", "lines": [{"line_no": 1, "amount": "2.00"}]})
    refused = desk.post(f"/payment-operations/{failed}/retry")
    assert refused.status_code == 409, "1.98 is left of the line"
    assert desk.post(f"/payment-operations/{failed}/dismiss").is_success
    assert needs(desk) == []


def test_the_refund_of_a_cancellation_is_not_retried_after_the_news_did_it(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), ("SKU-2", 5))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "declined")
    gone = CancelledUnits(order_id, 1, 2)
    run(desk.till.engine, lambda c: cancel_units(c, CLERK, [gone], "no"))
    collecting.perform(desk.till.engine)
    failed = operation(desk)
    run(desk.till.engine, lambda c: collecting.follow(c, [order_id]))
    collecting.perform(desk.till.engine)
    assert desk.till.money(order_id)[3] == "3.98"
    refused = desk.post(f"/payment-operations/{failed}/retry")
    assert refused.status_code == 409
    assert desk.till.money(order_id)[3] == "3.98"


@pytest.mark.parametrize("remedy", ["accept", "dismiss"])
def test_another_amount_than_asked_for_is_accepted_or_dismissed(desk: Desk, remedy: str) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    desk.till.fake.break_next("refund", "wrong_amount")
    path = f"/orders/{number(order_id)}/refunds"
    desk.post(path, {"reason": "x", "lines": [{"line_no": 1, "quantity": 1}], "goodwill": "0.50"})
    assert needs(desk) == [("operation_flagged", ["accept", "dismiss"])]
    refused = desk.post(f"/payment-operations/{operation(desk)}/accept", role="support")
    assert refused.status_code == 403
    shown = desk.post(f"/payment-operations/{operation(desk)}/{remedy}").json()
    assert shown["refunded"] == ("2.48" if remedy == "accept" else "0.00")
    items = [item["amount"] for item in shown["refunds"][0]["items"]]
    assert items == (["1.99", "0.49"] if remedy == "accept" else ["1.99", "0.50"])
    assert needs(desk) == []


def test_a_gateway_that_does_not_answer_is_seen_and_asked_at_once(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.till.authorise(order_id)
    desk.till.ship(order_id)
    desk.till.fake.break_next("capture", *["lost_before"] * 6)
    now = clock.now()
    for hours in range(6):
        with clock.at(now + timedelta(hours=hours)):
            collecting.perform(desk.till.engine)
    assert needs(desk) == [("operation_stuck", ["retry"])], "asked only a moment ago, by its clock"
    with clock.at(now + timedelta(hours=5)):
        assert needs(desk) == [("operation_stuck", ["retry", "dismiss"])]
    assert desk.post(f"/payment-operations/{operation(desk)}/retry").json()["captured"] == "3.98"
    assert needs(desk) == []


def test_messages_that_do_not_fit_are_kept_seen_and_put_aside(desk: Desk) -> None:
    payment_id = desk.pay(desk.till.sell(("SKU-1", 2)))
    reference = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0][0]
    common = {"key": None, "target": None, "currency": "USD"}
    tell(desk, kind="captured", payment=reference, reference="fc_9", amount=9999, **common)
    tell(desk, kind="captured", payment="fp_unknown", reference="fc_8", amount=1, **common)
    assert needs(desk) == [("message_flagged", ["dismiss"])], "early ones are given a while"
    with desk.till.later(hours=1):
        assert [kind for kind, _ in needs(desk)] == ["message_flagged", "message_unmatched"]
    assert desk.till.payments(1)[0].captured_minor == 398
    seen = desk.get("/gateway-messages", status="flagged").json()["data"]
    assert "9999" in seen[0]["body"]
    assert seen[0]["payment_id"] == payment_id
    by_support = desk.get("/gateway-messages", role="support", status="flagged").json()["data"]
    assert "body" not in by_support[0]
    for message in desk.get("/gateway-messages").json()["data"]:
        if message["status"] in ("flagged", "unmatched"):
            assert desk.post(f"/gateway-messages/{message['id']}/dismiss").is_success
    with desk.till.later(hours=1):
        assert needs(desk) == []
    assert desk.get("/gateway-messages", status="nonsense").status_code == 422


def test_more_than_the_payment_is_for_and_charge_backs_are_seen(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.pay(order_id)
    reference = desk.till.shop.rows("SELECT gateway_reference FROM payments")[0][0]
    common = {"key": None, "target": None, "currency": "USD", "payment": reference}
    tell(desk, kind="captured", reference="fc_twice", amount=100, **common)
    assert needs(desk) == [("events_beyond_payment", [])]
    tell(desk, kind="charged_back", reference="fd_1", amount=398, **common)
    assert ("charge_back", []) in needs(desk)
    with desk.till.later(days=120):
        assert ("charge_back", []) not in needs(desk)


def test_an_invoice_is_overdue_the_day_after_it_was_due(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2), payment={"method": "invoice"})
    with desk.till.later(days=29):
        assert needs(desk) == []
    with desk.till.later(days=32):
        assert needs(desk) == [("invoice_overdue", ["capture", "void"])]
    desk.post(f"/payments/{desk.till.payment(order_id)}/capture")
    with desk.till.later(days=32):
        assert needs(desk) == []


def test_the_command_line_shows_the_same_and_works_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = desk.till.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("OMS_DATABASE_URL", url)
    settings.cache_clear()
    order_id = desk.till.sell(("SKU-1", 2))
    desk.till.authorise(order_id)
    desk.till.ship(order_id)
    desk.till.fake.break_next("capture", "declined")
    for headers, body in desk.till.fake.events():
        messages.receive(desk.till.engine, "fake", headers, body)
    worked = CliRunner().invoke(app, ["payments", "work"])
    assert worked.output == "1 messages looked at, 1 operations settled\n"
    shown = CliRunner().invoke(app, ["payments", "attention"])
    assert shown.exit_code == 1
    assert shown.output.startswith(f"capture_failed: {number(order_id)}, payment 1, operation 2")
    desk.post("/payment-operations/2/dismiss")
    assert CliRunner().invoke(app, ["payments", "attention"]).exit_code == 0
