"""Killed between any two steps, no money is lost, taken twice or given back twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.engine import Engine

from oms_ops.database import run
from oms_ops.payments import commands as payments
from oms_ops.payments import messages
from oms_ops.payments.gateways.registry import gateway
from oms_ops.reconcile import reconcile
from oms_ops.worker import work_once
from tests.faults import killed_money
from tests.faults.killed_money import Point, killed
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import differences, sent
from tests.oms_ops.shop import CLERK, Shop

AMOUNT = 398

#: The steps of an operation, from its request to what follows it, in their order.
ASKED = [
    Point("payments.operations", "insert"),
    Point("orders.collecting", "perform", "before"),
    Point("payments.operations", "claim"),
    Point("payments.calling", "ask", "before"),
    Point("payments.gateways.fake.Fake", "call"),
    Point("payments.settling", "settle", "before"),
    Point("payments.settling", "_close"),
    Point("payments.ledger", "record"),
    Point("payments.settling", "settle"),
    Point("orders.collecting", "follow"),
    # The claim is the first transaction of those that carry operations out.
    Point("orders.collecting", "run", count=2),
]
RECEIVED = [
    Point("payments.gateways.fake.Fake", "verify"),
    Point("payments.messages", "execute"),
    Point("payments.messages", "run"),
]
FOLDED = [
    Point("payments.messages", "claim"),
    Point("payments.matching", "match", "before"),
    Point("payments.matching", "match"),
    Point("payments.settling", "_close"),
    Point("payments.settling", "settle"),
    Point("payments.messages", "settle"),
    Point("payments.folding", "fold"),
    Point("orders.collecting", "follow"),
    Point("orders.collecting", "run", count=2),
]


@pytest.fixture
def till(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Till:
    monkeypatch.setenv("OMS_FAKE_ENABLED", "1")
    gateway.cache_clear()
    shop = Shop(database)
    shop.stock("SKU-1", 200)
    return Till(shop)


def authorised(till: Till) -> int:
    """Return a new payment that the gateway holds."""
    return till.authorise(till.sell(("SKU-1", 2), stock=1))


def captured(till: Till) -> int:
    """Return a new payment that was collected."""
    payment_id = authorised(till)
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    assert work_once(till.engine)["payment operations"] == 1
    return payment_id


def restart(till: Till) -> None:
    """Let the worker have its turns when the leases of the killed one are over."""
    for hours in (7, 14, 21):
        with till.later(hours=hours):
            assert None not in work_once(till.engine).values()


def deliver(till: Till) -> None:
    """Let the gateway send again what was not answered, and all the rest with it."""
    for event_id, body in sent(till.fake):
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))


def asked_for(till: Till, payment_id: int, kind: str) -> int:
    """Return how many operations of a kind there are of a payment."""
    rows = till.shop.rows(
        "SELECT count(*) FROM payment_operations WHERE payment_id = :i AND kind = :kind",
        i=payment_id,
        kind=kind,
    )
    return int(rows[0][0])


def check(till: Till, payment_id: int, kind: str, point: Point) -> None:
    """The payment's operation was done once, at the gateway and here, and the books agree."""
    with till.fake.books() as books:
        acts = books.execute(
            "SELECT amount FROM acts WHERE kind = ? AND payment ="
            " (SELECT payment FROM acts WHERE key = ?)",
            (kind, _key(till, payment_id)),
        ).fetchall()
    assert [act["amount"] for act in acts] == [AMOUNT], point
    column = {"capture": "captured_minor", "refund": "refunded_minor"}[kind]
    rows = till.shop.rows(
        f"SELECT {column}, capturing_minor, refunding_minor FROM payments WHERE id = :i",
        i=payment_id,
    )
    assert tuple(rows[0]) == (AMOUNT, 0, 0), point


def _key(till: Till, payment_id: int) -> str:
    rows = till.shop.rows(
        "SELECT key FROM payment_operations WHERE payment_id = :i AND kind = 'authorise'",
        i=payment_id,
    )
    return str(rows[0][0])


def check_books(till: Till) -> None:
    """Everything has been heard, and both ledgers and the reconciliation find nothing wrong."""
    deliver(till)
    restart(till)
    assert differences(till.shop, till.fake) == []
    statuses = till.shop.rows("SELECT DISTINCT status FROM gateway_messages")
    assert [tuple(row) for row in statuses] == [("applied",)]
    assert [finding for finding in reconcile(till.engine) if finding.count] == []


@pytest.mark.parametrize(
    ("kind", "work", "prepared"),
    [
        ("capture", killed_money.capture, authorised),
        ("refund", killed_money.refund, captured),
    ],
)
def test_what_is_asked_of_a_gateway_is_done_once_wherever_the_process_dies(
    till: Till, kind: str, work: Callable[..., None], prepared: Callable[[Till], int]
) -> None:
    ready = [(point, prepared(till)) for point in ASKED]
    for point, payment_id in ready:
        killed(till.engine, point, work, payment_id, AMOUNT)
        # Before anything was committed nobody was told that it is asked for: she asks again.
        asked = asked_for(till, payment_id, kind)
        assert asked == int(point.name != "insert"), point
        if not asked:
            work(till.engine, payment_id, AMOUNT)
    restart(till)
    for point, payment_id in ready:
        check(till, payment_id, kind, point)
    check_books(till)


def test_a_webhook_that_was_acknowledged_is_kept_wherever_the_process_dies(till: Till) -> None:
    for point in RECEIVED:
        before = till.shop.count("gateway_messages")
        till.fake.break_next("capture", "lost_after")
        payment_id = authorised(till)
        run(till.engine, lambda c, i=payment_id: payments.capture(c, CLERK, [i]))
        work_once(till.engine)
        event_id, body = sent(till.fake)[-1]
        message = till.fake.signed(event_id, body)
        killed(till.engine, point, killed_money.receive, *message)
        # It was not answered: the gateway sends it again, and it is stored once.
        new = messages.receive(till.engine, "fake", *message)
        assert new == (point.name != "run"), point
        assert till.shop.count("gateway_messages") == before + 1
        work_once(till.engine)
        check(till, payment_id, "capture", point)
    check_books(till)


@pytest.mark.parametrize("kind", ["capture", "refund"])
def test_a_message_is_folded_once_wherever_the_process_dies(till: Till, kind: str) -> None:
    prepared = authorised if kind == "capture" else captured
    ready = []
    for point in FOLDED:
        payment_id = prepared(till)
        till.fake.break_next(kind, "lost_after")
        getattr(killed_money, kind)(till.engine, payment_id, AMOUNT)
        ready.append((point, payment_id, sent(till.fake)[-1]))
    for point, _, (event_id, body) in ready:
        messages.receive(till.engine, "fake", *till.fake.signed(event_id, body))
        killed(till.engine, point, killed_money.hear)
    restart(till)
    for point, payment_id, _ in ready:
        check(till, payment_id, kind, point)
    check_books(till)
