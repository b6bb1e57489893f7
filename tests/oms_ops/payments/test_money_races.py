"""Promise 5 under concurrency: balances, refunds and part payments, each with a negative control.

With the guard switched off, and the table's CHECK where there is one, the same race breaks the
promise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import make_engine, run
from oms_ops.errors import Conflict, OmsError
from oms_ops.orders import collecting, queries, tenders
from oms_ops.orders.capture import capture
from oms_ops.payments import balances, refunds
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import CLERK, Shop, order

RACERS = 8


@pytest.fixture
def unguarded(postgres_url: str) -> Iterator[Shop]:
    """Return a shop on PostgreSQL, whose guards a test takes away."""
    engine = make_engine(postgres_url, pool_size=20)
    yield Shop(engine)
    engine.dispose()


def all_at_once(engine: Engine, works: list[Callable[[Connection], Any]]) -> int:
    """Run all from one starting gun; return how many were not refused."""
    start = threading.Barrier(len(works))

    def one(work: Callable[[Connection], Any]) -> bool:
        start.wait()
        try:
            run(engine, work)
        except OmsError:
            return False
        return True

    with ThreadPoolExecutor(len(works)) as pool:
        return sum(pool.map(one, works))


def ordered(shop: Shop, units: int = 11) -> int:
    """Capture an order that nobody pays yet; 11 units cost 21.89."""
    shop.stock("SKU-1", units)
    number = capture(shop.engine, CLERK, order(("SKU-1", units), payment=None))["number"]
    return queries.id_of(number, "SO")


def spend(shop: Shop, method: str) -> tuple[int, int]:
    """Spend a balance of 50 by eight orders of 20 each; return who won and what is left."""
    order_ids = [ordered(shop) for _ in range(RACERS)]
    code = None
    if method == "gift_card":
        code = run(shop.engine, lambda c: balances.issue_card(c, CLERK, "USD", 5000)).code
    else:
        customer = shop.rows("SELECT id FROM customers")[0][0]
        run(shop.engine, lambda c: balances.issue_credit(c, CLERK, customer, "USD", 5000, "x"))
    won = all_at_once(
        shop.engine,
        [
            lambda c, i=order_id: tenders.add(c, CLERK, i, method, 2000, code=code)
            for order_id in order_ids
        ],
    )
    return won, int(shop.rows("SELECT balance_minor FROM balances")[0][0])


@pytest.mark.parametrize("method", ["gift_card", "store_credit"])
def test_a_balance_of_50_pays_20_twice_and_never_goes_negative(shop: Shop, method: str) -> None:
    assert spend(shop, method) == (2, 1000)
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.mark.parametrize("method", ["gift_card", "store_credit"])
def test_negative_control_without_its_guards_a_balance_goes_negative(
    unguarded: Shop, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(balances, "BALANCE_GUARD", "true")
    run(
        unguarded.engine,
        lambda c: c.execute(
            sa.text("ALTER TABLE balances DROP CONSTRAINT ck_balances_never_negative")
        ),
    )
    won, left = spend(unguarded, method)
    assert won > 2
    assert left < 0


def test_the_database_itself_refuses_a_negative_balance(shop: Shop) -> None:
    run(shop.engine, lambda c: balances.issue_card(c, CLERK, "USD", 5000))
    with pytest.raises(sa.exc.IntegrityError):
        run(shop.engine, lambda c: c.execute(sa.text("UPDATE balances SET balance_minor = -1")))


def refund_all(till: Till, method: str) -> tuple[int, int, int]:
    """Refund a payment of 21.89 eight times; return who won, what went back, what was asked."""
    till.shop.stock("SKU-1", 11)
    order_id = till.sell(("SKU-1", 11), payment={"method": method})
    payment_id = till.authorise(order_id) if method == "card" else till.payment(order_id)
    run(till.engine, lambda c: payments.capture(c, CLERK, [payment_id]))
    collecting.perform(till.engine)
    request = RefundRequest(payment_id, 2189, "all")
    won = all_at_once(till.engine, [lambda c: payments.refund(c, CLERK, [request])] * RACERS)
    collecting.perform(till.engine)
    asked = till.shop.rows("SELECT CAST(sum(amount_minor) AS bigint) FROM refunds")[0][0]
    return won, int(till.payments(order_id)[0].refunded_minor), int(asked)


@pytest.mark.parametrize("method", ["card", "cash"])
def test_of_eight_refunds_of_all_one_wins(till: Till, method: str) -> None:
    assert refund_all(till, method) == (1, 2189, 2189)


def test_negative_control_without_its_guard_a_payment_is_refunded_again_and_again(
    unguarded: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refunds, "REFUND_GUARD", "r.amount > 0")
    won, _, asked = refund_all(Till(unguarded), "cash")
    assert won > 1
    assert asked > 2189


def pay_in_parts(shop: Shop) -> tuple[int, int]:
    """Pay an order of 21.89 by eight tenders of 5; return who won and what they come to."""
    order_id = ordered(shop)
    methods = ("cash", "card", "bank_transfer", "invoice") * 2
    won = all_at_once(
        shop.engine,
        [lambda c, m=method: tenders.add(c, CLERK, order_id, m, 500) for method in methods],
    )
    paid = shop.rows("SELECT CAST(coalesce(sum(amount_minor), 0) AS bigint) FROM payments")
    return won, int(paid[0][0])


def test_tenders_at_once_never_come_to_more_than_the_order_costs(shop: Shop) -> None:
    assert pay_in_parts(shop) == (4, 2000)


def test_negative_control_without_the_orders_lock_tenders_exceed_it(
    unguarded: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Barrier(RACERS)
    really = tenders.uncovered

    def uncovered(connection: Connection, order_id: int) -> int:
        rest = really(connection, order_id)
        # Nobody goes on before all have looked: without the lock nothing keeps them from it.
        looked.wait(10)
        return rest

    monkeypatch.setattr(tenders, "lock_orders", lambda connection, order_ids: {})
    monkeypatch.setattr(tenders, "uncovered", uncovered)
    won, paid = pay_in_parts(unguarded)
    assert (won, paid) == (RACERS, 4000)


def test_all_of_an_order_is_paid_once_by_eight_at_once(shop: Shop) -> None:
    order_id = ordered(shop)
    won = all_at_once(shop.engine, [lambda c: tenders.add(c, CLERK, order_id, "cash")] * RACERS)
    assert won == 1
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: tenders.add(c, CLERK, order_id, "cash"))
