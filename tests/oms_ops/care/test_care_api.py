"""Tickets and feedback over HTTP: who may, what is refused, what a repeat does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from oms_ops.api import care_page
from oms_ops.care import forms, tables
from oms_ops.demo import assumptions
from oms_ops.orders.capture import capture
from oms_ops.orders.queries import number_of
from oms_ops.rules.document import CareHours
from tests.oms_ops.care.desk import Desk, number
from tests.oms_ops.shop import CLERK, order

CARD = "4242 4242 4242 4242"
TICKET = {"channel": "phone", "topic": "product", "subject": "Hm", "message": "Well?"}


def faults(response: Any, status: int = 422) -> dict[str, str]:
    assert response.status_code == status, response.text
    return {each["field"]: each["code"] for each in response.json()["errors"]}


def test_a_ticket_goes_through_its_life(desk: Desk) -> None:
    sold = number_of(desk.sold(("SKU-1", 1)), "SO")
    client = desk.client()
    made = client.post("/v1/tickets", json={**TICKET, "order": sold, "priority": "high"})
    assert made.status_code == 201, made.text
    ticket = made.json()
    assert (ticket["order"], ticket["email"], ticket["status"]) == (sold, "bob@example.com", "new")
    path = f"/v1/tickets/{ticket['number']}"
    for step, body, status in (
        ("assign", {"to": "sue"}, "open"),
        ("notes", {"message": "for us"}, "open"),
        ("replies", {"message": "for her"}, "waiting"),
        ("replies", {"message": "from her", "by_customer": True}, "open"),
        ("priority", {"priority": "low", "topic": "other"}, "open"),
        ("solve", None, "solved"),
        ("rating", {"rating": 3}, "solved"),
        ("reopen", {"reason": "no"}, "open"),
        ("solve", {"message": "now"}, "solved"),
        ("close", None, "closed"),
    ):
        answer = client.post(f"{path}/{step}", json=body)
        assert (answer.status_code, answer.json()["status"]) == (200, status), answer.text
    seen = client.get(path).json()
    assert seen == answer.json()
    assert (seen["rating"], seen["topic"], seen["assigned_to"]) == (3, "other", "sue")
    assert [each["body"] for each in seen["messages"] if each["is_internal"]] == [
        "for us", "", "no", "",
    ]  # fmt: skip
    assert faults(client.post(f"{path}/replies", json={"message": "x"}), 409) == {
        "number": "wrong_status"
    }
    entries = desk.client("clerk").get(f"/v1/orders/{sold}/history?limit=200").json()["data"]
    told = [entry for entry in entries if entry["entity"] == "ticket"]
    assert {entry["number"] for entry in told} == {ticket["number"]}
    assert [e["changes"]["status"]["after"] for e in told if "status" in e["changes"]] == [
        "new", "open", "waiting", "open", "solved", "open", "solved", "closed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"email": "required"}),
        ({"order": "SO-1"}, {"order": "unknown_order"}),
        ({"order": CARD}, {"order": "unknown_order"}),
        ({"order": "{order}", "email": "else@example.com"}, {"email": "not_the_customers"}),
        (
            {"email": "x", "channel": "fax", "topic": "", "subject": " ", "message": ""},
            {
                "email": "invalid", "channel": "literal_error", "topic": "literal_error",
                "subject": "string_too_short", "message": "string_too_short",
            },
        ),
        ({"email": "a@example.com", "subject": "a\nb"}, {"subject": "not_storable"}),
        ({"email": "a@example.com", "message": "a\x00b"}, {"message": "not_storable"}),
        ({"email": "a@example.com", "message": f"it is {CARD}."}, {"message": "card_number"}),
        ({"email": "a@example.com", "subject": CARD}, {"subject": "card_number"}),
        ({"email": "a@example.com", "urgent": True}, {"urgent": "unknown_field"}),
    ],
)  # fmt: skip
def test_every_bad_field_is_named(
    desk: Desk, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    sold = number_of(desk.sold(("SKU-1", 1)), "SO")
    changes = {k: sold if v == "{order}" else v for k, v in changes.items()}
    refused = desk.client().post("/v1/tickets", json={**TICKET, **changes})
    assert faults(refused) == expected
    assert CARD not in refused.text
    assert desk.shop.count("tickets") == 0


@pytest.mark.parametrize(
    ("step", "body", "field", "code"),
    [
        ("replies", {"message": CARD}, "message", "card_number"),
        ("replies", {"message": " "}, "message", "string_too_short"),
        ("notes", {"message": CARD}, "message", "card_number"),
        ("assign", {"to": CARD}, "to", "card_number"),
        ("priority", {}, "priority", "required"),
        ("priority", {"priority": "asap"}, "priority", "literal_error"),
        ("solve", {"message": CARD}, "message", "card_number"),
        ("solve", {}, "message", "required"),
        ("reopen", {"reason": CARD}, "reason", "card_number"),
        ("close", {"reason": CARD}, "reason", "card_number"),
        ("rating", {"rating": 6}, "rating", "less_than_equal"),
        ("rating", {"rating": 0}, "rating", "greater_than_equal"),
    ],
)
def test_a_bad_step_changes_nothing(
    desk: Desk, step: str, body: dict[str, Any], field: str, code: str
) -> None:
    ticket = desk.ticket()
    before = desk.shop.count("change_log")
    refused = desk.client("admin").post(f"/v1/tickets/{number(ticket)}/{step}", json=body)
    assert faults(refused) == {field: code}
    assert CARD not in refused.text
    assert desk.shop.count("change_log") == before


def test_a_repeat_answers_once(desk: Desk) -> None:
    client = desk.client()
    headers = {"Idempotency-Key": "k"}
    body = {**TICKET, "email": "New@Example.com", "message": "my dog ate it"}
    first = client.post("/v1/tickets", json=body, headers=headers)
    again = client.post("/v1/tickets", json=body, headers=headers)
    assert first.json() == again.json()
    assert first.json()["email"] == "new@example.com"
    path = f"/v1/tickets/{first.json()['number']}/replies"
    for _ in range(2):
        reply = client.post(path, json={"message": "poor dog"}, headers={"Idempotency-Key": "r"})
    assert len(reply.json()["messages"]) == 2
    other = client.post(path, json={"message": "poor cat"}, headers={"Idempotency-Key": "r"})
    assert other.json()["type"] == "urn:oms:problem:idempotency_key_reused"
    assert [kind for kind, _ in desk.letters()] == ["ticket.opened", "ticket.replied"]
    # The key keeps no copy of what was written.
    assert "dog" not in str(desk.shop.rows("SELECT * FROM idempotency_keys"))


def test_six_who_send_one_reply_at_once_write_it_once(desk: Desk) -> None:
    path = f"/v1/tickets/{number(desk.ticket())}/replies"
    client = desk.client()

    def send(_: int) -> int:
        said, key = {"message": "poor dog"}, {"Idempotency-Key": "r"}
        return client.post(path, json=said, headers=key).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(6))) == {200}
    assert len(desk.shown(1)["messages"]) == 2
    assert [kind for kind, _ in desk.letters()] == ["ticket.opened", "ticket.replied"]


def test_what_is_asked_for_is_what_the_tables_know() -> None:
    assert get_args(forms.Channel) == tables.CHANNELS
    assert get_args(forms.Topic) == tables.TOPICS == tuple(care_page._TOPICS)
    assert get_args(forms.Priority) == tables.PRIORITIES == tuple(CareHours.model_fields)
    assert tuple(care_page._STATES) == tables.STATUSES
    assert set(assumptions.TOPICS) == set(assumptions.QUESTIONS) == set(assumptions.ANSWERS)
    assert set(assumptions.TOPICS) == set(tables.TOPICS)


def test_who_may_read_and_who_may_answer(desk: Desk) -> None:
    ticket = number(desk.ticket())
    path, said = f"/v1/tickets/{ticket}", {"message": "x"}
    answers = {
        role: (
            desk.client(role).get(path).status_code,
            desk.client(role).post(f"{path}/notes", json=said).status_code,
            desk.client(role).get("/v1/feedback").status_code,
        )
        for role in (
            "support", "clerk", "admin", "analyst", "engineer", "warehouse", "merchandiser",
        )
    }  # fmt: skip
    assert answers == {
        **dict.fromkeys(("support", "clerk", "admin"), (200, 200, 200)),
        "analyst": (200, 403, 200),
        **dict.fromkeys(("engineer", "warehouse", "merchandiser"), (403, 403, 403)),
    }
    # Nor is anything said to be missing.
    assert desk.client("warehouse").get("/v1/tickets/TK-1").status_code == 403
    assert desk.client("support").get("/v1/tickets/TK-1").status_code == 404


def listed(client: TestClient, query: str) -> list[str]:
    answer = client.get(f"/v1/tickets?{query}")
    assert answer.status_code == 200, answer.text
    return [each["number"] for each in answer.json()["data"]]


def test_tickets_are_found_by_what_is_known_of_them(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    first, second, third = desk.ticket(order_id), desk.ticket(), desk.ticket(priority="urgent")
    desk.do("assign", [second], "sue")
    desk.do("close", [third])
    client = desk.client()
    names = {each: number(each) for each in (first, second, third)}
    assert listed(client, "") == [names[third], names[second], names[first]]
    assert listed(client, "status=closed") == [names[third]]
    assert listed(client, f"order={number_of(order_id, 'SO')}") == [names[first]]
    assert listed(client, "customer=BOB@example.com") == [names[first]]
    assert listed(client, "customer=new@example.com&assigned_to=sue") == [names[second]]
    assert listed(client, "overdue=true") == []
    with desk.later(hours=25):
        assert listed(client, "overdue=true") == [names[second], names[first]]
        assert listed(client, "overdue=false") == [names[third]]
    page = client.get("/v1/tickets?limit=2").json()
    assert listed(client, f"limit=2&after={page['next']}") == [names[first]]


def test_feedback_is_one_an_order_and_the_latest_counts(desk: Desk) -> None:
    sold = number_of(desk.sold(("SKU-1", 1)), "SO")
    client = desk.client()
    made = client.post("/v1/feedback", json={"order": sold, "score": 3, "comment": "slow"})
    assert made.status_code == 201, made.text
    again = client.post("/v1/feedback", json={"order": sold, "score": 9})
    assert (again.json()["id"], again.json()["version"]) == (made.json()["id"], 2)
    (only,) = client.get("/v1/feedback").json()["data"]
    assert (only["score"], only["comment"], only["email"]) == (9, None, "bob@example.com")


def test_feedback_waits_for_a_delivery_and_has_bounds(desk: Desk) -> None:
    desk.shop.stock("SKU-1", 5)
    coming = capture(desk.engine, CLERK, order(("SKU-1", 1)))["number"]
    client = desk.client()
    early = client.post("/v1/feedback", json={"order": coming, "score": 5})
    assert faults(early, 409) == {"order": "nothing_delivered"}
    bad = client.post("/v1/feedback", json={"order": coming, "score": 11, "comment": CARD})
    assert faults(bad) == {"score": "less_than_equal", "comment": "card_number"}
    unknown = client.post("/v1/feedback", json={"order": "SO-1", "score": 1})
    assert faults(unknown) == {"order": "unknown_order"}
    assert desk.shop.count("feedback") == 0
