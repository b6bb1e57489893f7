"""Workers at once: nothing is called twice within a lease, nothing lost, nothing folded twice."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.payments import commands as payments
from oms_ops.payments import messages, operations
from oms_ops.payments.gateways.registry import gateway
from oms_ops.reconcile import reconcile
from tests.faults.workers import work_together
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, sent
from tests.oms_ops.shop import CLERK, Shop

WORKERS = 4
PAYMENTS = 24


@pytest.fixture
def till(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Till:
    monkeypatch.setenv("OMS_FAKE_ENABLED", "1")
    monkeypatch.setenv("OMS_FAKE_MILLISECONDS", "20")
    gateway.cache_clear()
    shop = Shop(database)
    shop.stock("SKU-1", 500)
    return Till(shop)


def captures_at_once(till: Till) -> None:
    """Ask for two captures of each of many payments, whose authorisations are told once more."""
    ids = [till.payment(till.sell(("SKU-1", 2), stock=1)) for _ in range(PAYMENTS)]
    run(till.engine, lambda c: [operations.authorise(c, CLERK, i, token="t") for i in ids])
    collecting.perform(till.engine)
    for payment_id in ids:
        for part in (150, 248):
            run(till.engine, lambda c, i=payment_id, p=part: payments.capture(c, CLERK, [i], p))
    for event_id, body in sent(till.fake):
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))


def called(till: Till) -> list[int]:
    """Return how often each capture was asked of the gateway."""
    with till.fake.books() as books:
        rows = books.execute("SELECT count(*) FROM calls WHERE kind = 'capture' GROUP BY key")
        return [row[0] for row in rows]


def test_several_workers_ask_once_and_lose_nothing(till: Till) -> None:
    captures_at_once(till)
    work_together(till.engine, WORKERS)
    assert called(till) == [1] * (2 * PAYMENTS)
    # The rest is told by webhook, and folded by several at once too.
    for event_id, body in sent(till.fake):
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))
    work_together(till.engine, WORKERS)
    assert differences(till.shop, till.fake) == []
    left = till.shop.rows(
        "SELECT status, count(*) FROM payment_operations GROUP BY status"
        " UNION ALL SELECT status, count(*) FROM gateway_messages GROUP BY status"
    )
    assert sorted(tuple(row) for row in left) == [
        ("applied", 3 * PAYMENTS),
        ("settled", 3 * PAYMENTS),
    ]
    assert till.shop.rows("SELECT DISTINCT captured_minor FROM payments") == [(398,)]
    assert [finding for finding in reconcile(till.engine) if finding.count] == []


def test_negative_control_without_the_lease_an_operation_is_called_by_several(
    till: Till,
) -> None:
    captures_at_once(till)
    work_together(till.engine, WORKERS, lease=0)
    assert max(called(till)) > 1
    # The key still keeps the gateway from doing it twice.
    assert differences(till.shop, till.fake) == []
