"""The last unit, two lines of one SKU, real deadlocks: what callers get, in threads and by HTTP.

Each race has a negative control: with its guard taken away, it goes wrong. Other races stand in
``test_races``, ``test_change_races``, ``test_overselling`` and ``test_order_rules``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from oms_ops import database
from oms_ops.access import keys
from oms_ops.database import make_engine, run
from oms_ops.errors import OutOfStock
from oms_ops.orders import cancellation, locks, writing
from oms_ops.orders import capture as capturing
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

BUYERS = 64


def at_once(work: Callable[[int], Any], threads: int) -> list[Any]:
    """Run ``work`` in so many threads from one gun; return what each returned or raised."""
    start = threading.Barrier(threads)

    def one(number: int) -> Any:
        start.wait(30)
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001 - what it was is what is tested
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def wrong(shop: Shop) -> list[str]:
    return [finding.name for finding in reconcile(shop.engine) if finding.count]


def unchecked(shop: Shop) -> None:
    """Take away the table's own defence against overselling."""
    if shop.engine.dialect.name == "sqlite":
        off = "PRAGMA ignore_check_constraints = ON"
        sa.event.listen(shop.engine, "connect", lambda connection, _: connection.execute(off))
        shop.engine.dispose()
    else:
        drop = "ALTER TABLE stock_levels DROP CONSTRAINT ck_stock_levels_never_oversold"
        run(shop.engine, lambda c: c.exec_driver_sql(drop))


def all_look_first(monkeypatch: pytest.MonkeyPatch, buyers: int) -> None:
    """Let every buyer look at the stock before any of them writes."""
    gate, own, look = threading.Barrier(buyers), threading.local(), capturing._look

    def gated(*args: Any) -> Any:
        found = look(*args)
        if not hasattr(own, "looked"):
            own.looked = True
            gate.wait(30)
        return found

    monkeypatch.setattr(capturing, "_look", gated)


@pytest.fixture
def crowd(shop: Shop) -> Iterator[Shop]:
    """Return a shop in which every buyer has a connection."""
    engine, shop.engine = (
        shop.engine,
        make_engine(shop.engine.url.render_as_string(hide_password=False), pool_size=BUYERS),
    )
    yield shop
    shop.engine.dispose()
    shop.engine = engine


def bought_by(buyer: int, *lines: tuple[str, int]) -> dict[str, Any]:
    """Return a buyer's own order: two first orders of one guest would meet at the guest."""
    return order(*lines, customer={"email": f"buyer-{buyer}@example.com", "name": "Buyer"})


# --- The last unit ------------------------------------------------------------------------------


def last_unit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Let all buyers see the last unit, and want it; return how many got what answer."""
    shop.stock("SKU-1", 1)
    all_look_first(monkeypatch, BUYERS)
    answers = at_once(lambda n: capture(shop.engine, CLERK, bought_by(n, ("SKU-1", 1))), BUYERS)
    return Counter("sold" if isinstance(a, dict) else type(a).__name__ for a in answers)


def test_the_last_unit_goes_to_one_of_sixty_four_buyers(
    crowd: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_unit(crowd, monkeypatch) == {"sold": 1, OutOfStock.__name__: BUYERS - 1}
    assert crowd.level("SKU-1") == (1, 1)
    assert crowd.count("orders") == 1
    assert wrong(crowd) == []


def test_without_the_guard_the_last_unit_is_sold_again(
    crowd: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "ALLOCATION_GUARD", "")
    run(crowd.engine, writing.install)
    unchecked(crowd)
    assert last_unit(crowd, monkeypatch) == {"sold": BUYERS}
    assert "nothing is oversold" in wrong(crowd)


# --- Two lines of one SKU -----------------------------------------------------------------------


def one_sku_twice(shop: Shop, monkeypatch: pytest.MonkeyPatch, buyers: int = 16) -> int:
    """Let buyers want 1 and 2 units of a SKU of which there are 7; return how many got them."""
    shop.stock("SKU-1", 7)
    all_look_first(monkeypatch, buyers)
    lines = (("SKU-1", 1), ("SKU-1", 2))
    answers = at_once(lambda n: capture(shop.engine, CLERK, bought_by(n, *lines)), buyers)
    assert {type(answer) for answer in answers} <= {dict, OutOfStock}
    return sum(isinstance(answer, dict) for answer in answers)


def test_two_lines_of_one_sku_are_one_claim(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_sku_twice(shop, monkeypatch) == 2
    assert shop.level("SKU-1") == (7, 6)
    assert wrong(shop) == []


def test_claimed_line_by_line_one_sku_would_be_promised_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest_line(plan: Any, _: Any) -> list[dict[str, int]]:
        claims = plan.routing.claims([line.sku.id for line in plan.priced.lines])
        most = max(claims, key=lambda claim: claim.quantity)
        return [
            {"warehouse_id": most.warehouse_id, "sku_id": most.sku_id, "quantity": most.quantity}
        ]

    monkeypatch.setattr(capturing, "_claims", largest_line)
    assert one_sku_twice(shop, monkeypatch) > 2
    assert wrong(shop) != []


# --- Deadlocks ----------------------------------------------------------------------------------


@pytest.fixture
def postgres_shop(postgres_url: str) -> Iterator[Shop]:
    """Return a shop on PostgreSQL, which finds a deadlock at once: SQLite has one writer."""
    engine = make_engine(postgres_url, pool_size=20)
    name = engine.url.database
    run(engine, lambda c: c.exec_driver_sql(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'"))
    engine.dispose()
    yield Shop(engine)
    engine.dispose()


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is tried again, by PostgreSQL's states."""
    counted: Counter[str] = Counter()

    def counting(error: BaseException) -> bool:
        again = retryable(error)
        if again and isinstance(error, DBAPIError):
            counted[error.orig.sqlstate] += 1  # type: ignore[union-attr]
        return again

    retryable = database.retryable
    monkeypatch.setattr(database, "retryable", counting)
    monkeypatch.setattr(capturing, "retryable", counting)
    return counted


