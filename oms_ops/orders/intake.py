"""The shape of an order as callers submit it, and every way in which it can be wrong.

The structure is Pydantic's; what it finds is told together with what only the catalogue knows
(:mod:`oms_ops.orders.pricing`), so that one answer names every bad field.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from oms_ops import clock
from oms_ops.errors import FieldError
from oms_ops.money import EXPONENTS
from oms_ops.orders.addresses import address_faults, phone_number
from oms_ops.payments import cards
from oms_ops.payments.tables import CAPTURE_METHODS

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot hold in a text; SQLite would keep it and nobody could move."""
    if _UNSTORABLE.search(text):
        raise ValueError("holds a character that cannot be stored")
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(storable),
]
Amount = Annotated[Decimal, Field(ge=0, le=10_000_000, allow_inf_nan=False)]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=7, decimal_places=4)]
Code = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, to_upper=True)
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=40)]

#: For sets of orders, whose addresses are checked column by column.
POSTAL_CODES = {
    "US": re.compile(r"\d{5}(-\d{4})?"),
    "CA": re.compile(r"[A-Za-z]\d[A-Za-z] ?\d[A-Za-z]\d"),
    "DE": re.compile(r"\d{5}"),
    "FR": re.compile(r"\d{5}"),
}
#: Countries whose addresses need a state or province.
REGION_REQUIRED = frozenset({"US", "CA", "AU"})


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_MOST_EMAILS = 65_536
_emails: dict[str, str] = {}


def _remembered(value: Any, check: ValidatorFunctionWrapHandler) -> str:
    """Return a valid address in small letters; the library takes longer than all other fields."""
    known = _emails.get(value) if isinstance(value, str) else None
    if known is None:
        known = check(value).lower()
        if len(_emails) >= _MOST_EMAILS:
            _emails.clear()
        _emails[value] = known
    return known


Email = Annotated[EmailStr, WrapValidator(_remembered)]


class CustomerIn(_In):
    """Who orders; guests and known customers alike are told apart by e-mail."""

    email: Email
    name: Text
    phone: Phone | None = None


class AddressIn(_In):
    """Where it goes; the coordinates, where they are known, serve the distance in routing."""

    name: Text
    line1: Text
    line2: Text | None = None
    city: Text
    region: Text | None = None
    postal_code: Text | None = None
    country: str
    phone: Phone | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class LineIn(_In):
    """Units of one SKU. Without a price, the shop's prices hold.

    ``amount`` states the line's gross where another system rounded it: what it has beyond quantity
    times unit price is kept as the line's rounding. ``tax`` is another system's tax of the line.
    ``expected_unit_price`` is what the buyer was shown: another price is refused.
    """

    sku: Text
    quantity: Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
    unit_price: Amount | None = None
    expected_unit_price: Amount | None = None
    amount: Amount | None = None
    discount: Amount = Decimal(0)
    discount_percent: Percent = Decimal(0)
    tax: Amount | None = None


class PaymentIn(_In):
    """How it is going to be paid; the shop's rules say through which gateway.

    What a gift card's code or store credit pays is added after the capture.
    """

    method: Annotated[
        str,
        StringConstraints(pattern=rf"^({'|'.join(sorted(CAPTURE_METHODS))})$"),
    ]


class OrderIn(_In):
    """A submission. ``warehouse`` overrides routing; amounts are decimals of ``currency``.

    Without ``shipping`` the shop's rules say what it costs, without ``tax_included`` whether prices
    hold the tax. ``basket`` names the basket whose holds the order takes over.
    """

    external_id: Text | None = None
    channel: Text = "web"
    currency: str
    customer: CustomerIn
    ship_to: AddressIn
    lines: Annotated[list[LineIn], Field(min_length=1, max_length=500)]
    discount: Amount = Decimal(0)
    discount_percent: Percent = Decimal(0)
    discount_codes: Annotated[list[Code], Field(max_length=5)] = []
    shipping: Amount | None = None
    shipping_tax: Amount | None = None
    tax_included: bool | None = None
    expected_total: Amount | None = None
    payment: PaymentIn | None = None
    warehouse: Text | None = None
    basket: Text | None = None
    allow_backorder: bool = False
    allow_split: bool = False
    ship_complete: bool = False
    note: Annotated[str, StringConstraints(max_length=2000), AfterValidator(storable)] | None = None
    placed_at: datetime | None = None

    @field_validator("placed_at")
    @classmethod
    def _past_moment(cls, value: datetime | None) -> datetime | None:
        if value is not None:
            if value.tzinfo is None:
                raise ValueError("needs a time zone")
            if value > clock.now():
                raise ValueError("is in the future")
            value = value.astimezone(UTC)
        return value

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in EXPONENTS:
            raise ValueError(f"currency {value!r} is not accepted")
        return value


