"""What a customer says with an order is kept with it, and what is new of the customer with both."""

from __future__ import annotations

from typing import Any

from oms_ops.database import reading, run
from oms_ops.orders import queries
from oms_ops.orders.bulk import capture_many
from oms_ops.orders.capture import capture
from tests.oms_ops.shop import CLERK, Shop, order
from tests.oms_ops.test_bulk import batch


def said(shop: Shop, **customer: Any) -> dict[str, Any]:
    """Capture an order and return the customer as the answer shows it."""
    body = order(("SKU-1", 1), allow_backorder=True)
    body["customer"] |= customer
    answer = capture(shop.engine, CLERK, body)
    with reading(shop.engine) as connection:
        assert queries.get(connection, answer["number"])["customer"] == answer["customer"]
    customer_shown: dict[str, Any] = answer["customer"]
    return customer_shown


def known(shop: Shop) -> list[Any]:
    return [tuple(row) for row in shop.rows("SELECT name, phone, version FROM customers")]


def test_a_known_customers_new_name_and_phone_are_kept(shop: Shop) -> None:
    first = said(shop, phone="4045550100")
    assert first == {"email": "bob@example.com", "name": "Bob", "phone": "+14045550100"}
    assert known(shop) == [("Bob", "+14045550100", 1)]
    # The same again changes nothing, nor does an order without a phone.
    said(shop, phone="(404) 555-0100")
    assert said(shop)["phone"] is None
    assert known(shop) == [("Bob", "+14045550100", 1)]
    assert said(shop, name="Robert")["name"] == "Robert"
    said(shop, name="Robert", phone="+442079460018")
    assert known(shop) == [("Robert", "+442079460018", 3)]
    names = shop.rows("SELECT contact_name, contact_phone FROM orders ORDER BY id")
    assert [tuple(row) for row in names] == [
        ("Bob", "+14045550100"), ("Bob", "+14045550100"), ("Bob", None), ("Robert", None),
        ("Robert", "+442079460018"),
    ]  # fmt: skip
    changed = shop.rows("SELECT changed_by FROM customers")
    assert [row.changed_by for row in changed] == ["carla"]


def test_the_feed_carries_the_contact_of_an_order(shop: Shop) -> None:
    said(shop, phone="4045550100")
    (row,) = shop.rows("SELECT payload FROM change_log WHERE entity = 'orders'")
    assert "+14045550100" in str(row.payload)


def test_a_live_batch_keeps_what_the_last_order_says(shop: Shop) -> None:
    lines = [("SKU-1", 1)]
    people = [
        {"customer_name": "Ann", "customer_phone": "4045550100"},
        {"customer_name": "Anna", "customer_phone": "4045550123"},
        {"customer_name": "Anne", "customer_phone": None},
    ]
    wanted = [{"email": "a@example.com", "lines": lines, **each} for each in people]

    def take(prefix: str, *, live: bool) -> None:
        named = [{**each, "external_id": f"{prefix}-{n}"} for n, each in enumerate(wanted)]
        frames = batch(named)
        assert run(shop.engine, lambda c: capture_many(c, CLERK, *frames, live=live)).orders == 3

    # History says nothing of what a customer is called now.
    take("H", live=False)
    assert known(shop) == [("Ann", "+14045550100", 1)]
    take("L", live=True)
    assert known(shop) == [("Anne", "+14045550123", 2)]
    take("M", live=True)
    assert known(shop) == [("Anne", "+14045550123", 2)]
    rows = shop.rows("SELECT contact_name FROM orders WHERE external_id LIKE 'L-%' ORDER BY id")
    assert [row.contact_name for row in rows] == ["Ann", "Anna", "Anne"]