DEADLOCK, SERIALISATION = "40P01", "40001"


def crossing(shop: Shop, **how: Any) -> list[Any]:
    """Promise two SKUs in two steps, in two transactions that take them the other way round."""
    shop.stock("SKU-1", 10)
    shop.stock("SKU-2", 10)
    met = threading.Barrier(2)
    levels = [Quantity(shop.warehouse_ids["ATL"], shop.sku_ids[f"SKU-{n}"], 3) for n in (1, 2)]

    def work(number: int) -> None:
        waits = [True]

        def both(connection: Connection) -> None:
            first, second = levels if number else levels[::-1]
            assert ledger.allocate(connection, ADMIN, [first])
            # Only the first time: the loser begins again when the winner is through.
            if waits.pop() if waits else False:
                met.wait(10)
            assert ledger.allocate(connection, ADMIN, [second])

        run(shop.engine, both, **how)

    return at_once(work, 2)


def test_a_deadlock_over_two_skus_is_tried_again(
    postgres_shop: Shop, retried: Counter[str]
) -> None:
    assert crossing(postgres_shop) == [None, None]
    assert retried == {DEADLOCK: 1}
    assert [postgres_shop.level(sku) for sku in ("SKU-1", "SKU-2")] == [(10, 6), (10, 6)]


def test_without_another_try_a_deadlock_is_seen(postgres_shop: Shop) -> None:
    (failure,) = [ended for ended in crossing(postgres_shop, attempts=1) if ended is not None]
    assert isinstance(failure, DBAPIError)
    assert failure.orig.sqlstate == DEADLOCK  # type: ignore[union-attr]


Call = Callable[..., Any]


@pytest.fixture
def call(postgres_shop: Shop) -> Call:
    """Return what sends a request to the API and answers with its response."""
    key = run(postgres_shop.engine, lambda c: keys.create(c, "admin", "tester"))
    app = app_over(postgres_shop.engine)
    own = threading.local()

    def send(path: str, **body: Any) -> Any:
        if not hasattr(own, "client"):
            own.client = TestClient(
                app, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False
            )
        return own.client.post(f"/v1/{path}", json=body)

    return send


def entangled(shop: Shop, pairs: int) -> list[str]:
    """Place pairs of orders each of which has what the other waits for; return their numbers."""
    numbers = []
    for _ in range(pairs):
        for mine, other in (("SKU-1", "SKU-2"), ("SKU-2", "SKU-1")):
            shop.stock(mine, 2)
            wanted = order((mine, 2), (other, 1), allow_backorder=True, warehouse="ATL")
            numbers.append(capture(shop.engine, CLERK, wanted)["number"])
    return numbers


def cancel_all(shop: Shop, call: Call, pairs: int) -> None:
    """Cancel entangled orders at once: each is answered as if it were alone."""
    numbers = entangled(shop, pairs)
    answers = at_once(lambda i: call(f"orders/{numbers[i]}/cancel", reason="no more"), 2 * pairs)
    assert {answer.status_code for answer in answers} == {200}
    assert shop.level("SKU-1")[1] == shop.level("SKU-2")[1] == 0
    assert wrong(shop) == []


