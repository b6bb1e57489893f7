"""What becomes of Shopify's orders: paid later, changed, odd, or of somebody without e-mail."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.exchange import files, webhooks
from oms_ops.exchange.files import import_bytes
from oms_ops.exchange.mapping import Mapping
from oms_ops.notifications import delivery
from oms_ops.orders import queries
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, Shop
from tests.oms_ops.shopify import ADDRESS, SECRET, deliver, document


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


def keyed(shop: Shop, role: str) -> dict[str, str]:
    name = f"{role}-{shop.count('api_keys')}"
    key = run(shop.engine, lambda c: keys.create(c, role, name))
    return {"Authorization": f"Bearer {key}"}


def taken(shop: Shop, *documents: Any, actor: Actor = ADMIN, content: str = "") -> Any:
    raw = (content or json.dumps({"orders": list(documents)})).encode()
    return import_bytes(shop.engine, actor, "shopify", raw, "orders.json", Mapping())


def captured(shop: Shop) -> list[tuple[int, int]]:
    rows = shop.rows("SELECT amount_minor, captured_minor FROM payments ORDER BY id")
    return [tuple(row) for row in rows]


CREATE, PAID, UPDATED = webhooks.CREATE, webhooks.PAID, webhooks.UPDATED
UNPAID, FULL = document(financial_status="pending"), document()


@pytest.mark.parametrize(
    "messages",
    [
        [(CREATE, UNPAID), (PAID, FULL)],
        [(CREATE, UNPAID), (UPDATED, FULL)],
        [(CREATE, UNPAID), (CREATE, FULL)],
        [(PAID, FULL), (CREATE, UNPAID)],
        [(UPDATED, FULL), (CREATE, UNPAID)],
        [(CREATE, UNPAID), (UPDATED, UNPAID), (PAID, FULL), (UPDATED, FULL), (PAID, FULL)],
    ],
)
def test_money_paid_later_is_collected_once_in_any_order_of_arrival(
    stocked: Shop, client: TestClient, messages: list[tuple[str, Any]]
) -> None:
    for number, (topic, body) in enumerate(messages):
        assert deliver(client, body, topic=topic, webhook_id=f"w-{number}").status_code == 200
    assert captured(stocked) == [(1006, 1006)]
    assert stocked.count("orders") == 1
    events = stocked.rows("SELECT kind, changed_by FROM payment_events")
    assert [tuple(event) for event in events] == [("captured", "shopify")]


def test_a_file_of_the_same_orders_collects_what_was_paid_meanwhile(stocked: Shop) -> None:
    assert taken(stocked, UNPAID).counts == {"order": 1}
    paid = document(payment_gateway_names=["bogus"], customer={"id": 1, "first_name": "A"})
    assert taken(stocked, paid).counts == {"repeated": 1}
    assert captured(stocked) == [(1006, 1006)]


def test_what_shopify_completes_by_itself_makes_no_other_order_of_it(
    stocked: Shop, client: TestClient
) -> None:
    early = {**ADDRESS, "latitude": None, "longitude": None}
    deliver(client, document(shipping_address=early, payment_gateway_names=[]))
    later = deliver(client, document(tags="vip"), topic=UPDATED, webhook_id="w-2")
    assert (later.status_code, later.json()["status"]) == (200, "processed")


def test_an_order_that_was_changed_in_shopify_is_a_problem_to_see(
    stocked: Shop, client: TestClient
) -> None:
    deliver(client, UNPAID)
    moved = document(shipping_address={**ADDRESS, "address1": "2 Side Street"})
    answer = deliver(client, moved, topic=UPDATED, webhook_id="w-2")
    assert answer.status_code == 202
    assert answer.json()["problem"]["errors"][0]["code"] == "differs"
    # The money has come all the same.
    assert captured(stocked) == [(1006, 1006)]
    assert stocked.rows("SELECT ship_line1 FROM orders")[0][0] == "1 Main Street"


def test_an_order_that_differs_is_accepted_once_and_known_so_from_then_on(
    stocked: Shop, client: TestClient
) -> None:
    deliver(client, UNPAID)
    moved = document(shipping_address={**ADDRESS, "address1": "2 Side Street"})
    deliver(client, moved, topic=UPDATED, webhook_id="w-2")
    later = deliver(client, moved, topic=UPDATED, webhook_id="w-3")
    assert later.json()["problem"]["errors"][0]["code"] == "differs"
    desk = keyed(stocked, "clerk")
    refused = client.post("/v1/inbox/2/accept", headers=keyed(stocked, "analyst"))
    assert refused.status_code == 403
    done = client.post("/v1/inbox/2/accept", json={"note": "rung up"}, headers=desk).json()
    assert (done["status"], done["settled_by"], done["settled_note"]) == (
        "processed", "clerk-0", "rung up",
    )  # fmt: skip
    assert client.post("/v1/inbox/3/retry", headers=desk).json()["status"] == "processed"
    assert deliver(client, moved, topic=UPDATED, webhook_id="w-4").json()["status"] == "processed"
    assert stocked.rows("SELECT ship_line1 FROM orders")[0][0] == "1 Main Street"
    again = client.post("/v1/inbox/2/accept", headers=desk)
    assert [e["code"] for e in again.json()["errors"]] == ["wrong_status"]


def test_a_message_that_failed_is_dismissed_and_not_tried_again(
    stocked: Shop, client: TestClient
) -> None:
    deliver(client, document(currency="XXX"))
    desk = keyed(stocked, "clerk")
    refused = client.post("/v1/inbox/1/accept", headers=desk)
    assert [e["code"] for e in refused.json()["errors"]] == ["not_differing"]
    assert client.post("/v1/inbox/1/dismiss", headers=keyed(stocked, "analyst")).status_code == 403
    done = client.post("/v1/inbox/1/dismiss", headers=desk).json()
    assert (done["status"], done["settled_by"], done["next_attempt_at"]) == (
        "ignored", "clerk-0", None,
    )  # fmt: skip
    assert client.post("/v1/inbox/1/retry", headers=desk).json()["status"] == "ignored"
    assert client.get("/v1/inbox?status=failed", headers=desk).json()["data"] == []
    assert client.post("/v1/inbox/1/dismiss", headers=desk).status_code == 409


def test_news_of_an_order_that_was_never_sent_makes_none(stocked: Shop, client: TestClient) -> None:
    sent_off = document(fulfillment_status="fulfilled")
    for number, (topic, body) in enumerate([(UPDATED, FULL), (PAID, sent_off)]):
        answer = deliver(client, body, topic=topic, webhook_id=f"w-{number}")
        assert answer.json()["status"] == "ignored"
    assert stocked.count("orders") == 0


def test_an_update_that_says_cancelled_cancels(stocked: Shop, client: TestClient) -> None:
    deliver(client, FULL)
    gone = document(cancelled_at="2026-01-06T00:00:00Z")
    assert deliver(client, gone, topic=UPDATED, webhook_id="w-2").status_code == 200
    assert stocked.rows("SELECT status FROM orders")[0][0] == "cancelled"


def test_who_may_not_write_payments_leaves_the_money_uncollected(stocked: Shop) -> None:
    key = Actor("loader", "clerk", frozenset({"orders:write", "orders:read", "prices:override"}))
    assert taken(stocked, FULL, actor=key).counts == {"order": 1}
    assert captured(stocked) == [(1006, 0)]
    note = stocked.rows("SELECT fate, message FROM import_rows")[0]
    assert note.fate == "order"
    assert "not collected" in note.message
    # Who may collects it with the same file, under their own name.
    cara = Actor("cara", "clerk")
    assert taken(stocked, FULL, actor=cara).counts == {"repeated": 1}
    assert captured(stocked) == [(1006, 1006)]
    assert stocked.rows("SELECT changed_by FROM orders")[0][0] == "loader"
    assert stocked.rows("SELECT changed_by FROM payment_events")[0][0] == "cara"


def odd(**changes: Any) -> Any:
    """Return an order with something in it that Shopify never sends."""
    made = deepcopy(document(id=7))
    for path, value in changes.items():
        place, parts = made, path.split("__")
        for part in parts[:-1]:
            place = place[int(part) if part.isdigit() else part]
        place[parts[-1]] = value
    return made


ODD = [
    (odd(customer="x"), "dict_type"),
    (odd(customer__first_name=1), "string_type"),
    (odd(shipping_address="x"), "dict_type"),
    (odd(shipping_address=["x"]), "dict_type"),
    (odd(shipping_address__address2=3), "string_type"),
    (odd(line_items="x"), "list_type"),
    (odd(line_items=["x"]), "dict_type"),
    (odd(line_items__0__quantity=10**400), "less_than_equal"),
    (odd(line_items__0__price="1E+999999"), "not_an_amount"),
    (odd(total_price="1E+999999"), "not_an_amount"),
    (odd(total_price="1e30"), "not_an_amount"),
    (odd(total_price="sNaN"), "not_an_amount"),
    (odd(total_tip_received="\x00", total_price="1.00"), "total_mismatch"),
    (odd(currency={}), "string_type"),
    (odd(email=["x"]), "string_type"),
    (odd(note="\x00"), "not_storable"),
    (odd(id="\x00"), "invalid"),
    (odd(id="\ud800"), "invalid"),
    (odd(id={"a": 1}), "invalid"),
    (None, "required"),
    ("x", "required"),
]


def test_an_odd_order_of_a_file_keeps_no_other_from_being_taken(stocked: Shop) -> None:
    report = taken(stocked, *(order for order, _ in ODD), document())
    assert [bad.reason for bad in report.rejected] == [code for _, code in ODD]
    assert report.counts == {"order": 1, "rejected": len(ODD)}
    assert stocked.rows("SELECT finished_at FROM imports")[0][0] is not None


def test_what_nobody_foresaw_is_the_fate_of_one_order(
    stocked: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.shopify_file.shopify.take

    def take(engine: Any, actor: Any, order: Any) -> Any:
        return 1 / 0 if order["id"] == 1 else real(engine, actor, order)

    monkeypatch.setattr(files.shopify_file.shopify, "take", take)
    report = taken(stocked, document(id=1), document(id=2))
    assert report.counts == {"order": 1, "rejected": 1}
    assert report.rejected[0].reason == "unreadable"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5_000, "[NaN]", "[1e999]", "[" * 60 + "]" * 60]
)
def test_what_is_no_json_is_refused_and_never_a_fault_of_ours(
    stocked: Shop, client: TestClient, text: str
) -> None:
    with pytest.raises(files.ValidationFailed) as caught:
        taken(stocked, content=text)
    assert [error.code for error in caught.value.errors] == ["not_json"]
    answer = deliver(client, text.encode())
    assert answer.status_code == 202
    assert answer.json()["problem"]["errors"][0]["code"] == "not_json"


def test_rejected_orders_are_mended_in_the_report_and_imported(stocked: Shop) -> None:
    bad = document(id=2)
    bad["line_items"][0]["sku"] = "NOPE"
    report = taken(stocked, document(id=1), bad, "x")
    out = io.StringIO()
    files.write_report(report, out)
    orders = [json.loads(line) for line in out.getvalue().splitlines()]
    assert orders[0]["oms_import"]["code"] == "unknown_sku"
    assert orders[1] == "x"
    mended = out.getvalue().splitlines()[0].replace("NOPE", "SKU-1")
    assert taken(stocked, content=mended).counts == {"order": 1}
    assert stocked.count("orders") == 2


NO_MAIL: dict[str, Any] = {"email": None, "contact_email": None}


def test_a_guest_with_a_phone_number_alone_is_captured_and_never_written_to(
    stocked: Shop,
) -> None:
    guest = {**NO_MAIL, "customer": None, "phone": "+1 404 555 0199"}
    known = {**NO_MAIL, "customer": {"id": 99, "first_name": "Bo"}}
    report = taken(
        stocked,
        document(id=1, **guest),
        document(id=2, **guest),
        document(id=3, **known),
        document(id=4, **NO_MAIL, customer=None, shipping_address={**ADDRESS, "phone": None}),
    )
    assert report.counts == {"order": 4}, report.rejected
    people = stocked.rows("SELECT email, name, phone FROM customers ORDER BY id")
    assert [tuple(person) for person in people] == [
        ("shopify-phone-14045550199@no-email.example.com", "Ann Lee", "+14045550199"),
        ("shopify-customer-99@no-email.example.com", "Bo", "+14045550123"),
        ("shopify-order-4@no-email.example.com", "Ann Lee", None),
    ]

    class Nobody:
        def send(self, letters: Any) -> dict[str, str]:
            raise AssertionError("nothing is to be sent")

    assert delivery.deliver(stocked.engine, Nobody(), queries.tracking_urls) == 0
    left = stocked.rows(
        "SELECT DISTINCT problem, delivered_at IS NULL AS waits FROM outbox_messages"
    )
    assert [(row.problem, bool(row.waits)) for row in left] == [
        ("not sent: the customer left no e-mail address", False),
    ]  # fmt: skip
