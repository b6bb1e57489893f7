"""Two at one ticket: it is solved once, closed or written in, and each rating leaves one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.care import commands, feedback, opening, page, transitions
from oms_ops.care.forms import FeedbackIn, QuestionIn
from oms_ops.care.transitions import TRANSITIONS
from oms_ops.errors import Conflict, OmsError
from oms_ops.orders.queries import number_of
from oms_ops.reconcile import reconcile
from tests.oms_ops.care.desk import AGENT, Desk, number
from tests.oms_ops.returns.test_return_races import at_once
from tests.oms_ops.shop import Shop
from tests.oms_ops.test_races import both


def test_a_ticket_is_solved_once_by_eight(desk: Desk) -> None:
    ticket = desk.ticket()
    ended = at_once(desk.shop, *[lambda c: commands.solve(c, AGENT, {ticket: "Done."})] * 8)
    assert sum(isinstance(each, Conflict) for each in ended) == 7
    assert [kind for kind, _ in desk.letters()] == ["ticket.opened", "ticket.solved"]
    assert len(desk.shown(ticket)["messages"]) == 2


def test_without_the_guard_it_would_be_solved_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(shop)
    ticket = desk.ticket()
    loose = replace(TRANSITIONS["solve"], moves={**TRANSITIONS["solve"].moves, "solved": "solved"})
    monkeypatch.setitem(transitions.TRANSITIONS, "solve", loose)
    ended = at_once(shop, *[lambda c: commands.solve(c, AGENT, {ticket: "Done."})] * 2)
    assert not any(isinstance(each, OmsError) for each in ended)
    assert [kind for kind, _ in desk.letters()].count("ticket.solved") == 2


@pytest.mark.parametrize("solve_first", [False, True])
def test_a_customer_who_writes_while_it_is_solved_is_not_lost(
    desk: Desk, *, solve_first: bool
) -> None:
    ticket = desk.ticket()
    acts: list[Callable[[Connection], Any]] = [
        lambda c: commands.hear(c, AGENT, {ticket: "Wait."}),
        lambda c: commands.solve(c, AGENT, {ticket: "Done."}),
    ]
    first, second = reversed(acts) if solve_first else acts
    assert both(desk.shop, first, second) is None
    seen = desk.shown(ticket)
    assert (seen["status"], seen["reopened"]) == (("open", 1) if solve_first else ("solved", 0))


def test_two_ratings_leave_one(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    ticket = desk.ticket(order_id)
    desk.do("solve", {ticket: "Done."})
    before = desk.shown(ticket)["version"]
    token = desk.token(order_id)
    acts = [lambda c, r=r: page.rate(c, token, number(ticket), r) for r in (1, 5)]
    assert both(desk.shop, *acts) is None
    seen = desk.shown(ticket)
    assert (seen["rating"], seen["version"]) == (5, before + 2)


def test_a_ticket_that_she_writes_in_does_not_close_behind_her(desk: Desk) -> None:
    order_id = desk.sold(("SKU-1", 1))
    with clock.at(clock.now() - timedelta(days=30)):
        ticket = desk.ticket(order_id)
        desk.do("solve", {ticket: "Done."})
    ended = both(
        desk.shop,
        lambda c: page.write(c, desk.token(order_id), number(ticket), "No!"),
        lambda c: commands.close_due(c, "system", 10),
    )
    assert not isinstance(ended, OmsError)
    assert desk.shown(ticket)["status"] == "open"


def test_two_workers_close_a_ticket_once(desk: Desk) -> None:
    with clock.at(clock.now() - timedelta(days=30)):
        ticket = desk.ticket()
        desk.do("solve", {ticket: "Done."})
    at_once(desk.shop, *[lambda c: commands.close_due(c, "system", 10)] * 4)
    steps = [each["step"] for each in desk.shown(ticket)["messages"]]
    assert steps == ["opened", "solved", "closed"]


def test_feedback_of_eight_is_one_an_order(desk: Desk) -> None:
    orders = [number_of(desk.sold(("SKU-1", 1)), "SO") for _ in range(2)]

    def give(score: int) -> Callable[[Connection], Any]:
        # In turns, so that the two orders would be met crosswise.
        chosen = orders if score % 2 else orders[::-1]
        wanted = [FeedbackIn(order=each, score=score) for each in chosen]
        return lambda c: feedback.give(c, AGENT, wanted)

    ended = at_once(desk.shop, *[give(score) for score in range(8)])
    assert not any(isinstance(each, OmsError) for each in ended)
    rows = desk.shop.rows("SELECT score, version FROM feedback ORDER BY order_id")
    assert len(rows) == 2
    assert {row[1] for row in rows} == {8}
    assert rows[0][0] == rows[1][0]


def test_her_page_takes_no_more_questions_than_it_should(desk: Desk) -> None:
    token = desk.token(desk.sold(("SKU-1", 1)))
    question = QuestionIn(topic="other", subject="Hm", message="Well?")
    ended = at_once(desk.shop, *[lambda c: opening.ask(c, token, question)] * 8)
    assert sum(isinstance(each, Conflict) for each in ended) == 3
    assert desk.shop.count("tickets") == opening.MOST_UNSOLVED
    assert [finding for finding in reconcile(desk.engine) if finding.count] == []
