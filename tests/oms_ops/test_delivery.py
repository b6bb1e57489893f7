"""What becomes of a parcel that left: each moment is kept as it was, and nothing is told twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops import clock
from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, ValidationFailed
from oms_ops.fulfilment import commands, delivery
from oms_ops.fulfilment.delivery import Failed
from oms_ops.orders.holds import hold
from oms_ops.orders.queries import shipments_by_id
from oms_ops.orders.reroute import reroute
from oms_ops.purchasing import receipts
from oms_ops.reconcile import reconcile
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import advance, placed, seen
from tests.oms_ops.test_races import both, bought, shipments

WORKER = Actor("wanda", "warehouse")
LEFT = datetime(2026, 11, 2, 16, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def parcel(shop: Shop) -> int:
    """Return a shipment that left on 2 November at 16:00."""
    shop.stock("SKU-1", 10)
    with clock.at(LEFT):
        order_id = placed(shop, ("SKU-1", 2))
        advance(shop, order_id, "pick", "pack", "ship")
    return shipments(shop, order_id)[0]


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    """Return a warehouse's client."""
    shop.stock("SKU-1", 10)
    key = run(shop.engine, lambda c: keys.create(c, "warehouse", "scanner"))
    with TestClient(app_over(shop.engine)) as made:
        made.headers["Authorization"] = f"Bearer {key}"
        yield made


def after(hours: float) -> datetime:
    return LEFT + timedelta(hours=hours)


def told(shop: Shop) -> list[str]:
    rows = shop.rows("SELECT kind FROM outbox_messages WHERE kind LIKE 'shipment.%' ORDER BY id")
    return [row[0] for row in rows]


def shown(shop: Shop, shipment_id: int) -> dict[str, Any]:
    return run(shop.engine, lambda c: shipments_by_id(c, [shipment_id])[0])


def test_a_parcel_is_tried_again_until_it_arrives(shop: Shop, parcel: int) -> None:
    run(shop.engine, lambda c: delivery.fail(c, WORKER, [Failed(parcel, "nobody", after(20))]))
    run(shop.engine, lambda c: delivery.fail(c, WORKER, [Failed(parcel, "no bell", after(44))]))
    run(shop.engine, lambda c: delivery.retry(c, WORKER, [parcel]))
    run(shop.engine, lambda c: delivery.deliver(c, WORKER, [parcel], moments={parcel: after(68)}))
    found = shown(shop, parcel)
    assert (found["status"], found["failure_reason"]) == ("delivered", "no bell")
    assert [found[f"{name}_at"] for name in ("shipped", "failed", "delivered", "returned")] == [
        LEFT.isoformat(), after(44).isoformat(), after(68).isoformat(), None,
    ]  # fmt: skip
    assert told(shop) == [
        "shipment.shipped", "shipment.delivery_failed", "shipment.delivery_failed",
        "shipment.out_again", "shipment.delivered",
    ]  # fmt: skip
    assert seen(shop, 1)["status"] == "closed"


def test_a_parcel_that_is_brought_back_stays_shipped_until_it_is_taken_in(
    shop: Shop, parcel: int
) -> None:
    run(shop.engine, lambda c: delivery.bring_back(c, WORKER, [parcel], moments={parcel: after(9)}))
    found = shown(shop, parcel)
    assert (found["status"], found["returned_at"]) == ("returned", after(9).isoformat())
    assert seen(shop, 1)["lines"][0]["shipped"] == 2
    assert shop.level("SKU-1") == (8, 0)
    assert shop.count("refunds") == shop.count("returns") == 0
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: delivery.deliver(c, WORKER, [parcel]))


