"""Permissions are asked for by the services, before anything is said of what there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop, order

#: Signed instead of keyed.
SIGNED = "/v1/webhooks/"


def client(shop: Shop, role: str, *scopes: str) -> TestClient:
    name = f"{role} {scopes}"
    key = run(shop.engine, lambda c: keys.create(c, role, name, scopes=scopes or None))
    return TestClient(app_over(shop.engine), headers={"Authorization": f"Bearer {key}"})


def permitted_nothing(shop: Shop) -> TestClient:
    """Return a client whose key has no permission left."""
    nobody = client(shop, "analyst")
    with shop.engine.begin() as connection:
        connection.execute(sa.text("UPDATE api_keys SET scopes = '[]'"))
    return nobody


def operations(app: Any, *methods: str) -> Iterator[tuple[str, str, dict[str, Any], Any]]:
    """Return (method, path, query, body) of each keyed route, with no more than it requires."""
    contract = app.openapi()
    for path, known in contract["paths"].items():
        for method in set(methods) & set(known):
            if path.startswith(SIGNED) or not path.startswith("/v1/"):
                continue
            query = {}
            filled = path
            for parameter in known[method].get("parameters", []):
                value = least(parameter["schema"], contract)
                filled = filled.replace(f"{{{parameter['name']}}}", str(value))
                if parameter["in"] == "query" and parameter.get("required"):
                    query[parameter["name"]] = value
            content = known[method].get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            yield method, filled, query, None if schema is None else least(schema, contract)


def least(schema: dict[str, Any], contract: dict[str, Any]) -> Any:
    """Return the least that fits a schema."""
    if "$ref" in schema:
        schema = contract["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return least(schema[choice][0], contract)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [least(schema["items"], contract)]
    if schema.get("type") == "object" or "properties" in schema:
        named = schema.get("properties", {})
        return {name: least(named[name], contract) for name in schema.get("required", ())}
    if schema.get("pattern") == "^[A-Z]{2}$":
        return "US"
    known = {"email": "a@example.com", "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01"}
    plain = {"integer": 1, "number": 1, "boolean": True, "string": "x"}
    return known.get(schema.get("format", ""), plain.get(schema.get("type", ""), {}))


def test_nothing_is_read_without_the_permission(shop: Shop) -> None:
    nobody = permitted_nothing(shop)
    seen = {
        (path, nobody.request(method, path, params=query).status_code)
        for method, path, query, _ in operations(nobody.app, "get")
    }
    assert len(seen) > 25
    assert {(path, status) for path, status in seen if status != 403} == set()


def test_nothing_is_changed_without_the_permission_nor_said_to_be_missing(shop: Shop) -> None:
    nobody = permitted_nothing(shop)
    seen = {
        (method, path, nobody.request(method, path, params=query, json=body).status_code)
        for method, path, query, body in operations(nobody.app, "post", "put", "patch", "delete")
    }
    assert len(seen) > 40
    assert {each for each in seen if each[2] != 403} == set()


def test_whoever_may_change_a_thing_is_answered_though_he_may_not_read(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    # Cancelling settles what was paid.
    desk = client(shop, "clerk", "orders:write", "payments:write")
    number = desk.post("/v1/orders", json=order(("SKU-1", 1), payment=None)).json()["number"]
    assert desk.post(f"/v1/orders/{number}/hold", json={"reason": "x"}).status_code == 200
    assert desk.post(f"/v1/orders/{number}/cancel", json={}).json()["status"] == "cancelled"
    draft = desk.post("/v1/drafts", json={"note": "later"}).json()
    edit = {"version": draft["version"], "document": {}}
    assert desk.put(f"/v1/drafts/{draft['number']}", json=edit).json()["version"] == 2
    assert desk.get(f"/v1/orders/{number}").status_code == 403
    catalogue = client(shop, "merchandiser", "catalog:write")
    listed = {"name": "Sale", "currency": "USD"}
    assert catalogue.put("/v1/price-lists/SALE", json=listed).json()["name"] == "Sale"
    floor = client(shop, "warehouse", "stock:write")
    lines = [{"sku": "SKU-1", "quantity": 1}]
    move = {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": lines}
    assert floor.post("/v1/stock/transfers", json=move).json()["status"] == "draft"


@pytest.mark.parametrize(
    "path", ["orders", "purchase-orders", "stock/transfers", "stock/counts", "tickets"]
)
def test_a_status_that_there_is_not_is_refused(shop: Shop, path: str) -> None:
    refused = client(shop, "admin").get(f"/v1/{path}?status=bogus")
    assert refused.status_code == 422
    assert [e["field"] for e in json.loads(refused.text)["errors"]] == ["status"]


def test_who_may_not_import_hears_nothing_of_kinds_and_mappings(shop: Shop) -> None:
    analyst, clerk = client(shop, "analyst"), client(shop, "clerk")
    for path in ("/v1/imports/nothing", "/v1/imports/orders?mapping=%5B"):
        assert analyst.post(path, content=b"a").status_code == 403
        assert clerk.post(path, content=b"a").status_code == 422
    assert clerk.post("/v1/imports/online-retail", content=b"").status_code == 403
