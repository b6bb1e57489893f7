"""Promises 1, 3 and 7 when what was allocated is routed again: rejected, short, or by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import pytest
import sqlalchemy as sa

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, NotFound, OutOfStock, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders.reroute import Shortage, reallocate, reroute
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.stock import ledger, warehouses
from oms_ops.stock.ledger import PlaceMove
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop
from tests.oms_ops.test_order_life import placed, seen
from tests.oms_ops.test_races import both

PICKER = Actor("pia", "warehouse")


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """However a test ended, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def parts(shop: Shop, order_id: int) -> list[tuple[str, str, str, int]]:
    """Return (warehouse, status, SKU, units) of what is in an order's shipments."""
    rows = shop.rows(
        "SELECT w.code, s.status, k.code, sum(x.quantity) FROM shipments AS s"
        " JOIN warehouses AS w ON w.id = s.warehouse_id"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id JOIN skus AS k ON k.id = x.sku_id"
        " WHERE s.order_id = :i GROUP BY w.code, s.status, k.code ORDER BY 1, 2, 3",
        i=order_id,
    )
    return [(*row[:3], int(row[3])) for row in rows]


def shipments(shop: Shop, order_id: int, warehouse: str | None = None) -> list[int]:
    rows = shop.rows(
        "SELECT s.id FROM shipments AS s JOIN warehouses AS w ON w.id = s.warehouse_id"
        " WHERE s.order_id = :i AND w.code = coalesce(:w, w.code) AND s.status <> 'cancelled'"
        " ORDER BY s.id",
        i=order_id,
        w=warehouse,
    )
    return [row[0] for row in rows]


def lines_of(shop: Shop, order_id: int, sku: str = "SKU-1") -> list[int]:
    rows = shop.rows(
        "SELECT x.id FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
        " WHERE s.order_id = :i AND x.sku_id = :k ORDER BY x.id",
        i=order_id,
        k=shop.sku_ids[sku],
    )
    return [row[0] for row in rows]


def reject(shop: Shop, order_id: int, warehouse: str = "ATL", **how: Any) -> None:
    ids = shipments(shop, order_id, warehouse)
    how.setdefault("reason", "no packers today")
    run(shop.engine, lambda c: reroute(c, PICKER, ids, **how))


def come_short(shop: Shop, *takes: tuple[int, int], reason: str = "not in its bin") -> None:
    wanted = [Shortage(*take) for take in takes]
    run(shop.engine, lambda c: reallocate(c, PICKER, wanted, reason=reason))


def messages(shop: Shop, kind: str) -> list[dict[str, Any]]:
    rows = shop.rows("SELECT payload FROM outbox_messages WHERE kind = :k ORDER BY id", k=kind)
    return [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in rows]


def waits(shop: Shop, order_id: int) -> list[tuple[str, int, int]]:
    """Return (SKU, allocated, backordered) of the lines."""
    lines = seen(shop, order_id)["lines"]
    return [(line["sku"], line["allocated"], line["backordered"]) for line in lines]


