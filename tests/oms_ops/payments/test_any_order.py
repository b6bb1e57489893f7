"""Gateways' news in any order, however often, bring the ledger to one and the same state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oms_ops import clock
from oms_ops.database import run
from oms_ops.orders import collecting
from oms_ops.payments import commands as payments
from oms_ops.payments import ledger, messages, operations
from oms_ops.payments.commands import RefundRequest
from oms_ops.payments.ledger import Event, Sums, fold
from oms_ops.payments.tables import EVENT_KINDS
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.till import Till
from tests.oms_ops.payments.two_ledgers import (
    charge_back,
    differences,
    refund_at_the_gateway,
    sent,
)
from tests.oms_ops.shop import CLERK, Shop, order

AMOUNT = 398

#: Kind, reference and amount: what the ledger stores once, whatever it is told how often.
told = st.lists(
    st.tuples(st.sampled_from(EVENT_KINDS), st.integers(1, 4), st.integers(1, 500)),
    max_size=10,
    unique_by=lambda event: event[:2],
)
shuffling = st.integers(0, 2**32).map(random.Random)
some = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def repeated(events: Sequence[Any], dice: random.Random) -> list[Any]:
    """Return the events in another order, some of them more than once."""
    several = [*events, *(event for event in events if dice.random() < 0.5)]
    dice.shuffle(several)
    return several


def totals(events: Sequence[Any]) -> dict[str, int]:
    """Return what a set of events comes to a kind."""
    sums: dict[str, int] = {}
    for kind, _, amount in set(events):
        sums[kind] = sums.get(kind, 0) + amount
    return sums


def possible(amount: int, sums: Sums) -> bool:
    """Tell whether the table of payments takes the sums."""
    back = sums.refunded + sums.credited + sums.charged_back
    return (
        min(sums.authorised, sums.captured, sums.voided, sums.refunded, sums.credited) >= 0
        and sums.charged_back >= 0
        and sums.captured + sums.voided <= amount
        and back <= sums.captured
    )


@given(told, st.integers(0, 500), st.integers(0, 2000))
def test_refunds_made_elsewhere_give_back_what_was_captured_beyond_and_others_do_not(
    events: list[Any], amount: int, part: int
) -> None:
    sums = totals(events)
    here = min(part, sums.get("refunded", 0))
    folded = fold(amount, {**sums, "refunded_here": here})
    assert possible(amount, folded)
    beyond = sums.get("captured", 0) - folded.captured
    undone = min(beyond, sums.get("refunded", 0) - here)
    clean = {**sums, "captured": folded.captured, "refunded": sums.get("refunded", 0) - undone}
    assert folded == fold(amount, {**clean, "refunded_here": clean["refunded"]})


@given(told, st.integers(0, 500), shuffling)
def test_any_order_and_repetition_of_a_set_of_events_folds_to_one_state(
    events: list[Any], amount: int, dice: random.Random
) -> None:
    other = repeated(events, dice)
    assert fold(amount, totals(other)) == fold(amount, totals(events))
    # Nor is there a moment on the way at which the sums are impossible.
    assert all(possible(amount, fold(amount, totals(other[:n]))) for n in range(len(other) + 1))


def test_the_ledger_says_the_same_however_it_is_told(shop: Shop) -> None:
    from oms_ops.orders import queries
    from oms_ops.orders.capture import capture

    shop.stock("SKU-1", 50)
    number = capture(shop.engine, CLERK, order(("SKU-1", 2), payment=None))["number"]
    order_id = queries.id_of(number, "SO")

    @some
    @given(told, shuffling, st.integers(1, 5))
    def tell(events: list[Any], dice: random.Random, at_once: int) -> None:
        payment_id = run(
            shop.engine, lambda c: payments.create(c, CLERK, order_id, "card", "USD", AMOUNT)
        )
        rest = repeated(events, dice)
        stored = 0
        while rest:
            part, rest = rest[:at_once], rest[at_once:]
            heard = [Event(payment_id, kind, amount, f"r{number}") for kind, number, amount in part]
            stored += run(shop.engine, lambda c, h=heard: ledger.record(c, "test", h))
        names = ("authorised", "captured", "voided", "refunded", "credited", "charged_back")
        columns = ", ".join(f"{name}_minor" for name in names)
        rows = shop.rows(f"SELECT {columns} FROM payments WHERE id = :id", id=payment_id)
        assert Sums(*rows[0]) == fold(AMOUNT, totals(events))
        assert stored == len(events)

    tell()
    # The audit folds the same events by a statement of its own.
    found = {finding.name: finding.count for finding in reconcile(shop.engine)}
    assert found["a payment is the fold of its events"] == 0


class Course:
    """One order's payment from its authorisation to its refunds, while the news come anyhow."""

    def __init__(self, till: Till, faults: dict[str, list[str]]) -> None:
        with till.fake.books() as books:
            books.execute("DELETE FROM faults")
        for kind, what in faults.items():
            till.fake.break_next(kind, *what)
        self.till = till
        self.start, self.hours = clock.now(), 0
        self.order_id = till.sell(("SKU-1", 2))
        self.payment_id = till.payment(self.order_id)
        #: Those that came before are of other payments.
        self.before = len(sent(till.fake))

    def now(self) -> AbstractContextManager[None]:
        return clock.at(self.start + timedelta(hours=self.hours))

    def bring(self, place: int, *, under: str = "") -> None:
        """Bring one of the messages that are on their way, under its own id or under another."""
        if news := sent(self.till.fake)[self.before :]:
            event_id, body = news[place % len(news)]
            with self.now():
                message = self.till.fake.signed(event_id + under, body)
                messages.receive(self.till.engine, "fake", *message)

    def move(self, what: int) -> None:
        """Let something happen that may happen at any time."""
        if what % 8 < 4:
            self.bring(what // 8)
        elif what % 8 == 4:
            self.bring(what // 8, under="-again")
        elif what % 8 < 7:
            with self.now():
                collecting.hear(self.till.engine)
        else:
            self.hours += 7
            with self.now():
                collecting.perform(self.till.engine)

    def until_answered(self) -> None:
        """Let the worker go on until nothing is asked of the gateway any more."""
        for _ in range(6):
            with self.now():
                collecting.hear(self.till.engine)
                collecting.perform(self.till.engine)
            if not self.open():
                return
            self.hours += 7
        raise AssertionError(self.open())

    def open(self) -> list[Any]:
        return self.till.shop.rows(
            "SELECT kind, status, problem FROM payment_operations WHERE payment_id = :id"
            " AND status IN ('pending', 'waiting', 'flagged')",
            id=self.payment_id,
        )

    def captures(self) -> list[str]:
        rows = self.till.shop.rows(
            "SELECT gateway_reference FROM payment_events WHERE kind = 'captured'"
            " AND payment_id = :id ORDER BY id",
            id=self.payment_id,
        )
        return [row[0] for row in rows]


faulty = st.fixed_dictionaries(
    {
        kind: st.lists(st.sampled_from(["lost_after", "lost_before", "refused", "waiting"]),
                       max_size=2)
        for kind in ("authorise", "capture", "refund")
    }
)  # fmt: skip
moves = st.lists(st.integers(0, 200), max_size=8)


def test_the_whole_intake_says_the_same_whatever_comes_first(till: Till) -> None:
    @some
    @given(faulty, st.tuples(moves, moves, moves), shuffling)
    def happen(
        faults: dict[str, list[str]], disorder: tuple[list[int], ...], dice: random.Random
    ) -> None:
        course = Course(till, faults)
        engine, payment_id = till.engine, course.payment_id
        run(engine, lambda c: operations.authorise(c, CLERK, payment_id, token="tok_1"))
        for step in disorder[0]:
            course.move(step)
        course.until_answered()
        for part in (198, 200):
            run(engine, lambda c, p=part: payments.capture(c, CLERK, [payment_id], p))
        for step in disorder[1]:
            course.move(step)
        course.until_answered()
        back = [RefundRequest(payment_id, part, "x") for part in (70, 30)]
        run(engine, lambda c: payments.refund(c, CLERK, back))
        row = till.shop.rows("SELECT gateway_reference FROM payments WHERE id = :i", i=payment_id)
        refund_at_the_gateway(till.fake, course.captures()[-1], 50)
        charge_back(till.fake, row[0][0], 40, reverse=True)
        for step in disorder[2]:
            course.move(step)
        # In the end all of it has come, in one order or another, and some of it twice.
        places = repeated(range(len(sent(till.fake)) - course.before), dice)
        for place in places:
            course.bring(place)
            if dice.random() < 0.3:
                course.move(dice.randrange(200))
        course.until_answered()
        for place in range(len(sent(till.fake)) - course.before):
            course.bring(place)
        course.until_answered()
        assert till.money(course.order_id) == ("0.00", "3.98", "3.98", "1.50")
        seen = till.shop.rows(
            "SELECT charged_back_minor, capturing_minor, refunding_minor FROM payments"
            " WHERE id = :i",
            i=payment_id,
        )
        assert tuple(seen[0]) == (0, 0, 0)
        events = till.shop.rows(
            "SELECT kind, amount_minor FROM payment_events WHERE payment_id = :i", i=payment_id
        )
        assert sorted(tuple(event) for event in events) == [
            ("authorised", 398), ("captured", 198), ("captured", 200),
            ("charge_back_reversed", 40), ("charged_back", 40),
            ("refunded", 30), ("refunded", 50), ("refunded", 70),
        ]  # fmt: skip
        refunds = till.shop.rows(
            "SELECT status, amount_minor FROM refunds WHERE payment_id = :i", i=payment_id
        )
        assert sorted(tuple(refund) for refund in refunds) == [
            ("settled", 30), ("settled", 50), ("settled", 70),
        ]  # fmt: skip
        told = till.shop.rows("SELECT status, reason FROM gateway_messages")
        assert {tuple(message) for message in told} <= {("applied", None)}
        assert differences(till.shop, till.fake) == []

    happen()