def parse(payload: Any) -> tuple[OrderIn | None, list[FieldError]]:
    """Return the order, or None and every fault of ``payload`` that needs no catalogue."""
    try:
        order = OrderIn.model_validate(payload)
    except ValidationError as error:
        faults = [field_error(fault) for fault in error.errors(include_url=False)]
        seen = card_faults(payload)
        told = {fault.field for fault in seen}
        faults = [
            fault
            for fault in faults
            if fault.field not in told and not cards.looks_like_card(fault.field)
        ]
        return None, faults + seen + _place_faults(payload)
    phones, faults = _phones(order)
    to = order.ship_to
    faults += _ship_to_faults(to.country, to.region, to.postal_code)
    if len(set(order.discount_codes)) != len(order.discount_codes):
        faults.append(FieldError("discount_codes", "repeated", "each code counts once"))
    if faults:
        return None, faults
    return _with_phones(order, phones), []


def card_faults(payload: Any) -> list[FieldError]:
    """Return where the payment of a payload holds what looks like a card number."""
    payment = payload.get("payment") if isinstance(payload, dict) else None
    return cards.faults(payment, ("payment",))


def _place_faults(payload: Any) -> list[FieldError]:
    """Check the address of a payload that is wrong elsewhere, so that one answer names it all."""
    ship_to = payload.get("ship_to") if isinstance(payload, dict) else None
    return ship_to_faults(ship_to) if isinstance(ship_to, dict) else []


def ship_to_faults(ship_to: dict[str, Any]) -> list[FieldError]:
    """Return what the rules of its country object to in an address."""
    parts = [ship_to.get(name) for name in ("country", "region", "postal_code")]
    if not isinstance(parts[0], str) or any(
        p is not None and not isinstance(p, str) for p in parts
    ):
        return []
    return _ship_to_faults(*parts)  # type: ignore[arg-type]


def _ship_to_faults(country: str, region: str | None, postal_code: str | None) -> list[FieldError]:
    return [
        FieldError(f"ship_to.{field}", code, message)
        for field, code, message in address_faults(country, region, postal_code)
    ]


def _phones(order: OrderIn) -> tuple[dict[str, str], list[FieldError]]:
    """Return the phone numbers in E.164; one without a country code is of the ship-to country."""
    numbers: dict[str, str] = {}
    faults = []
    for name, text in (("customer", order.customer.phone), ("ship_to", order.ship_to.phone)):
        if text is None:
            continue
        number = phone_number(text, order.ship_to.country)
        if number is None:
            faults.append(FieldError(f"{name}.phone", "invalid_phone", "is no phone number"))
        else:
            numbers[name] = number
    return numbers, faults


def _with_phones(order: OrderIn, numbers: dict[str, str]) -> OrderIn:
    if not numbers:
        return order
    parts = {
        name: getattr(order, name).model_copy(update={"phone": number})
        for name, number in numbers.items()
    }
    return order.model_copy(update=parts)


def field_error(fault: Any) -> FieldError:
    """Return a structural fault that Pydantic found in a submission."""
    path = ""
    for part in fault["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = fault["msg"].removeprefix("Value error, ")
    kind = fault["type"]
    if kind == "value_error":
        kind = "invalid"
    codes = {"missing": "required", "extra_forbidden": "unknown_field"}
    return FieldError(path or "body", codes.get(kind, kind), message)


def lines_of(payload: Any) -> list[tuple[int, str]]:
    """Return (index, SKU) of each line that names one, however broken the rest is."""
    lines = payload.get("lines") if isinstance(payload, dict) else None
    if not isinstance(lines, list):
        return []
    return [
        (index, line["sku"].strip())
        for index, line in enumerate(lines)
        if isinstance(line, dict) and isinstance(line.get("sku"), str) and _speakable(line["sku"])
    ]


def _speakable(sku: str) -> bool:
    """Tell whether the catalogue can be asked for it; the structure refused what it cannot."""
    try:
        return bool(storable(sku).strip())
    except ValueError:
        return False
