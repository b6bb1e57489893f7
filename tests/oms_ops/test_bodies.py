"""What callers send: a mistyped field is refused, amounts have bounds, texts can be stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.api.app import create_app
from oms_ops.database import run
from oms_ops.orders.capture import capture
from tests.oms_ops.shop import CLERK, Shop, order

#: Bodies that are documents of their own, read by a service: a draft may still lack anything.
FREE = {("post", "/v1/drafts")}


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    for sku in ("SKU-1", "SKU-2"):
        shop.stock(sku, 20)
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(create_app(shop.engine), headers=headers) as made:
        yield made


def published(shop: Shop) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (where, schema) of every schema in every JSON body of the contract."""
    contract = create_app(shop.engine).openapi()
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content and (method, path) not in FREE:
                schema = content["application/json"]["schema"]
                yield from walk(f"{method} {path}", schema, contract["components"]["schemas"])


def walk(where: str, schema: Any, named: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in schema if isinstance(schema, list) else ():
        yield from walk(where, each, named)
    if not isinstance(schema, dict):
        return
    schema = named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    yield where, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(f"{where}.{name}", part, named)
    for key in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
        yield from walk(where, schema.get(key), named)


def test_no_body_takes_a_field_that_it_does_not_know(shop: Shop) -> None:
    objects = [(where, s) for where, s in published(shop) if "properties" in s]
    assert len(objects) > 50
    assert [where for where, s in objects if s.get("additionalProperties") is not False] == []


def test_every_amount_of_a_body_has_bounds(shop: Shop) -> None:
    numbers = [(where, s) for where, s in published(shop) if s.get("type") == "number"]
    assert len(numbers) > 15
    assert [
        where
        for where, s in numbers
        if "maximum" not in s or not {"minimum", "exclusiveMinimum"} & set(s)
    ] == []


def test_a_mistyped_field_changes_nothing(client: TestClient, shop: Shop) -> None:
    number = capture(shop.engine, CLERK, order(("SKU-1", 2)))["number"]
    body = {"reason": "x", "line": [{"line_no": 1, "quantity": 1}]}
    refused = client.post(f"/v1/orders/{number}/cancel", json=body)
    assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [
        ("line", "unknown_field")
    ]
    assert client.get(f"/v1/orders/{number}").json()["status"] == "open"


def test_a_cost_beyond_all_bounds_is_refused(client: TestClient) -> None:
    line = {"sku": "SKU-1", "quantity": 1, "unit_cost": "1e30"}
    refused = client.post("/v1/stock/receipts", json={"warehouse": "ATL", "lines": [line]})
    assert [e["field"] for e in refused.json()["errors"]] == ["lines[0].unit_cost"]


_BUY = {"supplier": "ACME", "warehouse": "ATL", "lines": [{"sku": "SKU-1", "quantity": 6}]}
_MOVE = {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": [{"sku": "SKU-1", "quantity": 1}]}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/drafts", {"note": "\x00"}, "document"),
        ("/v1/stock/holds", {"basket": "\x00", "lines": []}, "basket"),
        ("/v1/stock/transfers", {**_MOVE, "reason": "a\x00"}, "reason"),
        ("/v1/stock/receipts", {"warehouse": "ATL", "note": "\x00", "lines": []}, "note"),
        ("/v1/purchase-orders", {**_BUY, "note": "\x00"}, "note"),
        ("/v1/rules", {"document": {"base_currency": "\x00"}}, "document"),
    ],
)
def test_a_text_that_one_database_cannot_hold_is_refused_on_both(
    client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    refused = client.request("PUT" if path == "/v1/rules" else "POST", path, json=body)
    assert refused.status_code == 422, refused.text
    assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [(field, "not_storable")]


def test_a_reason_of_blanks_is_none(client: TestClient, shop: Shop) -> None:
    number = capture(shop.engine, CLERK, order(("SKU-1", 2)))["number"]
    refused = client.post(f"/v1/orders/{number}/hold", json={"reason": "  "})
    assert [e["field"] for e in refused.json()["errors"]] == ["reason"]
