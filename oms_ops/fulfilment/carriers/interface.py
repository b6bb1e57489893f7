"""What a carrier is asked and what it answers, whatever it is spoken to by.

An adapter knows no database: it is called outside of any transaction, and may be called again with
what it was called with before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class ParcelOf:
    """A parcel of a shipment and its weight in grams, where that is known."""

    parcel_no: int
    weight_grams: int | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """A label that is asked for.

    ``reference`` stays the same when it is asked for again: the carrier gives the same label.
    ``booking`` names those asked for together. ``ship_from`` and ``ship_to`` have ``name``,
    ``line1``, ``line2``, ``city``, ``region``, ``postal_code``, ``country`` and ``phone``.
    ``tracking_number`` is the one typed in.
    """

    reference: str
    booking: str
    shipment_id: int
    shipment: str
    order: str
    ship_from: Mapping[str, str | None]
    ship_to: Mapping[str, str | None]
    parcels: tuple[ParcelOf, ...]
    tracking_number: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What a carrier answers to a booking; without ``body`` we print the label ourselves.

    ``body`` is text, or base64 where the media type is binary.
    """

    reference: str
    tracking_number: str
    media_type: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A carrier does not take a parcel."""

    reference: str
    problem: str


EventKind = Literal["deliver", "fail", "retry", "return"]


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a parcel, and when; it is named by at least one of its three names."""

    kind: EventKind
    at: datetime
    tracking_number: str | None = None
    reference: str | None = None
    shipment: str | None = None
    reason: str = ""


Answer: TypeAlias = Label | Refusal | Event


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an entry was not taken; ``row`` 0 is the message as a whole."""

    row: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a carrier sent at once: its entries by row, and the rows that cannot be read.

    ``content`` is what the rows held, for the report of faults; ``state`` is the adapter's own.
    """

    name: str
    entries: Mapping[int, Answer]
    faults: tuple[Fault, ...] = ()
    content: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    state: Any = None


class Carrier(Protocol):
    """A carrier as the services see it."""

    #: People type in the tracking number of each parcel.
    needs_tracking_number: bool

    def book(self, bookings: Sequence[Booking]) -> Sequence[Label | Refusal]:
        """Ask for labels; return the answers known at once, the others come as messages.

        Any error means that the request is to be repeated: the carrier may have had it or not.
        """

    def events(self) -> Iterator[Message]:
        """Return what has come in and was not settled; it may be what was returned before."""

    def settle(self, message: Message, faults: Sequence[Fault]) -> None:
        """Put a message away, after what it says was committed; ``faults`` were not taken."""

    def state(self) -> dict[str, Any]:
        """Return what an operator wants to see."""