def test_cancellations_do_not_deadlock_over_each_others_units(
    postgres_shop: Shop, call: Call, retried: Counter[str]
) -> None:
    cancel_all(postgres_shop, call, 6)
    assert retried == {}


def test_cancellations_that_deadlock_are_answered_as_any(
    postgres_shop: Shop, call: Call, retried: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their own order first, those that wait for its units when they are given back.
    monkeypatch.setattr(cancellation, "lock_orders_and_waiting", locks.lock_orders)
    cancel_all(postgres_shop, call, 2)
    assert retried[DEADLOCK] > 0, "they never met"


def test_receipts_at_two_homes_do_not_deadlock_over_each_others_orders(
    postgres_shop: Shop, call: Call, retried: Counter[str]
) -> None:
    for number in range(16):
        wanted = bought_by(number, ("SKU-1", 3), ("SKU-2", 3))
        home = ("ATL", "NYC")[number % 2]
        more = {"allow_split": True, "allow_backorder": True, "warehouse": home}
        capture(postgres_shop.engine, CLERK, {**wanted, **more})

    def arrives(number: int) -> Any:
        return call(
            "stock/adjustments", warehouse=("ATL", "NYC")[number % 2], reason="found",
            lines=[{"sku": f"SKU-{1 + number // 2 % 2}", "quantity": 3}],
        )  # fmt: skip

    answers = at_once(arrives, 24)
    assert {answer.status_code // 100 for answer in answers} == {2}, answers[0].text
    assert retried == {}
    waiting = postgres_shop.rows("SELECT sum(backordered) FROM order_lines")[0][0]
    assert (waiting, wrong(postgres_shop)) == (2 * 16 * 3 - 24 * 3, [])


def test_transfers_in_both_directions_pass_each_other(
    postgres_shop: Shop, call: Call, retried: Counter[str]
) -> None:
    for number in range(1, 5):
        for warehouse in ("ATL", "NYC"):
            postgres_shop.stock(f"SKU-{number}", 60, warehouse)
    lines = [{"sku": f"SKU-{number}", "quantity": 2} for number in range(1, 5)]

    def travel(number: int) -> list[int]:
        way = ["ATL", "NYC"][:: 1 if number % 2 else -1]
        # Half of them name the SKUs the other way round.
        named = lines[:: 1 if number % 4 < 2 else -1]
        statuses = []
        for _ in range(3):
            made = call("stock/transfers", from_warehouse=way[0], to_warehouse=way[1], lines=named)
            path = f"stock/transfers/{made.json().get('number')}"
            sent = call(f"{path}/send")
            arrived = [{"line_no": n, "quantity": 2} for n in range(1, 5)]
            came = call(f"{path}/receive", lines=arrived)
            statuses += [made.status_code, sent.status_code, came.status_code]
        return statuses

    answers = at_once(travel, 8)
    assert {status for each in answers for status in each} <= {200, 201}, (answers, retried)
    assert postgres_shop.level("SKU-1") == postgres_shop.level("SKU-1", "NYC") == (60, 0)
    assert wrong(postgres_shop) == []


# --- Serialisation failures ---------------------------------------------------------------------


def failing(engine: Engine, times: int) -> None:
    """Make the next changes of a level fail as PostgreSQL fails what it cannot serialise."""
    for statement in (
        "CREATE SEQUENCE failures",
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        # A sequence counts on when all else is rolled back.
        f" IF nextval('failures') <= {times} THEN"
        f" RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '{SERIALISATION}';"
        " END IF; RETURN NEW; END $$",
        "CREATE TRIGGER fail BEFORE UPDATE ON stock_levels FOR EACH ROW EXECUTE FUNCTION fail()",
    ):
        run(engine, lambda c, s=statement: c.exec_driver_sql(s))


def test_a_serialisation_failure_is_tried_again(
    postgres_shop: Shop, call: Call, retried: Counter[str]
) -> None:
    postgres_shop.stock("SKU-1", 5)
    failing(postgres_shop.engine, 3)
    made = call("orders", **order(("SKU-1", 2)))
    assert (made.status_code, retried) == (201, {SERIALISATION: 3})
    assert postgres_shop.level("SKU-1") == (5, 2)


def test_who_fails_again_and_again_is_told_to_come_back(postgres_shop: Shop, call: Call) -> None:
    postgres_shop.stock("SKU-1", 5)
    number = capture(postgres_shop.engine, CLERK, order(("SKU-1", 2)))["number"]
    failing(postgres_shop.engine, 1000)
    refused = call(f"orders/{number}/cancel", reason="no more")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["type"] == "urn:oms:problem:unavailable"
    assert postgres_shop.level("SKU-1") == (5, 2)
    assert wrong(postgres_shop) == []
