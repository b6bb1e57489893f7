"""Who may send what back, who decides, and what is kept of it."""

from __future__ import annotations

import pytest

from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, NotFound, ValidationFailed
from oms_ops.returns import requests
from oms_ops.returns.requests import Asked
from oms_ops.worker import work_once
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.shop import CLERK


def codes(refusal: pytest.ExceptionInfo[ValidationFailed]) -> list[tuple[str, str]]:
    return [(fault.field, fault.code) for fault in refusal.value.errors]


def test_a_return_inside_the_policy_is_approved_at_once_and_the_customer_told(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    seen = desk.seen(desk.ask(order_id, Asked(1, 2, "changed_mind")))
    assert (seen["status"], seen["asked_by"], seen["lines"][0]["quantity"]) == (
        "approved", "shop", 2,
    )  # fmt: skip
    assert desk.told() == ["return.approved"]


def test_every_bad_field_is_named_and_nothing_is_kept(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2), ("SKU-2", 1))
    with pytest.raises(ValidationFailed) as refusal:
        desk.ask(order_id, Asked(1, 3, "damaged"), Asked(9, 1, "damaged"), Asked(2, 1, "bored"),
                 Asked(2, 1), reason="")  # fmt: skip
    assert codes(refusal) == [
        ("lines[0].quantity", "more_than_shipped"),
        ("lines[1].line_no", "unknown_line"),
        ("lines[2].reason", "unknown_reason"),
        ("lines[3].line_no", "repeated_line"),
        ("lines[3].note", "note_required"),
    ]
    assert desk.shop.count("returns") == 0


def test_units_on_their_way_back_are_not_asked_for_twice(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 2))
    first = desk.ask(order_id, Asked(1, 2, "damaged"))
    with pytest.raises(ValidationFailed) as refusal:
        desk.ask(order_id, Asked(1, 1, "damaged"))
    assert codes(refusal) == [("lines[0].quantity", "more_than_shipped")]
    run(desk.engine, lambda c: requests.cancel(c, CLERK, first, None))
    desk.ask(order_id, Asked(1, 2, "damaged"))


def test_the_window_closes_and_a_clerk_may_open_it_with_a_reason(desk: Desk) -> None:
    desk.rules(returns={"window_days": 14})
    order_id = desk.sold(("SKU-1", 2))
    with desk.later(days=14):
        desk.ask(order_id, Asked(1, 1, "changed_mind"))
    with desk.later(days=16):
        with pytest.raises(ValidationFailed) as refusal:
            desk.ask(order_id, Asked(1, 1, "changed_mind"))
        assert codes(refusal) == [("lines[0].line_no", "outside_window")]
        kept = desk.seen(desk.ask(order_id, Asked(1, 1, "changed_mind"), override="she was ill"))
    assert (kept["status"], kept["decision"]) == ("approved", "she was ill")


def test_a_category_has_its_own_terms(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    desk.rules(returns={"exceptions": [{"categories": ["Small"], "returnable": False}]})
    with pytest.raises(ValidationFailed) as refusal:
        desk.ask(order_id, Asked(1, 1, "damaged"))
    assert codes(refusal) == [("lines[0].line_no", "not_returnable")]
    desk.rules(returns={"exceptions": [{"tax_categories": ["food"], "returnable": False}]})
    desk.ask(order_id, Asked(1, 1, "damaged"))


def test_what_a_customer_asks_against_the_policy_is_kept_refused_and_may_be_approved(
    desk: Desk,
) -> None:
    desk.rules(returns={"window_days": 0})
    order_id = desk.sold(("SKU-1", 1))
    token = desk.token(order_id)
    with desk.later(days=2):
        asked = run(
            desk.engine, lambda c: requests.ask(c, token, [Asked(1, 1, "changed_mind")], "")
        )
        seen = desk.seen(asked)
        assert (seen["status"], seen["asked_by"]) == ("refused", "customer")
        with pytest.raises(ValidationFailed):
            run(desk.engine, lambda c: requests.approve(c, CLERK, asked, None))
        run(desk.engine, lambda c: requests.approve(c, CLERK, asked, "goodwill"))
    assert (desk.seen(asked)["status"], desk.seen(asked)["decision"]) == ("approved", "goodwill")
    assert desk.told() == ["return.refused", "return.approved"]


def test_a_refused_return_is_not_approved_when_its_units_are_on_their_way(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    first = desk.ask(order_id, Asked(1, 1, "damaged"))
    run(desk.engine, lambda c: requests.refuse(c, CLERK, first, "no"))
    desk.ask(order_id, Asked(1, 1, "damaged"))
    with pytest.raises(Conflict):
        run(desk.engine, lambda c: requests.approve(c, CLERK, first, "after all"))


def test_where_a_clerk_decides_a_return_waits_for_her(desk: Desk) -> None:
    desk.rules(returns={"approve": "clerk"})
    order_id = desk.sold(("SKU-1", 2))
    waiting = desk.ask(order_id, Asked(1, 1, "damaged"))
    assert (desk.seen(waiting)["status"], desk.told()) == ("requested", [])
    with pytest.raises(Conflict):
        desk.receive(waiting)
    run(desk.engine, lambda c: requests.refuse(c, CLERK, waiting, "it was worn"))
    assert desk.seen(waiting)["decision"] == "it was worn"
    with pytest.raises(Conflict):
        run(desk.engine, lambda c: requests.refuse(c, CLERK, waiting, "again"))
    assert desk.told() == ["return.refused"]


def test_customers_ask_only_by_their_link_and_only_where_the_shop_lets_them(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    with pytest.raises(NotFound):
        run(desk.engine, lambda c: requests.ask(c, "guess", [Asked(1, 1, "damaged")]))
    token = desk.token(order_id)
    desk.rules(returns={"online": False})
    with pytest.raises(Conflict):
        run(desk.engine, lambda c: requests.ask(c, token, [Asked(1, 1, "damaged")]))


def test_goods_that_do_not_come_are_not_waited_for(desk: Desk) -> None:
    desk.rules(returns={"expires_days": 10})
    order_id = desk.sold(("SKU-1", 1))
    return_id = desk.ask(order_id, Asked(1, 1, "damaged"))
    assert work_once(desk.engine)["expired returns"] == 0
    with desk.later(days=11):
        assert work_once(desk.engine)["expired returns"] == 1
    assert desk.seen(return_id)["status"] == "expired"
    with pytest.raises(Conflict):
        desk.receive(return_id)
    run(desk.engine, lambda c: requests.approve(c, CLERK, return_id, "the post was slow"))
    desk.receive(return_id)


@pytest.mark.parametrize("role", ["analyst", "merchandiser"])
def test_returns_are_for_those_who_may(desk: Desk, role: str) -> None:
    order_id = desk.sold(("SKU-1", 1))
    nobody = Actor("nora", role)
    for act in (
        lambda c: requests.request(c, nobody, order_id, [Asked(1, 1, "damaged")]),
        lambda c: requests.approve(c, nobody, 1, None),
        lambda c: requests.refuse(c, nobody, 1, "no"),
        lambda c: requests.cancel(c, nobody, 1, None),
    ):
        with pytest.raises(Forbidden):
            run(desk.engine, act)
