"""What the demo's customers ask and think, day by day, through the services of a live shop.

As everywhere in the demo nothing is kept between days: each step asks the database who waits, and
decides by the hash of what it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.care import commands, feedback, opening
from oms_ops.care.forms import FeedbackIn, TicketIn
from oms_ops.database import as_time, read_time
from oms_ops.demo import assumptions as assume
from oms_ops.demo.source import moment
from oms_ops.settings import settings

#: More than any day has: what is left of it would close the day after.
_EVERYTHING = 100_000


class CareDay:
    """One day at the help desk."""

    def __init__(self, connection: Connection, actor: Actor, day: date) -> None:
        """Take the day."""
        self.connection = connection
        self.actor = actor
        self.day = day

    def run(self) -> None:
        """Live the day: two rounds of questions and answers, and what came of earlier ones."""
        with self._at(6):
            commands.close_due(self.connection, self.actor.name, _EVERYTHING)
        with self._at(8.5):
            self._judge()
        asking = self._asking()
        for number, (asked, answered) in enumerate(((9, 11), (14, 16.5))):
            with self._at(asked):
                self._ask(asking, number)
                self._write_back(number)
            with self._at(answered):
                self._answer(number)
        with self._at(17.5):
            self._solve()

    def _at(self, hour: float) -> Any:
        return clock.at(self._moment(self.day, hour))

    def _moment(self, day: date, hour: float = 0) -> Any:
        return moment(day, hour, settings().timezone)

    def _rows(self, statement: str, **parameters: Any) -> list[Any]:
        return list(self.connection.execute(sa.text(statement), parameters))

    def _since(self, days: int) -> Any:
        return as_time(self.connection, self._moment(self.day - timedelta(days=days)))

    def _chance(self, about: str, ticket_id: int, number: int = 0) -> float:
        return assume.chance(about, f"{ticket_id}:{self.day}:{number}")

    def _asking(self) -> list[Any]:
        """Return the orders of the last days that somebody asks about today."""
        recent = self._rows(
            "SELECT id, number, placed_at FROM orders WHERE placed_at >= :first"
            " AND placed_at < :last ORDER BY id",
            first=self._since(assume.ASKS_WITHIN_DAYS),
            last=self._since(0),
        )
        return [
            row
            for row in recent
            if assume.chance("asks", row.id) < assume.ASKS
            and self._days_since(row.placed_at)
            == assume.between("asks after", row.id, 1, assume.ASKS_WITHIN_DAYS)
        ]

    def _ask(self, orders: Sequence[Any], number: int) -> None:
        """Ask about orders: each in one of the day's rounds."""
        wanted = [
            _question(row.id, row.number)
            for row in orders
            if assume.between("asks in round", row.id, 0, 1) == number
        ]
        opening.open_tickets(self.connection, self.actor, wanted, notify=False)

    def _days_since(self, value: Any) -> int:
        then = read_time(value)
        assert then is not None  # noqa: S101 - every order has its moment
        return (self.day - then.astimezone(settings().zone).date()).days

    def _waiting(self, *statuses: str) -> list[Any]:
        listed = ", ".join(f"'{status}'" for status in statuses)
        return self._rows(
            "SELECT id, topic, status, opened_at, solved_at, reopened, first_responded_at,"
            f" first_response_due_at FROM tickets WHERE status IN ({listed}) ORDER BY id"
        )

    def _answer(self, number: int) -> None:
        """Answer most of those who wait for it; the others wait for the next round."""
        answers = {
            row.id: assume.ANSWERS[row.topic]
            for row in self._waiting("new", "open")
            if self._chance("answers", row.id, number) < assume.ANSWERED_IN_A_ROUND
        }
        commands.reply(self.connection, self.actor, answers, notify=False)

    def _write_back(self, number: int) -> None:
        """Some customers have more to say to an answer, or find that it is not solved."""
        said = {
            row.id: "Thank you, but it is not settled yet."
            for row in self._waiting("waiting", "solved")
            if not row.reopened
            and self._chance("writes back", row.id, number)
            < (assume.REOPENS if row.status == "solved" else assume.WRITES_BACK)
        }
        commands.hear(self.connection, self.actor, said)

    def _solve(self) -> None:
        """Solve some of those that were answered; urgent or not, it takes what it takes."""
        solved = {
            row.id: None
            for row in self._waiting("waiting")
            if self._chance("solves", row.id) < assume.SOLVED_IN_A_DAY
        }
        commands.solve(self.connection, self.actor, solved, notify=False)

    def _judge(self) -> None:
        """Rate what was solved yesterday, and say what one thinks of what came yesterday."""
        ratings = {
            row.id: _rating(row)
            for row in self._waiting("solved")
            if self._days_since(row.solved_at) == 1
            and assume.chance("rates", row.id) < assume.RATED
        }
        commands.rate(self.connection, self.actor, ratings)
        closed = self._rows(
            "SELECT o.id, o.number, (SELECT count(*) FROM tickets AS t WHERE t.order_id = o.id)"
            " AS asked FROM orders AS o WHERE o.status = 'closed' AND o.closed_at >= :first"
            " AND o.closed_at < :last AND EXISTS (SELECT 1 FROM shipments AS s"
            " WHERE s.order_id = o.id AND s.delivered_at IS NOT NULL) ORDER BY o.id",
            first=self._since(1),
            last=self._since(0),
        )
        opinions = [
            _opinion(row.id, row.number, bool(row.asked))
            for row in closed
            if assume.chance("says", row.id) < assume.GIVES_FEEDBACK
        ]
        feedback.give(self.connection, self.actor, opinions)


def _question(order_id: int, number: str) -> TicketIn:
    topic = assume.weighted("topic", order_id, assume.TOPICS)
    subject, message = assume.QUESTIONS[topic]
    return TicketIn.model_validate(
        {
            "order": number,
            "channel": assume.weighted("asks by", order_id, assume.ASKED_BY),
            "topic": topic,
            "priority": assume.weighted("priority", order_id, assume.PRIORITIES),
            "subject": subject,
            "message": message,
        }
    )


def _rating(ticket: Any) -> int:
    """Return 1 to 5; who was answered late, or had to come back, is less content."""
    late = str(ticket.first_responded_at) > str(ticket.first_response_due_at)
    content = assume.between("rating", ticket.id, 3, 5)
    return max(1, content - (1 if late else 0) - (1 if ticket.reopened else 0))


def _opinion(order_id: int, number: str, asked: bool) -> FeedbackIn:
    """Return a score; who had to ask is less content."""
    scores: Sequence[int] = assume.SCORES_OF_WHO_ASKED if asked else assume.SCORES
    score = scores[assume.between("score", order_id, 0, len(scores) - 1)]
    return FeedbackIn(order=number, score=score)
