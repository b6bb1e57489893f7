"""The shape of an order as callers submit it, and how its contacts are kept.

The structure is Pydantic's; :mod:`oms_ops.orders.submission` reads a submission by it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    EmailStr,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from oms_ops import cards, clock, regions
from oms_ops.addresses import address_faults
from oms_ops.customers.phones import phone_number
from oms_ops.errors import FieldError
from oms_ops.money import EXPONENTS
from oms_ops.payments.tables import CAPTURE_METHODS
from oms_ops.shapes import Amount, Note, Strict, Text, Words, storable
from oms_ops.texts import MaybeText, MaybeWords, given

Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=7, decimal_places=4)]
Code = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50, to_upper=True),
    AfterValidator(storable),
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=40)]
MaybePhone = Annotated[Phone | None, BeforeValidator(given)]


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


class CustomerIn(Strict):
    """Who orders; guests and known customers alike are told apart by e-mail."""

    email: Email
    name: Words
    phone: MaybePhone = None


class AddressIn(Strict):
    """Where it goes; the coordinates, where they are known, serve the distance in routing.

    City, region and postal code are needed where the rules of the country ask for them. A region is
    its ISO 3166-2 code, with the country before it or not, or its name; it is kept as the code.
    """

    name: Words
    line1: Words
    line2: MaybeWords = None
    city: MaybeWords = None
    region: MaybeWords = None
    postal_code: MaybeText = None
    country: str
    phone: MaybePhone = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class LineIn(Strict):
    """Units of one SKU. Without a price, the shop's prices hold.

    ``amount`` states the line's gross where another system rounded it: what it has beyond quantity
    times unit price is kept as the line's rounding. ``tax`` is another system's tax of the line.
    ``expected_unit_price`` is what the buyer was shown: another price is refused, whoever says it.
    """

    sku: Text
    quantity: Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
    unit_price: Amount | None = None
    expected_unit_price: Amount | None = None
    amount: Amount | None = None
    discount: Amount = Decimal(0)
    discount_percent: Percent = Decimal(0)
    tax: Amount | None = None


class PaymentIn(Strict):
    """How it is going to be paid; the shop's rules say through which gateway.

    What a gift card's code or store credit pays is added after the capture.
    """

    method: Annotated[
        str,
        StringConstraints(pattern=rf"^({'|'.join(sorted(CAPTURE_METHODS))})$"),
    ]


class OrderIn(Strict):
    """A submission. ``warehouse`` overrides routing; amounts are decimals of ``currency``.

    Without ``shipping`` the shop's rules say what it costs, without ``tax_included`` whether prices
    hold the tax. ``basket`` names the basket whose holds the order takes over.
    """

    external_id: MaybeText = None
    channel: Text = "web"
    currency: str
    customer: CustomerIn
    ship_to: AddressIn
    lines: Annotated[list[LineIn], Field(min_length=1, max_length=500)]
    discount: Amount = Decimal(0)
    discount_percent: Percent = Decimal(0)
    discount_codes: list[Code] = Field(default_factory=list, max_length=5)
    shipping: Amount | None = None
    shipping_tax: Amount | None = None
    tax_included: bool | None = None
    expected_total: Amount | None = None
    payment: PaymentIn | None = None
    warehouse: MaybeText = None
    basket: MaybeText = None
    allow_backorder: bool = False
    allow_split: bool = False
    ship_complete: bool = False
    note: Note | None = None
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


def card_faults(payload: Any) -> list[FieldError]:
    """Return where the payment of a payload holds what looks like a card number."""
    payment = payload.get("payment") if isinstance(payload, dict) else None
    return cards.faults(payment, ("payment",))


def settled_address(to: AddressIn) -> tuple[AddressIn, list[FieldError]]:
    """Return an address as it is kept, and what the rules of its country object to.

    The region is kept as its code (:mod:`oms_ops.regions`), the phone number in E.164.
    """
    faults = [
        FieldError(f"ship_to.{field}", code, message)
        for field, code, message in address_faults(to.country, to.city, to.region, to.postal_code)
    ]
    changes: dict[str, str] = {}
    if to.region and (code := regions.code_of(to.country, to.region)) not in (None, to.region):
        changes["region"] = str(code)
    number, wrong = settled_phone("ship_to.phone", to.phone, to.country)
    if number is not None and number != to.phone:
        changes["phone"] = number
    return to.model_copy(update=changes) if changes else to, faults + wrong


def settled_phone(
    field: str, text: str | None, country: str | None
) -> tuple[str | None, list[FieldError]]:
    """Return a number in E.164; one without a country code is of the ship-to ``country``."""
    if text is None:
        return None, []
    number = phone_number(text, country)
    if number is None:
        return None, [FieldError(field, "invalid_phone", "is no phone number")]
    return number, []
