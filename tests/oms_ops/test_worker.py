"""The worker does its rounds: what failed does not stop the rest, and it ends when told to."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from oms_ops import clock, worker
from oms_ops.database import run
from oms_ops.fulfilment import arrivals
from oms_ops.stock.baskets import Line
from tests.oms_ops.shop import CLERK, Shop


def test_a_hold_that_is_over_gives_its_units_back(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    with clock.at(datetime.now(UTC) - timedelta(hours=2)):
        run(
            shop.engine,
            lambda c: arrivals.hold_basket(c, CLERK, "basket", [Line("SKU-1", 3)], 30),
        )
    assert shop.level("SKU-1") == (5, 3)
    assert worker.work_once(shop.engine)["expired holds"] == 1
    assert shop.level("SKU-1") == (5, 0)
    assert worker.work_once(shop.engine)["expired holds"] == 0


def test_a_task_that_fails_leaves_the_others_their_turn(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Engine) -> int:
        raise RuntimeError("no")

    monkeypatch.setattr(worker, "TASKS", {"broken": broken, **worker.TASKS})
    done = worker.work_once(shop.engine)
    assert done["broken"] is None
    assert done["expired holds"] == 0


def test_it_ends_when_told_to(shop: Shop) -> None:
    stop = threading.Event()
    thread = threading.Thread(
        target=worker.work, args=(shop.engine,), kwargs={"every": 60, "stop": stop}
    )
    thread.start()
    time.sleep(0.2)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
