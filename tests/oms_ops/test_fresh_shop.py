"""A fresh shop is set up by its doors alone: warehouse, SKU, customer, key, first order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.cli import app
from oms_ops.database import make_engine, reading, run
from oms_ops.errors import Forbidden
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop, order

ATLANTA = {"name": "Atlanta", "city": "Atlanta", "region": "GA", "country": "US", "rank": 1}


def client(engine: Engine, role: str = "admin") -> TestClient:
    key = run(engine, lambda c: keys.create(c, role, f"the {role}"))
    return TestClient(app_over(engine), headers={"Authorization": f"Bearer {key}"})


def done(response: Any) -> Any:
    assert response.status_code in (200, 201), response.text
    return response.json()


def test_an_empty_database_takes_an_order_after_a_few_requests(database: Engine) -> None:
    admin = client(database)
    placed = {"latitude": 33.7, "longitude": -84.4}
    shown = done(admin.put("/v1/warehouses/ATL", json={**ATLANTA, **placed}))
    assert (shown["rank"], shown["latitude"], shown["is_active"]) == (1, 33.7, True)
    sku = {"code": "MUG", "name": "Mug", "currency": "USD", "price": "5.00"}
    done(admin.put("/v1/skus", json={"skus": [sku]}))
    lines = [{"sku": "MUG", "quantity": 9}]
    done(admin.post("/v1/stock/receipts", json={"warehouse": "ATL", "lines": lines}))
    desk = client(database, "clerk")
    assert done(desk.post("/v1/orders", json=order(("MUG", 2))))["totals"]["gross"] == "10.00"
    assert desk.put("/v1/warehouses/ATL", json=ATLANTA).status_code == 403
    assert [w["code"] for w in done(desk.get("/v1/warehouses"))["data"]] == ["ATL"]


def test_a_warehouse_is_changed_and_not_closed_while_it_is_in_use(shop: Shop) -> None:
    admin = client(shop.engine)
    shop.stock("SKU-1", 3)
    done(admin.post("/v1/orders", json=order(("SKU-1", 2), ("SKU-2", 1), allow_backorder=True)))
    closed = {**ATLANTA, "is_active": False}
    refused = admin.put("/v1/warehouses/ATL", json=closed)
    assert refused.status_code == 409
    assert {e["code"] for e in refused.json()["errors"]} == {
        "has_stock", "has_promises", "is_waited_for",
    }  # fmt: skip
    assert done(admin.put("/v1/warehouses/NYC", json={**closed, "name": "Old"}))["version"] == 2
    lines = [{"sku": "SKU-1", "quantity": 1}]
    refused = admin.post("/v1/stock/receipts", json={"warehouse": "NYC", "lines": lines})
    assert [e["code"] for e in refused.json()["errors"]] == ["unknown_warehouse"]
    done(admin.put("/v1/warehouses/NYC", json=ATLANTA))
    done(admin.post("/v1/stock/receipts", json={"warehouse": "NYC", "lines": lines}))


def test_half_a_place_and_an_odd_code_are_refused(database: Engine) -> None:
    admin = client(database)
    assert admin.put("/v1/warehouses/ATL", json={**ATLANTA, "latitude": 3}).status_code == 422
    assert admin.put("/v1/warehouses/A%20B", json=ATLANTA).status_code == 422


def test_a_warehouse_stands_in_a_country_and_region_that_there_is(database: Engine) -> None:
    admin = client(database)
    path = "/v1/warehouses/ATL"
    assert named(admin.put(path, json={**ATLANTA, "region": "ZZ"})) == [
        ("region", "unknown_region")
    ]
    assert named(admin.put(path, json={**ATLANTA, "region": "ZZ", "country": "QQ"})) == [
        ("country", "unknown_country")
    ]
    britain = {**ATLANTA, "region": "Greater London", "country": "GB"}
    assert done(admin.put("/v1/warehouses/LON", json=britain))["region"] == "Greater London"
    for _ in range(2):
        put = admin.put(path, json={**ATLANTA, "region": "Georgia"})
        assert done(put)["region"] == "GA"
    assert done(admin.put(path, json={**ATLANTA, "region": ""}))["region"] == ""


def test_a_warehouse_keeps_a_region_that_is_not_known_any_more(database: Engine) -> None:
    admin = client(database)
    path = "/v1/warehouses/ATL"
    done(admin.put(path, json=ATLANTA))
    run(database, lambda c: c.exec_driver_sql("UPDATE warehouses SET region = 'Dixie'"))
    old = {**ATLANTA, "region": "Dixie"}
    assert done(admin.put(path, json={**old, "name": "Old"}))["region"] == "Dixie"
    assert named(admin.put(path, json={**old, "region": "Dixieland"})) == [
        ("region", "unknown_region")
    ]
    assert done(admin.put(path, json={**old, "is_active": False}))["is_active"] is False


def test_a_sku_is_sold_somewhere_until_it_is_retired(shop: Shop) -> None:
    admin = client(shop.engine)
    sku = {"code": "MUG", "name": "Mug", "currency": "USD", "price": "5.00"}
    nowhere = {"skus": [{**sku, "channels": []}]}
    assert named(admin.put("/v1/skus", json=nowhere)) == [("skus[0].channels", "required")]
    done(admin.put("/v1/rules", json={"document": {"channels": {"web": {}, "shop": {}}}}))
    done(admin.put("/v1/skus", json={"skus": [{**sku, "channels": ["shop"]}]}))
    done(admin.put("/v1/rules", json={"document": {"channels": {"web": {}}}}))
    retired = [{**sku, "channels": channels, "is_active": False} for channels in (["shop"], [])]
    for each in retired:
        done(admin.put("/v1/skus", json={"skus": [each]}))


def test_a_sku_that_could_never_be_sold_is_refused(shop: Shop) -> None:
    admin = client(shop.engine)
    sku = {"name": "Mug", "currency": "USD", "price": "5.00"}
    odd: list[dict[str, Any]] = [
        {"max_quantity": 5, "quantity_multiple": 6}, {"max_quantity": 5, "min_quantity": 6},
        {"max_quantity": 11, "quantity_multiple": 6, "min_quantity": 7},
        {"quantity_multiple": 999_999, "min_quantity": 1_000_000}, {"channels": ["web", "zzz"]},
        {"max_quantity": 12, "quantity_multiple": 6, "min_quantity": 7, "channels": ["web"]},
    ]  # fmt: skip
    skus = [{**sku, "code": f"M{index}", **fields} for index, fields in enumerate(odd)]
    names = [
        ("skus[0].max_quantity", "out_of_range"), ("skus[1].max_quantity", "out_of_range"),
        ("skus[2].max_quantity", "out_of_range"), ("skus[3].quantity_multiple", "out_of_range"),
    ]  # fmt: skip
    # A shop whose rules name no channel sells in any.
    assert named(admin.put("/v1/skus", json={"skus": skus})) == names
    done(admin.put("/v1/rules", json={"document": {"channels": {"web": {}}}}))
    names.append(("skus[4].channels[1]", "unknown_channel"))
    assert named(admin.put("/v1/skus", json={"skus": skus})) == names
    done(admin.put("/v1/skus", json={"skus": skus[5:]}))


def test_stock_documents_are_refused_by_their_own_name_and_day(shop: Shop) -> None:
    admin = client(shop.engine)
    lines = [{"sku": "SKU-1", "quantity": 0}]
    receipt = admin.post("/v1/stock/receipts", json={"warehouse": "ATL", "lines": lines})
    assert named(receipt) == [("lines[0].quantity", "out_of_range")]
    assert receipt.json()["detail"] == "The receipt has bad fields."
    assert receipt.json()["errors"][0]["message"] == "1 to 1000000 units"
    lines = [{"sku": "SKU-1", "quantity": 2}]
    done(admin.post("/v1/stock/receipts", json={"warehouse": "ATL", "lines": lines}))
    transfer = {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": lines}
    late = admin.post("/v1/stock/transfers", json={**transfer, "expected_on": "2020-01-01"})
    assert named(late) == [("expected_on", "in_the_past")]
    number = done(admin.post("/v1/stock/transfers", json=transfer))["number"]
    path = f"/v1/stock/transfers/{number}/send"
    assert named(admin.post(path, json={"expected_on": "2020-01-01"})) == [
        ("expected_on", "in_the_past")
    ]
    done(admin.post(path, json={"expected_on": "2999-01-01"}))


def test_two_who_create_a_warehouse_create_one(database: Engine) -> None:
    admin = client(database)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: admin.put("/v1/warehouses/ATL", json=ATLANTA), range(4))
    assert {answer.status_code for answer in answers} == {200}
    assert len(done(admin.get("/v1/warehouses"))["data"]) == 1


def test_a_customer_of_a_group_pays_its_prices(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    admin = client(shop.engine)
    listed = {"name": "Trade", "currency": "USD", "customer_group": "trade"}
    done(admin.put("/v1/price-lists/TRADE", json=listed))
    price = {"prices": [{"sku": "SKU-1", "price": "1.00"}]}
    done(admin.put("/v1/price-lists/TRADE/prices", json=price))
    assert done(admin.post("/v1/orders", json=order(("SKU-1", 1))))["totals"]["gross"] == "1.99"
    desk = client(shop.engine, "clerk")
    known = {"name": "Bob", "phone": "+1 404 555 0100", "customer_group": "trade",
             "external_id": "C-7"}  # fmt: skip
    shown = done(desk.put("/v1/customers/Bob@Example.com", json=known))
    assert (shown["email"], shown["phone"], shown["version"]) == (
        "bob@example.com", "+14045550100", 2,
    )  # fmt: skip
    assert shown["changed_by"] == "the clerk"
    assert done(admin.post("/v1/orders", json=order(("SKU-1", 1))))["totals"]["gross"] == "1.00"
    assert done(desk.get("/v1/customers/bob@example.com"))["customer_group"] == "trade"
    found = done(desk.get("/v1/customers?external_id=C-7"))["data"]
    assert [c["email"] for c in found] == ["bob@example.com"]


def test_a_customers_bad_fields_are_named(shop: Shop) -> None:
    desk = client(shop.engine, "clerk")
    bad = desk.put("/v1/customers/nobody", json={"name": "N", "phone": "12"})
    assert {(e["field"], e["code"]) for e in bad.json()["errors"]} == {
        ("email", "invalid"), ("phone", "invalid_phone"),
    }  # fmt: skip
    done(desk.put("/v1/customers/a@example.com", json={"name": "A", "external_id": "1"}))
    taken = desk.put("/v1/customers/b@example.com", json={"name": "B", "external_id": "1"})
    assert (taken.status_code, taken.json()["errors"][0]["code"]) == (409, "taken")
    assert desk.get("/v1/customers/c@example.com").status_code == 404
    buyer = client(shop.engine, "merchandiser")
    assert buyer.put("/v1/customers/a@example.com", json={"name": "A"}).status_code == 403


def test_who_made_and_who_revoked_a_key_is_known(database: Engine) -> None:
    ann = Actor("ann", "admin")
    run(database, lambda c: keys.create(c, "clerk", "desk", by=ann))
    run(database, lambda c: keys.revoke(c, "desk", Actor("ben", "admin")))
    with reading(database) as connection:
        (key,) = keys.listing(connection)
    assert (key["created_by"], key["revoked_by"]) == ("ann", "ben")
    clerk = Actor("carla", "clerk")
    with pytest.raises(Forbidden):
        run(database, lambda c: keys.create(c, "admin", "mine", by=clerk))
    with pytest.raises(Forbidden):
        run(database, lambda c: keys.revoke(c, "desk", clerk))


def oms(*arguments: str) -> Any:
    settings.cache_clear()
    return CliRunner().invoke(app, list(arguments))


def test_the_command_line_writes_who_gave_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    oms("init")
    put = ("warehouse", "put", "ATL", "--name", "A", "--city", "Atlanta", "--country", "US")
    assert oms("--as", "ann", *put).exit_code == 0, oms(*put).output
    monkeypatch.setenv("LOGNAME", "ben")
    assert oms(*put, "--rank", "2").output == "ATL: version 2\n"
    buyer = oms("key", "create", "--role", "merchandiser", "--name", "mary").output.strip()
    admin = oms("key", "create", "--role", "admin", "--name", "carl").output.strip()
    monkeypatch.setenv("OMS_API_KEY", admin)
    assert oms(*put, "--rank", "3").exit_code == 0
    assert "rank 3" in oms("warehouse", "list").output
    monkeypatch.setenv("OMS_API_KEY", buyer)
    for refused in (put, ("key", "list"), ("carriers", "sync")):
        assert isinstance(oms(*refused).exception, Forbidden)
    with reading(make_engine(settings().url)) as connection:
        rows = connection.exec_driver_sql(
            "SELECT changed_by FROM change_log WHERE entity = 'warehouses' ORDER BY seq"
        )
        assert list(rows.scalars()) == ["cli:ann", "cli:ben", "carl"]
        makers = connection.exec_driver_sql("SELECT DISTINCT created_by FROM api_keys")
        assert list(makers.scalars()) == ["cli:ben"]


def test_whom_a_purchase_order_was_sent_to_is_told_and_when_to_nobody_why(shop: Shop) -> None:
    buyer = client(shop.engine, "merchandiser")
    lines = [{"sku": "SKU-1", "quantity": 6}]
    body = {"supplier": "ACME", "warehouse": "ATL", "lines": lines}
    silent = done(buyer.post("/v1/purchase-orders", json=body))
    assert (silent["sent_to"], "e-mail" in silent["not_sent"]) == (None, True)
    supplier = {"name": "Acme", "email": "sales@acme.example.com", "lead_time_days": 5}
    done(buyer.put("/v1/suppliers/ACME", json=supplier))
    told = done(buyer.post("/v1/purchase-orders", json=body))
    assert (told["sent_to"], told["not_sent"]) == ("sales@acme.example.com", None)


def named(response: Any) -> list[tuple[str, str]]:
    assert response.status_code == 422, response.text
    return [(error["field"], error["code"]) for error in response.json()["errors"]]


def test_a_currency_that_is_not_known_is_named(shop: Shop) -> None:
    admin = client(shop.engine)
    unknown = {"currency": "XXX", "unit_cost": "8"}
    path = "/v1/suppliers/ACME/terms/SKU-1"
    assert named(admin.put(path, json=unknown)) == [("currency", "unknown_currency")]
    finer = {"currency": "USD", "unit_cost": "8.001"}
    assert named(admin.put(path, json=finer)) == [("unit_cost", "invalid_amount")]
    sku = {"code": "MUG", "name": "Mug", "currency": "XXX", "price": "5.00"}
    other = {**sku, "code": "CUP", "currency": "JPY", "price": "5.50"}
    assert named(admin.put("/v1/skus", json={"skus": [sku, other]})) == [
        ("skus[0].currency", "unknown_currency"), ("skus[1].price", "invalid_amount"),
    ]  # fmt: skip


def test_nothing_is_bought_in_a_currency_without_a_rate(shop: Shop) -> None:
    admin = client(shop.engine)
    terms = {"currency": "EUR", "unit_cost": "1.00"}
    done(admin.put("/v1/suppliers/ACME/terms/SKU-1", json=terms))
    lines = [{"sku": "SKU-1", "quantity": 6}]
    body = {"supplier": "ACME", "warehouse": "ATL", "lines": lines}
    refused = admin.post("/v1/purchase-orders", json=body)
    assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [
        ("lines", "no_exchange_rate")
    ]
    done(admin.put("/v1/rules", json={"document": {"exchange_rates": {"EUR": "1.10"}}}))
    number = done(admin.post("/v1/purchase-orders", json=body))["number"]
    came = {"lines": [{"line_no": 1, "quantity": 6}]}
    done(admin.post(f"/v1/purchase-orders/{number}/receive", json=came))
    assert shop.rows("SELECT average_cost_e4 FROM stock_levels")[0][0] == 1_100_000


def test_prices_are_taken_off_a_list(shop: Shop) -> None:
    buyer = client(shop.engine, "merchandiser")
    done(buyer.put("/v1/price-lists/SALE", json={"name": "Sale", "currency": "USD"}))
    some = [{"sku": "SKU-1", "price": "1.00", "min_quantity": n} for n in (1, 10)]
    some.append({"sku": "SKU-2", "price": "2.00"})
    done(buyer.put("/v1/price-lists/SALE/prices", json={"prices": some}))
    path = "/v1/price-lists/SALE/prices"
    assert done(buyer.delete(f"{path}?sku=SKU-1&min_quantity=10")) == {"removed": 1}
    assert done(buyer.delete(f"{path}?sku=SKU-2")) == {"removed": 1}
    assert buyer.delete(f"{path}?sku=SKU-2").status_code == 404
    left = done(buyer.get("/v1/price-lists/SALE"))["prices"]
    assert [(p["sku"], p["min_quantity"]) for p in left] == [("SKU-1", 1)]
    gone = shop.rows("SELECT changed_by FROM change_log WHERE entity = 'prices' AND op = 'D'")
    assert {row[0] for row in gone} == {"the merchandiser"}
