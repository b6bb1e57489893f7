"""A request that is sent again with its Idempotency-Key is done once, whatever it does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import CLERK, Shop, order


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    shop.stock("SKU-1", 20)
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


LINES = [{"sku": "SKU-1", "quantity": 6}]
ATL = {"warehouse": "ATL", "lines": LINES}
BOUGHT = {"supplier": "ACME", **ATL}


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [
        ("/v1/purchase-orders", BOUGHT, "purchase_orders"),
        ("/v1/stock/receipts", ATL, "stock_moves"),
        ("/v1/stock/adjustments", {**ATL, "reason": "found"}, "stock_moves"),
        ("/v1/stock/quarantine", ATL, "stock_moves"),
        ("/v1/stock/transfers",
         {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": LINES}, "transfers"),
        ("/v1/stock/counts", {"warehouse": "ATL", "skus": ["SKU-1"]}, "stock_counts"),
        ("/v1/drafts", {"note": "later"}, "drafts"),
        ("/v1/tickets",
         {"email": "a@example.com", "channel": "phone", "topic": "other", "subject": "Hm",
          "message": "Well?"}, "ticket_messages"),
    ],
)  # fmt: skip
def test_a_repeat_gets_the_first_answer_and_does_nothing(
    client: TestClient, shop: Shop, path: str, body: dict[str, Any], table: str
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post(path, json=body, headers=headers)
    assert first.status_code == 201, first.text
    done = shop.count(table)
    again = client.post(path, json=body, headers=headers)
    assert (again.status_code, again.json(), shop.count(table)) == (201, first.json(), done)
    other = client.post(path, json={**body, "note": "other"}, headers=headers)
    assert other.status_code == 422
    # Of another request, too: a key is of one.
    elsewhere = client.post("/v1/orders", json=order(("SKU-1", 1)), headers=headers)
    assert elsewhere.json()["type"] == "urn:oms:problem:idempotency_key_reused"


def test_a_partial_delivery_that_is_sent_again_is_received_once(
    client: TestClient, shop: Shop
) -> None:
    number = client.post("/v1/purchase-orders", json=BOUGHT).json()["number"]
    path = f"/v1/purchase-orders/{number}/receive"
    body = {"lines": [{"line_no": 1, "quantity": 3}]}

    def send(_: int) -> Any:
        return client.post(path, json=body, headers={"Idempotency-Key": "truck 1"})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["number"] for answer in answers}) == 1
    assert shop.level("SKU-1")[0] == 23
    client.post(path, json=body, headers={"Idempotency-Key": "truck 2"})
    # The order is closed by now, and the first answer still stands.
    assert send(0).json() == answers[0].json()
    assert (shop.level("SKU-1")[0], reconcile_faults(shop)) == (26, [])


def test_cancelled_units_and_added_lines_are_not_done_twice(client: TestClient, shop: Shop) -> None:
    number = capture(shop.engine, CLERK, order(("SKU-1", 5)))["number"]
    headers = {"Idempotency-Key": "c"}
    body = {"lines": [{"line_no": 1, "quantity": 2}]}
    for _ in range(2):
        shown = client.post(f"/v1/orders/{number}/cancel", json=body, headers=headers).json()
    assert shown["lines"][0]["cancelled"] == 2
    added = {"lines": [{"sku": "SKU-1", "quantity": 1}]}
    for _ in range(2):
        answer = client.post(
            f"/v1/orders/{number}/amend", json=added, headers={"Idempotency-Key": "a"}
        ).json()
    assert len(answer["order"]["lines"]) == 2
    assert shop.level("SKU-1") == (20, 4)


def test_a_refused_request_leaves_its_key_free(client: TestClient, shop: Shop) -> None:
    headers = {"Idempotency-Key": "k"}
    lost = {"warehouse": "ATL", "reason": "lost", "lines": [{"sku": "SKU-1", "quantity": -30}]}
    assert client.post("/v1/stock/adjustments", json=lost, headers=headers).status_code == 409
    shop.stock("SKU-1", 20)
    assert client.post("/v1/stock/adjustments", json=lost, headers=headers).status_code == 201
    assert shop.level("SKU-1")[0] == 10


def reconcile_faults(shop: Shop) -> list[str]:
    return [finding.name for finding in reconcile(shop.engine) if finding.count]
