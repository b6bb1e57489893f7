"""Files sent over HTTP: the same import, its rows and its report to look at afterwards."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import polars as pl
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from oms_ops.access import keys
from oms_ops.cli import app
from oms_ops.database import run
from oms_ops.errors import ValidationFailed
from oms_ops.exchange import files
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop
from tests.oms_ops.test_import_orders import HEADER, line
from tests.oms_ops.test_online_retail import HEADER as HISTORY_HEADER
from tests.oms_ops.test_online_retail import ROWS as HISTORY


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    shop.stock("SKU-1", 20)
    key = run(shop.engine, lambda c: keys.create(c, "clerk", "carla"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


FILE = "\n".join([HEADER, line("A", "SKU-1", 1), line("B", "NOPE", 1), line("C", "SKU-1", 2)])


def test_a_file_sent_is_imported_and_its_rows_can_be_seen(client: TestClient, shop: Shop) -> None:
    made = client.post("/v1/imports/orders?file_name=march.csv", content=FILE)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["file_name"], body["rows"]) == ("march.csv", 3)
    assert body["counts"] == {"order": 2, "rejected": 1}
    assert [(bad["row"], bad["code"]) for bad in body["rejected"]] == [(2, "unknown_sku")]
    path = f"/v1/imports/{body['number']}"
    assert client.get(path).json() == body
    first = client.get(f"{path}/rows?limit=2").json()
    assert [(row["row"], row["fate"]) for row in first["data"]] == [(1, "order"), (2, "rejected")]
    rest = client.get(f"{path}/rows?limit=2&after={first['next']}").json()
    assert ([row["row"] for row in rest["data"]], rest["next"]) == ([3], None)
    assert rest["data"][0]["amount"] == "3.9800"
    bad = client.get(f"{path}/rows?fate=rejected").json()["data"]
    assert bad[0]["content"]["sku"] == "NOPE"
    report = client.get(f"{path}/report")
    assert report.headers["content-type"].startswith("text/csv")
    assert pl.read_csv(io.StringIO(report.text))["import_code"].to_list() == ["unknown_sku"]
    again = client.post("/v1/imports/orders", content=FILE).json()
    assert again["counts"] == {"rejected": 1, "repeated": 2}
    listed = client.get("/v1/imports?limit=1").json()
    assert [entry["number"] for entry in listed["data"]] == [again["number"]]
    assert listed["data"][0]["finished_at"] is not None
    older = client.get(f"/v1/imports?after={listed['next']}").json()
    assert [entry["number"] for entry in older["data"]] == [body["number"]]
    assert shop.rows("SELECT DISTINCT changed_by FROM imports")[0][0] == "carla"


def test_a_mapping_and_a_channel_travel_with_the_file(client: TestClient, shop: Shop) -> None:
    text = FILE.replace("sku,quantity", "Artikel,quantity")
    made = client.post(
        "/v1/imports/orders",
        params={"channel": "fair", "mapping": '[fields]\nsku = "Artikel"'},
        content=text,
    )
    assert made.json()["counts"] == {"order": 2, "rejected": 1}
    assert shop.rows("SELECT DISTINCT channel FROM orders")[0][0] == "fair"


@pytest.mark.parametrize("kind", files.KINDS)
def test_the_command_line_and_the_api_take_the_same_kinds(shop: Shop, kind: str) -> None:
    key = run(shop.engine, lambda c: keys.create(c, "admin", "ada"))
    with TestClient(app_over(shop.engine)) as client:
        answer = client.post(
            f"/v1/imports/{kind}", content=b"\xff", headers={"Authorization": f"Bearer {key}"}
        )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] != "unknown_kind"
    # The tests' own home is a shop of its own.
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    path = settings().home / "file"
    path.write_bytes(b"\xff")
    told = CliRunner().invoke(app, ["import", kind, str(path)])
    assert isinstance(told.exception, ValidationFailed)
    assert [e.code for e in told.exception.errors] == [answer.json()["errors"][0]["code"]]


def test_a_history_sent_over_http_proves_its_money(database: Engine) -> None:
    key = run(database, lambda c: keys.create(c, "admin", "ada"))
    content = "\n".join([HISTORY_HEADER, *(text for text, *_ in HISTORY)])
    with TestClient(app_over(database), headers={"Authorization": f"Bearer {key}"}) as client:
        body = client.post("/v1/imports/online-retail", content=content.encode()).json()
    assert body["rows"] == sum(body["counts"].values()) == len(HISTORY)
    assert body["reconciliation"]["holds"]
    assert {line["fate"] for line in body["reconciliation"]["lines"]} == set(body["counts"])


def test_a_mapping_that_no_field_can_obey_is_refused(client: TestClient) -> None:
    refused = client.post("/v1/imports/shopify?channel=fair", content=b"{}")
    assert [fault["code"] for fault in refused.json()["errors"]] == ["not_applicable"]


def test_the_report_of_shopifys_orders_is_json_to_import_again(client: TestClient) -> None:
    made = client.post("/v1/imports/shopify", content=json.dumps({"id": 1, "name": "#1"})).json()
    report = client.get(f"/v1/imports/{made['number']}/report")
    assert report.headers["content-type"].startswith("application/x-ndjson")
    assert json.loads(report.text)["name"] == "#1"


def test_what_is_wrong_with_a_request_is_told_as_problem_details(client: TestClient) -> None:
    cases = [
        (client.post("/v1/imports/pigeons", content=FILE), 422, "unknown_kind"),
        (client.post("/v1/imports/orders", content=b"\xff\xfe\x00"), 422, "wrong_encoding"),
        (client.post("/v1/imports/orders?mapping=%5B", content=FILE), 422, "not_toml"),
    ]
    for response, status, code in cases:
        assert response.status_code == status
        assert [fault["code"] for fault in response.json()["errors"]] == [code]
    assert client.get("/v1/imports/IM-99").status_code == 404
    assert client.get("/v1/imports").json() == {"data": [], "next": None}
    assert client.get("/v1/imports", headers={"Authorization": ""}).status_code == 401
