"""What callers send: a mistyped field is refused, amounts have bounds, texts can be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.orders.capture import capture
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import CLERK, Shop, order

#: Bodies that are documents of their own, read by a service: a draft may still lack anything.
FREE = {("post", "/v1/drafts")}


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    for sku in ("SKU-1", "SKU-2"):
        shop.stock(sku, 20)
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


def published(shop: Shop) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (where, schema) of every schema in every JSON body of the contract."""
    contract = app_over(shop.engine).openapi()
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
        ("/v1/drafts", {"note": "\x00"}, "body"),
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


_SKU = {"code": "NEW", "name": "New", "currency": "USD", "price": "1.00"}
_LIST = {"name": "Sale", "currency": "USD"}
_SUPPLIER = {"name": "Best", "lead_time_days": 3}


#: (path, body, field): ``{}`` is where the character goes, ``%`` in a path.
_NAMED: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/skus", {"skus": [{**_SKU, "code": "N{}"}]}, "skus[0].code"),
    ("/v1/skus", {"skus": [{**_SKU, "name": "N{}"}]}, "skus[0].name"),
    ("/v1/skus", {"skus": [{**_SKU, "department": "N{}"}]}, "skus[0].department"),
    ("/v1/skus", {"skus": [{**_SKU, "channels": ["N{}"]}]}, "skus[0].channels[0]"),
    ("/v1/price-lists/N%", _LIST, "code"),
    ("/v1/price-lists/SALE", {**_LIST, "name": "N{}"}, "name"),
    ("/v1/suppliers/N%", _SUPPLIER, "code"),
    ("/v1/suppliers/BEST", {**_SUPPLIER, "name": "N{}"}, "name"),
    ("/v1/discounts", {"code": "N{}", "name": "New", "percent": 5}, "code"),
    ("/v1/warehouses/N%", {"name": "N", "city": "N", "country": "US"}, "code"),
]


def test_no_body_is_too_deep_for_who_reads_it(client: TestClient, shop: Shop) -> None:
    draft = client.post("/v1/drafts", json=order(("SKU-1", 1))).json()["number"]
    json_type = {"Content-Type": "application/json"}
    # The last ones are too deep, or nearly, for the interpreter itself.
    for depth in (25, *range(940, 970, 2)):
        deep = '{"a":' * depth + "1" + "}" * depth
        for method, path, body, field in (
            ("PUT", "/v1/rules", '{"document": %s}', "document"),
            ("POST", "/v1/routing/what-if", '{"rules": %s}', "rules"),
            ("PUT", f"/v1/drafts/{draft}", '{"version": 1, "document": %s}', "document"),
            ("POST", "/v1/drafts", "%s", "body"),
        ):
            answer = client.request(method, path, content=body % deep, headers=json_type)
            assert answer.status_code == 422, (path, depth)
            (fault,) = answer.json()["errors"]
            assert (fault["field"], fault["code"]) == (field, "too_deep") or depth > 25
    nested = "[" * 19 + "]" * 19
    content = f'{{"note": {nested}}}'
    assert client.post("/v1/drafts", content=content, headers=json_type).status_code == 201


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_on_both(client: TestClient, number: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path, body in (
        ("drafts", '{"note": %s}'), ("routing/what-if", '{"rules": {"taxes": [%s]}}'),
    ):  # fmt: skip
        answer = client.post(f"/v1/{path}", content=body % number, headers=headers)
        assert answer.status_code == 422
        assert [e["code"] for e in answer.json()["errors"]] == ["not_storable"]


def test_no_code_nor_name_holds_a_control_character(client: TestClient) -> None:
    for mark in ("\x00", "\x1b", "\x7f", "\x9b"):
        for path, plain, field in _NAMED:
            body = json.loads(json.dumps(plain).replace("N{}", json.dumps(f"N{mark}")[1:-1]))
            refused = client.put(path.replace("%", quote(mark)), json=body)
            assert refused.status_code == 422, (path, mark, refused.text)
            assert [e["field"] for e in refused.json()["errors"]] == [field]


def test_a_code_is_one_line(client: TestClient) -> None:
    mark = "\n"
    for path, body in (
        ("/v1/skus", {"skus": [{**_SKU, "code": f"A{mark}B"}]}),
        (f"/v1/price-lists/A{quote(mark)}B", _LIST),
    ):
        refused = client.put(path, json=body)
        assert [e["code"] for e in refused.json()["errors"]] == ["not_storable"], path
    bins = {"warehouse": "ATL", "bins": [{"code": f"A{mark}B"}]}
    refused = client.post("/v1/stock/bins", json=bins)
    assert [e["code"] for e in refused.json()["errors"]] == ["not_storable"]


def test_a_reason_of_blanks_is_none(client: TestClient, shop: Shop) -> None:
    number = capture(shop.engine, CLERK, order(("SKU-1", 2)))["number"]
    refused = client.post(f"/v1/orders/{number}/hold", json={"reason": "  "})
    assert [e["field"] for e in refused.json()["errors"]] == ["reason"]


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    answer = client.post("/v1/orders", json={**order(("SKU-1", 1)), "note": "x" * 8_000_000})
    assert answer.status_code == 413
    assert "8000000 bytes" in answer.json()["detail"]
