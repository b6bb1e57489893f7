"""What a customer sees of her tickets on her order's page, and what she does there."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from oms_ops.cards import looks_like_card
from oms_ops.orders.capture import capture
from tests.oms_ops.care.desk import Desk, number
from tests.oms_ops.shop import CLERK, order

CARD = "4242 4242 4242 4242"
ASKED = {"topic": "delivery", "subject": "<b>Where?</b>", "message": "It has\nnot come."}


@pytest.fixture
def customer(desk: Desk) -> TestClient:
    """Return a client without a key."""
    return desk.client(None)


def test_she_asks_writes_back_and_rates(desk: Desk, customer: TestClient) -> None:
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    assert "Your questions" not in customer.get(path).text
    answer = customer.post(f"{path}/tickets", data=ASKED, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    seen = desk.shown(1)
    assert (seen["channel"], seen["topic"], seen["priority"]) == ("web", "delivery", "normal")
    assert seen["messages"][0]["by"] == "customer"
    page = customer.get(path).text
    assert "TK-10000001: &lt;b&gt;Where?&lt;/b&gt;" in page
    assert "It has<br>not come." in page
    desk.do("note", {1: "she is cross"})
    desk.do("assign", [1], "sue")
    desk.do("solve", {1: "It is <there>."})
    page = customer.get(path).text
    assert "It is &lt;there&gt;." in page
    assert not {"cross", "sue"} & set(page.split())
    for rating in ("1", "4"):
        customer.post(f"{path}/tickets/TK-10000001/rating", data={"rating": rating})
    assert desk.shown(1)["rating"] == 4
    assert '<option value="4" selected>4</option>' in customer.get(path).text
    customer.post(f"{path}/tickets/TK-10000001/replies", data={"message": "It is not."})
    assert (desk.shown(1)["status"], desk.shown(1)["reopened"]) == ("open", 1)
    desk.do("close", [1])
    assert 'action="/track/' in customer.get(path).text
    assert "/replies" not in customer.get(path).text
    late = customer.post(f"{path}/tickets/TK-10000001/replies", data={"message": "Hello?"})
    assert late.status_code == 409


def test_she_is_told_that_her_question_has_come_and_not_of_her_own_words(
    desk: Desk, customer: TestClient
) -> None:
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    customer.post(f"{path}/tickets", data=ASKED)
    customer.post(f"{path}/tickets/TK-10000001/replies", data={"message": "Hello?"})
    assert [kind for kind, _ in desk.letters()] == ["ticket.opened"]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({**ASKED, "message": f"take {CARD}"}, "Your words: looks like a card number"),
        ({**ASKED, "subject": CARD}, "In short: looks like a card number"),
        ({**ASKED, "message": "  "}, "Your words: must be given"),
        ({**ASKED, "message": "x" * 5001}, "Your words: "),
        ({**ASKED, "topic": "<script>"}, "Input should be"),
        ({"topic": "other"}, "In short: "),
        ({**ASKED, "priority": "urgent"}, "not permitted"),
        ({**ASKED, "message": "a\x00"}, "Your words: "),
    ],
)
def test_a_bad_question_is_answered_on_the_page(
    desk: Desk, customer: TestClient, form: dict[str, str], says: str
) -> None:
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    answer = customer.post(f"{path}/tickets", data=form)
    assert answer.status_code == 422
    assert says in answer.text
    assert "<script>" not in answer.text
    assert not looks_like_card(answer.text)
    assert desk.shop.count("tickets") == 0


@pytest.mark.parametrize("rating", ["0", "6", "five", "", "4.5"])
def test_a_rating_is_one_of_five(desk: Desk, customer: TestClient, rating: str) -> None:
    order_id = desk.sold(("SKU-1", 1))
    ticket = desk.ticket(order_id)
    desk.do("solve", {ticket: "Done."})
    path = f"/track/{desk.token(order_id)}/tickets/{number(ticket)}/rating"
    assert customer.post(path, data={"rating": rating}).status_code == 422
    assert desk.shown(ticket)["rating"] is None


def test_her_link_opens_no_ticket_but_her_orders_own(desk: Desk, customer: TestClient) -> None:
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    others = desk.ticket(desk.sold(("SKU-1", 1)), message="something private")
    desk.do("solve", {others: "Done."})
    assert "private" not in customer.get(path).text
    for step, form in (("replies", {"message": "x"}), ("rating", {"rating": "1"})):
        answer = customer.post(f"{path}/tickets/{number(others)}/{step}", data=form)
        assert answer.status_code == 404
    for route, form in (("tickets", ASKED), ("feedback", {"score": "1"})):
        assert customer.post(f"/track/guess/{route}", data=form).status_code == 404
    assert desk.shown(others)["rating"] is None


def test_a_shop_that_takes_no_questions_online(desk: Desk, customer: TestClient) -> None:
    desk.rules(care={"online": False})
    path = f"/track/{desk.token(desk.sold(('SKU-1', 1)))}"
    assert "Ask for help" not in customer.get(path).text
    refused = customer.post(f"{path}/tickets", data=ASKED)
    assert refused.status_code == 409
    assert "please write to us" in refused.text


def test_she_says_her_mind_once_something_came(desk: Desk, customer: TestClient) -> None:
    desk.shop.stock("SKU-1", 5)
    coming = capture(desk.engine, CLERK, order(("SKU-1", 1)))["number"]
    order_id = desk.shop.rows("SELECT id FROM orders WHERE number = :n", n=coming)[0][0]
    path = f"/track/{desk.token(order_id)}"
    assert "recommend" not in customer.get(path).text
    assert customer.post(f"{path}/feedback", data={"score": "9"}).status_code == 409
    desk.deliver(order_id)
    assert "recommend" in customer.get(path).text
    # Nothing is chosen before she chooses.
    page = customer.get(path).text
    assert '<select name="score" required><option value="">choose</option>' in page
    assert customer.post(f"{path}/feedback", data={"score": ""}).is_error
    for score, comment in (("2", "slow"), ("9", "<i>fine</i>")):
        customer.post(f"{path}/feedback", data={"score": score, "comment": comment})
    assert desk.shop.rows("SELECT score, comment, version, changed_by FROM feedback") == [
        (9, "<i>fine</i>", 2, "customer")
    ]
    page = customer.get(path).text
    assert '<option value="9" selected>9</option>' in page
    assert "&lt;i&gt;fine&lt;/i&gt;" in page
    bad = customer.post(f"{path}/feedback", data={"score": "11", "comment": CARD})
    assert bad.status_code == 422
    assert "Why: looks like a card number" in bad.text
