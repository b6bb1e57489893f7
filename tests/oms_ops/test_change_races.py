"""A change of an order meets the warehouse at the order's row; without that lock, both would win.

Each race stops the first action in the middle, inside its transaction, starts the second, and lets
the first go on. The negative controls take the lock away and show what then goes wrong: on
PostgreSQL, for SQLite has one writer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import Retry, retryable, run
from oms_ops.errors import Conflict
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import amendment, cancellation
from oms_ops.orders.amendment import apply
from oms_ops.orders.amendment_shape import parse
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.units import CancelledUnits
from oms_ops.purchasing import receipts
from oms_ops.reconcile import reconcile
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import advance, placed, seen
from tests.oms_ops.test_races import both, bought, shipments

Work = Callable[[Connection], Any]


def sound(shop: Shop) -> bool:
    return all(finding.count == 0 for finding in reconcile(shop.engine))


def unlocked(monkeypatch: pytest.MonkeyPatch, shop: Shop, module: Any) -> None:
    """Let the module's actions begin without the orders' locks."""
    if shop.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: there is no lock to take away")
    for name in ("lock_orders", "lock_orders_and_waiting"):
        if hasattr(module, name):
            taken_away = lambda _, order_ids: dict.fromkeys(order_ids, "open")  # noqa: E731
            monkeypatch.setattr(module, name, taken_away)
    if hasattr(module, "lock_order_and_rivals"):
        monkeypatch.setattr(module, "lock_order_and_rivals", lambda *_: None)


def amends(order_id: int, quantity: int) -> Work:
    wanted = parse({"lines": [{"line_no": 1, "quantity": quantity}]})
    return lambda c: apply(c, CLERK, order_id, wanted)


def drops(order_id: int, units: int) -> Work:
    return lambda c: cancel_units(c, CLERK, [CancelledUnits(order_id, 1, units)], "no more")


def steps(shop: Shop, order_id: int, *names: str) -> Work:
    chosen = shipments(shop, order_id)

    def work(connection: Connection) -> None:
        for name in names:
            getattr(fulfilment, name)(connection, ADMIN, chosen)

    return work


def picked_units(shop: Shop) -> int:
    found = shop.rows(
        "SELECT coalesce(sum(x.quantity), 0) FROM shipment_lines AS x"
        " JOIN shipments AS s ON s.id = x.shipment_id WHERE s.status = 'picked'"
    )
    return int(found[0][0])


def test_units_that_are_being_picked_are_not_amended_away(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    ended = both(shop, steps(shop, order_id, "pick"), amends(order_id, 1))
    assert isinstance(ended, Conflict)
    assert picked_units(shop) == 3
    assert sound(shop)


def test_without_the_lock_the_picked_parcel_would_be_amended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked(monkeypatch, shop, amendment)
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    ended = both(shop, steps(shop, order_id, "pick"), amends(order_id, 1))
    assert not isinstance(ended, Conflict)
    assert picked_units(shop) == 1


def test_units_added_while_the_others_are_picked_are_a_parcel_of_their_own(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    ended = both(shop, steps(shop, order_id, "pick"), amends(order_id, 5))
    assert ended["changed"]
    assert picked_units(shop) == 3
    assert shop.level("SKU-1") == (5, 5)
    assert sound(shop)


def test_an_order_that_is_being_amended_is_picked_as_it_is_then(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    both(shop, amends(order_id, 4), steps(shop, order_id, "pick"))
    assert picked_units(shop) == 4
    assert sound(shop)


@pytest.mark.parametrize("names", [("pick",), ("pick", "pack", "ship")])
def test_units_that_leave_are_not_cancelled(shop: Shop, names: tuple[str, ...]) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    ended = both(shop, steps(shop, order_id, *names), drops(order_id, 3))
    assert isinstance(ended, Conflict)
    assert sound(shop)


def test_without_the_lock_units_that_leave_would_be_cancelled(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked(monkeypatch, shop, cancellation)
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    both(shop, steps(shop, order_id, "pick", "pack"), drops(order_id, 3))
    assert seen(shop, order_id)["status"] == "cancelled"
    assert shop.rows("SELECT count(*) FROM shipments WHERE picked_at IS NOT NULL")[0][0] == 1


def test_what_is_left_is_cancelled_while_the_rest_ships(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    advance(shop, order_id, "pick", "pack")
    both(shop, steps(shop, order_id, "ship", "deliver"), drops(order_id, 1))
    assert seen(shop, order_id)["status"] == "closed"
    assert sound(shop)


def test_a_backorder_is_filled_or_cancelled_but_not_both(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    purchase, line = bought(shop, 6)
    both(shop, lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}), drops(order_id, 2))
    assert shop.level("SKU-1") == (6, 1)
    assert sound(shop)


def test_without_the_lock_a_filled_backorder_would_be_cancelled(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked(monkeypatch, shop, cancellation)
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    purchase, line = bought(shop, 6)
    both(
        shop,
        lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}),
        lambda c: cancel(c, CLERK, [order_id], "no more"),
    )
    assert not sound(shop)


def test_two_amendments_of_one_order_come_one_after_the_other(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 3))
    both(shop, amends(order_id, 5), amends(order_id, 2))
    assert shop.level("SKU-1") == (9, 2)
    assert seen(shop, order_id)["totals"]["owed"] == "3.98"
    assert sound(shop)


def test_all_that_changes_a_queue_at_once_waits_for_its_turn(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is sent back by a deadlock but by chance: who locks in another order is, every time.

    An order that begins to wait while somebody holds the rest of its queue is locked out of turn.
    """
    deadlocks: list[BaseException] = []

    def retries(error: BaseException) -> bool:
        if not isinstance(error, Retry) and retryable(error):
            deadlocks.append(error)
        return retryable(error)

    if shop.engine.dialect.name == "postgresql":
        for module in ("oms_ops.database", "oms_ops.orders.capture"):
            monkeypatch.setattr(f"{module}.retryable", retries)
    orders = [bought(shop, 6) for _ in range(4)]
    waiting = [
        placed(shop, ("SKU-1", 3), allow_backorder=True, allow_split=index % 2 == 0)
        for index in range(8)
    ]
    early = clock.now() - timedelta(hours=1)

    def comes_late(index: int) -> None:
        guest = {"email": f"guest-{index}@example.com", "name": "Guest"}
        wanted = {"allow_backorder": True, "placed_at": early.isoformat(), "customer": guest}
        placed(shop, ("SKU-1", 2), **wanted)

    def arrives(index: int) -> None:
        order, line = orders[index]
        run(shop.engine, lambda c: receipts.receive(c, ADMIN, order, {line: 6}))

    def goes(index: int) -> None:
        run(shop.engine, lambda c: cancel(c, CLERK, [waiting[index]], "no more"))

    def grows(index: int) -> None:
        run(shop.engine, amends(waiting[index + 4], 5))

    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(change, index)
            for index in range(4)
            for change in (comes_late, arrives, goes, grows)
        ]
    for job in jobs:
        job.result()
    assert len(deadlocks) <= 2, deadlocks
    assert sound(shop)