def test_a_rejected_shipment_goes_to_another_warehouse(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    reject(shop, order_id)
    assert parts(shop, order_id) == [("NYC", "allocated", "SKU-1", 3)]
    assert (shop.level("SKU-1", "ATL"), shop.level("SKU-1", "NYC")) == ((5, 0), (5, 3))
    order = seen(shop, order_id)
    assert order["warehouse"] == "NYC"
    assert order["routing"]["rerouted_from"] == ["ATL"]
    assert order["routing"]["because"] == "no packers today"
    assert messages(shop, "order.backordered") == []


def test_what_no_other_warehouse_has_waits_at_the_new_home_and_the_customer_is_told(
    shop: Shop,
) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 2, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    reject(shop, order_id)
    assert parts(shop, order_id) == [("NYC", "allocated", "SKU-1", 2)]
    assert waits(shop, order_id) == [("SKU-1", 2, 1)]
    (message,) = messages(shop, "order.backordered")
    assert message["lines"] == [{"sku": "SKU-1", "quantity": 1}]
    assert message["promised_on"] == seen(shop, order_id)["promised_on"] is not None
    assert messages(shop, "order.promise_changed") == []


def test_what_waits_moves_with_its_home_and_is_filled_there(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    order_id = placed(shop, ("SKU-1", 2), ("SKU-2", 2), allow_backorder=True)
    shop.stock("SKU-1", 5, "NYC")
    shop.stock("SKU-2", 1, "NYC")
    reject(shop, order_id)
    assert waits(shop, order_id) == [("SKU-1", 2, 0), ("SKU-2", 1, 1)]
    assert {part[0] for part in parts(shop, order_id)} == {"NYC"}
    # One of two waits now that waited before: that is no news of a backorder.
    assert messages(shop, "order.backordered") == []
    shop_bought(shop, "SKU-2", 6, "NYC")
    assert waits(shop, order_id) == [("SKU-1", 2, 0), ("SKU-2", 2, 0)]


def test_freed_units_go_to_whoever_waits_there_first(shop: Shop) -> None:
    shop.stock("SKU-1", 3, "ATL")
    first = placed(shop, ("SKU-1", 3))
    second = placed(shop, ("SKU-1", 2), allow_backorder=True)
    shop.stock("SKU-1", 3, "NYC")
    reject(shop, first)
    assert waits(shop, second) == [("SKU-1", 2, 0)]
    assert shop.level("SKU-1", "ATL") == (3, 2)


def test_short_units_are_found_elsewhere_if_the_order_may_be_split(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    split = placed(shop, ("SKU-1", 3), allow_split=True)
    whole = placed(shop, ("SKU-1", 2))
    come_short(shop, (lines_of(shop, split)[0], 2), (lines_of(shop, whole)[0], 1))
    assert parts(shop, split) == [
        ("ATL", "allocated", "SKU-1", 1),
        ("NYC", "allocated", "SKU-1", 2),
    ]
    assert parts(shop, whole) == [("ATL", "allocated", "SKU-1", 1)]
    assert waits(shop, whole) == [("SKU-1", 1, 1)]
    assert seen(shop, whole)["warehouse"] == "ATL"
    assert [m["lines"] for m in messages(shop, "order.backordered")] == [
        [{"sku": "SKU-1", "quantity": 1}]
    ]


def test_an_order_that_is_short_as_a_whole_moves_though_it_may_not_be_split(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    come_short(shop, (lines_of(shop, order_id)[0], 3))
    assert parts(shop, order_id) == [("NYC", "allocated", "SKU-1", 3)]
    (gone,) = shop.rows("SELECT status FROM shipments WHERE id = 1")
    assert gone[0] == "cancelled"


def test_short_units_can_leave_the_stock_in_the_same_transaction(shop: Shop) -> None:
    shop.stock("SKU-1", 3, "ATL")
    waiting = placed(shop, ("SKU-1", 3))
    other = placed(shop, ("SKU-1", 1), allow_backorder=True)
    places = dict(shop.rows("SELECT code, id FROM locations WHERE code LIKE 'ATL-%'"))

    def pick_short(connection: sa.Connection) -> None:
        takes = [Shortage(lines_of(shop, waiting)[0], 2)]
        reallocate(connection, PICKER, takes, reason="broken")
        lost = PlaceMove(places["ATL-STORAGE"], places["ATL-QUARANTINE"], shop.sku_ids["SKU-1"], 2,
                         "short_pick")  # fmt: skip
        ledger.move(connection, PICKER, [lost])

    run(shop.engine, pick_short)
    # Nobody else got the units in between, not even who waited before.
    assert waits(shop, other) == [("SKU-1", 0, 1)]
    assert shop.level("SKU-1", "ATL") == (1, 1)


def test_short_units_of_a_picked_shipment_leave_it(shop: Shop) -> None:
    shop.stock("SKU-1", 3, "ATL")
    order_id = placed(shop, ("SKU-1", 3))
    run(shop.engine, lambda c: fulfilment.pick(c, ADMIN, shipments(shop, order_id)))
    come_short(shop, (lines_of(shop, order_id)[0], 1))
    assert parts(shop, order_id) == [("ATL", "picked", "SKU-1", 2)]
    assert waits(shop, order_id) == [("SKU-1", 2, 1)]


def test_a_person_may_name_the_warehouse(shop: Shop) -> None:
    warehouses_of_three(shop)
    for code in ("ATL", "NYC", "LAX"):
        shop.stock("SKU-1", 5, code)
    order_id = placed(shop, ("SKU-1", 3))
    reject(shop, order_id, to="LAX", reason="customer moved")
    assert parts(shop, order_id) == [("LAX", "allocated", "SKU-1", 3)]
    assert seen(shop, order_id)["warehouse"] == "LAX"


def warehouses_of_three(shop: Shop) -> None:
    shop.warehouse_ids["LAX"] = run(
        shop.engine,
        lambda c: warehouses.create(
            c, ADMIN, code="LAX", name="LAX", city="LAX", region="CA", postal_code="90001",
            country="US",
        ),
    )  # fmt: skip


def test_a_named_warehouse_without_the_units_is_refused(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 2, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    with pytest.raises(OutOfStock) as refusal:
        reject(shop, order_id, to="NYC")
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("shipment_ids[0]", "not_available")
    ]
    assert parts(shop, order_id) == [("ATL", "allocated", "SKU-1", 3)]


def test_an_excluded_warehouse_is_not_asked(shop: Shop) -> None:
    warehouses_of_three(shop)
    for code in ("ATL", "NYC", "LAX"):
        shop.stock("SKU-1", 5, code)
    order_id = placed(shop, ("SKU-1", 3))
    reject(shop, order_id, exclude=["ATL", "NYC"])
    assert parts(shop, order_id) == [("LAX", "allocated", "SKU-1", 3)]


def test_without_another_warehouse_a_rejection_is_refused(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    order_id = placed(shop, ("SKU-1", 3))
    with pytest.raises(Conflict) as refusal:
        reject(shop, order_id, exclude=["NYC"])
    assert [e.code for e in refusal.value.errors] == ["no_other_warehouse"]
    assert parts(shop, order_id) == [("ATL", "allocated", "SKU-1", 3)]


def test_a_part_of_an_order_that_may_not_be_split_joins_the_rest_or_stays(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    order_id = placed(shop, ("SKU-1", 2), ("SKU-2", 2), allow_backorder=True)
    run(shop.engine, lambda c: fulfilment.pick(c, ADMIN, shipments(shop, order_id)))
    shop_bought(shop, "SKU-2", 6)
    shop.stock("SKU-2", 6, "NYC")
    (second,) = [s for s in shipments(shop, order_id) if s not in {1}]
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: reroute(c, PICKER, [second], reason="full"))


def shop_bought(shop: Shop, sku: str, units: int, warehouse: str = "ATL") -> None:
    bought = run(
        shop.engine,
        lambda c: purchasing.create(
            c, BUYER, supplier="ACME", warehouse=warehouse, lines=[PurchaseLine(sku, units)]
        ),
    )
    line = bought["lines"][0]["id"]
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, bought["id"], {line: units}))


def test_the_channels_reserve_is_kept_from_what_is_routed_again(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    run(
        shop.engine,
        lambda c: store.publish(c, ADMIN, {"channels": {"web": {"reserve_units": 3}}}),
    )
    order_id = placed(shop, ("SKU-1", 2))
    second = placed(shop, ("SKU-1", 1), warehouse="NYC")
    reject(shop, order_id)
    assert waits(shop, order_id) == [("SKU-1", 1, 1)]
    assert waits(shop, second) == [("SKU-1", 1, 0)]


@pytest.mark.parametrize("steps", [("pick",), ("pick", "pack", "ship")])
def test_what_is_picked_is_not_rejected_any_more(shop: Shop, steps: tuple[str, ...]) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    ids = shipments(shop, order_id)
    for step in steps:
        run(shop.engine, lambda c, s=step: getattr(fulfilment, s)(c, ADMIN, ids))
    with pytest.raises(Conflict) as refusal:
        reject(shop, order_id)
    assert [e.field for e in refusal.value.errors] == ["shipment_ids[0]"]


def test_bad_requests_are_refused_by_name(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    order_id = placed(shop, ("SKU-1", 3))
    (line,) = lines_of(shop, order_id)
    with pytest.raises(ValidationFailed) as refusal:
        reject(shop, order_id, to="NOPE", exclude=["ALSO"])
    assert {e.field for e in refusal.value.errors} == {"to", "exclude[0]"}
    with pytest.raises(NotFound):
        run(shop.engine, lambda c: reroute(c, PICKER, [999], reason="x"))
    with pytest.raises(NotFound):
        come_short(shop, (999, 1))
    with pytest.raises(ValidationFailed):
        come_short(shop, (line, 0), (line, 1))
    with pytest.raises(Conflict, match="hold"):
        come_short(shop, (line, 4))
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: reroute(c, BUYER, shipments(shop, order_id), reason="x"))
    assert parts(shop, order_id) == [("ATL", "allocated", "SKU-1", 3)]


def test_two_rejections_never_promise_the_same_units(shop: Shop) -> None:
    shop.stock("SKU-1", 20, "ATL")
    orders = [placed(shop, ("SKU-1", 2)) for _ in range(8)]
    shop.stock("SKU-1", 9, "NYC")

    def one(order_id: int) -> None:
        reject(shop, order_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, orders))
    assert shop.level("SKU-1", "NYC") == (9, 9)
    assert sum(units for o in orders for _, _, units in waits(shop, o)) == 16 - 9


def test_a_rejection_during_the_pick_comes_too_late(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    ids = shipments(shop, order_id)
    ended = both(
        shop,
        lambda c: fulfilment.pick(c, ADMIN, ids),
        lambda c: reroute(c, PICKER, ids, reason="too late"),
    )
    assert isinstance(ended, Conflict)
    assert parts(shop, order_id) == [("ATL", "picked", "SKU-1", 3)]


def test_a_pick_during_the_rejection_comes_too_late(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    ids = shipments(shop, order_id)
    ended = both(
        shop,
        lambda c: reroute(c, PICKER, ids, reason="no packers"),
        lambda c: fulfilment.pick(c, ADMIN, ids),
    )
    assert isinstance(ended, Conflict)
    assert parts(shop, order_id) == [("NYC", "allocated", "SKU-1", 3)]


def test_many_shipments_take_as_many_statements_as_one(shop: Shop) -> None:
    if shop.engine.dialect.name != "sqlite":
        pytest.skip("counted where the driver traces statements")
    shop.stock("SKU-1", 100, "ATL")
    shop.stock("SKU-1", 100, "NYC")
    orders = [placed(shop, ("SKU-1", 1)) for _ in range(13)]
    ids = [shipment for order_id in orders for shipment in shipments(shop, order_id)]
    assert statements(shop, ids[:1]) == statements(shop, ids[1:])
    assert shop.level("SKU-1", "NYC") == (100, 13)


def statements(shop: Shop, shipment_ids: list[int]) -> int:
    """Reroute; return how many statements that took."""
    seen_statements = []

    def work(connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(seen_statements.append)
        reroute(connection, PICKER, shipment_ids, reason="closed")
        driver.set_trace_callback(None)

    run(shop.engine, work)
    # A trigger shows its statement as a comment and, after it, the outer one once more.
    ours = (text for text in seen_statements if not text.startswith("--"))
    return sum(1 for _ in groupby(ours))


def test_a_clerk_may_reroute(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    order_id = placed(shop, ("SKU-1", 3))
    ids = shipments(shop, order_id)
    run(shop.engine, lambda c: reroute(c, CLERK, ids, to="NYC", reason="asked for it"))
    assert parts(shop, order_id) == [("NYC", "allocated", "SKU-1", 3)]
