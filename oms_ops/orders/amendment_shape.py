"""The shape of an amendment as callers submit it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    model_validator,
)

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders.intake import (
    AddressIn,
    PaymentIn,
    settled_address,
)
from oms_ops.shapes import Amount, Note, Strict, parsed
from oms_ops.texts import MaybeText


class LineIn(Strict):
    """The units that the order is to have of a line (``line_no``), or of a ``sku`` it is added.

    Units are those not cancelled; 0 removes the line. Price and discount are for new lines.
    """

    line_no: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    sku: MaybeText = None
    quantity: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    unit_price: Amount | None = None
    discount: Amount | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> LineIn:
        if (self.line_no is None) == (self.sku is None):
            raise ValueError("needs either line_no or sku")
        if self.line_no is not None and (self.unit_price, self.discount) != (None, None):
            raise ValueError("price and discount are for new lines")
        if self.sku is not None and not self.quantity:
            raise ValueError("a new line needs at least one unit")
        return self


class AmendmentIn(Strict):
    """What is to change; what is left out stays. ``version`` is the order's, as the caller saw it.

    ``payment`` says how what is then to be paid beyond the order's payments will be.
    """

    version: int | None = None
    lines: list[LineIn] = Field(default_factory=list, max_length=500)
    ship_to: AddressIn | None = None
    allow_backorder: bool | None = None
    allow_split: bool | None = None
    ship_complete: bool | None = None
    note: Note | None = None
    payment: PaymentIn | None = None


def parse(payload: Any) -> AmendmentIn:
    """Return the amendment.

    Raises:
        ValidationFailed: with every bad field that shows without the order and the catalogue.
    """
    wanted = parsed(AmendmentIn, payload, "The amendment")
    faults: list[FieldError] = []
    if wanted.ship_to is not None:
        to, faults = settled_address(wanted.ship_to)
        wanted = wanted.model_copy(update={"ship_to": to})
    numbers = [line.line_no for line in wanted.lines]
    faults += [
        FieldError(f"lines[{index}].line_no", "repeated_line", "is there twice")
        for index, number in enumerate(numbers)
        if number is not None and number in numbers[:index]
    ]
    if faults:
        raise ValidationFailed("The amendment has bad fields.", faults)
    return wanted
