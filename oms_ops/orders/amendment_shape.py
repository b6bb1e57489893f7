"""The shape of an amendment as callers submit it, and every way in which it can be wrong.

What Pydantic finds is told together with what only the order and the catalogue know, so that one
answer names every bad field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    Field,
    ValidationError,
)

from oms_ops.errors import FieldError
from oms_ops.orders.intake import (
    AddressIn,
    PaymentIn,
    settled_address,
)
from oms_ops.shapes import Amount, Note, Strict, field_error
from oms_ops.texts import MaybeText, given


class LineIn(Strict):
    """The units that the order is to have of a line (``line_no``), or of a ``sku`` it is added.

    Units are those not cancelled; 0 removes the line. Price and discount are for new lines.
    """

    line_no: Annotated[int, Field(strict=True, gt=0, le=1_000_000)] | None = None
    sku: MaybeText = None
    quantity: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    unit_price: Amount | None = None
    discount: Amount | None = None


#: What a line that the order has already keeps.
_OF_NEW_LINES = ("unit_price", "discount")
#: Without one of these that is right, a line is none.
_LINE_NEEDS = ("line_no", "sku", "quantity")


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


@dataclass(frozen=True, slots=True)
class Submitted:
    """An amendment as it came: ``wanted`` is None where its shape is wrong, as ``faults`` say."""

    payload: Any
    wanted: AmendmentIn | None
    faults: list[FieldError]


def parse(payload: Any) -> Submitted:
    """Return the amendment with every bad field that shows without the order and the catalogue."""
    wanted, faults = None, []
    try:
        wanted = AmendmentIn.model_validate(payload)
    except ValidationError as error:
        faults = [field_error(fault) for fault in error.errors(include_url=False)]
    if isinstance(payload, dict):
        told = {fault.field for fault in faults}
        faults += [fault for fault in _line_faults(payload) if fault.field not in told]
        ship_to, wrong = _address(payload, wanted)
        faults += wrong
        if wanted is not None and ship_to is not None:
            wanted = wanted.model_copy(update={"ship_to": ship_to})
    return Submitted(payload, None if faults else wanted, faults)


def _address(
    payload: dict[str, Any], wanted: AmendmentIn | None
) -> tuple[AddressIn | None, list[FieldError]]:
    """Return the address as it is kept, and what its country objects to, whatever else is wrong."""
    given = wanted.ship_to if wanted else None
    if given is None and isinstance(payload.get("ship_to"), dict):
        place = payload["ship_to"]
        texts = {name: place.get(name) for name in ("country", "city", "region", "postal_code")}
        if isinstance(place.get("country"), str):
            # Its shape is told already: the country's rules look at what can be read.
            legible = {
                name: text if isinstance(text, str) else None for name, text in texts.items()
            }
            given = AddressIn.model_construct(None, **legible, phone=None)
            broken = {f"ship_to.{name}" for name, text in texts.items() if text != legible[name]}
            return None, [f for f in settled_address(given)[1] if f.field not in broken]
    return settled_address(given) if given else (None, [])


def _line_faults(payload: dict[str, Any]) -> Iterator[FieldError]:
    """Yield what is wrong with lines as a whole, however broken their fields are."""
    seen = set()
    for index, line in _lines(payload):
        number, sku = line.get("line_no"), given(line.get("sku"))
        where = f"lines[{index}]"
        if (number is None) == (sku is None):
            yield FieldError(where, "invalid", "needs either line_no or sku")
        elif sku is None:
            for name in _OF_NEW_LINES:
                if line.get(name) is not None:
                    yield FieldError(f"{where}.{name}", "only_for_new_lines", "is for new lines")
        elif _is_number(line.get("quantity")) and line["quantity"] == 0:
            message = "a new line needs at least one unit"
            yield FieldError(f"{where}.quantity", "no_units", message)
        if _is_number(number):
            if number in seen:
                yield FieldError(f"{where}.line_no", "repeated_line", "is there twice")
            seen.add(number)


@dataclass(frozen=True, slots=True)
class Legible:
    """What can be read of a line at ``index``; ``marred`` where a wrong field of it is left out."""

    index: int
    line: LineIn
    marred: bool = False


def legible(submitted: Submitted) -> tuple[list[Legible], set[int]]:
    """Return the lines that can be read, and the numbers of those named by lines that cannot be.

    A line that is not known by one name, or without its units, cannot be read; nor can two of one
    number: which of them is meant is not told.
    """
    if submitted.wanted is not None:
        return [Legible(*each) for each in enumerate(submitted.wanted.lines)], set()
    found = _lines(submitted.payload)
    named = Counter(line["line_no"] for _, line in found if _is_number(line.get("line_no")))
    lines = [
        each
        for index, line in found
        if (each := _read(index, line)) is not None and named[each.line.line_no] < 2
    ]
    return lines, set(named) - {each.line.line_no for each in lines}


def _read(index: int, line: dict[str, Any]) -> Legible | None:
    marred = False
    try:
        read = LineIn.model_validate(line)
    except ValidationError as error:
        places = [fault["loc"] for fault in error.errors(include_url=False)]
        wrong = {place[0] for place in places if place}
        # A fault without a place is the name of a field that is no text.
        if () in places or not wrong.isdisjoint(_LINE_NEEDS):
            return None
        read = LineIn.model_validate({name: line[name] for name in line if name not in wrong})
        marred = True
    if (read.line_no is None) == (read.sku is None) or (read.sku and not read.quantity):
        return None
    if read.line_no is not None:
        # They are refused already, and have nothing to do with what the line costs.
        read = read.model_copy(update=dict.fromkeys(_OF_NEW_LINES))
    return Legible(index, read, marred)


def unknown_lines(submitted: Submitted, known: Collection[int]) -> list[FieldError]:
    """Return the lines that the order, whose line numbers are ``known``, does not have."""
    told = {fault.field for fault in submitted.faults}
    return [
        FieldError(f"lines[{index}].line_no", "unknown_line", "no such line")
        for index, line in _lines(submitted.payload)
        if _is_number(line.get("line_no"))
        and line["line_no"] not in known
        and f"lines[{index}].line_no" not in told
    ]


def _lines(payload: Any) -> list[tuple[int, dict[str, Any]]]:
    lines = payload.get("lines") if isinstance(payload, dict) else None
    found = enumerate(lines) if isinstance(lines, list) else ()
    return [(index, line) for index, line in found if isinstance(line, dict)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
