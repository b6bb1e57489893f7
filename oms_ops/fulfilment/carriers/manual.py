"""A carrier without any connection: its tracking numbers are typed in, its labels printed by us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from oms_ops.fulfilment.carriers.interface import Booking, Fault, Label, Message, Refusal


class Manual:
    """Answers each booking with the number that was typed in; hears nothing of parcels."""

    needs_tracking_number = True

    def book(self, bookings: Sequence[Booking]) -> Sequence[Label | Refusal]:
        """Return a label, to be printed, for each tracking number."""
        return [
            Label(b.reference, b.tracking_number)
            if b.tracking_number
            else Refusal(b.reference, "no tracking number was typed in")
            for b in bookings
        ]

    def events(self) -> Iterator[Message]:
        """Return nothing: what becomes of a parcel is typed in, too."""
        return iter(())

    def settle(self, message: Message, faults: Sequence[Fault]) -> None:
        """Do nothing."""

    def state(self) -> dict[str, Any]:
        """Return nothing."""
        return {}
