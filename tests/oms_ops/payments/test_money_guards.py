"""Negative controls: each guard of the money, taken away, does the harm that it keeps from us.

The caps of balances and tenders have theirs in ``test_money_races.py``, the lease in
``tests/faults/test_several_workers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from oms_ops.database import make_engine, run
from oms_ops.errors import Conflict
from oms_ops.orders import collecting
from oms_ops.payments import commands as payments
from oms_ops.payments import operations, refunds, settling
from oms_ops.payments.commands import RefundRequest
from oms_ops.payments.tables import OPERATION_STATUSES
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.test_money_races import RACERS, all_at_once
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK, Shop

AMOUNT = 398


@pytest.fixture
def unguarded(postgres_url: str) -> Iterator[Till]:
    """Return a till on PostgreSQL whose guards a test takes away: its ledgers may well differ."""
    engine = make_engine(postgres_url, pool_size=20)
    yield Till(Shop(engine))
    engine.dispose()


def captured(till: Till) -> int:
    """Return a payment that the gateway captured."""
    payment_id = till.authorise(till.sell(("SKU-1", 2)))
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    collecting.perform(till.engine)
    return payment_id


def refund(till: Till, payment_id: int, amount: int) -> None:
    request = RefundRequest(payment_id, amount, "x")
    run(till.engine, lambda c: payments.refund(c, CLERK, [request]))


def wrong(till: Till) -> set[str]:
    """Return what the reconciliation finds wrong."""
    return {finding.name for finding in reconcile(till.engine) if finding.count}


def heard_twice(till: Till) -> int:
    """Hear of a capture of 100 by its answer and by a webhook, while one of 200 is under way.

    Returns the payment, of which 98 are left.
    """
    payment_id = till.authorise(till.sell(("SKU-1", 2)))
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id], 100))
    collecting.perform(till.engine)
    till.fake.break_next("capture", "lost_before")
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id], 200))
    collecting.perform(till.engine)
    till.deliver_events()
    return payment_id


def take_the_rest_and_more(till: Till, payment_id: int) -> None:
    """Ask for 198 of the 98 that are left."""
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id], 198))


def test_news_that_come_twice_count_once(till: Till) -> None:
    payment_id = heard_twice(till)
    rows = till.shop.rows("SELECT captured_minor, capturing_minor FROM payments")
    assert [tuple(row) for row in rows] == [(100, 200)]
    with pytest.raises(Conflict):
        take_the_rest_and_more(till, payment_id)


def test_negative_control_without_looking_again_what_others_reserved_is_given_away(
    unguarded: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "OPEN_STATUSES", OPERATION_STATUSES)
    payment_id = heard_twice(unguarded)
    take_the_rest_and_more(unguarded, payment_id)
    asked = unguarded.shop.rows(
        "SELECT CAST(sum(amount_minor) AS bigint) FROM payment_operations WHERE kind = 'capture'"
    )
    assert asked[0][0] == 498 > AMOUNT
    assert wrong(unguarded)


def same_key_twice(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for 100 back twice, with the dice showing the same for the keys of both."""
    payment_id = captured(till)
    monkeypatch.setattr(operations.secrets, "token_hex", lambda length: "7" * length)
    refund(till, payment_id, 100)
    refund(till, payment_id, 100)


def test_no_two_operations_share_a_key(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        same_key_twice(till, monkeypatch)
    collecting.perform(till.engine)
    rows = till.shop.rows("SELECT refunded_minor, refunding_minor FROM payments")
    assert [tuple(row) for row in rows] == [(100, 0)]


def test_negative_control_where_keys_are_shared_money_is_told_as_refunded_that_is_not(
    unguarded: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = "ALTER TABLE payment_operations DROP CONSTRAINT uq_payment_operations_key"
    run(unguarded.engine, lambda c: c.execute(sa.text(drop)))
    same_key_twice(unguarded, monkeypatch)
    collecting.perform(unguarded.engine)
    told = unguarded.shop.rows(
        "SELECT CAST(sum(amount_minor) AS bigint) FROM refunds WHERE status = 'settled'"
    )
    with unguarded.fake.books() as books:
        done = books.execute("SELECT sum(amount) FROM acts WHERE kind = 'refund'").fetchone()[0]
    assert (told[0][0], done) == (200, 100)
    assert wrong(unguarded)


def refund_all_at_once(till: Till) -> tuple[int, int]:
    """Refund all of a payment eight times at once; return who won and what the gateway is asked."""
    payment_id = captured(till)
    request = RefundRequest(payment_id, AMOUNT, "all")
    won = all_at_once(till.engine, [lambda c: payments.refund(c, CLERK, [request])] * RACERS)
    asked = till.shop.rows(
        "SELECT CAST(coalesce(sum(amount_minor), 0) AS bigint) FROM payment_operations"
        " WHERE kind = 'refund'"
    )
    return won, int(asked[0][0])


def test_no_more_is_asked_back_of_a_gateway_than_it_captured(till: Till) -> None:
    assert refund_all_at_once(till) == (1, AMOUNT)
    collecting.perform(till.engine)


def test_negative_control_without_the_cap_a_gateway_is_asked_for_more_than_it_captured(
    unguarded: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refunds, "REFUND_GUARD", "r.amount > 0")
    # What is left of each capture is the same cap once more.
    monkeypatch.setattr(
        refunds,
        "_by_capture",
        lambda connection, requests: [refunds._Part(each, "fc_2") for each in requests],
    )
    won, asked = refund_all_at_once(unguarded)
    assert won > 1
    assert asked == won * AMOUNT > AMOUNT
