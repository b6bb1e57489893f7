"""Other systems' messages: none stands in another's way, and what failed is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from oms_ops import clock, worker
from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.exchange import inbox, webhooks
from oms_ops.settings import settings
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, Shop
from tests.oms_ops.shopify import SECRET, deliver, document


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    shop.stock("SKU-1", 100)
    shop.stock("SKU-2", 100)
    return shop


@pytest.fixture
def client(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("OMS_SHOPIFY_SECRET", SECRET)
    settings.cache_clear()
    with TestClient(app_over(stocked.engine)) as made:
        yield made


def missing(**changes: Any) -> Any:
    made = document(**changes)
    made["line_items"][0]["sku"] = "NEW-1"
    return made


def list_the_sku(shop: Shop) -> None:
    run(
        shop.engine,
        lambda c: c.execute(sa.text("UPDATE skus SET code = 'NEW-1' WHERE code = 'SKU-1'")),
    )


def statuses(shop: Shop) -> list[str]:
    return [row[0] for row in shop.rows("SELECT status FROM inbox_messages ORDER BY id")]


def test_a_poisoned_message_stands_in_nobodys_way(
    stocked: Shop, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = deliver(client, document(customer="x"))
    assert (poison.status_code, poison.json()["status"]) == (202, "failed")
    real = inbox.HANDLERS["shopify"]

    def handle(engine: Any, topic: str, body: str) -> str | None:
        return 1 / 0 if '"id": 8,' in body else real(engine, topic, body)

    monkeypatch.setitem(inbox.HANDLERS, "shopify", handle)
    unforeseen = deliver(client, document(id=8), webhook_id="w-2")
    assert unforeseen.status_code == 202
    assert unforeseen.json()["problem"]["type"] == "urn:oms:problem:unreadable"
    inbox.store(stocked.engine, "shopify", "w-3", webhooks.CREATE, json.dumps(document(id=9)))
    tried = inbox.retry(stocked.engine, ADMIN)
    assert [message.status for message in tried] == ["failed", "failed", "processed"]


def test_the_worker_tries_again_after_longer_and_longer_waits(
    stocked: Shop, client: TestClient
) -> None:
    assert deliver(client, missing()).status_code == 202
    assert worker.work_once(stocked.engine)["inbox messages"] == 0
    start = clock.now()
    for minutes, attempts in ((1, 1), (3, 2), (5, 2), (8, 3)):
        with clock.at(start + timedelta(minutes=minutes)):
            worker.retry_inbox(stocked.engine)
        assert stocked.rows("SELECT attempts FROM inbox_messages")[0][0] == attempts, minutes
    list_the_sku(stocked)
    with clock.at(start + timedelta(minutes=20)):
        assert worker.work_once(stocked.engine)["inbox messages"] == 1
    row = stocked.rows("SELECT status, problem, next_attempt_at FROM inbox_messages")[0]
    assert tuple(row) == ("processed", None, None)


def test_a_message_that_was_stored_and_no_more_is_finished_by_the_worker(stocked: Shop) -> None:
    inbox.store(stocked.engine, "shopify", "w-1", webhooks.CREATE, json.dumps(document()))
    assert worker.retry_inbox(stocked.engine) == 0
    with clock.at(clock.now() + timedelta(minutes=3)):
        assert worker.retry_inbox(stocked.engine) == 1
    assert statuses(stocked) == ["processed"]


def test_after_some_days_it_is_left_to_people(stocked: Shop, client: TestClient) -> None:
    deliver(client, missing())
    now = clock.now()
    for _ in range(20):
        now += timedelta(days=4)
        with clock.at(now):
            worker.retry_inbox(stocked.engine)
    row = stocked.rows("SELECT status, attempts, next_attempt_at FROM inbox_messages")[0]
    assert tuple(row) == ("failed", inbox.MOST_ATTEMPTS, None)
    list_the_sku(stocked)
    assert [message.status for message in inbox.retry(stocked.engine, ADMIN)] == ["processed"]


def headers(shop: Shop, role: str) -> dict[str, str]:
    key = run(shop.engine, lambda c: keys.create(c, role, f"a {role}"))
    return {"Authorization": f"Bearer {key}"}


def test_failed_messages_are_listed_looked_at_and_tried_again(
    stocked: Shop, client: TestClient
) -> None:
    for number in range(1, 4):
        deliver(client, missing(id=number), webhook_id=f"w-{number}")
    deliver(client, {"id": 1}, topic="products/update", webhook_id="w-9")
    clerk, reader = headers(stocked, "clerk"), headers(stocked, "analyst")
    page = client.get("/v1/inbox?status=failed&limit=2", headers=reader).json()
    assert [message["external_id"] for message in page["data"]] == ["w-3", "w-2"]
    rest = client.get(
        "/v1/inbox", params={"status": "failed", "after": page["next"]}, headers=reader
    ).json()
    assert ([m["external_id"] for m in rest["data"]], rest["next"]) == (["w-1"], None)
    assert len(client.get("/v1/inbox", headers=reader).json()["data"]) == 4
    first = rest["data"][0]
    assert first["problem"]["errors"][0]["code"] == "unknown_sku"
    assert (first["attempts"], first["next_attempt_at"] is not None) == (1, True)
    path = f"/v1/inbox/{first['id']}"
    assert json.loads(client.get(path, headers=reader).json()["body"])["id"] == 1
    assert client.post(f"{path}/retry", headers=reader).status_code == 403
    assert client.post(f"{path}/retry", headers=clerk).json()["status"] == "failed"
    list_the_sku(stocked)
    done = client.post(f"{path}/retry", headers=clerk).json()
    assert (done["status"], done["problem"], done["attempts"]) == ("processed", None, 3)
    assert client.post(f"{path}/retry", headers=clerk).json() == done


def test_the_inbox_needs_a_key_and_names_what_there_is_not(
    stocked: Shop, client: TestClient
) -> None:
    clerk = headers(stocked, "clerk")
    assert client.get("/v1/inbox").status_code == 401
    assert client.get("/v1/inbox?status=odd", headers=clerk).status_code == 422
    assert client.get("/v1/inbox/77", headers=clerk).status_code == 404
    assert client.post("/v1/inbox/77/retry", headers=clerk).status_code == 404
