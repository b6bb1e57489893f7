"""Returns over HTTP: asked for, decided, received once, inspected, resolved; and scanned."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from tests.oms_ops.app import app_over
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.shop import ADMIN


@pytest.fixture
def client(desk: Desk) -> TestClient:
    """Return a client with an admin's key."""
    key = run(desk.engine, lambda c: keys.create(c, "admin", "api"))
    headers = {"Authorization": f"Bearer {key}"}
    return TestClient(app_over(desk.engine), headers=headers, raise_server_exceptions=False)


def asked(desk: Desk, client: TestClient, units: int = 2, **headers: str) -> tuple[str, Any]:
    """Ask for units of a new order; return the order's number and the answer."""
    number = desk.order(desk.sold(("SKU-1", 3)))["number"]
    body = {"order": number,
            "lines": [{"line_no": 1, "quantity": units, "reason": "damaged"}]}  # fmt: skip
    return number, client.post("/v1/returns", json=body, headers=headers)


def test_the_whole_life_of_a_return(desk: Desk, client: TestClient) -> None:
    order, answer = asked(desk, client)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["status"], made["order"], made["refund"]) == ("approved", order, "0.00")
    path = f"/v1/returns/{made['number']}"
    scanned = client.post("/v1/scan", json={"code": made["number"]}).json()
    assert (scanned["kind"], scanned["next"]["step"]) == ("return", "receive")
    request = scanned["next"]["request"]
    received = client.post(request["path"], json=request["body"]).json()
    assert (received["status"], received["lines"][0]["received"]) == ("received", 2)
    scanned = client.post("/v1/scan", json={"code": made["number"]}).json()
    assert scanned["next"]["step"] == "inspect"
    decided = {"lines": [{"line_no": 1, "restock": 1, "scrap": 1}]}
    assert client.post(f"{path}/inspect", json=decided).json()["status"] == "inspected"
    done = client.post(f"{path}/resolve", json={"resolution": "refund"}).json()
    assert (done["status"], done["refund"]) == ("refunded", "3.98")
    assert client.get(path).json() == done
    assert client.post("/v1/scan", json={"code": made["number"]}).json()["next"] is None
    listed = client.get("/v1/returns", params={"order": order}).json()
    assert (listed["data"], listed["next"]) == ([done], None)
    assert client.get("/v1/returns", params={"status": "requested"}).json()["data"] == []


