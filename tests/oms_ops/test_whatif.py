"""What-if: a period replayed under other rules, from the stock that there was; nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from oms_ops import clock
from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.cli import app
from oms_ops.database import make_engine, reading, run
from oms_ops.errors import Conflict, Forbidden, ValidationFailed
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders.amendment import amend
from oms_ops.orders.cancellation import cancel, cancel_units
from oms_ops.orders.units import CancelledUnits
from oms_ops.orders.whatif import what_if
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.settings import settings
from oms_ops.setup import init
from oms_ops.stock import baskets, ledger
from oms_ops.stock.names import Line as StockLine
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, Shop
from tests.oms_ops.test_order_life import placed
from tests.oms_ops.test_reroute import shop_bought

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)
ANALYST = Actor("anna", "analyst")
NEW_YORK_FIRST = {"rank": ["fill", "cost"], "warehouses": {"ATL": {"cost_per_unit": "1.50"}}}


@contextmanager
def on(day: int, hour: int = 12) -> Iterator[None]:
    """Let it be a moment of October."""
    with clock.at(START + timedelta(days=day - 1, hours=hour - 12)):
        yield


@pytest.fixture
def october(shop: Shop) -> Shop:
    """Return the shop after a month: an order from before it, three of it, and a receipt."""
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 6, "ATL")
        shop.stock("SKU-1", 3, "NYC")
        earlier = placed(shop, ("SKU-1", 2))
    with on(2):
        placed(shop, ("SKU-1", 3))
    with on(3):
        shipped(shop, earlier)
    with on(4):
        placed(shop, ("SKU-1", 4), allow_split=True, allow_backorder=True)
    with on(5):
        placed(shop, ("SKU-1", 3), allow_backorder=True)
    with on(6):
        shop_bought(shop, "SKU-1", 6)
    return shop


def shipped(shop: Shop, order_id: int) -> None:
    ids = [row[0] for row in shop.rows("SELECT id FROM shipments WHERE order_id = :i", i=order_id)]
    for step in ("pick", "pack", "ship"):
        run(shop.engine, lambda c, s=step: getattr(fulfilment, s)(c, ADMIN, ids))


def ask(shop: Shop, changes: Any, **how: Any) -> dict[str, Any]:
    with clock.at(NOVEMBER), reading(shop.engine) as connection:
        return what_if(connection, ANALYST, changes, **how)


def shipped_by(answer: dict[str, Any], side: str) -> list[dict[str, int]]:
    return [order[side]["shipped"] for order in answer["sample"]]


def test_the_rules_in_force_do_again_what_was_done(october: Shop) -> None:
    answer = ask(october, {})
    assert answer["from"].startswith("2026-10-01T00:00:00")
    assert answer["until"].startswith("2026-11-01T00:00:00")
    assert answer["before"] == answer["after"]
    assert answer["orders_changed"] == 0
    # ATL has 4 free units and ships 3; then 1, and NYC 3; then 3 wait for the receipt.
    assert answer["before"] | {"kilometres": 0} == {
        "orders": 3, "refused": 0, "split_orders": 1, "shipments": 4, "units_shipped": 10,
        "orders_backordered": 1, "units_backordered": 3, "kilometres": 0, "cost": "0.00",
    }  # fmt: skip
    actual = october.rows(
        "SELECT count(DISTINCT s.id), sum(x.quantity) FROM shipments AS s"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id WHERE s.order_id > 1"
    )
    assert tuple(actual[0]) == (4, 10)
    assert all(finding.count == 0 for finding in reconcile(october.engine))


def test_changed_rules_are_compared_order_by_order(october: Shop) -> None:
    answer = ask(october, {"routing": NEW_YORK_FIRST})
    # NYC gives its 3 to the first, ATL its 4 to the second; the third waits where units are free
    # of charge, in NYC, to which nothing comes.
    assert shipped_by(answer, "before") == [{"ATL": 3}, {"ATL": 1, "NYC": 3}]
    assert shipped_by(answer, "after") == [{"NYC": 3}, {"ATL": 4}]
    after = answer["after"]
    assert (after["split_orders"], after["shipments"], after["units_shipped"]) == (0, 2, 7)
    # Both are priced by the changed rules: 7 and 4 units from ATL.
    assert (answer["before"]["cost"], after["cost"]) == ("10.50", "6.00")
    assert answer["orders_changed"] == 2


def test_what_the_rules_do_not_say_stays_in_force(october: Shop) -> None:
    reserve = {"channels": {"web": {"reserve_units": 2}}}
    with clock.at(START - timedelta(days=1)):
        run(october.engine, lambda c: store.publish(c, ADMIN, reserve))
    answer = ask(october, {"routing": {"rank": ["fill", "zone"]}})
    # 2 of 4 at ATL and 1 of 3 at NYC may go, so that the first order is refused under both.
    assert answer["before"]["refused"] == answer["after"]["refused"] == 1


def test_what_a_section_does_not_name_stays_in_force(october: Shop) -> None:
    with clock.at(START - timedelta(days=1)):
        run(october.engine, lambda c: store.publish(c, ADMIN, {"routing": NEW_YORK_FIRST}))
    answer = ask(october, {"routing": {"max_splits": 2}})
    # Four units from ATL at what they cost there.
    assert (answer["orders_changed"], answer["after"]["cost"]) == (0, "6.00")
    dear = {"routing": {"warehouses": {"NYC": {"cost_per_unit": "9"}}}}
    assert shipped_by(ask(october, dear), "after")[0] == {"ATL": 3}


def test_a_cancelled_order_gives_its_units_back(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 3, "ATL")
    with on(2):
        first = placed(shop, ("SKU-1", 3))
    with on(3):
        placed(shop, ("SKU-1", 2), allow_backorder=True)
    with on(4):
        run(shop.engine, lambda c: cancel(c, ADMIN, [first], "changed her mind"))
    with on(5):
        placed(shop, ("SKU-1", 1))
    before = ask(shop, {})["before"]
    assert (before["orders"], before["refused"]) == (3, 0)
    assert (before["units_shipped"], before["units_backordered"]) == (6, 2)


def test_an_order_is_replayed_in_the_size_that_it_had(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        for sku in ("SKU-1", "SKU-2"):
            shop.stock(sku, 20, "ATL")
    with on(2):
        first = placed(shop, ("SKU-1", 3), ("SKU-2", 3))
    number = shop.rows("SELECT number FROM orders WHERE id = :i", i=first)[0][0]
    with on(3):
        more = [{"line_no": 2, "quantity": 0}, {"line_no": 1, "quantity": 10},
                {"sku": "SKU-2", "quantity": 15, "unit_price": "1.00"}]  # fmt: skip
        amend(shop.engine, ADMIN, number, {"lines": more})
    with on(4):
        # What the first gave back and took is told by what is left: 10 and 5.
        placed(shop, ("SKU-1", 10), ("SKU-2", 5))
    with on(5):
        run(shop.engine, lambda c: cancel_units(c, ADMIN, [CancelledUnits(first, 1, 4)], "less"))
    with on(6):
        placed(shop, ("SKU-1", 4))
    with on(7):
        placed(shop, ("SKU-1", 1), allow_backorder=True)
    dear = {"routing": {"rank": ["cost"], "warehouses": {"ATL": {"cost_per_unit": "9"}}}}
    answer = ask(shop, dear)
    before = answer["before"]
    assert (before["orders"], before["refused"], before["units_backordered"]) == (4, 0, 1)
    assert before["units_shipped"] == 6 + 7 + 15 + 15 + 4
    # Under the others all is sought in New York, where there is nothing.
    [sample] = [each for each in answer["sample"] if each["number"] == number]
    assert (sample["before"]["shipped"], sample["after"]["backordered"]) == ({"ATL": 6}, 6)


def test_units_that_wait_are_cancelled_again(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 1, "ATL")
    with on(2):
        first = placed(shop, ("SKU-1", 5), allow_backorder=True)
    with on(3):
        run(shop.engine, lambda c: cancel_units(c, ADMIN, [CancelledUnits(first, 1, 3)], "less"))
    with on(4):
        shop_bought(shop, "SKU-1", 6)
    with on(5):
        placed(shop, ("SKU-1", 5))
    before = ask(shop, {})["before"]
    assert (before["refused"], before["units_backordered"]) == (0, 4)
    assert before["units_shipped"] == 1 + 1 + 5


def test_what_comes_after_a_period_is_no_part_of_it(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 8, "ATL")
    with on(2):
        grown = placed(shop, ("SKU-1", 3), allow_backorder=True)
        fewer = placed(shop, ("SKU-1", 3))
        over = placed(shop, ("SKU-1", 3), allow_backorder=True)
    october = ask(shop, {}, month="2026-10")
    number = shop.rows("SELECT number FROM orders WHERE id = :i", i=grown)[0][0]
    with clock.at(NOVEMBER):
        shop.stock("SKU-1", 20, "ATL")
        amend(shop.engine, ADMIN, number, {"lines": [{"line_no": 1, "quantity": 15}]})
        run(shop.engine, lambda c: cancel_units(c, ADMIN, [CancelledUnits(fewer, 1, 2)], "less"))
        run(shop.engine, lambda c: cancel(c, ADMIN, [over], "changed her mind"))
    assert ask(shop, {}, month="2026-10") == october
    assert (october["before"]["units_shipped"], october["before"]["units_backordered"]) == (8, 1)


def test_a_warehouse_that_was_named_and_has_closed_ships_no_more(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        for warehouse in ("ATL", "NYC"):
            shop.stock("SKU-1", 3, warehouse)
    with on(2):
        named = placed(shop, ("SKU-1", 3), warehouse="NYC")
    with on(3):
        shipped(shop, named)
    close = "UPDATE warehouses SET is_active = false"
    run(shop.engine, lambda c: c.exec_driver_sql(f"{close} WHERE code = 'NYC'"))
    before = ask(shop, {})["before"]
    assert (before["refused"], before["shipments"], before["units_shipped"]) == (0, 1, 3)
    run(shop.engine, lambda c: c.exec_driver_sql(close))
    with pytest.raises(Conflict):
        ask(shop, {})


def test_an_order_whose_history_is_pruned_counts_as_it_is(october: Shop) -> None:
    answer = ask(october, {})
    run(october.engine, lambda c: c.exec_driver_sql("DELETE FROM change_log"))
    assert ask(october, {}) == answer


def test_an_order_from_a_basket_needs_no_reserve(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 5, "ATL")
    with on(2):
        lines = [StockLine("SKU-1", 5)]
        run(shop.engine, lambda c: baskets.hold(c, ADMIN, "B1", lines, channel="phone"))
        reserve = {"channels": {"web": {"reserve_units": 2}, "phone": {}}}
        run(shop.engine, lambda c: store.publish(c, ADMIN, reserve))
        placed(shop, ("SKU-1", 5), basket="B1")
    before = ask(shop, {})["before"]
    assert (before["refused"], before["units_shipped"]) == (0, 5)


def test_goods_that_leave_the_stock_do_so_again(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 5, "ATL")
    with on(2):
        loss = ledger.Move(shop.warehouse_ids["ATL"], shop.sku_ids["SKU-1"], 4, "adjustment", False,
                           "adjustment")  # fmt: skip
        run(shop.engine, lambda c: ledger.take_out(c, ADMIN, [loss]))
    with on(3):
        placed(shop, ("SKU-1", 2), allow_backorder=True)
    assert ask(shop, {})["before"]["units_backordered"] == 1
    assert ask(shop, {}, days=41)["before"]["units_backordered"] == 1


def test_a_named_warehouse_stays_and_a_given_day_is_full(shop: Shop) -> None:
    with clock.at(START - timedelta(days=9)):
        shop.stock("SKU-1", 9, "ATL")
        shop.stock("SKU-1", 9, "NYC")
    with on(2):
        placed(shop, ("SKU-1", 1), warehouse="ATL")
        for _ in range(3):
            placed(shop, ("SKU-1", 1))
    with on(3):
        placed(shop, ("SKU-1", 1))
    rule = {"rank": ["capacity", "zone"], "warehouses": {"ATL": {"daily_capacity": 2}}}
    answer = ask(shop, {"routing": rule})
    assert answer["orders_changed"] == 2
    assert shipped_by(answer, "after") == [{"NYC": 1}, {"NYC": 1}]


def test_all_orders_may_be_supposed_to_be_split_or_not(october: Shop) -> None:
    assert ask(october, {}, may_split=False)["before"]["split_orders"] == 0
    assert ask(october, {}, may_split=True)["before"]["split_orders"] == 1


@pytest.mark.parametrize(
    ("changes", "how", "field"),
    [
        ({"routing": {"rank": ["nearest"]}}, {}, "routing.rank[0]"),
        (["fill"], {}, "rules"),
        ({}, {"month": "October"}, "month"),
        ({}, {"days": 0}, "days"),
        ({}, {"days": 3, "month": "2026-10"}, "days"),
    ],
)
def test_bad_questions_are_refused_by_name(
    shop: Shop, changes: Any, how: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        ask(shop, changes, **how)
    assert [error.field for error in refusal.value.errors] == [field]


def test_who_may_not_read_orders_may_not_ask(shop: Shop) -> None:
    nobody = Actor("nora", "support", scopes=frozenset({"returns:write"}))
    with reading(shop.engine) as connection, pytest.raises(Forbidden):
        what_if(connection, nobody, {})


def test_api_answers_and_nothing_changes(october: Shop) -> None:
    counts = {table: october.count(table) for table in ("orders", "stock_moves", "shop_rules")}
    key = run(october.engine, lambda c: keys.create(c, "analyst", "anna"))
    client = TestClient(app_over(october.engine), headers={"Authorization": f"Bearer {key}"})
    body = {"rules": {"routing": NEW_YORK_FIRST}, "month": "2026-10"}
    answer = client.post("/v1/routing/what-if", json=body)
    assert answer.status_code == 200
    assert answer.json()["after"]["shipments"] == 2
    sites = client.get("/v1/routing/sites").json()["data"]
    assert [site["warehouse"] for site in sites] == ["ATL", "NYC"]
    refused = client.post("/v1/routing/what-if", json={"rules": {"routing": {"rank": [1]}}})
    assert refused.status_code == 422
    assert {table: october.count(table) for table in counts} == counts


def test_shipments_are_rerouted_by_api(shop: Shop) -> None:
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 2, "NYC")
    placed(shop, ("SKU-1", 3))
    key = run(shop.engine, lambda c: keys.create(c, "warehouse", "pia"))
    client = TestClient(app_over(shop.engine), headers={"Authorization": f"Bearer {key}"})
    asked = {"shipment_ids": [1], "reason": "no packers"}
    answer = client.post("/v1/shipments/reroute", json=asked)
    assert answer.status_code == 200
    assert [(p["warehouse"], p["status"], p["quantity"]) for p in answer.json()["data"]] == [
        ("NYC", "allocated", 2),
        ("NYC", "backordered", 1),
    ]
    assert client.post("/v1/shipments/reroute", json=asked).status_code == 409
    assert client.post("/v1/shipments/reroute", json={"shipment_ids": []}).status_code == 422


def test_the_command_line_prints_both_sides(tmp_path: Path) -> None:
    engine = make_engine(settings().url)
    init(engine)
    shop = Shop(engine)
    shop.stock("SKU-1", 5, "ATL")
    shop.stock("SKU-1", 5, "NYC")
    placed(shop, ("SKU-1", 1))
    file = tmp_path / "changed.toml"
    file.write_text('[routing]\nrank = ["cost"]\n[routing.warehouses.ATL]\ncost_per_unit = 2\n')
    asked = ["routing", "what-if", "--rules", str(file), "--days", "1"]
    shown = CliRunner().invoke(app, asked, env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert "1 orders are routed otherwise" in shown.output
    assert "ATL 1 (zone) -> NYC 1 (cost)" in shown.output
    answer = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert (answer["before"]["cost"], answer["after"]["cost"]) == ("2.00", "0.00")
    moved = CliRunner().invoke(app, ["routing", "reroute", "SH-10000001", "--reason", "x"])
    assert moved.output == "SO-10000001 line 1: 1 SKU-1 allocated at NYC SH-10000002\n"