def test_only_a_later_failure_is_noted_of_a_parcel_that_arrived(shop: Shop, parcel: int) -> None:
    run(shop.engine, lambda c: delivery.deliver(c, WORKER, [parcel], moments={parcel: after(68)}))
    for hour, reason in ((44, "no bell"), (20, "nobody")):
        late = Failed(parcel, reason, after(hour))
        run(shop.engine, lambda c, late=late: delivery.note_failures(c, WORKER, [late]))  # type: ignore[misc]
    found = shown(shop, parcel)
    assert (found["status"], found["failure_reason"]) == ("delivered", "no bell")
    assert told(shop) == ["shipment.shipped", "shipment.delivered"]


def test_moments_that_cannot_be_are_refused(shop: Shop, parcel: int) -> None:
    tomorrow = clock.now() + timedelta(days=1)
    for moment, code in ((tomorrow, "in_the_future"), (after(-0.1), "before_it_left")):
        for act in (
            lambda c, at: delivery.deliver(c, WORKER, [parcel], moments={parcel: at}),
            lambda c, at: delivery.bring_back(c, WORKER, [parcel], moments={parcel: at}),
            lambda c, at: delivery.fail(c, WORKER, [Failed(parcel, "nobody", at)]),
        ):
            with pytest.raises(ValidationFailed) as refused:
                run(shop.engine, lambda c, act=act, at=moment: act(c, at))  # type: ignore[misc]
            assert [error.code for error in refused.value.errors] == [code]
    with pytest.raises(ValidationFailed):
        run(shop.engine, lambda c: delivery.fail(c, WORKER, [Failed(parcel, " ")]))
    assert shown(shop, parcel)["status"] == "shipped"
    assert told(shop) == ["shipment.shipped"]


def test_all_of_a_set_move_or_none_and_each_reason_is_told(shop: Shop, parcel: int) -> None:
    waiting = shipments(shop, placed(shop, ("SKU-1", 1)))[0]
    with pytest.raises(Conflict) as refused:
        run(shop.engine, lambda c: delivery.deliver(c, WORKER, [parcel, waiting, 99]))
    assert [(error.field, error.code) for error in refused.value.errors] == [
        ("shipment_ids[1]", "wrong_status"), ("shipment_ids[2]", "unknown_shipment"),
    ]  # fmt: skip
    assert shown(shop, parcel)["status"] == "shipped"
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: delivery.deliver(c, CLERK, [parcel]))


def test_a_hold_stops_what_is_in_the_house_and_not_what_left(shop: Shop, parcel: int) -> None:
    run(shop.engine, lambda c: hold(c, CLERK, [1], "fraud"))
    run(shop.engine, lambda c: delivery.deliver(c, WORKER, [parcel]))
    assert shown(shop, parcel)["status"] == "delivered"
    assert seen(shop, 1)["status"] == "closed"


def test_two_who_deliver_at_once_tell_the_customer_once(shop: Shop, parcel: int) -> None:
    ended = both(
        shop,
        lambda c: delivery.deliver(c, WORKER, [parcel]),
        lambda c: delivery.fail(c, WORKER, [Failed(parcel, "nobody")]),
    )
    assert isinstance(ended, Conflict)
    assert told(shop) == ["shipment.shipped", "shipment.delivered"]


