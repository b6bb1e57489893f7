"""The stock over HTTP: every step of a warehouse's day, its refusals, and who may do what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.reconcile import reconcile
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop, order
from tests.oms_ops.test_api import refused

As = Callable[[str], TestClient]


@pytest.fixture
def as_role(shop: Shop) -> Iterator[As]:
    """Return a maker of clients: ``as_role("warehouse")``, ``as_role("warehouse otto")``."""
    app = app_over(shop.engine)

    def made(who: str) -> TestClient:
        role, _, name = who.partition(" ")
        key = run(shop.engine, lambda c: keys.create(c, role, name or role))
        return TestClient(app, headers={"Authorization": f"Bearer {key}"})

    yield made
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def client(as_role: As) -> TestClient:
    """Return a warehouse worker's client; bins A (10 units) and B; 12 SKU-1 on the floor."""
    client = as_role("warehouse wanda")
    body = {"warehouse": "ATL", "bins": [{"code": "A", "capacity_units": 10}, {"code": "B"}]}
    assert done(client.post("/v1/stock/bins", json=body), 201)["data"][0]["code"] == "A"
    lines = [{"sku": "SKU-1", "quantity": 12, "unit_cost": "1.25"}]
    body = {"warehouse": "ATL", "reason": "opening", "lines": lines}
    done(client.post("/v1/stock/receipts", json=body), 201)
    return client


