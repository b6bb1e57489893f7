"""A refusal names the field that the caller sent, by the place where he sent it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.errors import Conflict
from oms_ops.orders import holds, queries
from oms_ops.orders.capture import capture
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    for sku in ("SKU-1", "SKU-2"):
        shop.stock(sku, 20)
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


def faults(response: Any, status: int) -> list[tuple[str, str]]:
    assert response.status_code == status, response.text
    return [(e["field"], e["code"]) for e in response.json()["errors"]]


def shipment(client: TestClient, shop: Shop) -> int:
    number = capture(shop.engine, CLERK, order(("SKU-1", 1)))["number"]
    return int(client.get(f"/v1/orders/{number}/shipments").json()["data"][0]["id"])


def test_a_delivery_names_the_line_that_was_sent(client: TestClient) -> None:
    lines = [{"sku": "SKU-1", "quantity": 6}, {"sku": "SKU-2", "quantity": 6}]
    # Line ids and line numbers differ from the second order on.
    for _ in range(2):
        body = {"supplier": "ACME", "warehouse": "ATL", "lines": lines}
        number = client.post("/v1/purchase-orders", json=body).json()["number"]
    path = f"/v1/purchase-orders/{number}/receive"
    came = [{"line_no": 2, "quantity": 7}, {"line_no": 1, "quantity": 1, "damaged": 2}]
    assert faults(client.post(path, json={"lines": came}), 422) == [
        ("lines[0].quantity", "out_of_range"),
        ("lines[1].damaged", "out_of_range"),
    ]
    twice = [{"line_no": 1, "quantity": 1}, {"line_no": 1, "quantity": 1}]
    assert faults(client.post(path, json={"lines": twice}), 422) == [
        ("lines[1].line_no", "repeated_line")
    ]


def test_a_step_of_many_shipments_names_the_place_in_the_callers_list(
    client: TestClient, shop: Shop
) -> None:
    known = shipment(client, shop)
    unknown = {"shipment_ids": [77, known]}
    assert faults(client.post("/v1/shipments/ship", json=unknown), 409) == [
        ("shipment_ids[0]", "unknown_shipment"),
        ("shipment_ids[1]", "wrong_status"),
    ]
    labels = {**unknown, "tracking_numbers": {"77": "a", str(known): "b"}}
    assert faults(client.post("/v1/shipments/label", json=labels), 409) == [
        ("shipment_ids[0]", "unknown_shipment"),
        ("shipment_ids[1]", "wrong_status"),
    ]


def test_rerouting_names_the_place_in_the_callers_list(client: TestClient, shop: Shop) -> None:
    first, second = shipment(client, shop), shipment(client, shop)
    client.post(f"/v1/shipments/{first}/pick")
    body = {"shipment_ids": [second, second, first], "reason": "full"}
    assert faults(client.post("/v1/shipments/reroute", json=body), 409) == [
        ("shipment_ids[2]", "not_unpicked")
    ]
    only = {"shipment_ids": [second], "reason": "full", "exclude": ["NYC"]}
    assert faults(client.post("/v1/shipments/reroute", json=only), 409) == [
        ("shipment_ids[0]", "no_other_warehouse")
    ]


def test_rerouting_names_all_that_is_wrong_in_one_answer(client: TestClient, shop: Shop) -> None:
    first, second = shipment(client, shop), shipment(client, shop)
    client.post(f"/v1/shipments/{first}/pick")
    body = {"shipment_ids": [second, 99999, first, 77777], "reason": "full"}
    stuck = [
        ("shipment_ids[1]", "unknown_shipment"),
        ("shipment_ids[2]", "not_unpicked"),
        ("shipment_ids[3]", "unknown_shipment"),
    ]
    missing = client.post("/v1/shipments/reroute", json=body)
    assert faults(missing, 404) == stuck
    assert missing.json()["detail"] == "There is no shipment 99999."
    beyond = {**body, "shipment_ids": [2**70]}
    assert faults(client.post("/v1/shipments/reroute", json=beyond), 422) == [
        ("shipment_ids[0]", "less_than_equal")
    ]
    nowhere = {**body, "to": "XX", "exclude": ["ATL", "QQ"]}
    assert faults(client.post("/v1/shipments/reroute", json=nowhere), 422) == [
        *stuck,
        ("exclude[1]", "unknown_warehouse"),
        ("to", "unknown_warehouse"),
    ]


def test_a_capture_names_the_amount(client: TestClient, shop: Shop) -> None:
    shipment(client, shop)
    (payment_id,) = [row[0] for row in shop.rows("SELECT id FROM payments")]
    path = f"/v1/payments/{payment_id}/capture"
    assert faults(client.post(path, json={"amount": "9999"}), 409) == [("amount", "beyond_open")]
    assert client.post(path, json={"amount": "1.00"}).status_code == 200
    assert faults(client.post(path), 409) == [("amount", "required")]
    client.post(path, json={"amount": "0.99"})
    for body in ({"amount": "1"}, {}):
        assert faults(client.post(path, json=body), 409) == [("amount", "beyond_open")]


@pytest.mark.parametrize(
    "body", [b"[" * 50_000 + b"]" * 50_000, b'{"note": "\xff"}', b'{"note": ', b"\xff\xfe"]
)
def test_what_is_no_json_is_told_so(client: TestClient, body: bytes) -> None:
    for path in ("/v1/orders", "/v1/shipments/reroute", "/v1/drafts", "/v1/waves"):
        for key in ({}, {"Idempotency-Key": "a"}):
            headers = {"Content-Type": "application/json", **key}
            response = client.post(path, content=body, headers=headers)
            assert faults(response, 422) == [("body", "json_invalid")]


def test_rules_are_refused_by_the_fields_that_were_sent(client: TestClient) -> None:
    document = {
        "foo": 1, "taxes": [{"percent": "101"}], "routing": {"rank": ["x"]},
        "exchange_rates": {"dollars": "1", "XXX": "1"}, "cash_rounding": {"YYY": 5},
    }  # fmt: skip
    named = [
        ("exchange_rates.dollars", "string_pattern_mismatch"), ("foo", "unknown_field"),
        ("exchange_rates.XXX", "unknown_currency"), ("cash_rounding.YYY", "unknown_currency"),
        ("routing.rank[0]", "literal_error"), ("taxes[0].percent", "less_than_equal"),
    ]  # fmt: skip
    refused = faults(client.put("/v1/rules", json={"document": document}), 422)
    assert sorted(refused) == sorted((f"document.{field}", code) for field, code in named)
    refused = faults(client.post("/v1/routing/what-if", json={"rules": document}), 422)
    assert sorted(refused) == sorted((f"rules.{field}", code) for field, code in named)
    warned = {"taxes": [{"percent": "1", "places": ["US-ZZ"]}]}
    warnings = client.put("/v1/rules", json={"document": warned}).json()["warnings"]
    assert [each["field"] for each in warnings] == ["document.taxes[0]"]
    refused = faults(client.post("/v1/waves/W-1/picks", json={"picks": {"a": 1}}), 422)
    assert refused == [("picks.a", "int_parsing")]


def test_a_step_refuses_what_it_would_leave_out(client: TestClient, shop: Shop) -> None:
    one = shipment(client, shop)
    parcels = [{"contents": {"NOPE": 5}}]
    at = "2020-01-01T00:00:00Z"
    everything = {"at": at, "carrier": "x", "tracking_number": "1", "reason": "r"}
    said = {
        "pick": [], "pack": ["parcels"], "ship": ["carrier", "tracking_number"],
        "deliver": ["at"], "fail": ["at", "reason"], "retry": [], "return": ["at"],
    }  # fmt: skip
    for step, known in said.items():
        body = {**everything, "parcels": parcels}
        answer = client.post(f"/v1/shipments/{one}/{step}", json=body)
        others = sorted((name, "unknown_field") for name in body if name not in known)
        assert sorted(faults(answer, 422)) == others
        of_many = {"shipment_ids": [one], "at": at, "tracking_numbers": {str(one): "1"}}
        answer = client.post(f"/v1/shipments/{step}", json={**of_many, "reason": "r"})
        if step != "fail":
            assert ("reason", "unknown_field") in faults(answer, 422)
        if step != "ship":
            assert ("tracking_numbers", "unknown_field") in faults(answer, 422)
    nothing = {"parcels": [], "reason": " ", "at": None, "carrier": "\t", "tracking_number": None}
    assert client.post(f"/v1/shipments/{one}/pick", json=nothing).status_code == 200
    key = run(shop.engine, lambda c: keys.create(c, "merchandiser", "mary"))
    mary = {"Authorization": f"Bearer {key}"}
    for place, body in ((f"{one}/pick", {}), ("pick", {"shipment_ids": [one]})):
        answer = client.post(f"/v1/shipments/{place}", json={**body, "reason": "r"}, headers=mary)
        assert answer.status_code == 403


def test_a_tracking_number_of_another_shipment_is_refused(client: TestClient, shop: Shop) -> None:
    one, other = shipment(client, shop), shipment(client, shop)
    for step in ("pick", "pack"):
        assert client.post(f"/v1/shipments/{one}/{step}").status_code == 200
    numbers = {str(one): "A", str(other): "B", "99": "Z"}
    body = {"shipment_ids": [one], "tracking_numbers": numbers}
    for step in ("label", "ship"):
        assert faults(client.post(f"/v1/shipments/{step}", json=body), 422) == [
            (f"tracking_numbers.{other}", "unknown_shipment"),
            ("tracking_numbers.99", "unknown_shipment"),
        ]
    body["tracking_numbers"] = {str(one): "A"}
    assert client.post("/v1/shipments/ship", json=body).status_code == 200


def test_a_step_of_one_shipment_names_the_fields_of_its_body(
    client: TestClient, shop: Shop
) -> None:
    one = shipment(client, shop)
    assert faults(client.post(f"/v1/shipments/{one}/ship"), 409) == [
        ("shipment_id", "wrong_status")
    ]
    for step in ("pick", "pack"):
        client.post(f"/v1/shipments/{one}/{step}")
    assert faults(client.post(f"/v1/shipments/{one}/label", json={}), 422) == [
        ("tracking_number", "required")
    ]
    client.post(f"/v1/shipments/{one}/ship")
    assert faults(client.post(f"/v1/shipments/{one}/fail"), 422) == [("reason", "required")]
    for step in ("fail", "deliver", "return"):
        early = {"at": "2020-01-01T00:00:00Z"}
        early |= {"reason": "nobody there"} if step == "fail" else {}
        assert faults(client.post(f"/v1/shipments/{one}/{step}", json=early), 422) == [
            ("at", "before_it_left")
        ]


def test_a_hold_says_which_order_is_not_open_and_what_it_is(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    numbers = [capture(shop.engine, CLERK, order(("SKU-1", 1)))["number"] for _ in range(2)]
    with shop.engine.connect() as connection:
        ids = [queries.order_id(connection, number) for number in numbers]
    run(shop.engine, lambda c: holds.hold(c, ADMIN, ids[1:], "look"))
    with pytest.raises(Conflict) as refusal:
        run(shop.engine, lambda c: holds.hold(c, ADMIN, ids, "look"))
    assert str(refusal.value).startswith(f"{numbers[1]} is on_hold, not open.")
    with pytest.raises(Conflict, match=f"{numbers[0]} is open, not on_hold"):
        run(shop.engine, lambda c: holds.release(c, ADMIN, ids))


def test_stock_routes_name_the_fields_that_were_sent(client: TestClient) -> None:
    line = {"sku": "SKU-1", "quantity": 1, "bin": "NOWHERE"}
    put = client.post("/v1/stock/putaway", json={"warehouse": "ATL", "lines": [line]})
    assert faults(put, 422) == [("lines[0].bin", "unknown_location")]
    lines = [{"sku": "SKU-1", "quantity": 1}, {"sku": "SKU-2", "quantity": 9}]
    body = {"warehouse": "ATL", "lines": lines}
    client.post("/v1/stock/quarantine", json={**body, "lines": lines[:1]})
    assert faults(client.post("/v1/stock/quarantine/scrap", json=body), 409) == [
        ("lines[1].quantity", "not_in_place")
    ]


def test_a_transfer_names_the_lines_that_were_sent(client: TestClient) -> None:
    lines = [{"sku": "SKU-1", "quantity": 6}, {"sku": "SKU-2", "quantity": 30}]
    body = {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": lines}
    path = f"/v1/stock/transfers/{client.post('/v1/stock/transfers', json=body).json()['number']}"
    some = [{"line_no": 2, "quantity": 21}, {"line_no": 1, "quantity": 7}]
    assert faults(client.post(f"{path}/send", json={"lines": some}), 422) == [
        ("lines[1].quantity", "out_of_range")
    ]
    assert faults(client.post(f"{path}/send", json={"lines": some[:1]}), 409) == [
        ("lines[0].quantity", "not_available")
    ]
    assert faults(client.post(f"{path}/send", json={"lines": [some[0]] * 2}), 422) == [
        ("lines[1].line_no", "repeated_line")
    ]


def test_what_is_in_another_state_is_refused_with_a_code(client: TestClient) -> None:
    line = {"sku": "SKU-1", "quantity": 6}
    move = {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": [line]}
    transfer = client.post("/v1/stock/transfers", json=move).json()["number"]
    receipt = {"lines": [{"line_no": 1, "quantity": 1}]}
    refused = client.post(f"/v1/stock/transfers/{transfer}/receive", json=receipt)
    assert faults(refused, 409) == [("number", "wrong_status")]
    count = client.post("/v1/stock/counts", json={"warehouse": "ATL", "skus": ["SKU-1"]}).json()
    refused = client.post(f"/v1/stock/counts/{count['number']}/approve")
    assert faults(refused, 409) == [("number", "wrong_status")]
    buy = {"supplier": "ACME", "warehouse": "ATL", "lines": [line]}
    bought = client.post("/v1/purchase-orders", json=buy).json()["number"]
    refused = client.post(f"/v1/purchase-orders/{bought}/send")
    assert faults(refused, 409) == [("number", "wrong_status")]