def test_part_of_an_order_leaves_while_the_rest_waits(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    order_id = placed(shop, ("SKU-1", 5), allow_backorder=True)
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    line = seen(shop, order_id)["lines"][0]
    assert (line["shipped"], line["backordered"]) == (2, 3)
    assert seen(shop, order_id)["status"] == "open"


def test_an_order_that_is_to_leave_complete_waits_at_the_pick_and_at_the_door(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    shop.stock("SKU-2", 2, "NYC")
    order_id = placed(
        shop, ("SKU-1", 2), ("SKU-2", 2), allow_split=True, allow_backorder=True, ship_complete=True
    )
    first, second = shipments(shop, order_id)
    run(shop.engine, lambda c: commands.pick(c, WORKER, [first]))
    run(shop.engine, lambda c: reroute(c, ADMIN, [second], exclude=["NYC"], reason="flood"))
    run(shop.engine, lambda c: commands.pack(c, WORKER, [first]))
    with pytest.raises(Conflict) as at_the_door:
        run(shop.engine, lambda c: commands.ship(c, WORKER, [first]))
    assert [error.code for error in at_the_door.value.errors] == ["waits_for_stock"]
    other = placed(shop, ("SKU-2", 5), allow_backorder=True, ship_complete=True)
    with pytest.raises(Conflict) as at_the_pick:
        run(shop.engine, lambda c: commands.pick(c, WORKER, shipments(shop, other)))
    assert [error.code for error in at_the_pick.value.errors] == ["waits_for_stock"]


def test_the_routes_take_one_or_many_through_every_step(shop: Shop, client: TestClient) -> None:
    for _ in range(2):
        placed(shop, ("SKU-1", 2))
    ids = [row[0] for row in shop.rows("SELECT id FROM shipments ORDER BY id")]
    for step in ("pick", "pack"):
        answer = client.post(f"/v1/shipments/{step}", json={"shipment_ids": ids})
        assert answer.status_code == 200, answer.text
    one, other = ids
    booked = client.post(f"/v1/shipments/{one}/label", json={"tracking_number": "T1"})
    assert (booked.status_code, booked.json()["status"]) == (202, "booked")
    label = client.get(f"/v1/shipments/{one}/label")
    assert label.headers["content-type"].startswith("text/html")
    assert "sandbox" in label.headers["content-security-policy"]
    assert client.get(f"/v1/shipments/{other}/label").status_code == 404
    many = {"shipment_ids": [other], "tracking_numbers": {str(other): "T2"}}
    assert client.post("/v1/shipments/label", json=many).status_code == 202
    assert client.delete(f"/v1/shipments/{other}/label").status_code == 204
    body = {"shipment_ids": ids, "tracking_numbers": {str(other): "T3"}}
    sent = client.post("/v1/shipments/ship", json=body).json()["data"]
    assert [s["tracking_number"] for s in sent] == ["T1", "T3"]
    failed = client.post(f"/v1/shipments/{one}/fail", json={"reason": "nobody home"})
    assert (failed.json()["status"], failed.json()["failure_reason"]) == (
        "delivery_failed", "nobody home",
    )  # fmt: skip
    assert client.post(f"/v1/shipments/{one}/fail", json={}).status_code == 422
    assert client.post(f"/v1/shipments/{one}/retry").json()["status"] == "shipped"
    late = client.post(f"/v1/shipments/{one}/deliver", json={"at": "2999-01-01T00:00:00Z"})
    assert late.json()["errors"][0]["code"] == "in_the_future"
    assert client.post(f"/v1/shipments/{one}/deliver").json()["status"] == "delivered"
    assert client.post(f"/v1/shipments/{other}/return").json()["status"] == "returned"
    assert client.post("/v1/shipments/999/pick").status_code == 404
    assert client.post(f"/v1/shipments/{one}/lose").status_code == 422
    refused = client.post("/v1/shipments/ship", json={"shipment_ids": ids}).json()
    assert len(refused["errors"]) == 2
    whole = client.get(f"/v1/orders/{sent[1]['order']}").json()
    (shipment,) = whole["shipments"]
    assert shipment["returned_at"] is not None
    steps = ("allocated", "picked", "packed", "shipped", "delivered", "failed", "returned")
    assert {"promised_on", *(f"{step}_at" for step in steps)} <= set(shipment)


def test_the_promised_day_of_a_shipment_is_that_of_its_last_line(shop: Shop) -> None:
    shop.stock("SKU-1", 1)
    order_id = placed(shop, ("SKU-1", 3), allow_backorder=True)
    promised = seen(shop, order_id)["lines"][0]["promised_on"]
    purchase, line = bought(shop, 6)
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, purchase, {line: 6}))
    found = shown(shop, shipments(shop, order_id)[0])
    assert (sum(line["quantity"] for line in found["lines"]), found["promised_on"]) == (3, promised)
    assert promised is not None
