"""The HTTP contract: what outsiders send, get and are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop, order


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    """Return a client with an admin's key."""
    shop.stock("SKU-1", 20)
    shop.stock("SKU-2", 20)
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


def refused(response: Any, status: int) -> dict[str, Any]:
    """Check that a response is problem details; return them."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail", "errors"} <= set(body)
    return body


def test_an_order_goes_from_capture_to_refund(client: TestClient) -> None:
    made = client.post("/v1/orders", json=order(("SKU-1", 2), ("SKU-2", 1), payment=None))
    assert made.status_code == 201
    number = made.json()["number"]
    shown = client.get(f"/v1/orders/{number}").json()
    assert [s["status"] for s in shown.pop("shipments")] == ["allocated"]
    assert shown == made.json()
    assert client.get("/v1/orders").json()["data"][0]["number"] == number
    shipment = client.get(f"/v1/orders/{number}/shipments").json()["data"][0]
    assert [(li["sku"], li["quantity"]) for li in shipment["lines"]] == [("SKU-1", 2), ("SKU-2", 1)]
    for step in ("pick", "pack", "ship", "deliver"):
        body = {"carrier": "parcel", "tracking_number": "T1"} if step == "ship" else None
        moved = client.post(f"/v1/shipments/{shipment['id']}/{step}", json=body)
        assert moved.status_code == 200, moved.text
    assert moved.json()["tracking_number"] == "T1"
    path = f"/v1/orders/{number}/payments"
    over = client.post(path, json={"method": "cash", "amount": "8"})
    assert refused(over, 422)["errors"][0]["code"] == "too_large"
    payment = client.post(path, json={"method": "cash"}).json()
    assert payment["amount"] == "7.96"
    captured = client.post(f"/v1/payments/{payment['id']}/capture")
    assert captured.json()["captured"] == "7.96"
    refused(client.post(path, json={"method": "cash"}), 409)
    back = client.post(
        "/v1/returns",
        json={
            "order": number, "reason": "damaged", "received": True,
            "lines": [{"line_no": 1, "quantity": 1}],
        },
    )  # fmt: skip
    assert back.status_code == 201
    assert (back.json()["status"], back.json()["refund"]) == ("refunded", "1.99")
    assert client.get(f"/v1/orders/{number}").json()["totals"]["refunded"] == "1.99"
    refused(
        client.post(f"/v1/payments/{payment['id']}/refunds", json={"amount": "9", "reason": "x"}),
        409,
    )


def test_the_tracking_page_needs_its_token_and_nothing_else(client: TestClient) -> None:
    made = client.post("/v1/orders", json=order(("SKU-1", 2))).json()
    path = made["tracking_url"].split("8000")[1]
    page = client.get(path, headers={"Authorization": ""})
    assert page.status_code == 200
    assert made["number"] in page.text
    assert page.headers["cache-control"] == "no-store"
    refused(client.get("/track/guess"), 404)


def test_a_repeat_with_its_key_gets_the_first_answer(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = client.post("/v1/orders", json=order(("SKU-1", 2)), headers=headers)
    again = client.post("/v1/orders", json=order(("SKU-1", 2)), headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    body = refused(client.post("/v1/orders", json=order(("SKU-1", 3)), headers=headers), 422)
    assert body["type"] == "urn:oms:problem:idempotency_key_reused"


def test_without_a_valid_key_nothing_is_answered(client: TestClient, shop: Shop) -> None:
    for header in ("", "Bearer nonsense", "Basic abc"):
        response = client.get("/v1/orders", headers={"Authorization": header})
        refused(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
    from datetime import timedelta

    old = run(shop.engine, lambda c: keys.create(c, "admin", "old", lifetime=timedelta(0)))
    refused(client.get("/v1/orders", headers={"Authorization": f"Bearer {old}"}), 401)


def test_a_key_may_only_what_its_role_may(client: TestClient, shop: Shop) -> None:
    key = run(shop.engine, lambda c: keys.create(c, "analyst", "anna"))
    headers = {"Authorization": f"Bearer {key}"}
    assert client.get("/v1/stock", headers=headers).status_code == 200
    refused(client.post("/v1/orders", json=order(("SKU-1", 1)), headers=headers), 403)


def test_a_key_is_stored_as_a_hash(client: TestClient, shop: Shop) -> None:
    stored = shop.rows("SELECT key_hash FROM api_keys")[0][0]
    assert stored not in client.headers["authorization"]
    assert len(stored) == 64


def test_every_bad_field_is_in_the_answer(client: TestClient) -> None:
    bad = order(("SKU-1", -1), ("NOPE", 1))
    del bad["customer"]
    body = refused(client.post("/v1/orders", json=bad), 422)
    assert {e["field"] for e in body["errors"]} == {
        "lines[0].quantity",
        "lines[1].sku",
        "customer",
    }
    garbled = client.post(
        "/v1/orders", content="{bad", headers={"content-type": "application/json"}
    )
    assert refused(garbled, 422)["errors"][0]["field"] == "body"


def test_pages_of_orders_follow_their_cursor(client: TestClient) -> None:
    numbers = [
        client.post("/v1/orders", json=order(("SKU-1", 1))).json()["number"] for _ in range(5)
    ]
    seen, cursor = [], 0
    while cursor is not None:
        page = client.get("/v1/orders", params={"limit": 2, "after": cursor}).json()
        seen += [found["number"] for found in page["data"]]
        cursor = page["next"]
    assert seen == numbers[::-1]


def test_purchase_orders_are_made_found_and_received(client: TestClient) -> None:
    made = client.post(
        "/v1/purchase-orders",
        json={"supplier": "ACME", "warehouse": "ATL", "lines": [{"sku": "SKU-3", "quantity": 12}]},
    )
    assert made.status_code == 201
    number = made.json()["number"]
    told = made.json()
    del told["sent_to"], told["not_sent"]
    assert client.get(f"/v1/purchase-orders/{number}").json() == told
    assert client.get("/v1/stock", params={"sku": "SKU-3"}).json()["data"] == []
    arrived = client.post(
        f"/v1/purchase-orders/{number}/receive", json={"lines": [{"line_no": 1, "quantity": 12}]}
    )
    assert arrived.json()["purchase_order"]["status"] == "closed"
    level = client.get("/v1/stock", params={"sku": "SKU-3"}).json()["data"][0]
    assert (level["on_hand"], level["available"], level["incoming"]) == (12, 12, 0)


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for path in ("/v1/orders/SO-1", "/v1/orders/x", "/v1/purchase-orders/PO-9", "/v1/nothing"):
        refused(client.get(path), 404)
    refused(client.post("/v1/shipments/99/pick"), 404)


def test_a_held_or_cancelled_order_says_so(client: TestClient) -> None:
    number = client.post("/v1/orders", json=order(("SKU-1", 1))).json()["number"]
    held = client.post(f"/v1/orders/{number}/hold", json={"reason": "check"})
    assert held.json()["status"] == "on_hold"
    assert client.post(f"/v1/orders/{number}/release").json()["status"] == "open"
    assert client.post(f"/v1/orders/{number}/cancel", json={}).json()["status"] == "cancelled"
    refused(client.post(f"/v1/orders/{number}/cancel", json={}), 409)


def test_health_needs_no_key(client: TestClient) -> None:
    assert client.get("/healthz", headers={"Authorization": ""}).json()["status"] == "ok"


def test_the_contract_is_published(client: TestClient) -> None:
    paths = set(client.get("/openapi.json").json()["paths"])
    assert {
        "/v1/orders",
        "/v1/orders/{number}",
        "/v1/stock",
        "/v1/purchase-orders",
        "/healthz",
    } <= paths


_NUL, _BROKEN = "a\x00b", "\ud800"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/orders", order(("SKU-1", 1), external_id=_NUL)),
        ("/v1/orders", order((_NUL, 1))),
        ("/v1/orders", order((_BROKEN, 1))),
        ("/v1/orders", order(("SKU-1", 1), currency=_BROKEN)),
        ("/v1/orders", order(("SKU-1", 10**30))),
        ("/v1/orders", order(*[("SKU-1", 1_000_000)] * 9, allow_backorder=True)
         | {"lines": [{"sku": "SKU-1", "quantity": 10**6, "unit_price": "9999999.99"}] * 2}),
        ("/v1/orders/SO-10000001/cancel", {"reason": _NUL}),
        ("/v1/returns", {"order": "SO-1", "reason": "x",
                         "lines": [{"line_no": 1, "quantity": 10**30}]}),
        ("/v1/payments/1/refunds", {"amount": "1e999999", "reason": "x"}),
        ("/v1/payments/1/refunds", {"amount": "1e30", "reason": "x"}),
        ("/v1/purchase-orders", {"supplier": "ACME", "warehouse": "ATL",
                                 "lines": [{"sku": "SKU-1", "quantity": 6 * 10**24}]}),
        ("/v1/shipments/" + "9" * 30 + "/pick", None),
    ],
)  # fmt: skip
def test_odd_input_is_refused_and_never_a_fault_of_ours(
    client: TestClient, path: str, body: Any
) -> None:
    import json

    # Escaped by hand: the client itself would not send a lone surrogate.
    content = json.dumps(body)
    response = client.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (404, 409, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stock?sku=%00",
        "/v1/orders?status=%00",
        "/v1/orders?after=" + "9" * 30,
        "/v1/orders/SO-" + "9" * 30,
        "/track/%00",
        "/v1/purchase-orders/%00",
    ],
)
def test_odd_addresses_are_refused_and_never_a_fault_of_ours(client: TestClient, path: str) -> None:
    response = client.get(path)
    # SQLite looks a NUL up and finds nothing; PostgreSQL cannot even be asked.
    assert response.status_code in (200, 404, 422), response.text
