"""Shopify's orders, from files and signed webhooks: captured once, exact to the cent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from oms_ops.database import run
from oms_ops.errors import ValidationFailed
from oms_ops.exchange import inbox, shopify_json, webhooks
from oms_ops.exchange.files import import_bytes, import_file
from oms_ops.exchange.mapping import Mapping
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.reconcile import reconcile
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, Shop
from tests.oms_ops.shopify import ADDRESS, SECRET, deliver, document, sign


def taken(shop: Shop, *documents: Any) -> Any:
    content = json.dumps({"orders": list(documents)}).encode()
    return import_bytes(shop.engine, ADMIN, "shopify", content, "orders.json", Mapping())


def reasons(report: Any) -> list[tuple[int, str]]:
    return [(bad.row_no, bad.reason) for bad in report.rejected]


def sound(shop: Shop) -> bool:
    return all(finding.count == 0 for finding in reconcile(shop.engine))


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    shop.stock("SKU-1", 100)
    shop.stock("SKU-2", 100)
    return shop


@pytest.fixture
def client(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("OMS_SHOPIFY_SECRET", SECRET)
    settings.cache_clear()
    with TestClient(app_over(stocked.engine)) as made:
        yield made


def test_an_order_is_captured_with_shopifys_money_to_the_cent(stocked: Shop) -> None:
    report = taken(stocked, document())
    assert report.counts == {"order": 1}, report.rejected
    order = stocked.rows(
        "SELECT o.channel, o.external_id, c.email, c.name, o.ship_line2, o.ship_region, o.note,"
        " o.gross_minor, o.discount_minor, o.shipping_minor, o.tax_minor, o.total_minor, o.status"
        " FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
    )
    assert [tuple(row) for row in order] == [
        ("shopify", "820982911946154508", "ann.lee@example.com", "Ann Lee", "Flat 2", "GA",
         "leave at the door", 995, 65, 0, 76, 1006, "open"),
    ]  # fmt: skip
    lines = stocked.rows("SELECT quantity, discount_minor, tax_minor FROM order_lines ORDER BY id")
    assert [tuple(row) for row in lines] == [(3, 60, 43), (1, 5, 33)]
    paid = stocked.rows("SELECT method, amount_minor, captured_minor FROM payments")
    assert [tuple(row) for row in paid] == [("card", 1006, 1006)]
    assert sound(stocked)


def test_taxes_in_the_prices_are_not_added_again(stocked: Shop) -> None:
    report = taken(stocked, document(taxes_included=True, total_price="9.30"))
    assert report.counts == {"order": 1}, report.rejected
    row = stocked.rows("SELECT tax_minor, tax_included, total_minor FROM orders")[0]
    assert (row.tax_minor, bool(row.tax_included), row.total_minor) == (76, True, 930)


def test_an_order_whose_total_is_another_is_refused(stocked: Shop) -> None:
    cent = taken(stocked, document(total_price="10.07"))
    assert reasons(cent) == [(1, "total_mismatch")]
    tip = taken(stocked, document(total_price="12.06", total_tip_received="2.00"))
    assert reasons(tip) == [(1, "total_mismatch")]
    assert "a tip of 2.00" in str(tip.rejected[0].message)
    odd = taken(stocked, document(total_price="ten"))
    assert reasons(odd) == [(1, "not_an_amount")]
    assert stocked.count("orders") == 0


def test_each_order_of_a_file_has_its_own_answer(stocked: Shop) -> None:
    bad_sku = document(id=2)
    bad_sku["line_items"][0]["sku"] = None
    bad_place = document(id=3, shipping_address={**ADDRESS, "zip": "x", "country_code": "US"})
    documents = (
        document(),
        bad_sku,
        bad_place,
        document(id=4, test=True),
        document(id=5, cancelled_at="2026-01-06T00:00:00Z"),
        document(id=6, email="nobody", customer=None),
        {"no": "order"},
    )
    report = taken(stocked, *documents)
    assert reasons(report) == [
        (2, "unknown_sku"),
        (3, "invalid_postal_code"),
        (4, "test_order"),
        (5, "cancelled"),
        (6, "invalid"),
        (7, "required"),
    ]
    assert report.counts == {"order": 1, "rejected": 6}
    again = taken(stocked, *documents)
    assert again.counts == {"rejected": 6, "repeated": 1}
    assert stocked.count("orders") == 1


def test_another_content_under_the_same_id_is_refused(stocked: Shop) -> None:
    taken(stocked, document())
    changed = document(total_price="9.30", taxes_included=True)
    assert reasons(taken(stocked, changed)) == [(1, "differs")]
    assert stocked.count("orders") == 1


@pytest.mark.parametrize("form", ["one", "order", "orders", "list", "ndjson"])
def test_every_form_of_a_file_is_read(form: str, tmp_path: Path) -> None:
    one, two = document(id=1), document(id=2)
    texts = {
        "one": json.dumps(one),
        "order": json.dumps({"order": one}),
        "orders": json.dumps({"orders": [one, two]}),
        "list": json.dumps([one, two]),
        "ndjson": "\n".join(json.dumps(each) for each in (one, two)) + "\n",
    }
    found = shopify_json.documents(texts[form].encode())
    assert [each["id"] for each in found] == [1, 2][: len(found)]
    with pytest.raises(ValidationFailed):
        shopify_json.documents(b'{"id": 1')


def test_a_guest_is_known_by_the_address_on_the_order(stocked: Shop, tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text(json.dumps({"order": document(customer=None, financial_status="pending")}))
    assert import_file(stocked.engine, ADMIN, "shopify", path).counts == {"order": 1}
    assert tuple(stocked.rows("SELECT email, name FROM customers")[0]) == (
        "ann.lee@example.com", "Ann Lee",
    )  # fmt: skip
    assert stocked.rows("SELECT captured_minor FROM payments")[0][0] == 0


def test_a_signed_webhook_is_stored_captured_and_answered_again(
    stocked: Shop, client: TestClient
) -> None:
    first = deliver(client, document())
    assert first.status_code == 200, first.text
    assert first.json()["status"] == "processed"
    number = stocked.rows("SELECT number FROM orders")[0][0]
    assert first.json()["order"] == number
    # The same delivery, and the same order under another delivery.
    assert deliver(client, document()).json() == first.json()
    assert deliver(client, document(), webhook_id="w-2").json() == first.json()
    assert deliver(client, document(phone="x"), webhook_id="w-3").json() == first.json()
    assert stocked.count("orders") == 1
    assert stocked.level("SKU-1") == (100, 3)
    kept = stocked.rows("SELECT external_id, status, document FROM inbox_messages ORDER BY id")
    assert [tuple(row) for row in kept] == [(f"w-{n}", "processed", number) for n in (1, 2, 3)]
    assert sound(stocked)


def test_an_unsigned_webhook_is_refused_and_leaves_nothing(
    stocked: Shop, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(document()).encode()
    refused = [
        deliver(client, document(), secret="guess"),
        client.post("/v1/webhooks/shopify", content=body),
        client.post(
            "/v1/webhooks/shopify", content=body + b" ",
            headers={"X-Shopify-Hmac-Sha256": sign(body)},
        ),
        client.post(
            "/v1/webhooks/shopify", content=body,
            headers={"X-Shopify-Hmac-Sha256": "ä".encode()},
        ),
    ]  # fmt: skip
    for response in refused:
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
    monkeypatch.setenv("OMS_SHOPIFY_SECRET", "")
    settings.cache_clear()
    assert deliver(client, document(), secret="").status_code == 401
    assert stocked.count("inbox_messages") == stocked.count("orders") == 0


def test_both_secrets_hold_while_one_replaces_the_other() -> None:
    assert webhooks.is_signed(b"x", sign(b"x", "new"), "new,old")
    assert webhooks.is_signed(b"x", sign(b"x", "old"), "new,old")
    assert not webhooks.is_signed(b"x", sign(b"x", "other"), "new,old")


def test_what_cannot_be_captured_stays_and_is_tried_again(
    stocked: Shop, client: TestClient
) -> None:
    broken = document()
    broken["line_items"][0]["sku"] = "NEW-1"
    failed = deliver(client, broken)
    assert failed.status_code == 202
    assert failed.json()["problem"]["errors"][0]["code"] == "unknown_sku"
    assert stocked.count("orders") == 0
    assert inbox.retry(stocked.engine, ADMIN)[0].status == "failed"
    run(
        stocked.engine,
        lambda c: c.execute(sa.text("UPDATE skus SET code = 'NEW-1' WHERE code = 'SKU-1'")),
    )
    assert [message.status for message in inbox.retry(stocked.engine, ADMIN)] == ["processed"]
    assert inbox.retry(stocked.engine, ADMIN) == []
    assert deliver(client, broken).status_code == 200
    row = stocked.rows("SELECT status, attempts, problem FROM inbox_messages")[0]
    assert (row.status, row.attempts, row.problem) == ("processed", 3, None)
    assert stocked.count("orders") == 1
    nonsense = deliver(client, b"no json", webhook_id="w-9")
    assert (nonsense.status_code, nonsense.json()["problem"]["errors"][0]["code"]) == (
        202, "not_json",
    )  # fmt: skip


def test_a_message_that_was_stored_and_no_more_is_not_lost(
    stocked: Shop, client: TestClient
) -> None:
    """The process died between the two transactions; the next delivery, or a retry, finishes it."""
    inbox.store(stocked.engine, "shopify", "w-1", webhooks.CREATE, json.dumps(document()))
    assert stocked.rows("SELECT status FROM inbox_messages")[0][0] == "received"
    assert deliver(client, document()).json()["status"] == "processed"
    inbox.store(stocked.engine, "shopify", "w-2", webhooks.CREATE, json.dumps(document(id=2)))
    assert [message.status for message in inbox.retry(stocked.engine, ADMIN)] == ["processed"]
    assert stocked.count("orders") == 2


def test_topics_that_ask_for_nothing_are_kept_and_ignored(
    stocked: Shop, client: TestClient
) -> None:
    for number, (topic, body) in enumerate(
        [
            ("orders/updated", document()),
            ("products/update", {"id": 1}),
            (webhooks.CREATE, document(test=True)),
            (webhooks.CREATE, document(cancelled_at="2026-01-06T00:00:00Z")),
        ]
    ):
        response = deliver(client, body, topic=topic, webhook_id=f"w-{number}")
        assert (response.status_code, response.json()["status"]) == (200, "ignored")
    assert stocked.count("inbox_messages") == 4
    assert stocked.count("orders") == 0


CANCELLED = {"cancelled_at": "2026-01-06T00:00:00Z", "cancel_reason": "customer"}


@pytest.mark.parametrize("order_of_arrival", ["create first", "cancelled first"])
def test_a_cancellation_ends_the_same_whenever_it_arrives(
    stocked: Shop, client: TestClient, order_of_arrival: str
) -> None:
    deliveries = [
        lambda: deliver(client, document(), webhook_id="w-1"),
        lambda: deliver(
            client, document(**CANCELLED), webhook_id="w-2", topic=webhooks.CANCEL
        ),
    ]  # fmt: skip
    if order_of_arrival == "cancelled first":
        deliveries.reverse()
    for send in [*deliveries, *deliveries]:
        assert send().status_code == 200
    open_orders = stocked.rows("SELECT count(*) FROM orders WHERE status <> 'cancelled'")[0][0]
    assert open_orders == 0
    assert stocked.level("SKU-1") == (100, 0)
    left = stocked.rows("SELECT coalesce(sum(captured_minor - refunded_minor), 0) FROM payments")
    assert int(left[0][0]) == 0
    assert sound(stocked)


def test_create_and_cancelled_at_once_leave_no_open_order(
    stocked: Shop, client: TestClient
) -> None:
    def send(number: int, topic: str) -> None:
        body = document(id=number, **(CANCELLED if topic == webhooks.CANCEL else {}))
        deliver(client, body, webhook_id=f"{topic}-{number}", topic=topic)

    threads = [
        threading.Thread(target=send, args=(number, topic))
        for number in range(1, 9)
        for topic in (webhooks.CREATE, webhooks.CANCEL)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inbox.retry(stocked.engine, ADMIN)
    assert stocked.rows("SELECT count(*) FROM orders WHERE status <> 'cancelled'")[0][0] == 0
    assert stocked.level("SKU-1") == (100, 0)
    assert sound(stocked)


def test_what_is_being_picked_is_not_cancelled_by_a_message(
    stocked: Shop, client: TestClient
) -> None:
    deliver(client, document())
    shipment = stocked.rows("SELECT id FROM shipments")[0][0]
    run(stocked.engine, lambda c: fulfilment.pick(c, ADMIN, [shipment]))
    response = deliver(client, document(**CANCELLED), webhook_id="w-2", topic=webhooks.CANCEL)
    assert (response.status_code, response.json()["status"]) == (202, "failed")
    assert stocked.rows("SELECT status FROM orders")[0][0] == "open"


def test_one_delivery_many_times_at_once_makes_one_order(stocked: Shop, client: TestClient) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(deliver(client, document()).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert stocked.count("orders") == stocked.count("inbox_messages") == 1
    assert stocked.level("SKU-1") == (100, 3)
    assert sound(stocked)