def test_a_repeat_of_a_request_or_a_receipt_takes_nothing_twice(
    desk: Desk, client: TestClient
) -> None:
    order = desk.order(desk.sold(("SKU-1", 4)))["number"]
    body = {"order": order, "lines": [{"line_no": 1, "quantity": 1, "reason": "damaged"}]}
    key = {"Idempotency-Key": "k1"}
    first, again = (client.post("/v1/returns", json=body, headers=key).json() for _ in range(2))
    assert first == again
    assert desk.shop.count("returns") == 1
    other = client.post("/v1/returns", json={**body, "reason": "x"}, headers=key)
    assert (other.status_code, other.json()["title"]) == (422, "idempotency key reused")
    path = f"/v1/returns/{first['id']}/receive"
    # A key is of one request, whatever it asks for.
    assert client.post(path, headers=key).status_code == 422
    own = {"Idempotency-Key": "k1-receipt"}
    assert [client.post(path, headers=own).status_code for _ in range(2)] == [200, 200]
    assert client.post(path).status_code == 409
    counter = {"order": order, "reason": "small", "received": True,
               "lines": [{"line_no": 1, "quantity": 1}]}  # fmt: skip
    answers = [
        client.post("/v1/returns", json=counter, headers={"Idempotency-Key": "k2"}).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert client.get(f"/v1/orders/{order}").json()["lines"][0]["returned"] == 2
    assert client.get(f"/v1/orders/{order}").json()["totals"]["refunded"] == "1.99"


def test_a_refused_request_keeps_no_key(desk: Desk, client: TestClient) -> None:
    order, answer = asked(desk, client, 9, **{"Idempotency-Key": "k"})
    assert answer.status_code == 422
    body = {"order": order, "lines": [{"line_no": 1, "quantity": 1, "reason": "damaged"}]}
    again = client.post("/v1/returns", json=body, headers={"Idempotency-Key": "k"})
    assert again.status_code == 201


def test_decisions_carry_their_reasons(desk: Desk, client: TestClient) -> None:
    _, answer = asked(desk, client)
    path = f"/v1/returns/{answer.json()['number']}"
    assert client.post(f"{path}/refuse", json={"reason": " "}).status_code == 422
    refused = client.post(f"{path}/refuse", json={"reason": "worn"}).json()
    assert (refused["status"], refused["decision"]) == ("refused", "worn")
    assert client.post(f"{path}/approve").status_code == 422
    assert client.post(f"{path}/approve", json={"reason": "ok"}).json()["status"] == "approved"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert client.post(f"{path}/receive").status_code == 409


def test_an_exchange_by_http(desk: Desk, client: TestClient) -> None:
    _, answer = asked(desk, client, 1)
    path = f"/v1/returns/{answer.json()['number']}"
    client.post(f"{path}/receive", json={"warehouse": "NYC"})
    client.post(f"{path}/inspect", json={"lines": [{"line_no": 1, "quarantine": 1}]})
    done = client.post(f"{path}/resolve", json={"resolution": "exchange"}).json()
    assert (done["status"], done["warehouse"]) == ("exchanged", "NYC")
    assert client.get(f"/v1/orders/{done['replacement']}").json()["payment_status"] == "paid"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lines": [{"line_no": 1, "quantity": 1, "disposition": "scrap"}]},
         "lines[0].disposition"),
        ({"received": True, "lines": [{"line_no": 1, "quantity": 1}]}, "reason"),
        ({"received": True, "reason": "x", "lines": [{"line_no": 8, "quantity": 1}]},
         "lines[0].line_no"),
        ({"lines": [{"line_no": 1, "quantity": 1, "reason": "bored"}]}, "lines[0].reason"),
        ({"lines": [], "extra": 1}, "lines"),
        ({"lines": [{"line_no": 1, "quantity": 1, "note": "a\x00b"}]}, "lines[0].note"),
    ],
)  # fmt: skip
def test_bad_bodies_name_the_field(
    desk: Desk, client: TestClient, body: dict[str, Any], field: str
) -> None:
    order = desk.order(desk.sold(("SKU-1", 2)))["number"]
    answer = client.post("/v1/returns", json={"order": order, **body})
    assert answer.status_code == 422, answer.text
    assert field in [fault["field"] for fault in answer.json()["errors"]]
    assert desk.shop.count("returns") == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/v1/returns/RM-1"), ("get", "/v1/returns/x"), ("post", "/v1/returns/99/receive"),
     ("post", "/v1/returns/RM-9/resolve"), ("get", "/v1/returns?order=SO-1")],
)  # fmt: skip
def test_unknown_returns_are_not_found(client: TestClient, method: str, path: str) -> None:
    assert getattr(client, method)(path).status_code == 404


def test_a_parcel_that_came_back_leads_to_its_return(desk: Desk, client: TestClient) -> None:
    from oms_ops.fulfilment import commands as fulfilment
    from oms_ops.fulfilment import delivery
    from oms_ops.orders.capture import capture
    from tests.oms_ops.shop import order

    desk.shop.stock("SKU-1", 1)
    capture(desk.engine, ADMIN, order(("SKU-1", 1)))
    for act in (fulfilment.pick, fulfilment.pack, fulfilment.ship, delivery.bring_back):
        run(desk.engine, lambda c, a=act: a(c, ADMIN, [1]))
    following = client.post("/v1/scan", json={"code": "SH-10000001"}).json()["next"]
    body = {**following["request"]["body"], "reason": "refused at the door",
            "lines": [{"line_no": 1, "quantity": 1, "reason": "undelivered"}]}  # fmt: skip
    taken = client.post(following["request"]["path"], json=body).json()
    assert (taken["status"], taken["forgiven"]) == ("refunded", "1.99")
