"""What the customer sees of her returns, and how she asks for one."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from oms_ops.notifications.letters import compose
from tests.oms_ops.app import app_over
from tests.oms_ops.returns.desk import Desk


@pytest.fixture
def client(desk: Desk) -> TestClient:
    """Return a client without a key."""
    return TestClient(app_over(desk.engine), raise_server_exceptions=False)


def test_she_asks_on_her_orders_page_and_sees_what_becomes_of_it(
    desk: Desk, client: TestClient
) -> None:
    desk.rules(returns={"window_days": 30})
    order_id = desk.sold(("SKU-1", 2), ("SKU-2", 1))
    path = f"/track/{desk.token(order_id)}"
    page = client.get(path).text
    assert f'action="{path}/returns"' in page
    assert 'name="quantity_1" min="0" max="2"' in page
    answer = client.post(
        f"{path}/returns",
        data={"quantity_1": "1", "reason_1": "damaged", "quantity_2": "0", "note": "<b>torn</b>"},
        follow_redirects=False,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    seen = desk.seen(1)
    assert (seen["status"], seen["asked_by"], seen["reason"]) == (
        "approved", "customer", "<b>torn</b>",
    )  # fmt: skip
    assert [(li["line_no"], li["quantity"], li["reason"]) for li in seen["lines"]] == [
        (1, 1, "damaged")
    ]
    page = client.get(path).text
    assert "Return RM-10000001 of 1 × Thing 1" in page
    assert 'max="1"' in page
    assert desk.shop.rows("SELECT changed_by FROM returns")[0][0] == "customer"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"quantity_1": "9", "reason_1": "damaged"}, "2 of Thing 1"),
        ({"quantity_1": "0"}, "say how many"),
        ({"quantity_1": "-1", "reason_1": "damaged"}, "at least 1"),
        ({"quantity_1": "1", "reason_1": "<script>"}, "one of"),
        ({"quantity_1": "1", "reason_1": "other"}, "say why"),
        ({"quantity_8": "1", "reason_8": "damaged"}, "no such line"),
        ({"quantity_1": "1", "reason_1": "damaged", "note": "x" * 2001}, "2000"),
        ({"quantity_1": "1", "reason_1": "damaged", "note": "a\x00"}, "text"),
    ],
)
def test_a_bad_form_is_answered_on_the_page(
    desk: Desk, client: TestClient, form: dict[str, str], says: str
) -> None:
    path = f"/track/{desk.token(desk.sold(('SKU-1', 2)))}"
    answer = client.post(f"{path}/returns", data=form)
    assert answer.status_code == 422
    assert says in answer.text
    assert "<script>" not in answer.text
    assert desk.shop.count("returns") == 0


def test_a_wrong_link_opens_nothing(desk: Desk, client: TestClient) -> None:
    desk.sold(("SKU-1", 1))
    form = {"quantity_1": "1", "reason_1": "damaged"}
    assert client.post("/track/guess/returns", data=form).status_code == 404
    assert client.post("/track/guess/returns", content=b"\xff\xfe").status_code in (404, 422)
    assert desk.shop.count("returns") == 0


def test_no_form_of_a_return_is_shown_where_nothing_may_be_asked_for(
    desk: Desk, client: TestClient
) -> None:
    desk.rules(returns={"window_days": 5})
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    with desk.later(days=7):
        assert '/returns"' not in client.get(path).text
    assert '/returns"' in client.get(path).text
    desk.rules(returns={"online": False})
    assert '/returns"' not in client.get(path).text
    refused = client.post(f"{path}/returns", data={"quantity_1": "1", "reason_1": "damaged"})
    assert (refused.status_code, "cannot be asked for online" in refused.text) == (409, True)


@pytest.mark.parametrize(
    ("kind", "payload", "says"),
    [
        ("approved", {"address": "ATL, 00001", "until": "2026-12-31"}, "to ATL, 00001"),
        ("refused", {"reason": "too late"}, "RM-1 of order SO-1: too late"),
        ("received", {}, "have arrived"),
        ("refunded", {"amount": "1.99", "currency": "USD", "where": "to your store credit"},
         "1.99 USD go back to your store credit"),
        ("exchanged", {"replacement": "SO-2"}, "a new order: SO-2"),
    ],
)  # fmt: skip
def test_every_message_of_a_return_has_its_letter(
    kind: str, payload: dict[str, str], says: str
) -> None:
    letter = compose(f"return.{kind}", {"order": "SO-1", "return": "RM-1", **payload})
    assert says in letter.text
    assert "RM-1" in letter.subject
