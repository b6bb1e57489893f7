"""Drafts may lack things, are placed once, and batches answer order by order."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, OutOfStock, ValidationFailed
from oms_ops.orders import drafts
from oms_ops.orders.capture import capture
from tests.oms_ops.app import app_over
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
    return TestClient(app_over(shop.engine), headers={"Authorization": f"Bearer {key}"})


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


def test_a_bad_entry_of_a_batch_is_refused_alone(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    good = {"order": order(("SKU-1", 1))}
    entries = [
        good,
        {**good, "idempotency_key": ""},
        {**good, "idempotency_key": "x" * 201},
        {**good, "surprise": 1},
        {},
        "no entry",
        None,
        {"order": {**good["order"], "\ud800": 1}},
        {"\ud800": 1},
        {**good, "idempotency_key": "\ud800"},
        good,
    ]
    body = json.dumps({"orders": entries}).encode()
    headers = {"Content-Type": "application/json"}
    response = client(shop).post("/v1/orders/batch", content=body, headers=headers)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["captured"], answer["refused"]) == (2, 9)
    named = [
        [(e["field"], e["code"]) for e in result["problem"]["errors"]] if result["problem"] else []
        for result in answer["results"]
    ]
    assert named[:7] == [
        [],
        [("idempotency_key", "required")],
        [("idempotency_key", "string_too_long")],
        [("surprise", "unknown_field")],
        [("order", "required")],
        [("body", "model_type")],
        [("body", "model_type")],
    ]
    assert {result["status"] for result in answer["results"][1:-1]} == {422}
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


def shown(shop: Shop, number: str) -> dict[str, Any]:
    with reading(shop.engine) as connection:
        return drafts.get(connection, CLERK, number)


def interrupt(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]) -> None:
    """Let ``before`` happen once when a draft is about to be captured."""

    def late(*args: Any, **more: Any) -> dict[str, Any]:
        monkeypatch.setattr(drafts, "capture", capture)
        before()
        return capture(*args, **more)

    monkeypatch.setattr(drafts, "capture", late)


def test_an_edit_while_a_draft_is_placed_is_refused_and_not_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.stock("SKU-1", 9)
    number = make(shop, order(("SKU-1", 1)))

    def edit() -> None:
        for version in (1, 2):
            with pytest.raises(Conflict):
                run(
                    shop.engine,
                    lambda c, v=version: drafts.edit(c, CLERK, number, order(("SKU-1", 7)), v),
                )

    interrupt(monkeypatch, edit)
    placed = drafts.place(shop.engine, CLERK, number)
    assert shown(shop, number)["document"]["lines"][0]["quantity"] == 1
    assert placed["lines"][0]["quantity"] == 1
    assert drafts.place(shop.engine, CLERK, number) == placed


def test_whoever_dies_while_placing_a_draft_lets_it_be_placed_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.stock("SKU-1", 9)
    before, after = make(shop, order(("SKU-1", 1))), make(shop, order(("SKU-1", 1)))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for number, step in ((before, "capture"), (after, "_mark_placed")):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(drafts, step, die)
            drafts.place(shop.engine, CLERK, number)
        assert shown(shop, number)["status"] == "placing"
        placed = drafts.place(shop.engine, CLERK, number)
        assert shown(shop, number)["order"] == placed["number"]
    assert shop.count("orders") == 2


def test_a_draft_that_cannot_be_placed_is_open_again(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    number = make(shop, order(("SKU-1", 6)))
    for _ in range(2):
        with pytest.raises(OutOfStock):
            drafts.place(shop.engine, CLERK, number)
    draft = shown(shop, number)
    assert draft["status"] == "open"
    run(
        shop.engine,
        lambda c: drafts.edit(c, CLERK, number, order(("SKU-1", 5)), draft["version"]),
    )
    assert drafts.place(shop.engine, CLERK, number)["lines"][0]["quantity"] == 5
    assert shop.count("orders") == 1


def test_a_refused_placing_leaves_the_draft_as_it_was(shop: Shop) -> None:
    whole = order(("SKU-1", 2))
    number = make(shop, {**whole, "ship_to": {**whole["ship_to"], "region": "ZZ"}})
    before = shown(shop, number)

    def refused(number: str) -> None:
        with pytest.raises((ValidationFailed, Conflict)):
            drafts.place(shop.engine, Actor("web", "clerk"), number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(refused, [number] * 8))
    assert shown(shop, number) == before
    assert run(shop.engine, lambda c: drafts.edit(c, CLERK, number, whole, 1))["version"] == 2
    shop.stock("SKU-1", 5)
    drafts.place(shop.engine, CLERK, number)
    assert (shown(shop, number)["status"], shown(shop, number)["version"]) == ("placed", 3)
    with pytest.raises(Conflict) as refusal:
        run(shop.engine, lambda c: drafts.edit(c, CLERK, number, whole, 3))
    assert [(e.field, e.code) for e in refusal.value.errors] == [("number", "placed")]


def test_a_draft_names_its_fields_as_they_were_sent(shop: Shop) -> None:
    api = client(shop)
    number = api.post("/v1/drafts", json={}).json()["number"]
    card = {"payment": {"card": "4111 1111 1111 1111"}}
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    for bad, inner, whole in (
        (card, "payment.card", "document.payment.card"),
        ({"note": "\x00"}, "body", "document"),
        ({"lines": deep}, "body", "document"),
        ({"note": "x" * 200_000}, "body", "document"),
    ):
        for answer, field in (
            (api.post("/v1/drafts", json=bad), inner),
            (api.put(f"/v1/drafts/{number}", json={"version": 1, "document": bad}), whole),
        ):
            assert answer.status_code == 422, answer.text
            assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert len(api.get("/v1/drafts").json()["data"]) == 1


def test_of_two_who_place_a_draft_one_refused_there_is_one_order_or_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = make(shop, order(("SKU-1", 2)))

    def refused() -> None:
        with pytest.raises(OutOfStock):
            drafts.place(shop.engine, CLERK, number)
        shop.stock("SKU-1", 5)

    # The other is refused and opens the draft, then there is stock: who was first comes too late.
    interrupt(monkeypatch, refused)
    with pytest.raises(Conflict):
        drafts.place(shop.engine, CLERK, number)
    assert (shop.count("orders"), shown(shop, number)["status"]) == (0, "open")

    def out_of_stock(*_: object, **__: object) -> None:
        monkeypatch.setattr(drafts, "capture", capture)
        drafts.place(shop.engine, CLERK, number)
        raise OutOfStock("a moment ago")

    # The other makes the order while we are refused: it is our order too.
    monkeypatch.setattr(drafts, "capture", out_of_stock)
    placed = drafts.place(shop.engine, CLERK, number)
    assert (shop.count("orders"), shown(shop, number)["order"]) == (1, placed["number"])


def test_a_fault_of_ours_leaves_no_draft_that_nobody_can_change(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = make(shop, order(("SKU-1", 2)))

    def fail(*_: object, **__: object) -> None:
        raise OverflowError

    monkeypatch.setattr(drafts, "capture", fail)
    with pytest.raises(OverflowError):
        drafts.place(shop.engine, CLERK, number)
    assert shown(shop, number)["status"] == "open"
