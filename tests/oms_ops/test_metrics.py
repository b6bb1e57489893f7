"""Operations see what waits without a key, and nothing of whom it is about."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from oms_ops.api import metrics
from oms_ops.database import run
from oms_ops.orders import holds
from oms_ops.orders.capture import capture
from oms_ops.orders.queries import order_id
from oms_ops.stock import thresholds
from oms_ops.stock.thresholds import Threshold
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order


def read(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == metrics.CONTENT_TYPE
    assert "bob" not in answer.text.lower()
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_what_waits_is_told_without_a_key(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    threshold = [Threshold("SKU-1", "ATL", 3)]
    run(shop.engine, lambda c: thresholds.put(c, ADMIN, threshold))
    numbers = [capture(shop.engine, CLERK, order(("SKU-1", 1)))["number"] for _ in range(3)]
    run(shop.engine, lambda c: holds.hold(c, ADMIN, [order_id(c, numbers[0])], "look"))
    found = read(TestClient(app_over(shop.engine)))
    assert found['oms_orders{status="open"}'] == 2
    assert found['oms_orders{status="on_hold"}'] == 1
    assert found["oms_outbox_waiting"] == 3
    assert found["oms_outbox_oldest_seconds"] > 0
    assert (found["oms_low_stock_levels"], found["oms_inbox_failed"]) == (1, 0)
    assert found["oms_change_log_seq"] == shop.rows("SELECT max(seq) FROM change_log")[0][0]
    assert found["oms_change_log_horizon_seconds"] == 0


def test_a_transaction_that_stays_open_shows(shop: Shop) -> None:
    if shop.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nobody commits out of order")
    with shop.engine.begin() as connection:
        connection.execute(sa.text("UPDATE warehouses SET rank = rank"))
        assert read(TestClient(app_over(shop.engine)))["oms_change_log_horizon_seconds"] > 0


def test_asking_often_asks_the_database_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(app_over(shop.engine))
    before = read(client)
    shop.stock("SKU-1", 5)
    assert read(client) == before
    monkeypatch.setattr(metrics, "_KEPT", 0)
    assert read(client) != before
