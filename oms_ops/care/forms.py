"""What may be written to and by the customers' care; no field of it takes a card number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from oms_ops.orders.intake import Email
from oms_ops.shapes import Body, Note, Words, no_card, one_line, storable
from oms_ops.texts import MaybeText, given

Channel = Literal["web", "email", "phone", "order_desk"]
Topic = Literal["delivery", "return", "payment", "product", "account", "other"]
Priority = Literal["low", "normal", "high", "urgent"]
#: It stands in the subject of a letter.
Subject = Annotated[Words, AfterValidator(one_line)]
Message = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=5000),
    AfterValidator(storable),
    AfterValidator(no_card),
]
Rating = Annotated[int, Field(ge=1, le=5)]
Score = Annotated[int, Field(ge=0, le=10)]
Comment = Annotated[Note | None, BeforeValidator(given)]


class TicketIn(Body):
    """A ticket that staff opens for a customer: of an ``order``, or of whoever has the ``email``.

    ``message`` is what the customer wrote or said.
    """

    order: MaybeText = None
    email: Annotated[Email | None, BeforeValidator(given)] = None
    channel: Channel
    topic: Topic
    priority: Priority = "normal"
    subject: Subject
    message: Message


class QuestionIn(Body):
    """What a customer asks on her order's page."""

    topic: Topic
    subject: Subject
    message: Message


class FeedbackIn(Body):
    """Whether the customer of an order would recommend the shop, and why."""

    order: str
    score: Score
    comment: Comment = None


class OpinionIn(Body):
    """The same on her order's page."""

    score: Score
    comment: Comment = None


class MessageIn(Body):
    """Something written into a ticket."""

    message: Message


class RatingIn(Body):
    """How a customer was helped, 5 the best."""

    rating: Rating
