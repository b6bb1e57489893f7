"""What customers wrote stays in the shop's tables: not in the feed, the history or the logs.

The same search finds what is planted, so it is able to fail.
"""

from __future__ import annotations

import pytest

from oms_ops.database import reading, run
from oms_ops.feed.reader import START, read
from oms_ops.orders.queries import number_of
from tests.oms_ops.care.desk import Desk, number
from tests.oms_ops.shop import Shop

SECRET = "my-most-private-words"


def everything_told(desk: Desk, order_id: int, log: str) -> dict[str, str]:
    """Return what leaves the tables of the care, by where it is."""
    with reading(desk.engine) as connection:
        feed = read(connection, START, 1_000_000)
    path = f"/v1/orders/{number_of(order_id, 'SO')}"
    return {
        "feed": "\n".join(map(str, feed)),
        "history": desk.client("clerk").get(f"{path}/history?limit=200").text,
        "order": desk.client("clerk").get(path).text,
        "keys": str(desk.shop.rows("SELECT * FROM idempotency_keys")),
        "log": log,
    }


def found(told: dict[str, str], secret: str = SECRET) -> list[str]:
    return [where for where, text in told.items() if secret in text]


@pytest.fixture
def order_id(desk: Desk) -> int:
    """Return an order about which somebody wrote the secret wherever one can."""
    order_id = desk.sold(("SKU-1", 1))
    client = desk.client()
    ticket = number(desk.ticket(order_id, subject=SECRET, message=SECRET))
    for step, body in (
        ("notes", {"message": SECRET}),
        ("replies", {"message": SECRET}),
        ("solve", {"message": SECRET}),
        ("reopen", {"reason": SECRET}),
        ("close", {"reason": SECRET}),
    ):
        answer = client.post(
            f"/v1/tickets/{ticket}/{step}", json=body, headers={"Idempotency-Key": step}
        )
        assert answer.status_code == 200, answer.text
    body = {"order": number_of(order_id, "SO"), "score": 1, "comment": SECRET}
    given = client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "f"})
    assert given.status_code == 201, given.text
    client.post("/v1/tickets", json={"email": "stranger@example.com", "channel": "phone",
                                     "topic": "other", "subject": "x", "message": "x"})  # fmt: skip
    return order_id


def test_what_was_written_is_told_nowhere_else(
    desk: Desk, order_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    told = everything_told(desk, order_id, caplog.text)
    assert found(told) == []
    assert found(told, "stranger@example.com") == []
    # What may be counted is there.
    for column in ("first_response_due_at", "rating", "is_internal", "score"):
        assert f'"{column}"' in told["feed"], column


def test_the_search_finds_what_is_planted(desk: Desk, order_id: int) -> None:
    with desk.engine.connect() as connection:
        connection.exec_driver_sql(f"UPDATE tickets SET assigned_to = '{SECRET}'")
        connection.commit()
    assert set(found(everything_told(desk, order_id, ""))) == {"feed", "history"}


def test_a_message_is_never_changed_nor_deleted(shop: Shop) -> None:
    Desk(shop).ticket()
    for change in ("UPDATE ticket_messages SET body = 'x'", "DELETE FROM ticket_messages"):
        with pytest.raises(Exception, match="ledger"):
            run(shop.engine, lambda c, s=change: c.exec_driver_sql(s))  # type: ignore[misc]
