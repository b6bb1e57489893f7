"""A ticket's life: due by the rules of its day, answered, solved, open again, closed, rated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from oms_ops import clock, worker
from oms_ops.care import commands, opening, queries
from oms_ops.care.forms import TicketIn
from oms_ops.care.transitions import TRANSITIONS
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, ValidationFailed
from oms_ops.notifications.letters import compose
from oms_ops.reconcile import reconcile
from oms_ops.rules import advice, store
from tests.oms_ops.care.desk import AGENT, Desk
from tests.oms_ops.shop import Shop

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


def after(**delta: float) -> datetime:
    return MONDAY + timedelta(**delta)


def told(desk: Desk) -> list[str]:
    return [kind for kind, _ in desk.letters()]


def test_a_ticket_is_due_by_its_priority_and_stays_so(desk: Desk) -> None:
    with clock.at(MONDAY):
        ticket = desk.ticket(priority="high")
        seen = desk.shown(ticket)
        assert (seen["number"], seen["status"]) == ("TK-10000001", "new")
        assert seen["first_response_due_at"] == after(hours=8).isoformat()
        assert seen["resolution_due_at"] == after(hours=24).isoformat()
    # What was promised stands, whatever the rules say later; another priority is by the rules of
    # its day, from the moment the ticket was opened.
    hours = {"low": 40, "normal": 30, "high": 20, "urgent": 10}
    desk.rules(care={"first_response_hours": hours, "solution_hours": hours})
    assert desk.shown(ticket)["first_response_due_at"] == after(hours=8).isoformat()
    with clock.at(after(hours=3)):
        desk.do("change", [ticket], topic="payment")
        assert desk.shown(ticket)["first_response_due_at"] == after(hours=8).isoformat()
        desk.do("change", [ticket], priority="urgent")
    seen = desk.shown(ticket)
    assert (seen["topic"], seen["priority"]) == ("payment", "urgent")
    assert seen["first_response_due_at"] == after(hours=10).isoformat()


def test_the_whole_life_of_a_ticket(desk: Desk) -> None:
    with clock.at(MONDAY):
        ticket = desk.ticket(desk.sold(("SKU-1", 1)))
    with clock.at(after(hours=1)):
        desk.do("assign", [ticket], "sue")
        assert desk.shown(ticket)["status"] == "open"
        desk.do("note", {ticket: "The parcel is in Ohio."})
    with clock.at(after(hours=2)):
        desk.do("reply", {ticket: "We look for it."})
        assert desk.shown(ticket)["status"] == "waiting"
    with clock.at(after(hours=3)):
        desk.do("reply", {ticket: "It comes tomorrow."})
    with clock.at(after(hours=4)):
        desk.do("hear", {ticket: "Thanks!"})
        assert desk.shown(ticket)["status"] == "open"
        desk.do("solve", {ticket: None})
    with clock.at(after(hours=30)):
        desk.do("hear", {ticket: "It did not come."})
        seen = desk.shown(ticket)
        assert (seen["status"], seen["reopened"], seen["solved_at"]) == ("open", 1, None)
    with clock.at(after(hours=40)):
        desk.do("solve", {ticket: "We send another."})
        desk.do("rate", {ticket: 2})
        desk.do("rate", {ticket: 4})
    with clock.at(after(days=3)):
        desk.do("close", [ticket], "done")
    with clock.at(after(days=4)):
        desk.do("reopen", [ticket], "it was not")
        desk.do("solve", {ticket: None})
    seen = desk.shown(ticket)
    assert (seen["status"], seen["reopened"], seen["rating"]) == ("solved", 2, 4)
    assert seen["first_responded_at"] == after(hours=2).isoformat()
    assert seen["solved_at"] == after(days=4).isoformat()
    assert [(m["author"], m["step"], m["is_internal"]) for m in seen["messages"]] == [
        ("customer", "opened", False), ("agent", "note", True), ("agent", "reply", False),
        ("agent", "reply", False), ("customer", "reply", False), ("agent", "solved", True),
        ("customer", "reopened", False), ("agent", "solved", False), ("agent", "closed", True),
        ("agent", "reopened", True), ("agent", "solved", True),
    ]  # fmt: skip
    assert told(desk) == [
        "ticket.opened", "ticket.replied", "ticket.replied", "ticket.solved", "ticket.solved",
        "ticket.solved",
    ]  # fmt: skip


def test_she_hears_what_was_answered_and_nothing_of_the_notes(desk: Desk) -> None:
    ticket = desk.ticket(desk.sold(("SKU-1", 1)))
    desk.do("note", {ticket: "secretly cross"})
    desk.do("reply", {ticket: "We look for it.\nSoon {we} know."})
    desk.do("close", [ticket], "secretly cross")
    letters = [compose(kind, payload, "https://x/track/t") for kind, payload in desk.letters()]
    assert [letter.subject for letter in letters] == ["TK-10000001: Where is it?"] * 2
    assert "We look for it.\nSoon {we} know." in letters[1].text
    assert letters[1].text.endswith("Follow it here: https://x/track/t")
    assert not any("cross" in str(payload) for _, payload in desk.letters())


def test_without_an_order_no_page_is_spoken_of(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.do("solve", {ticket: "Done."})
    (_, (kind, payload)) = desk.letters()
    assert compose(kind, payload).text == (
        "We think that your question TK-10000001 is solved: Where is it?.\nDone."
    )


def test_nobody_is_left_without_a_word(desk: Desk) -> None:
    ticket = desk.ticket()
    with pytest.raises(ValidationFailed) as refusal:
        desk.do("solve", {ticket: None})
    assert [(e.field, e.code) for e in refusal.value.errors] == [("message", "required")]
    assert desk.shown(ticket)["status"] == "new"
    desk.do("solve", {ticket: "It is there."})
    seen = desk.shown(ticket)
    assert seen["first_responded_at"] == seen["solved_at"]


@pytest.mark.parametrize("step", sorted(TRANSITIONS))
def test_a_step_is_taken_from_the_statuses_of_the_table_and_no_others(
    desk: Desk, step: str
) -> None:
    acts = {
        "answer": lambda t: desk.do("reply", {t: "x"}),
        "hear": lambda t: desk.do("hear", {t: "x"}),
        "assign": lambda t: desk.do("assign", [t], "sue"),
        "change": lambda t: desk.do("change", [t], priority="low"),
        "solve": lambda t: desk.do("solve", {t: "x"}),
        "reopen": lambda t: desk.do("reopen", [t]),
        "close": lambda t: desk.do("close", [t]),
        "rate": lambda t: desk.do("rate", {t: 5}),
    }
    ways = {
        "new": (),
        "open": ("assign",),
        "waiting": ("answer",),
        "solved": ("solve",),
        "closed": ("close",),
    }
    for status, way in ways.items():
        ticket = desk.ticket()
        for each in way:
            acts[each](ticket)
        assert desk.shown(ticket)["status"] == status
        leaves = TRANSITIONS[step].moves.get(status)
        if leaves is None:
            with pytest.raises(Conflict) as refusal:
                acts[step](ticket)
            assert [e.code for e in refusal.value.errors] == ["wrong_status"]
        else:
            acts[step](ticket)
        assert desk.shown(ticket)["status"] == (leaves or status)


def test_a_set_of_tickets_is_one_or_none(desk: Desk) -> None:
    first, second = desk.ticket(), desk.ticket()
    desk.do("close", [second])
    with pytest.raises(Conflict):
        desk.do("reply", {first: "x", second: "x"})
    assert desk.shown(first)["status"] == "new"
    assert len(desk.shown(first)["messages"]) == 1
    third = desk.ticket(email="other@example.com")
    desk.do("solve", {first: "a", third: "b"})
    assert [desk.shown(each)["messages"][-1]["body"] for each in (first, third)] == ["a", "b"]


def test_many_are_opened_at_once_each_with_its_own_words(desk: Desk) -> None:
    wanted = [
        TicketIn(channel="email", topic="other", email=f"c{n % 7}@example.com", subject=f"s{n}",
                 message=f"m{n}")
        for n in range(40)
    ]  # fmt: skip
    opened = run(desk.engine, lambda c: opening.open_tickets(c, AGENT, wanted, notify=False))
    assert desk.letters() == []
    for place, ticket in enumerate(opened):
        seen = desk.shown(ticket)
        assert (seen["subject"], seen["email"]) == (f"s{place}", f"c{place % 7}@example.com")
        assert [each["body"] for each in seen["messages"]] == [f"m{place}"]


def test_solved_tickets_close_after_their_days_and_nobody_is_told(desk: Desk) -> None:
    with clock.at(MONDAY):
        quiet, loud, given_up = desk.ticket(), desk.ticket(), desk.ticket()
        desk.do("solve", {quiet: "Done.", loud: "Done."})
    letters = told(desk)
    with clock.at(after(days=6, hours=23)):
        assert worker.work_once(desk.engine)["closed tickets"] == 0
        desk.do("hear", {loud: "No."})
    with clock.at(after(days=7, hours=1)):
        assert worker.work_once(desk.engine)["closed tickets"] == 1
        assert worker.work_once(desk.engine)["closed tickets"] == 0
    assert [desk.shown(each)["status"] for each in (quiet, loud, given_up)] == [
        "closed", "open", "new",
    ]  # fmt: skip
    last = desk.shown(quiet)["messages"][-1]
    assert (last["author"], last["step"], last["by"]) == ("system", "closed", "system")
    assert told(desk) == letters


def test_more_than_a_batch_closes(desk: Desk) -> None:
    with clock.at(MONDAY):
        tickets = [desk.ticket() for _ in range(5)]
        desk.do("solve", dict.fromkeys(tickets, "Done."))
    with clock.at(after(days=8)):
        assert commands.close_solved(desk.engine, batch=2) == 5


def test_a_solution_before_the_first_answer_is_warned_of(shop: Shop) -> None:
    hours = {"low": 48, "normal": 2, "high": 8, "urgent": 2}
    rules = store.parse({"care": {"solution_hours": hours}})
    assert [(w.field, w.code) for w in advice.warnings(rules)] == [
        ("care.solution_hours.normal", "before_first_response")
    ]
    with pytest.raises(ValidationFailed):
        store.parse({"care": {"solution_hours": {**hours, "low": 0}}})


def test_reconciliation_sees_what_was_written_otherwise(shop: Shop) -> None:
    desk = Desk(shop)
    ticket = desk.ticket(desk.sold(("SKU-1", 1)))
    desk.do("reply", {ticket: "x"})
    broken = []
    for change in (
        "first_responded_at = NULL", "first_responded_at = opened_at", "reopened = 1",
        "opened_at = first_response_due_at", "customer_id = NULL",
    ):  # fmt: skip
        with shop.engine.connect() as connection:
            connection.exec_driver_sql(f"UPDATE tickets SET {change}")
            connection.commit()
        broken.append({finding.name for finding in reconcile(shop.engine) if finding.count})
        with shop.engine.connect() as connection:
            connection.exec_driver_sql(
                "UPDATE tickets SET reopened = 0, customer_id = (SELECT customer_id FROM orders),"
                " opened_at = (SELECT min(sent_at) FROM ticket_messages),"
                " first_responded_at = (SELECT max(sent_at) FROM ticket_messages)"
            )
            connection.commit()
    assert broken == [{"a ticket is what was written in it"}] * 4 + [
        {"a ticket and feedback are of the order's customer"}
    ]


def test_overdue_is_what_waits_for_its_answer_or_its_solution(desk: Desk) -> None:
    with clock.at(MONDAY):
        desk.ticket(priority="urgent")
        late, calm = desk.ticket(priority="urgent"), desk.ticket(priority="low")
        desk.do("reply", {late: "x"})

    def overdue(moment: datetime) -> list[int]:
        with clock.at(moment), reading(desk.engine) as connection:
            return [t["id"] for t in queries.listing(connection, AGENT, overdue=True)[0]]

    assert overdue(after(hours=1)) == []
    # Unanswered, then unsolved though answered.
    assert overdue(after(hours=3)) == [1]
    assert overdue(after(hours=9)) == [2, 1]
    desk.do("solve", {late: None})
    assert overdue(after(days=3)) == [calm, 1]
