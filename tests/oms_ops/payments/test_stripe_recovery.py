"""What became of a call whose answer was lost: Stripe is asked, and nothing is done twice."""

from __future__ import annotations

from typing import Any

import pytest

from oms_ops.payments.gateways.interface import Uncertain
from tests.oms_ops.payments.http_servers import Answer, Asked
from tests.oms_ops.payments.stripe_bodies import (
    CALLS,
    NOTHING,
    PAID,
    Given,
    asking,
    error,
    found,
    intent,
    posts,
    refund,
)


def test_a_lost_authorisation_is_asked_again_under_its_key_and_made_once(given: Given) -> None:
    made: dict[str, dict[str, Any]] = {}

    def create(asked: Asked) -> Answer:
        name = f"pi_{len(made) + 1}"
        made.setdefault(asked.headers["idempotency-key"], intent("requires_action", id=name))
        return Answer(200, made["op-1"], cut=len(posts(server)) == 1)

    now = intent("requires_capture")
    gateway, server = given(create, NOTHING, create, Answer(200, now))
    with pytest.raises(Uncertain):
        gateway.call(CALLS[0])

    outcome = gateway.look_up(CALLS[0])

    assert outcome is not None
    # The repeat is answered as it was then; what counts is what the intent is now.
    assert (outcome.state, outcome.reference) == ("done", "pi_1")
    first, again = posts(server)
    assert (first.body, first.headers["idempotency-key"]) == (again.body, "op-1")
    assert len(made) == 1


def test_an_authorisation_whose_key_is_forgotten_is_searched_for_not_made_again(
    given: Given,
) -> None:
    stale = found(intent("requires_action"), object="search_result")
    gateway, server = given(stale, Answer(200, intent("requires_capture")))
    outcome = gateway.look_up(CALLS[0])
    assert outcome is not None
    assert (outcome.state, outcome.payment) == ("done", "pi_1")
    assert posts(server) == []
    assert server.asked[0].query == {"query": "metadata['oms_operation']:'op-1'"}


def test_what_the_search_does_not_find_yet_is_uncertain_not_declined(given: Given) -> None:
    gateway, _ = given(NOTHING, error(400, type="idempotency_error"))
    with pytest.raises(Uncertain, match="knows the key"):
        gateway.look_up(CALLS[0])


def test_the_intent_of_an_earlier_attempt_is_not_taken_for_this_one(given: Given) -> None:
    other = intent("requires_capture", id="pi_old", metadata={"oms_operation": "op-0"})
    mine = intent("requires_payment_method", last_payment_error={"code": "card_declined"})
    search = found(mine, object="search_result")
    gateway, _ = given(Answer(200, other), search, Answer(200, mine))
    outcome = gateway.look_up(asking("authorise", token="pm_1", payment="pi_old"))
    assert outcome is not None
    assert (outcome.state, outcome.code) == ("declined", "card_declined")


@pytest.mark.parametrize(
    ("seen", "state", "code"),
    [
        (intent("succeeded"), "done", None),
        (intent("canceled"), "done", None),
        (intent("canceled", latest_charge=None, cancellation_reason="abandoned"),
         "declined", "abandoned"),
        (intent("canceled", latest_charge={"id": "ch_1", "status": "failed"}),
         "declined", "canceled"),
        (intent("processing"), "waiting", None),
        (intent("requires_payment_method", latest_charge=None), "waiting", None),
    ],
)  # fmt: skip
def test_an_authorisation_is_what_its_intent_shows(
    given: Given, seen: Any, state: str, code: str | None
) -> None:
    gateway, _ = given(Answer(200, seen))
    outcome = gateway.look_up(asking("authorise", payment="pi_1"))
    assert outcome is not None
    assert (outcome.state, outcome.code, outcome.reference) == (state, code, "pi_1")
    if state == "done":
        assert outcome.amount_minor == 5000


UNEXPECTED = error(400, code="payment_intent_unexpected_state", message="It is captured.")


def test_a_capture_that_stripe_forgot_the_key_of_is_known_by_the_note_on_it(given: Given) -> None:
    call = CALLS[1]
    done = Answer(200, intent("succeeded", metadata={"oms_capture": "op-1"}))
    gateway, _ = given(UNEXPECTED, done)
    outcome = gateway.call(call)
    assert (outcome.state, outcome.reference, outcome.amount_minor) == ("done", "ch_1", 5000)
    assert gateway.look_up(call) == outcome

    others = Answer(200, intent("succeeded", metadata={"oms_capture": "op-7"}))
    gateway, _ = given(UNEXPECTED, others)
    assert gateway.call(call).code == "payment_intent_unexpected_state"
    seen = gateway.look_up(call)
    assert seen is not None
    assert (seen.state, seen.code) == ("declined", "already_captured")


def test_a_capture_made_at_stripe_itself_is_taken_only_if_as_large(given: Given) -> None:
    gateway, _ = given(Answer(200, intent("succeeded", metadata={})))
    same, smaller = gateway.look_up(CALLS[1]), gateway.look_up(asking("capture", 10, **PAID))
    assert same is not None
    assert smaller is not None
    assert (same.state, smaller.state) == ("done", "declined")


def test_a_refused_capture_whose_intent_cannot_be_read_is_uncertain(given: Given) -> None:
    gateway, _ = given(UNEXPECTED, error(500))
    with pytest.raises(Uncertain):
        gateway.call(CALLS[1])


def test_a_void_of_what_was_never_authorised_releases_nothing(given: Given) -> None:
    gateway, _ = given(Answer(200, intent("canceled", latest_charge=None)))
    outcome = gateway.call(CALLS[2])
    assert (outcome.state, outcome.reference, outcome.amount_minor) == ("done", "pi_1", 0)


def test_a_refund_is_found_on_the_last_page(given: Given) -> None:
    def page(asked: Asked) -> Answer:
        others = [refund(id=f"re_{n}", metadata={}) for n in range(2, 5)]
        if asked.query.get("starting_after") != "re_4":
            return found(*others, has_more=True, url="/v1/refunds")
        return found(refund(status="failed", failure_reason="declined"))

    gateway, server = given(page)
    outcome = gateway.look_up(CALLS[3])
    assert outcome is not None
    assert (outcome.state, outcome.reference, outcome.code) == ("declined", "re_1", "declined")
    assert len(server.asked) == 2
    assert server.asked[0].query == {"charge": "ch_1", "limit": "100"}
