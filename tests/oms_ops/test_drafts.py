"""Drafts may lack things, are placed once, and batches answer order by order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.api.app import create_app
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, ValidationFailed
from oms_ops.orders import drafts
from tests.oms_ops.shop import CLERK, Shop, order


def make(shop: Shop, document: object) -> str:
    return str(run(shop.engine, lambda c: drafts.create(c, CLERK, document))["number"])


def test_a_draft_grows_until_it_can_be_placed(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    number = make(shop, {"lines": [{"sku": "SKU-1", "quantity": 2}]})
    with pytest.raises(ValidationFailed) as refusal:
        drafts.priced(shop.engine, CLERK, number)
    assert "customer" in {error.field for error in refusal.value.errors}
    whole = order(("SKU-1", 2))
    run(shop.engine, lambda c: drafts.edit(c, CLERK, number, whole, 1))
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: drafts.edit(c, CLERK, number, {}, 1))
    assert drafts.priced(shop.engine, CLERK, number)["totals"]["total"] == "3.98"
    placed = drafts.place(shop.engine, CLERK, number)
    with shop.engine.connect() as connection:
        draft = drafts.get(connection, CLERK, number)
    assert (draft["status"], draft["order"]) == ("placed", placed["number"])
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: drafts.discard(c, CLERK, number, draft["version"]))


def test_two_clerks_place_one_order(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    number = make(shop, order(("SKU-1", 2)))
    clerks = [Actor(f"clerk-{i}", "clerk") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(lambda a: drafts.place(shop.engine, a, number)["number"], clerks))
    assert len(set(placed)) == 1
    assert shop.count("orders") == 1


def client(shop: Shop, role: str = "clerk", scopes: list[str] | None = None) -> TestClient:
    key = run(shop.engine, lambda c: keys.create(c, role, f"{role}-{scopes}", scopes=scopes))
    return TestClient(create_app(shop.engine), headers={"Authorization": f"Bearer {key}"})


def test_each_order_of_a_batch_has_its_own_answer(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    entries = [
        {"order": order(("SKU-1", 2)), "idempotency_key": "a"},
        {"order": order(("NOPE", 1))},
        {"order": "no order"},
        {"order": order(("SKU-1", 4))},
        {"order": order(("SKU-1", 2)), "idempotency_key": "a"},
    ]
    answer = client(shop).post("/v1/orders/batch", json={"orders": entries}).json()
    assert [result["status"] for result in answer["results"]] == [201, 422, 422, 409, 201]
    assert (answer["captured"], answer["refused"]) == (2, 3)
    assert answer["results"][0]["order"]["number"] == answer["results"][4]["order"]["number"]
    assert shop.level("SKU-1") == (5, 2)


def test_drafts_rules_and_catalogue_have_routes(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    admin = client(shop, "admin")
    rules = {"document": {"taxes": [{"percent": "10"}]}, "note": "VAT"}
    assert admin.put("/v1/rules", json=rules).json()["version"] == 1
    assert admin.get("/v1/rules/history").json()["data"][0]["note"] == "VAT"
    listed = {"name": "Sale", "currency": "USD"}
    assert admin.put("/v1/price-lists/SALE", json=listed).status_code == 200
    cheap = {"prices": [{"sku": "SKU-1", "price": "1.00"}]}
    assert admin.put("/v1/price-lists/SALE/prices", json=cheap).json() == {"prices": 1}
    code = {"code": "ten", "name": "Ten", "percent": "10"}
    assert admin.put("/v1/discounts", json=code).json()["used"] == 0
    made = admin.post("/v1/drafts", json=order(("SKU-1", 2), discount_codes=["TEN"])).json()
    offer = admin.post(f"/v1/drafts/{made['number']}/price").json()
    assert offer["totals"]["total"] == "1.98"
    assert admin.post(f"/v1/drafts/{made['number']}/place").status_code == 201
    assert admin.get("/v1/drafts").json()["data"] == []
    assert admin.get("/v1/discounts").json()["data"][0]["used"] == 1
    assert admin.get("/v1/skus?search=thing 2").json()["data"][0]["code"] == "SKU-2"
    clerk = client(shop)
    assert clerk.put("/v1/rules", json=rules).status_code == 403
    assert clerk.put("/v1/discounts", json=code).status_code == 403


def test_a_scope_narrows_a_key_and_never_widens_it(shop: Shop) -> None:
    reader = client(shop, "admin", ["orders:read"])
    assert reader.get("/v1/orders").status_code == 200
    assert reader.post("/v1/orders", json=order(("SKU-1", 1))).status_code == 403
    with pytest.raises(ValidationFailed):
        run(shop.engine, lambda c: keys.create(c, "analyst", "x", scopes=["orders:write"]))
    run(shop.engine, lambda c: keys.revoke(c, "admin-['orders:read']"))
    assert reader.get("/v1/orders").status_code == 401
    with pytest.raises(Forbidden):
        drafts.place(shop.engine, Actor("ann", "analyst"), "DR-10000001")
