"""Support finds a customer and her orders by what she says of herself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oms_ops.access import keys
from oms_ops.database import run
from oms_ops.orders.capture import capture
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import CLERK, Shop, order

PEOPLE = {
    "bob@example.com": ("Bob Stone", "+1 404 555 0100"),
    "ann_lee@example.com": ("Ann Élise Lee", "+44 20 7946 0018"),
    "annxlee@example.com": ("Anton Leeds", None),
}


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    shop.stock("SKU-1", 50)
    for number, (email, (name, phone)) in enumerate(PEOPLE.items()):
        customer = {"email": email, "name": name, **({"phone": phone} if phone else {})}
        body = order(("SKU-1", 1), customer=customer, external_id=f"W-{number}")
        capture(shop.engine, CLERK, body)
    key = run(shop.engine, lambda c: keys.create(c, "support", "sue"))
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(app_over(shop.engine), headers=headers) as made:
        yield made


def found(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/v1/customers", params=query)
    assert answer.status_code == 200, answer.text
    return [each["email"].split("@")[0] for each in answer.json()["data"]]


def test_a_customer_is_found_by_a_part_of_name_or_address(client: TestClient) -> None:
    assert found(client, search="STONE") == ["bob"]
    assert found(client, search=" lee") == ["ann_lee", "annxlee"]
    assert found(client, search="Élise") == ["ann_lee"]
    # What databases take for wildcards is what it is.
    assert found(client, search="ann_lee") == ["ann_lee"]
    assert found(client, search="%") == []
    assert found(client, search="nobody") == []
    assert found(client, search="") == ["bob", "ann_lee", "annxlee"]


def test_a_customer_is_found_by_her_phone_number_however_it_is_written(client: TestClient) -> None:
    for number in ("+14045550100", "(404) 555-0100", "404.555.0100", "555 0100", "0100"):
        assert found(client, search=number) == ["bob"], number
    for number in ("020 7946 0018", "+44 (0)20 7946 0018", "79460018"):
        assert found(client, search=number) == ["ann_lee"], number
    assert found(client, search="00") == []
    assert found(client, search="555-0199") == []


def test_her_orders_are_found_by_address_and_by_the_channels_number(client: TestClient) -> None:
    def numbers(**query: str) -> list[str]:
        return [
            each["external_id"] for each in client.get("/v1/orders", params=query).json()["data"]
        ]

    assert numbers() == ["W-2", "W-1", "W-0"]
    assert numbers(customer="Bob@Example.com") == ["W-0"]
    assert numbers(customer="nobody@example.com") == []
    assert numbers(external_id="W-1") == ["W-1"]
    assert numbers(external_id="W-1", customer="bob@example.com") == []


def test_a_search_for_what_no_text_holds_is_refused(client: TestClient) -> None:
    for path in ("/v1/customers", "/v1/skus"):
        refused = client.get(path, params={"search": "\x00"})
        assert [e["code"] for e in refused.json()["errors"]] == ["not_storable"]