def done(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def test_goods_come_in_and_are_put_away(client: TestClient) -> None:
    found = done(client.get("/v1/stock/putaway/suggestions?warehouse=ATL"))["data"][0]
    assert found["bins"] == [{"bin": "A", "quantity": 10}, {"bin": "B", "quantity": 2}]
    lines = [{"sku": "SKU-1", "quantity": b["quantity"], "bin": b["bin"]} for b in found["bins"]]
    body = {"warehouse": "ATL", "lines": lines}
    assert [b["units"] for b in done(client.post("/v1/stock/putaway", json=body), 201)["data"]] == [
        10,
        2,
    ]
    moved = {"sku": "SKU-1", "quantity": 2, "source": "B", "target": "A"}
    over = {"warehouse": "ATL", "lines": [moved]}
    faults = refused(client.post("/v1/stock/bins/moves", json=over), 409)["errors"]
    assert [(f["field"], f["code"]) for f in faults] == [("lines[0].target", "over_capacity")]
    done(client.patch("/v1/stock/bins/A", json={"capacity_units": 20}), 204)
    done(client.post("/v1/stock/bins/moves", json=over), 201)
    page = done(client.get("/v1/stock/bins?warehouse=ATL&limit=2"))
    assert [(b["code"], b["units"]) for b in page["data"]] == [("ATL-QUARANTINE", 0), ("A", 12)]
    rest = done(client.get(f"/v1/stock/bins?warehouse=ATL&after={page['next']}"))
    assert ([b["code"] for b in rest["data"]], rest["next"]) == (["B"], None)


def test_stock_is_adjusted_with_a_reason(client: TestClient) -> None:
    body = {"warehouse": "ATL", "reason": "lost", "lines": [{"sku": "SKU-1", "quantity": -2}]}
    answer = done(client.post("/v1/stock/adjustments", json=body), 201)
    assert answer["levels"][0]["on_hand"] == 10
    body["lines"][0]["quantity"] = -11  # type: ignore[index]
    assert (
        "10 can be taken"
        in refused(client.post("/v1/stock/adjustments", json=body), 409)["errors"][0]["message"]
    )
    body["reason"] = "whim"
    refused(client.post("/v1/stock/adjustments", json=body), 422)
    cost = {"sku": "SKU-1", "quantity": 1, "unit_cost": "1.234"}
    body = {"warehouse": "ATL", "lines": [cost], "currency": "EUR"}
    faults = refused(client.post("/v1/stock/receipts", json=body), 422)["errors"]
    assert [f["field"] for f in faults] == ["currency", "lines[0].unit_cost"]


def test_quarantined_goods_are_released_or_scrapped(client: TestClient) -> None:
    def body(units: int) -> dict[str, Any]:
        return {"warehouse": "ATL", "lines": [{"sku": "SKU-1", "quantity": units}]}

    assert done(client.post("/v1/stock/quarantine", json=body(5)), 201)["levels"][0]["on_hand"] == 7
    done(client.post("/v1/stock/quarantine/scrap", json=body(1)))
    done(client.post("/v1/stock/quarantine/return_to_supplier", json=body(1)))
    released = done(client.post("/v1/stock/quarantine/release", json=body(3)))
    assert released["levels"][0]["on_hand"] == 10
    refused(client.post("/v1/stock/quarantine/release", json=body(1)), 409)
    refused(client.post("/v1/stock/quarantine/eat", json=body(1)), 422)


def test_a_transfer_travels(client: TestClient) -> None:
    body = {
        "from_warehouse": "ATL", "to_warehouse": "NYC", "expected_on": "2999-01-01",
        "lines": [{"sku": "SKU-1", "quantity": 5}],
    }  # fmt: skip
    made = done(client.post("/v1/stock/transfers", json=body), 201)
    path = f"/v1/stock/transfers/{made['id']}"
    assert made["status"] == "draft"
    sent = {"lines": [{"line_no": 1, "quantity": 4}], "expected_on": "2999-01-02"}
    assert done(client.post(f"{path}/send", json=sent))["lines"][0]["in_transit"] == 4
    refused(client.post(f"{path}/cancel"), 409)
    view = "/v1/stock/availability?sku=SKU-1&warehouse=NYC"
    assert done(client.get(view))["data"][0]["incoming"] == [
        {"on": "2999-01-02", "quantity": 4, "available_to_promise": 4, "overdue": False}
    ]
    arrived = {"lines": [{"line_no": 1, "quantity": 3, "lost": 2}]}
    refused(client.post(f"{path}/receive", json=arrived), 422)
    arrived["lines"][0]["lost"] = 1
    assert done(client.post(f"{path}/receive", json=arrived))["status"] == "received"
    assert done(client.get("/v1/stock/transfers?status=received"))["data"][0]["id"] == made["id"]
    assert done(client.get(f"/v1/stock/transfers/{made['number']}"))["lines"][0]["lost"] == 1
    other = done(client.post("/v1/stock/transfers", json=body), 201)["number"]
    cancelled = done(client.post(f"/v1/stock/transfers/{other}/cancel"))
    assert cancelled["status"] == "cancelled"
    refused(client.get("/v1/stock/transfers/TR-1"), 404)


def test_a_count_needs_two_people(client: TestClient, as_role: As) -> None:
    body = {"warehouse": "ATL", "locations": ["ATL-STORAGE"]}
    path = f"/v1/stock/counts/{done(client.post('/v1/stock/counts', json=body), 201)['number']}"
    lines = [{"location": "ATL-STORAGE", "sku": "SKU-1", "units": 10}]
    counted = done(client.post(f"{path}/lines", json={"lines": lines}))
    assert (counted["status"], counted["lines"][0]["variance"]) == ("counted", -2)
    refused(client.post(f"{path}/approve"), 403)
    approved = done(as_role("warehouse otto").post(f"{path}/approve"))
    assert (approved["status"], approved["decided_by"]) == ("approved", "otto")
    assert done(client.get("/v1/stock?sku=SKU-1"))["data"][0]["on_hand"] == 10
    again = done(client.post("/v1/stock/counts", json=body), 201)["id"]
    assert done(client.post(f"/v1/stock/counts/{again}/reject"))["status"] == "rejected"
    assert [c["status"] for c in done(client.get("/v1/stock/counts"))["data"]] == [
        "rejected",
        "approved",
    ]


def test_a_basket_holds_and_an_order_takes_it(client: TestClient, as_role: As) -> None:
    clerk = as_role("clerk")
    body = {"basket": "b1", "lines": [{"sku": "SKU-1", "quantity": 12}], "minutes": 5}
    held = done(clerk.post("/v1/stock/holds", json=body), 201)
    assert done(clerk.get("/v1/stock/holds/b1")) == held
    refused(clerk.post("/v1/stock/holds", json={**body, "basket": "b2"}), 409)
    refused(clerk.post("/v1/orders", json=order(("SKU-1", 1))), 409)
    done(clerk.post("/v1/orders", json=order(("SKU-1", 10), basket="b1")), 201)
    assert done(clerk.get("/v1/stock/holds/b1"))["lines"] == []
    done(clerk.post("/v1/stock/holds", json={"basket": "b3", "lines": [
        {"sku": "SKU-1", "quantity": 1}]}), 201)  # fmt: skip
    done(clerk.delete("/v1/stock/holds/b3"), 204)
    assert done(client.get("/v1/stock?sku=SKU-1"))["data"][0]["available"] == 2


def test_a_low_level_is_listed(client: TestClient, as_role: As) -> None:
    body = {"thresholds": [{"sku": "SKU-1", "warehouse": "ATL", "units": 12}]}
    assert done(as_role("merchandiser").put("/v1/stock/thresholds", json=body)) == {"changed": 1}
    (alert,) = done(client.get("/v1/stock/alerts?open=true"))["data"]
    assert (alert["sku"], alert["available_now"], alert["is_open"]) == ("SKU-1", 12, True)


_LINES = {"warehouse": "ATL", "lines": [{"sku": "SKU-1", "quantity": 1}]}
_WRITES = [
    ("post", "receipts", _LINES, "clerk"),
    ("post", "adjustments", {**_LINES, "reason": "found"}, "clerk"),
    ("post", "quarantine", _LINES, "clerk"),
    ("post", "quarantine/scrap", _LINES, "clerk"),
    ("post", "bins", {"warehouse": "ATL", "bins": []}, "clerk"),
    ("patch", "bins/A", {}, "clerk"),
    ("post", "bins/moves", {"warehouse": "ATL", "lines": []}, "clerk"),
    ("post", "putaway", {"warehouse": "ATL", "lines": []}, "clerk"),
    ("post", "transfers", {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": []}, "clerk"),
    ("post", "transfers/TR-1/send", None, "clerk"),
    ("post", "transfers/TR-1/receive", {"lines": []}, "clerk"),
    ("post", "transfers/TR-1/cancel", None, "clerk"),
    ("post", "counts", {"warehouse": "ATL"}, "clerk"),
    ("post", "counts/SC-1/lines", {"lines": []}, "clerk"),
    ("post", "counts/SC-1/approve", None, "clerk"),
    ("post", "counts/SC-1/reject", None, "clerk"),
    ("post", "holds", {"basket": "b", "lines": []}, "warehouse"),
    ("delete", "holds/b", None, "warehouse"),
    ("put", "thresholds", {"thresholds": []}, "clerk"),
]


def test_each_write_asks_for_its_role(client: TestClient, as_role: As) -> None:
    roles = {"clerk": as_role("clerk"), "warehouse": client}
    for method, path, body, role in _WRITES:
        response = roles[role].request(method, f"/v1/stock/{path}", json=body)
        assert response.status_code == 403, (path, response.text)


@pytest.mark.parametrize("units", [0, -1, 10**7, 2**63, 2**70])
def test_odd_quantities_are_refused_not_failed(client: TestClient, units: int) -> None:
    line = {"sku": "SKU-1", "quantity": units}
    for path, body in (
        ("receipts", {"warehouse": "ATL", "lines": [line]}),
        ("putaway", {"warehouse": "ATL", "lines": [{**line, "bin": "A"}]}),
        ("quarantine", {"warehouse": "ATL", "lines": [line]}),
        ("transfers", {"from_warehouse": "ATL", "to_warehouse": "NYC", "lines": [line]}),
    ):
        refused(client.post(f"/v1/stock/{path}", json=body), 422)
