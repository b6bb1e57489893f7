"""Promises 1, 3, 4, 7 and 9 while an order is amended; a preview says what the amendment does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from oms_ops import cards
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, NotFound, OutOfStock, ValidationFailed
from oms_ops.fulfilment import delivery
from oms_ops.orders.amendment import amend
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
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
        "surprise",
        "lines[1]",
        "lines[2].quantity",
        "lines[3].discount",
        "lines[3].line_no",
    ]
    assert [e.code for e in refusal.value.errors[3:]] == [
        "no_units", "only_for_new_lines", "repeated_line",
    ]  # fmt: skip
    with pytest.raises(NotFound):
        amend(shop.engine, CLERK, "SO-1", {"lines": 7})


def test_shape_order_and_catalogue_object_in_one_answer(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    place = {"name": "Eve", "line1": "Gasse 2", "city": "Berlin", "country": "DE", "phone": "12"}
    with pytest.raises(ValidationFailed) as refusal:
        change(
            shop, order_id, {"line_no": 9, "quantity": 1}, {"sku": "NOPE", "quantity": 1},
            {"sku": "SKU-5", "quantity": -1}, {"line_no": 0, "quantity": 1}, ship_to=place,
        )  # fmt: skip
    assert {(e.field, e.code) for e in refusal.value.errors} == {
        ("lines[0].line_no", "unknown_line"),
        ("lines[1].sku", "unknown_sku"),
        ("lines[2].quantity", "greater_than_equal"),
        ("lines[2].sku", "inactive_sku"),
        ("lines[3].line_no", "greater_than"),
        ("ship_to.phone", "string_too_short"),
        ("ship_to.postal_code", "required"),
    }


@pytest.mark.parametrize("actor", [CLERK, Actor("web", "clerk", scopes=frozenset({ORDERS_WRITE}))])
@pytest.mark.parametrize("preview", [False, True])
def test_a_blank_sku_is_a_missing_one(shop: Shop, actor: Actor, preview: bool) -> None:
    shop.stock("SKU-1", 9)
    number = f"SO-{10_000_000 + placed(shop, ('SKU-1', 2))}"
    body = {"lines": [{"sku": " ", "quantity": 1}, {"line_no": 1, "sku": " ", "quantity": 3}]}
    with pytest.raises(ValidationFailed) as refusal:
        amend(shop.engine, actor, number, body, preview=preview)
    assert [e.field for e in refusal.value.errors] == ["lines[0]"]
    body["lines"].pop(0)
    assert rows(amend(shop.engine, actor, number, body, preview=preview)) == [
        ("SKU-1", 3, 3, 0, 0)
    ]  # fmt: skip


def faults(shop: Shop, order_id: int, *lines: dict[str, Any], **more: Any) -> set[tuple[str, str]]:
    """Return (field, code) of what an amendment is refused for."""
    with pytest.raises(ValidationFailed) as refusal:
        change(shop, order_id, *lines, **more)
    named = [(e.field, e.code) for e in refusal.value.errors]
    assert len(set(named)) == len(named)
    return set(named)


def test_a_bad_field_hides_no_limit_and_no_price(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    run(
        shop.engine,
        lambda c: c.exec_driver_sql(
            "UPDATE skus SET max_quantity = 6, quantity_multiple = 2 WHERE code = 'SKU-1'"
        ),
    )
    unknown = {"sku": "NOPE", "quantity": 1}
    more = {"sku": "SKU-1", "quantity": 6}
    assert faults(shop, order_id, {**more, "quantity": 66}, unknown) == {
        ("lines[0].quantity", "above_maximum"),
        ("lines[1].sku", "unknown_sku"),
    }
    third = {"sku": "SKU-3", "quantity": 1}
    assert faults(
        shop, order_id, {"line_no": 1, "quantity": 3}, {**more, "unit_price": "-1"},
        {**third, "unit_price": "1", "discount": "99"}, {**third, "discount": "0.001"},
        {**third, "unit_price": "0.001", "discount": "-1"}, surprise=1,
    ) == {
        ("surprise", "unknown_field"),
        ("lines[0].quantity", "not_a_multiple"),
        ("lines[1].unit_price", "greater_than_equal"),
        ("lines[1].quantity", "above_maximum"),
        ("lines[2].discount", "too_large"),
        ("lines[3].discount", "invalid_amount"),
        ("lines[4].discount", "greater_than_equal"),
        ("lines[4].unit_price", "invalid_amount"),
    }  # fmt: skip
    # The same without a fault of shape.
    assert faults(
        shop, order_id, {"line_no": 1, "quantity": 3}, {**third, "discount": "99"},
        {**third, "unit_price": "0.001", "discount": "0.001"},
    ) == {
        ("lines[0].quantity", "not_a_multiple"),
        ("lines[1].discount", "too_large"),
        ("lines[2].unit_price", "invalid_amount"),
        ("lines[2].discount", "invalid_amount"),
    }  # fmt: skip


def limit(shop: Shop, most: int) -> None:
    statement = f"UPDATE skus SET max_quantity = {most} WHERE code = 'SKU-1'"
    run(shop.engine, lambda c: c.exec_driver_sql(statement))


def test_a_maximum_counts_the_lines_that_are_left_alone(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    limit(shop, 6)
    order_id = placed(shop, ("SKU-1", 5))
    more = {"sku": "SKU-1", "quantity": 2}
    unknown = {"sku": "NOPE", "quantity": 1}
    assert faults(shop, order_id, more) == {("lines[0].quantity", "above_maximum")}
    assert faults(shop, order_id, unknown, more) == {
        ("lines[0].sku", "unknown_sku"), ("lines[1].quantity", "above_maximum"),
    }  # fmt: skip
    # The line that gains units is to blame, wherever it stands.
    assert faults(shop, order_id, more, {"line_no": 1, "quantity": 5}) == {
        ("lines[0].quantity", "above_maximum")
    }
    one = {"sku": "SKU-1", "quantity": 1}
    assert sum(row[1] for row in rows(change(shop, order_id, one))) == 6
    assert faults(shop, order_id, one) == {("lines[0].quantity", "above_maximum")}


def test_units_come_off_though_the_maximum_was_lowered(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    order_id = placed(shop, ("SKU-1", 6))
    limit(shop, 3)
    other = {"sku": "SKU-2", "quantity": 1}
    for units in (6, 5, 4):
        assert change(shop, order_id, {"line_no": 1, "quantity": units})["order"]["lines"]
    assert faults(shop, order_id, {"line_no": 1, "quantity": 5}) == {
        ("lines[0].quantity", "above_maximum")
    }
    shop.stock("SKU-2", 1)
    assert len(rows(change(shop, order_id, {"line_no": 1, "quantity": 4}, other))) == 2


def test_what_cannot_be_read_of_a_line_counts_for_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    run(shop.engine, lambda c: c.exec_driver_sql("UPDATE skus SET max_quantity = 6"))
    added = {"sku": "SKU-1", "quantity": 5}
    # With the two that the order has they would be too many; how many it is to have is not told.
    assert faults(shop, order_id, added, {"line_no": 1, "quantity": None}) == {
        ("lines[1].quantity", "int_type"),
    }
    assert faults(
        shop, order_id, added, {"line_no": 1, "quantity": 9}, {"line_no": 1, "quantity": 1}
    ) == {("lines[2].line_no", "repeated_line")}
    assert faults(shop, order_id, {**added, "\ud800": 1}) == {("lines[0]", "string_unicode")}
    assert faults(shop, order_id, {"line_no": 1, "quantity": 2, "unit_price": ""}) == {
        ("lines[0].unit_price", "decimal_parsing"),
    }
    card = {"sku": "SKU-1", "quantity": 1, "4111111111111111": 1}
    assert faults(shop, order_id, card, card) == {("body", cards.CODE)}
    assert faults(shop, order_id, {"line_no": "7", "quantity": 1}) == {
        ("lines[0].line_no", "int_type"),
    }


def test_an_address_follows_the_rules_of_its_country(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    place = {"name": "Eve", "line1": "Gasse 2", "city": "Berlin", "country": "DE"}
    with pytest.raises(ValidationFailed) as refusal:
        change(shop, order_id, ship_to={**place, "postal_code": "1", "phone": "5555"})
    assert [e.field for e in refusal.value.errors] == ["ship_to.postal_code", "ship_to.phone"]
    place |= {"postal_code": "10115", "phone": "030 2270"}
    answer = change(shop, order_id, ship_to=place, note="ring twice")
    assert answer["order"]["ship_to"]["city"] == "Berlin"
    assert answer["order"]["ship_to"]["phone"] == "+49302270"
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


def partly_gone(shop: Shop, *steps: str, **more: Any) -> int:
    """Return an order whose line 1 (2 units) went through ``steps``, while line 2 (2) waits."""
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2), ("SKU-2", 2), allow_backorder=True, **more)
    advance(shop, order_id, *steps)
    return order_id


def test_a_parcel_under_way_does_not_keep_the_rest_from_changing(shop: Shop) -> None:
    order_id = partly_gone(shop, "pick", "pack", "ship")
    answer = change(shop, order_id, {"line_no": 2, "quantity": 1})
    assert rows(answer)[1] == ("SKU-2", 2, 0, 1, 1)
    more = change(shop, order_id, {"line_no": 1, "quantity": 3}, {"sku": "SKU-3", "quantity": 1})
    assert rows(more) == [
        ("SKU-1", 3, 1, 0, 0), ("SKU-2", 2, 0, 1, 1), ("SKU-3", 1, 0, 1, 0),
    ]  # fmt: skip
    parcel = shop.rows("SELECT min(id) FROM shipments")[0][0]
    run(shop.engine, lambda c: delivery.deliver(c, ADMIN, [parcel]))
    done = change(
        shop, order_id, {"line_no": 1, "quantity": 2}, {"line_no": 2, "quantity": 0},
        {"line_no": 3, "quantity": 0},
    )  # fmt: skip
    assert (done["order"]["status"], done["order"]["fulfilment_status"]) == ("closed", "delivered")


@pytest.mark.parametrize("steps", [("pick",), ("pick", "pack"), ("pick", "pack", "ship")])
def test_units_that_are_picked_or_gone_are_not_taken_away(
    shop: Shop, steps: tuple[str, ...]
) -> None:
    order_id = partly_gone(shop, *steps)
    before = seen(shop, order_id)
    with pytest.raises(Conflict) as refusal:
        change(
            shop, order_id, {"sku": "SKU-3", "quantity": 1}, {"line_no": 2, "quantity": 1},
            {"line_no": 1, "quantity": 1},
        )  # fmt: skip
    code = "shipped" if "ship" in steps else "being_picked"
    assert [(e.field, e.code) for e in refusal.value.errors] == [("lines[2].quantity", code)]
    assert seen(shop, order_id) == before


def test_an_order_that_is_over_is_not_amended(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    gone = placed(shop, ("SKU-1", 1))
    change(shop, gone, {"line_no": 1, "quantity": 0})
    with pytest.raises(Conflict):
        change(shop, gone, {"line_no": 1, "quantity": 1})


def test_the_address_is_that_of_what_is_not_packed_yet(shop: Shop) -> None:
    rules = {
        "taxes": [
            {"percent": "8.875", "places": ["US-NY"]}, {"percent": "4", "places": ["US-GA"]},
        ],
    }  # fmt: skip
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    order_id = partly_gone(shop, "pick", "pack")
    with pytest.raises(Conflict) as refusal:
        change(shop, order_id, ship_to=NEW_YORK)
    assert [(e.field, e.code) for e in refusal.value.errors] == [("ship_to", "packed")]
    advance(shop, order_id, "ship")
    answer = change(shop, order_id, ship_to=NEW_YORK)["order"]
    assert answer["ship_to"]["city"] == "New York"
    # What was shipped was taxed in Georgia.
    assert [line["tax_percent"] for line in answer["lines"]] == ["4", "8.875"]
    change(shop, order_id, {"line_no": 2, "quantity": 0})
    with pytest.raises(Conflict) as refusal:
        change(shop, order_id, ship_to={**NEW_YORK, "line1": "5th Avenue 2"})
    assert [(e.field, e.code) for e in refusal.value.errors] == [("ship_to", "nothing_left")]


def test_a_part_under_way_keeps_an_unsplit_order_at_its_warehouse(shop: Shop) -> None:
    order_id = partly_gone(shop, "pick", "pack", "ship")
    for warehouse in ("ATL", "NYC"):
        shop.stock("SKU-3", 5, warehouse)
    change(shop, order_id, {"sku": "SKU-3", "quantity": 1})
    answer = change(shop, order_id, ship_to=NEW_YORK)
    assert answer["order"]["warehouse"] == "ATL"
    assert (shop.level("SKU-3"), shop.level("SKU-3", "NYC")) == ((5, 1), (5, 0))


def test_units_added_to_a_line_that_came_back_are_a_line_of_their_own(shop: Shop) -> None:
    order_id = partly_gone(shop, "pick", "pack", "ship")
    pay(shop, order_id)
    line_id = shop.rows("SELECT id FROM order_lines WHERE line_no = 1")[0][0]
    request = ReturnRequest(order_id, (ReturnedLine(line_id, 1),), "wrong item")
    run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))
    answer = change(shop, order_id, {"line_no": 1, "quantity": 3})
    assert [row[:2] for row in rows(answer)] == [("SKU-1", 2), ("SKU-2", 2), ("SKU-1", 1)]


def test_an_amendment_that_changes_nothing_writes_and_tells_nothing(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2), allow_split=True)
    before, log = seen(shop, order_id), shop.count("change_log")
    same = {key: value for key, value in before["ship_to"].items() if value is not None}
    for how in (
        {},
        {"allow_split": True, "ship_to": same},
        {"payment": {"method": "cash"}},
    ):
        answer = change(shop, order_id, {"line_no": 1, "quantity": 2}, **how)
        assert (answer["changed"], answer["order"]) == (False, before)
    assert change(shop, order_id)["changed"] is False
    assert (shop.count("change_log"), shop.count("outbox_messages")) == (log, 1)
    assert change(shop, order_id, note="ring twice")["changed"] is True


def test_the_customer_is_told_once_and_never_of_a_preview(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 2))
    change(shop, order_id, {"line_no": 1, "quantity": 1}, preview=True)
    change(shop, order_id, {"line_no": 1, "quantity": 1})
    kinds = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert kinds == ["order.confirmed", "order.amended"]
