"""Promises 1, 3, 4, 7 and 9 while an order is amended; a preview says what the amendment does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from oms_ops.database import run
from oms_ops.errors import Conflict, NotFound, OutOfStock, ValidationFailed
from oms_ops.orders.amendment import amend
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order
from tests.oms_ops.test_order_life import advance, pay, placed, seen


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


def change(shop: Shop, order_id: int, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Amend an order; return the answer."""
    preview = more.pop("preview", False)
    body = {"lines": list(lines), **more}
    return amend(shop.engine, CLERK, f"SO-{10_000_000 + order_id}", body, preview=preview)


def rows(answer: dict[str, Any]) -> list[tuple[str, int, int, int, int]]:
    """Return (SKU, quantity, allocated, backordered, cancelled) of the lines."""
    names = ("sku", "quantity", "allocated", "backordered", "cancelled")
    return [tuple(line[name] for name in names) for line in answer["order"]["lines"]]


def test_a_line_is_added_and_another_removed(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-2", 5)
    order_id = placed(shop, ("SKU-1", 2))
    answer = change(shop, order_id, {"line_no": 1, "quantity": 0}, {"sku": "SKU-2", "quantity": 1})
    assert rows(answer) == [("SKU-1", 2, 0, 0, 2), ("SKU-2", 1, 1, 0, 0)]
    assert (answer["order"]["status"], answer["difference"]) == ("open", "0.00")
    assert shop.level("SKU-1") == (5, 0)
    assert shop.level("SKU-2") == (5, 1)


def test_a_quantity_goes_up_and_down(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 2))
    up = change(shop, order_id, {"line_no": 1, "quantity": 5})
    assert rows(up) == [("SKU-1", 5, 5, 0, 0)]
    assert (up["difference"], up["to_pay"]) == ("5.97", "5.97")
    down = change(shop, order_id, {"line_no": 1, "quantity": 1})
    assert rows(down) == [("SKU-1", 5, 1, 0, 4)]
    assert (down["difference"], down["to_pay"]) == ("-7.96", "0.00")
    assert shop.level("SKU-1") == (5, 1)


def test_everything_may_be_removed(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 2))
    answer = change(shop, order_id, {"line_no": 1, "quantity": 0})
    assert answer["order"]["status"] == "cancelled"


def test_a_preview_answers_as_the_amendment_does_and_changes_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 2))
    pay(shop, order_id)
    before = seen(shop, order_id)
    lines = {"line_no": 1, "quantity": 1}
    shown = change(shop, order_id, lines, preview=True)
    assert (shown["preview"], shown["to_refund"]) == (True, "1.99")
    assert seen(shop, order_id) == before
    assert shop.level("SKU-1") == (5, 2)
    assert shop.count("refunds") == 0
    done = change(shop, order_id, lines)
    assert done | {"preview": True} == shown


def test_added_units_wait_where_backorders_are_allowed(shop: Shop) -> None:
    shop.stock("SKU-1", 3)
    order_id = placed(shop, ("SKU-1", 2))
    with pytest.raises(OutOfStock) as refusal:
        change(shop, order_id, {"sku": "SKU-2", "quantity": 1}, {"line_no": 1, "quantity": 4})
    assert [e.field for e in refusal.value.errors] == ["lines[0].quantity", "lines[1].quantity"]
    assert shop.level("SKU-1") == (3, 2)
    answer = change(shop, order_id, {"line_no": 1, "quantity": 4}, allow_backorder=True)
    assert rows(answer) == [("SKU-1", 4, 3, 1, 0)]
    assert answer["order"]["promised_on"] is not None


def test_an_order_that_may_not_be_split_is_filled_from_home(shop: Shop) -> None:
    shop.stock("SKU-1", 2)
    shop.stock("SKU-2", 2, "NYC")
    order_id = placed(shop, ("SKU-1", 2))
    with pytest.raises(OutOfStock):
        change(shop, order_id, {"sku": "SKU-2", "quantity": 1})
    answer = change(shop, order_id, {"sku": "SKU-2", "quantity": 1}, allow_split=True)
    assert rows(answer)[1] == ("SKU-2", 1, 1, 0, 0)
    assert shop.level("SKU-2", "NYC") == (2, 1)


