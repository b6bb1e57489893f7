"""What a payment gateway is to the shop: four calls, each under a key, and the events it sends.

Adding a gateway is one file with a class of this shape and one entry in
:data:`oms_ops.payments.gateways.registry.GATEWAYS`. A gateway knows nothing of the database: it is
called between transactions, and may be called again with the same key at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias, get_args

CallKind: TypeAlias = Literal["authorise", "capture", "void", "refund"]
EventKind: TypeAlias = Literal[
    "authorised",
    "captured",
    "voided",
    "refunded",
    "failed",
    "charged_back",
    "charge_back_reversed",
]


@dataclass(frozen=True, slots=True)
class ShipTo:
    """Where the goods go: some gateways look at it before they take a seller's side."""

    name: str
    line1: str
    country: str
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation that is asked of a gateway.

    ``key`` is the operation's own and the same however often it is asked: whatever a key asks for,
    the gateway does once. ``payment`` is the gateway's id of the payment, None until an
    ``authorise`` made one. ``target`` is its id of what is captured or voided (the authorisation)
    or refunded (the capture). ``token`` stands for the customer's means of payment; it came from
    the gateway's own form in the customer's browser, never from us. ``final`` tells that nothing
    more is going to be captured of the authorisation. ``return_url`` is where the gateway sends the
    customer back to when something was asked of her. ``ship_to`` is given with an ``authorise``.
    """

    key: str
    kind: CallKind
    amount_minor: int
    currency: str
    order: str
    payment: str | None = None
    target: str | None = None
    token: str | None = field(default=None, repr=False)
    final: bool = True
    return_url: str | None = None
    ship_to: ShipTo | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    ``done``: it happened; ``amount_minor`` and ``currency`` are what the gateway says it was about.
    ``waiting``: it is accepted and not done yet: ``action`` says what the customer has to do (as
    ``{"client_secret": ...}`` or ``{"redirect_url": ...}``), or the gateway takes its time; an
    event or a later look-up tells. ``declined``: it did not happen and will not under this key;
    ``code`` and ``message`` say why and hold no secret.

    ``reference`` is the gateway's id of what was done (the authorisation, the capture, the refund):
    the same in the answer, in a look-up and in the event. ``payment`` is its id of the payment.
    """

    state: Literal["done", "waiting", "declined"]
    reference: str | None = None
    payment: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    action: Mapping[str, str] | None = field(default=None, repr=False)
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """An event that a gateway sent, in the terms of the ledger.

    ``payment``, ``reference`` and ``target`` are ids of the gateway's, as in :class:`Call` and
    :class:`Outcome`; ``key`` is the key of the operation where the event names it.

    Raises:
        ValueError: the ledger knows no such kind, or the amount is none that can be moved.
    """

    kind: EventKind
    reference: str
    amount_minor: int
    currency: str
    occurred_at: datetime
    payment: str | None = None
    target: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        """Refuse what a gateway may have signed and the ledger cannot mean."""
        if self.kind not in get_args(EventKind):
            raise ValueError(f"{self.kind!r} is no kind of event")
        # Of what did not happen, or was given up, gateways name no amount.
        least = 0 if self.kind in ("failed", "voided") else 1
        if type(self.amount_minor) is not int or self.amount_minor < least:
            raise ValueError(f"{self.amount_minor!r} is no amount of an event {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that a gateway did send: ``id`` is the same when it sends it again."""

    id: str
    topic: str


class Uncertain(Exception):
    """The answer was lost (time-out, cut connection, 5xx): the call may have been done or not."""


class NotNow(Exception):
    """The call was certainly not done and may be tried again later (rate limit, wrong secret)."""


class Gateway(Protocol):
    """A payment gateway."""

    #: Whether one authorisation can be captured more than once, in parts.
    captures_in_parts: bool

    def call(self, call: Call) -> Outcome:
        """Do what ``call`` asks for, once per key.

        Raises:
            Uncertain: the answer was lost.
            NotNow: nothing was done.
        """
        ...

    def look_up(self, call: Call) -> Outcome | None:
        """Return what became of a call whose answer was lost or that waits; None if it is unknown.

        Raises:
            Uncertain, NotNow: the gateway cannot be asked now.
        """
        ...

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Arrival:
        """Return the id and topic of a message; ``headers`` are asked by names in small letters.

        Raises:
            Unauthorised: the message is not signed by the gateway, or too old.
            ValidationFailed: it is signed and cannot be read.
        """
        ...

    def parse(self, body: str) -> Notice | None:
        """Return what a verified message tells, None where it changes no ledger."""
        ...
