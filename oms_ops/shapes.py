"""What every shape that callers submit has in common: no unknown fields, bounded texts and amounts.

A mistyped optional field would otherwise be left out in silence, and a cancellation of one line
become that of the whole order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from oms_ops import cards
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import EXPONENTS, to_minor

T = TypeVar("T", bound=BaseModel)

#: Control characters but tab and line breaks, as a character class: no text that is kept holds one.
CONTROLS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_UNSTORABLE = re.compile(rf"{CONTROLS}|[\ud800-\udfff]")


def storable(text: str) -> str:
    """Refuse control characters and halves of pairs.

    PostgreSQL holds none of them all, SQLite would keep it and nobody could move; a terminal, a
    label printer or a mail header takes others for orders.
    """
    # Nearly every text is printable, which is told in half the time of the search.
    if not text.isprintable() and _UNSTORABLE.search(text):
        raise PydanticCustomError("not_storable", "holds a character that cannot be stored")
    return text


def no_card(text: str) -> str:
    """Refuse what people write that holds a card's number: it would be kept, and read by many."""
    if cards.looks_like_card(text):
        raise PydanticCustomError(cards.CODE, cards.MESSAGE)
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(storable),
]


#: What no code holds.
LINE_MARKS = "\t\n\r\u2028\u2029"


def one_line(text: str) -> str:
    """Refuse tabs and line breaks."""
    if any(mark in text for mark in LINE_MARKS):
        raise PydanticCustomError("not_storable", "holds a tab or a line break")
    return text


#: What a thing is known by: it stands in addresses, files, labels and barcodes.
Code = Annotated[Text, AfterValidator(one_line)]
#: A name, or a line of an address.
Words = Annotated[Text, AfterValidator(no_card)]
#: Why something is done; never only blanks.
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(storable),
    AfterValidator(no_card),
]
Note = Annotated[
    str, StringConstraints(max_length=2000), AfterValidator(storable), AfterValidator(no_card)
]
#: An amount of money that may be nothing, in major units: no more than what an order may cost.
Amount = Annotated[Decimal, Field(ge=0, le=10_000_000, allow_inf_nan=False)]


class Strict(BaseModel):
    """A shape that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Body(Strict):
    """A body of a request: besides, all that is in it, however deep, can be stored."""

    @field_validator("*")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        refuse_unstorable(value)
        return value


#: Levels of lists and objects in what is sent, at most: nothing that we know has half of them.
MOST_LEVELS = 20


def refuse_unstorable(document: Any) -> None:
    """Raise PydanticCustomError where something in a free document cannot be stored.

    That is a text (:func:`storable`), a number that is none, or what is nested too deep for those
    who read it after us.
    """
    # Not by recursion: nobody has checked yet how deep it is.
    level = [document]
    for _ in range(MOST_LEVELS + 1):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                storable(value)
            elif isinstance(value, float):
                _finite(value)
            elif isinstance(value, Mapping):
                inner += value.keys()
                inner += value.values()
            elif isinstance(value, list | tuple):
                inner += value
        if not inner:
            return
        level = inner
    raise PydanticCustomError(
        "too_deep", "has more than {levels} levels of lists and objects", {"levels": MOST_LEVELS}
    )


def _finite(value: float) -> None:
    """Refuse what JSON has no number for; one database would keep it as nothing."""
    if not math.isfinite(value):
        raise PydanticCustomError("not_storable", "holds a number that cannot be stored")


class _Coded(Body):
    code: Code


def coded(given: str, what: str) -> str:
    """Return what ``what`` is to be known by; raise ValidationFailed where it cannot be."""
    return parsed(_Coded, {"code": given}, what).code


def currency_faults(currency: str, field: str = "currency") -> list[FieldError]:
    """Return what is wrong with a currency: nothing, or that the shop does not accept it."""
    if currency in EXPONENTS:
        return []
    return [FieldError(field, "unknown_currency", f"{currency!r} is not accepted")]


def in_minor(
    currency: str, amounts: Mapping[str, Decimal | None], where: str = ""
) -> tuple[dict[str, int], list[FieldError]]:
    """Return amounts of ``currency`` in minor units by their fields, and each field at fault.

    Of a currency that is not known only that is told. A bad amount counts as nothing, as one that
    is not given does; ``where`` stands before the fields (``skus[0].``).
    """
    minor = dict.fromkeys(amounts, 0)
    faults = currency_faults(currency, f"{where}currency")
    if faults:
        return minor, faults
    for name, amount in amounts.items():
        try:
            minor[name] = 0 if amount is None else to_minor(amount, currency)
        except ValueError as error:
            faults.append(FieldError(f"{where}{name}", "invalid_amount", str(error)))
    return minor, faults


def parsed(shape: type[T], given: Any, what: str) -> T:
    """Return ``given`` in a shape, for callers without a framework; ``what`` is refused.

    Raises:
        ValidationFailed: with every bad field.
    """
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        faults = [field_error(fault) for fault in error.errors(include_url=False)]
        raise ValidationFailed(f"{what} has bad fields.", faults) from None


def path_of(place: Iterable[str | int]) -> str:
    """Return a place in a submission as errors name it: ``lines[0].quantity``."""
    path = ""
    for part in place:
        # The name of an entry is at fault itself: it stands there already.
        if part != "[key]":
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def field_error(fault: Any, where: str = "") -> FieldError:
    """Return a structural fault that Pydantic found in a submission, in its field ``where``."""
    path = path_of((where, *fault["loc"]) if where else fault["loc"])
    if cards.looks_like_card(path):
        # The name of a field is told, and must not tell of a card.
        return FieldError("body", cards.CODE, cards.MESSAGE)
    if fault["type"] == "string_too_short" and not str(fault["input"]).strip():
        # A blank text says nothing.
        return FieldError(path or "body", "required", "must be given")
    message = fault["msg"].removeprefix("Value error, ")
    return FieldError(path or "body", fault_code(fault["type"]), message)


def fault_code(kind: str) -> str:
    """Return our stable code for a kind of fault that Pydantic tells of."""
    return {
        "missing": "required",
        "extra_forbidden": "unknown_field",
        "value_error": "invalid",
    }.get(kind, kind)
