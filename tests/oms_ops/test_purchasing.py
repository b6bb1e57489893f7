"""Orders to suppliers from draft to receipt: states, messages, costs, damaged goods."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops import clock
from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, NotFound, ValidationFailed
from oms_ops.purchasing import confirmation, orders, queries, receipts, sending, suppliers, variance
from oms_ops.purchasing.confirmation import ConfirmedLine
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.receipts import Delivered
from oms_ops.purchasing.states import TRANSITIONS
from oms_ops.purchasing.suppliers import SupplierIn, TermIn
from oms_ops.purchasing.tables import PURCHASE_ORDER_STATUSES
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, BUYER, CLERK, Shop
from tests.oms_ops.test_order_life import placed, seen

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def _one_day(shop: Shop) -> Iterator[None]:
    """Let the clock stand; whatever a test did, the ledgers agree."""
    supplier = SupplierIn(name="Acme", email="orders@acme.example.com", lead_time_days=5)
    run(shop.engine, lambda c: suppliers.put(c, BUYER, "ACME", supplier))
    with clock.at(NOON):
        yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def bought(
    shop: Shop, *lines: tuple[str, int], status: str = "sent", **more: Any
) -> dict[str, Any]:
    chosen = [PurchaseLine(sku, units) for sku, units in lines]
    return run(
        shop.engine,
        lambda c: orders.create(
            c, BUYER, supplier="ACME", warehouse="ATL", lines=chosen, status=status, **more
        ),
    )


def received(
    shop: Shop, order: dict[str, Any], *came: int | Delivered, **more: Any
) -> dict[str, Any]:
    """Receive what came of each line; return the order."""
    ids = [line["id"] for line in order["lines"]]
    quantities = {i: c for i, c in zip(ids, came, strict=False) if c}
    run(shop.engine, lambda c: receipts.receive(c, ADMIN, order["id"], quantities, **more))
    return shown(shop, order)


def shown(shop: Shop, order: dict[str, Any]) -> dict[str, Any]:
    with reading(shop.engine) as connection:
        return queries.get(connection, order["number"])


def confirmed(shop: Shop, order: dict[str, Any], **more: Any) -> dict[str, Any]:
    return run(shop.engine, lambda c: confirmation.confirm(c, BUYER, order["number"], **more))


def cancelled(shop: Shop, order: dict[str, Any]) -> dict[str, Any]:
    return run(shop.engine, lambda c: confirmation.cancel(c, BUYER, order["number"], "too late"))


def messages(shop: Shop, kind: str) -> list[tuple[str, dict[str, Any]]]:
    found = shop.rows(
        "SELECT recipient, payload FROM outbox_messages WHERE kind = :kind ORDER BY id", kind=kind
    )
    return [(to, json.loads(p) if isinstance(p, str) else p) for to, p in found]


def quarantined(shop: Shop) -> int:
    found = shop.rows(
        "SELECT coalesce(sum(v.quantity), 0) FROM location_levels AS v"
        " JOIN locations AS p ON p.id = v.location_id WHERE p.kind = 'quarantine'"
    )
    return int(found[0][0])


def average(shop: Shop, sku: str = "SKU-1") -> int:
    return int(
        shop.rows(
            "SELECT average_cost_e4 FROM stock_levels WHERE sku_id = :sku", sku=shop.sku_ids[sku]
        )[0][0]
    )


def test_a_draft_is_edited_then_sent_with_its_csv(shop: Shop) -> None:
    draft = bought(shop, ("SKU-1", 6), status="draft", note="fragile")
    assert (draft["status"], draft["sent_at"]) == ("draft", None)
    assert messages(shop, "purchase_order.sent") == []
    lines = [PurchaseLine("SKU-1", 12, Decimal("0.95")), PurchaseLine("SKU-2", 6)]
    edited = run(
        shop.engine, lambda c: orders.edit(c, BUYER, draft["number"], lines=lines, note="soon")
    )
    assert (edited["total"], edited["note"], len(edited["lines"])) == ("23.40", "soon", 2)
    sent = run(shop.engine, lambda c: sending.send(c, BUYER, draft["number"]))
    assert (sent["status"], sent["sent_at"]) == ("sent", NOON.isoformat())
    ((recipient, payload),) = messages(shop, "purchase_order.sent")
    assert recipient == "orders@acme.example.com"
    assert payload["subject"] == f"Purchase order {draft['number']} from The shop"
    assert "Total: 23.40 USD" in payload["text"]
    (attachment,) = payload["attachments"]
    rows = list(csv.DictReader(io.StringIO(attachment["body"])))
    assert [(r["sku"], r["quantity"], r["unit_cost"], r["amount"]) for r in rows] == [
        ("SKU-1", "12", "0.95", "11.40"),
        ("SKU-2", "6", "2.00", "12.00"),
    ]
    with pytest.raises(Conflict):
        run(shop.engine, lambda c: orders.edit(c, BUYER, draft["number"], lines=lines))


def test_nothing_of_a_draft_is_expected_or_received(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 2), allow_backorder=True)
    before = seen(shop, order_id)["promised_on"]
    draft = bought(shop, ("SKU-1", 6), status="draft", expected_on=TODAY + timedelta(days=2))
    assert seen(shop, order_id)["promised_on"] == before
    with pytest.raises(Conflict):
        received(shop, draft, 6)
    run(shop.engine, lambda c: sending.send(c, BUYER, draft["number"]))
    assert seen(shop, order_id)["promised_on"] == str(TODAY + timedelta(days=2))


def test_a_draft_whose_day_has_passed_is_not_sent_before_it_is_edited(shop: Shop) -> None:
    draft = bought(shop, ("SKU-1", 6), status="draft", expected_on=TODAY + timedelta(days=2))
    with clock.at(NOON + timedelta(days=3)):
        with pytest.raises(ValidationFailed) as refused:
            run(shop.engine, lambda c: sending.send(c, BUYER, draft["number"]))
        assert [(e.field, e.code) for e in refused.value.errors] == [
            ("expected_on", "before_the_order")
        ]
        assert messages(shop, "purchase_order.sent") == []
        day = TODAY + timedelta(days=8)
        run(shop.engine, lambda c: orders.edit(c, BUYER, draft["number"], expected_on=day))
        sent = run(shop.engine, lambda c: sending.send(c, BUYER, draft["number"]))
    assert (sent["status"], sent["expected_on"]) == ("sent", str(day))


def test_a_confirmation_differs_by_line_and_moves_promises(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-2", 2), allow_backorder=True)
    order = bought(shop, ("SKU-1", 6), ("SKU-2", 6))
    late = TODAY + timedelta(days=20)
    answer = confirmed(
        shop, order, confirmed_on=TODAY + timedelta(days=4), reference="A-77",
        lines=[ConfirmedLine(2, late, 210)],
    )  # fmt: skip
    assert (answer["status"], answer["supplier_reference"]) == ("confirmed", "A-77")
    assert [(li["expected_on"], li["confirmed_cost"]) for li in answer["lines"]] == [
        (str(TODAY + timedelta(days=4)), "1.00"),
        (str(late), "2.10"),
    ]
    assert answer["total"] == "18.60"
    assert seen(shop, order_id)["promised_on"] == str(late)
    # Later the supplier moves one line; the other stays as it was confirmed.
    moved = confirmed(shop, order, lines=[ConfirmedLine(2, TODAY + timedelta(days=9))])
    assert [li["confirmed_cost"] for li in moved["lines"]] == ["1.00", "2.10"]
    assert moved["lines"][0]["expected_on"] == str(TODAY + timedelta(days=4))
    assert seen(shop, order_id)["promised_on"] == str(TODAY + timedelta(days=9))
    told = messages(shop, "order.promise_changed")
    assert [payload["promised_on"] for _, payload in told][-2:] == [
        str(late),
        str(TODAY + timedelta(days=9)),
    ]


def test_no_day_before_that_of_the_order_is_taken(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 2), allow_backorder=True)
    early = TODAY - timedelta(days=1)
    order = bought(shop, ("SKU-1", 6))
    before = seen(shop, order_id)["promised_on"]
    with pytest.raises(ValidationFailed) as refusal:
        confirmed(shop, order, confirmed_on=early, lines=[ConfirmedLine(1, date(2016, 12, 24))])
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("lines[0].confirmed_on", "before_the_order"),
        ("confirmed_on", "before_the_order"),
    ]
    assert seen(shop, order_id)["promised_on"] == before
    draft = bought(shop, ("SKU-1", 6), status="draft")
    for make in (
        lambda: bought(shop, ("SKU-1", 6), expected_on=early),
        lambda: run(
            shop.engine, lambda c: orders.edit(c, BUYER, draft["number"], expected_on=early)
        ),
    ):
        with pytest.raises(ValidationFailed) as refusal:
            make()
        assert [(e.field, e.code) for e in refusal.value.errors] == [
            ("expected_on", "before_the_order")
        ]
    # A supplier may confirm late that it was on the way.
    with clock.at(NOON + timedelta(days=9)):
        assert confirmed(shop, order, confirmed_on=TODAY + timedelta(days=3))["status"]


def test_bad_confirmations_name_every_field(shop: Shop) -> None:
    order = bought(shop, ("SKU-1", 6))
    lines = [ConfirmedLine(1), ConfirmedLine(1, None, -1), ConfirmedLine(7)]
    with pytest.raises(ValidationFailed) as refusal:
        confirmed(shop, order, lines=lines)
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("lines[1].line_no", "repeated_line"),
        ("lines[1].unit_cost", "negative"),
        ("lines[2].line_no", "unknown_line"),
    ]


def test_what_did_not_come_is_given_up_and_the_supplier_told(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 2), allow_backorder=True)
    order = bought(shop, ("SKU-1", 6), expected_on=TODAY + timedelta(days=2))
    assert cancelled(shop, order)["status"] == "cancelled"
    assert seen(shop, order_id)["promised_on"] == str(TODAY + timedelta(days=5))
    assert messages(shop, "purchase_order.cancelled")[0][0] == "orders@acme.example.com"
    partly = bought(shop, ("SKU-1", 6), ("SKU-2", 6))
    received(shop, partly, 6)
    assert cancelled(shop, partly)["status"] == "closed"
    assert [line["open"] for line in shown(shop, partly)["lines"]] == [0, 0]
    with pytest.raises(Conflict):
        cancelled(shop, partly)


@pytest.mark.parametrize("status", PURCHASE_ORDER_STATUSES)
def test_a_state_allows_what_the_table_says_and_nothing_else(shop: Shop, status: str) -> None:
    steps: dict[str, Any] = {
        "edit": lambda o: run(shop.engine, lambda c: orders.edit(c, BUYER, o["number"], note="x")),
        "send": lambda o: run(shop.engine, lambda c: sending.send(c, BUYER, o["number"])),
        "confirm": lambda o: confirmed(shop, o),
        "receive": lambda o: received(shop, o, 1),
        "cancel": lambda o: cancelled(shop, o),
    }
    also = {"confirm": "reschedule", "cancel": "close"}
    for step, take in steps.items():
        order = bought(shop, ("SKU-1", 6), status="draft")
        statement = f"UPDATE purchase_orders SET status = '{status}' WHERE id = {order['id']}"
        run(shop.engine, lambda c, sql=statement: c.exec_driver_sql(sql))
        allowed = [*TRANSITIONS[step][0], *TRANSITIONS.get(also.get(step, ""), ((), None))[0]]
        if status in allowed:
            take(order)
        else:
            with pytest.raises(Conflict):
                take(order)


def test_more_than_ordered_comes_within_the_tolerance(shop: Shop) -> None:
    order = bought(shop, ("SKU-1", 30))
    with pytest.raises(ValidationFailed):
        received(shop, order, 31)
    rules = {"receipts": {"over_tolerance_percent": "10"}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    with pytest.raises(ValidationFailed):
        received(shop, order, 34)
    assert received(shop, order, 33)["status"] == "closed"
    assert shop.level("SKU-1") == (33, 0)


def test_a_short_delivery_waits_for_the_rest_or_gives_up_on_it(shop: Shop) -> None:
    order = bought(shop, ("SKU-1", 12))
    assert received(shop, order, 5)["status"] == "partly_received"
    assert received(shop, order, 3, close_short=True)["status"] == "closed"
    assert shop.level("SKU-1") == (8, 0)


def test_damaged_units_are_kept_apart_and_fill_no_backorder(shop: Shop) -> None:
    order_id = placed(shop, ("SKU-1", 6), allow_backorder=True)
    order = bought(shop, ("SKU-1", 6), ("SKU-2", 6))
    answer = received(shop, order, Delivered(6, damaged=2), Delivered(6, damaged=6))
    assert (answer["status"], [li["damaged"] for li in answer["lines"]]) == ("closed", [2, 6])
    assert shop.level("SKU-1") == (4, 4)
    assert shop.level("SKU-2") == (0, 0)
    assert quarantined(shop) == 8
    assert seen(shop, order_id)["lines"][0]["backordered"] == 2
    with pytest.raises(ValidationFailed) as refusal:
        received(shop, bought(shop, ("SKU-1", 6)), Delivered(2, damaged=3, unit_cost_minor=-1))
    assert [e.code for e in refusal.value.errors] == ["out_of_range", "negative"]


def test_the_average_cost_moves_with_what_is_charged(shop: Shop) -> None:
    rules = {"receipts": {"over_tolerance_percent": "100"}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    received(shop, bought(shop, ("SKU-1", 6)), Delivered(10, unit_cost_minor=100))
    assert average(shop) == 1_000_000
    received(shop, bought(shop, ("SKU-1", 30)), Delivered(30, unit_cost_minor=200))
    # Ten at 1.00 and thirty at 2.00.
    assert average(shop) == 1_750_000
    received(shop, bought(shop, ("SKU-1", 6)), Delivered(3, damaged=1, unit_cost_minor=301))
    # Forty at 1.75 and two at 3.01: the damaged one is not in the stock.
    assert average(shop) == 1_810_000


def test_a_foreign_cost_is_exchanged_for_the_average(shop: Shop) -> None:
    rules = {"base_currency": "USD", "exchange_rates": {"EUR": "1.10"}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    terms = TermIn(currency="EUR", unit_cost=Decimal("2.00"), moq=6, pack_multiple=6)
    run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "ACME", "SKU-1", terms))
    order = bought(shop, ("SKU-1", 6))
    assert (order["currency"], order["total"]) == ("EUR", "12.00")
    received(shop, order, 6)
    assert average(shop) == 2_200_000
    with pytest.raises(ValidationFailed) as refusal:
        bought(shop, ("SKU-1", 6), ("SKU-2", 6))
    assert [e.code for e in refusal.value.errors] == ["several_currencies"]


def test_what_is_charged_is_held_against_what_was_agreed(shop: Shop) -> None:
    order = bought(shop, ("SKU-1", 12), ("SKU-2", 6))
    confirmed(shop, order, lines=[ConfirmedLine(1, None, 105)])
    received(shop, order, Delivered(10, unit_cost_minor=111), 6)
    received(shop, order, 2)
    with reading(shop.engine) as connection:
        page, cursor = variance.variances(connection, ADMIN, supplier="ACME")
        elsewhere, _ = variance.variances(connection, ADMIN, purchase_order="PO-1")
    assert (elsewhere, cursor) == ([], None)
    assert [(v["sku"], v["ordered_cost"], v["confirmed_cost"], v["charged_cost"], v["variance"])
            for v in page] == [("SKU-1", "1.00", "1.05", "1.11", "0.60")]  # fmt: skip


def test_a_sku_has_one_preferred_supplier(shop: Shop) -> None:
    other = SupplierIn(name="Other", lead_time_days=1)
    run(shop.engine, lambda c: suppliers.put(c, BUYER, "OTHER", other))
    dear = TermIn(currency="USD", unit_cost=Decimal("3.00"))

    def term(preferred: bool | None) -> dict[str, Any]:
        terms = dear.model_copy(update={"is_preferred": preferred})
        return run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "OTHER", "SKU-1", terms))

    assert [t["is_preferred"] for t in term(None)["terms"]] == [False]
    assert [t["is_preferred"] for t in term(True)["terms"]] == [True]
    assert [t["is_preferred"] for t in term(None)["terms"]] == [True]
    count = "SELECT count(*) FROM supplier_terms WHERE is_preferred AND sku_id = :sku"
    assert shop.rows(count, sku=shop.sku_ids["SKU-1"])[0][0] == 1


def test_suppliers_are_the_merchandisers(shop: Shop) -> None:
    supplier = SupplierIn(name="Other", lead_time_days=1)
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: suppliers.put(c, CLERK, "OTHER", supplier))
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: confirmation.cancel(c, CLERK, "PO-1", "no"))
    with pytest.raises(Forbidden):
        run(shop.engine, lambda c: sending.send(c, Actor("wanda", "warehouse"), "PO-1"))
    with pytest.raises(NotFound):
        run(shop.engine, lambda c: sending.send(c, BUYER, "PO-1"))
    wrong = TermIn(currency="USD", unit_cost=Decimal("0.001"))
    with pytest.raises(ValidationFailed):
        run(shop.engine, lambda c: suppliers.put_terms(c, BUYER, "ACME", "SKU-1", wrong))


def test_a_purchase_order_goes_over_http_from_draft_to_variance(shop: Shop) -> None:
    key = run(shop.engine, lambda c: keys.create(c, "admin", "tester"))
    with TestClient(app_over(shop.engine)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        body = {"supplier": "ACME", "warehouse": "ATL", "draft": True,
                "lines": [{"sku": "SKU-1", "quantity": 6, "unit_cost": "0.90"}]}  # fmt: skip
        made = client.post("/v1/purchase-orders", json=body)
        assert (made.status_code, made.json()["status"]) == (201, "draft")
        path = f"/v1/purchase-orders/{made.json()['number']}"
        assert client.patch(path, json={"note": "fragile"}).json()["note"] == "fragile"
        assert client.post(f"{path}/send").json()["status"] == "sent"
        said = {"lines": [{"line_no": 1, "unit_cost": "0.95"}], "confirmed_on": str(TODAY)}
        assert client.post(f"{path}/confirm", json=said).json()["total"] == "5.70"
        table = client.get(f"{path}/csv")
        assert table.headers["content-type"].startswith("text/csv")
        assert "SKU-1" in table.text
        came = {"lines": [{"line_no": 1, "quantity": 6, "damaged": 1, "unit_cost": "0.99"}]}
        got = client.post(f"{path}/receive", json=came)
        assert (got.status_code, got.json()["purchase_order"]["status"]) == (201, "closed")
        assert client.post(f"{path}/cancel", json={"reason": "x"}).status_code == 409
        found = client.get("/v1/price-variances", params={"supplier": "ACME"}).json()["data"]
        assert [v["variance"] for v in found] == ["0.24"]
        assert client.get("/v1/purchase-orders", params={"status": "draft"}).json()["data"] == []
        put = client.put("/v1/suppliers/NEW", json={"name": "New", "lead_time_days": 3})
        assert (put.status_code, put.json()["review_days"]) == (200, 7)
        terms = {"currency": "USD", "unit_cost": "1.25", "moq": 10}
        assert client.put("/v1/suppliers/NEW/terms/SKU-1", json=terms).json()["terms"][0] == {
            "sku": "SKU-1", "name": "Thing 1", "currency": "USD", "moq": 10, "pack_multiple": 1,
            "unit_cost": "1.25", "is_preferred": False,
        }  # fmt: skip
        assert [s["code"] for s in client.get("/v1/suppliers").json()["data"]] == ["ACME", "NEW"]