def test_another_price_makes_a_line_of_its_own(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    run(shop.engine, lambda c: c.exec_driver_sql("UPDATE skus SET price_minor = 250 WHERE id = 1"))
    answer = change(shop, order_id, {"line_no": 1, "quantity": 4})
    assert [(li["quantity"], li["unit_price"]) for li in answer["order"]["lines"]] == [
        (2, "1.99"),
        (2, "2.50"),
    ]
    assert answer["difference"] == "5.00"


def test_a_price_that_the_caller_stated_holds_for_more_units(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    body = order(("SKU-1", 2))
    body["lines"][0]["unit_price"] = "1.50"
    order_id = placed(shop, lines=body["lines"])
    answer = change(shop, order_id, {"line_no": 1, "quantity": 4})
    assert [(li["quantity"], li["unit_price"]) for li in answer["order"]["lines"]] == [(4, "1.50")]


def test_added_units_are_taxed_and_discounted(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    shop.stock("SKU-2", 9)
    rules = {"taxes": [{"percent": "10"}]}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    order_id = placed(shop, ("SKU-1", 2))
    assert seen(shop, order_id)["totals"]["total"] == "4.38"
    line = {"sku": "SKU-2", "quantity": 2, "unit_price": "5.00", "discount": "1.00"}
    answer = change(shop, order_id, line)
    assert answer["difference"] == "9.90"
    back = change(shop, order_id, {"line_no": 2, "quantity": 1})
    assert back["difference"] == "-4.95"


def test_money_follows_the_price(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    pay(shop, order_id)
    more = change(shop, order_id, {"line_no": 1, "quantity": 3}, payment={"method": "cash"})
    assert more["to_pay"] == "1.99"
    amounts = shop.rows("SELECT method, amount_minor FROM payments ORDER BY id")
    assert [tuple(row) for row in amounts] == [("card", 398), ("cash", 199)]
    # The payment that was not made yet is reduced first, then what was captured goes back.
    less = change(shop, order_id, {"line_no": 1, "quantity": 1})
    assert (less["to_refund"], less["order"]["totals"]["refunded"]) == ("1.99", "1.99")
    assert shop.rows("SELECT voided_minor FROM payments WHERE method = 'cash'")[0][0] == 199


def test_the_version_tells_that_somebody_else_was_first(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    version = seen(shop, order_id)["version"]
    change(shop, order_id, {"line_no": 1, "quantity": 3}, version=version)
    with pytest.raises(Conflict) as refusal:
        change(shop, order_id, {"line_no": 1, "quantity": 4}, version=version)
    assert [e.code for e in refusal.value.errors] == ["changed_meanwhile"]


def test_every_bad_field_is_named(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    with pytest.raises(ValidationFailed) as refusal:
        change(
            shop, order_id, {"line_no": 1, "quantity": -1}, {"quantity": 2},
            {"sku": "SKU-1", "quantity": 0}, {"line_no": 1, "quantity": 2, "discount": "1"},
            surprise=True,
        )  # fmt: skip
    assert [e.field for e in refusal.value.errors] == [
        "lines[0].quantity",
        "lines[1]",
        "lines[2]",
        "lines[3]",
        "surprise",
    ]
    with pytest.raises(ValidationFailed) as refusal:
        change(shop, order_id, {"sku": "SKU-5", "quantity": 1}, {"sku": "NOPE", "quantity": 1})
    assert [(e.field, e.code) for e in refusal.value.errors] == [
        ("lines[0].sku", "inactive_sku"),
        ("lines[1].sku", "unknown_sku"),
    ]
    with pytest.raises(ValidationFailed):
        change(shop, order_id, {"line_no": 9, "quantity": 1})
    with pytest.raises(NotFound):
        amend(shop.engine, CLERK, "SO-1", {})


def test_an_address_follows_the_rules_of_its_country(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    place = {"name": "Eve", "line1": "Gasse 2", "city": "Berlin", "country": "DE"}
    with pytest.raises(ValidationFailed) as refusal:
        change(shop, order_id, ship_to={**place, "postal_code": "1"})
    assert [e.field for e in refusal.value.errors] == ["ship_to.postal_code"]
    answer = change(shop, order_id, ship_to={**place, "postal_code": "10115"}, note="ring twice")
    assert answer["order"]["ship_to"]["city"] == "Berlin"
    assert shop.rows("SELECT note FROM orders")[0][0] == "ring twice"


NEW_YORK = {
    "name": "Eve", "line1": "5th Avenue 1", "city": "New York", "region": "NY",
    "postal_code": "10001", "country": "US",
}  # fmt: skip


def test_a_nearer_warehouse_ships_to_the_new_address(shop: Shop) -> None:
    for warehouse in ("ATL", "NYC"):
        shop.stock("SKU-1", 5, warehouse)
    order_id = placed(shop, ("SKU-1", 2))
    assert seen(shop, order_id)["warehouse"] == "ATL"
    answer = change(shop, order_id, {"line_no": 1, "quantity": 3}, ship_to=NEW_YORK)
    assert answer["order"]["warehouse"] == "NYC"
    assert (shop.level("SKU-1"), shop.level("SKU-1", "NYC")) == ((5, 0), (5, 3))
    assert rows(answer) == [("SKU-1", 3, 3, 0, 0)]


def test_it_stays_where_it_is_when_the_nearer_warehouse_cannot_fill_it(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    shop.stock("SKU-1", 1, "NYC")
    order_id = placed(shop, ("SKU-1", 2))
    answer = change(shop, order_id, ship_to=NEW_YORK)
    assert answer["order"]["warehouse"] == "ATL"
    assert shop.level("SKU-1") == (5, 2)


def test_the_taxes_of_the_new_place_hold(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    rules = {
        "taxes": [
            {"percent": "8.875", "places": ["US-NY"]}, {"percent": "4", "places": ["US-GA"]},
        ],
    }  # fmt: skip
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    order_id = placed(shop, ("SKU-1", 5), shipping="4.00")
    change(shop, order_id, {"line_no": 1, "quantity": 3})
    totals = seen(shop, order_id)["totals"]
    assert (totals["tax"], totals["owed"]) == ("0.56", "10.37")
    answer = change(shop, order_id, ship_to=NEW_YORK)
    # 8.875 % of 9.95 is 0.88, of which three fifths are kept; of the shipping it is 0.36.
    assert answer["order"]["totals"]["tax"] == "1.24"
    assert (answer["order"]["totals"]["owed"], answer["difference"]) == ("10.85", "0.48")


def test_what_is_picked_or_over_is_not_amended(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    advance(shop, order_id, "pick")
    with pytest.raises(Conflict):
        change(shop, order_id, {"line_no": 1, "quantity": 1})
    gone = placed(shop, ("SKU-1", 1))
    change(shop, gone, {"line_no": 1, "quantity": 0})
    with pytest.raises(Conflict):
        change(shop, gone, {"line_no": 1, "quantity": 1})


def test_the_customer_is_told_once_and_never_of_a_preview(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    change(shop, order_id, {"line_no": 1, "quantity": 1}, preview=True)
    change(shop, order_id, {"line_no": 1, "quantity": 1})
    kinds = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert kinds == ["order.confirmed", "order.amended"]
