"""The shape of an order as callers submit it, and every way in which it can be wrong.

The structure is Pydantic's; what it finds is told together with what only the catalogue knows
(:mod:`oms_ops.orders.pricing`), so that one answer names every bad field.
"""

from __future__ import annotations

import re
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
    field_validator,
    model_validator,
)

from oms_ops.errors import FieldError
from oms_ops.money import EXPONENTS
from oms_ops.orders.countries import COUNTRIES


def _storable(text: str) -> str:
    """Refuse what PostgreSQL cannot hold in a text; SQLite would keep it and nobody could move."""
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a character that cannot be stored")
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_storable),
]
Amount = Annotated[Decimal, Field(ge=0, le=10_000_000, allow_inf_nan=False)]

#: Postal codes are checked where their form is simple and fixed.
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


class CustomerIn(_In):
    """Who orders; guests and known customers alike are told apart by e-mail."""

    email: EmailStr
    name: Text
    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()./-]{5,30}$")] | None = None

    @field_validator("email")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


class AddressIn(_In):
    """Where it goes."""

    name: Text
    line1: Text
    line2: Text | None = None
    city: Text
    region: Text | None = None
    postal_code: Text | None = None
    country: str

    @field_validator("country")
    @classmethod
    def _known_country(cls, value: str) -> str:
        if value not in COUNTRIES:
            raise ValueError("is no ISO 3166 country code")
        return value

    @model_validator(mode="after")
    def _rules_of_the_country(self) -> AddressIn:
        form = POSTAL_CODES.get(self.country)
        if form and not form.fullmatch(self.postal_code or ""):
            raise ValueError(f"postal_code is not a {self.country} postal code")
        if self.country in REGION_REQUIRED and not self.region:
            raise ValueError(f"region is required in {self.country}")
        return self


class LineIn(_In):
    """Units of one SKU; without a price, the list price holds."""

    sku: Text
    quantity: Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
    unit_price: Amount | None = None
    discount: Amount = Decimal(0)


class PaymentIn(_In):
    """How it is going to be paid, through the manual gateway."""

    method: Annotated[str, StringConstraints(pattern=r"^(bank_transfer|cash|card|gift_card)$")]


class OrderIn(_In):
    """A submission. ``warehouse`` overrides routing; amounts are decimals of ``currency``."""

    external_id: Text | None = None
    channel: Text = "web"
    currency: str
    customer: CustomerIn
    ship_to: AddressIn
    lines: Annotated[list[LineIn], Field(min_length=1, max_length=500)]
    discount: Amount = Decimal(0)
    shipping: Amount = Decimal(0)
    payment: PaymentIn | None = None
    warehouse: Text | None = None
    allow_backorder: bool = False
    allow_split: bool = False

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in EXPONENTS:
            raise ValueError(f"currency {value!r} is not accepted")
        return value


def parse(payload: Any) -> tuple[OrderIn | None, list[FieldError]]:
    """Return the order, or None and every structural fault of ``payload``."""
    try:
        return OrderIn.model_validate(payload), []
    except ValidationError as error:
        return None, [_field_error(fault) for fault in error.errors(include_url=False)]


def _field_error(fault: Any) -> FieldError:
    path = ""
    for part in fault["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = fault["msg"].removeprefix("Value error, ")
    kind = fault["type"]
    if kind == "value_error":
        # A rule that joins two fields of an address names the one that is wrong first.
        first = message.split(" ", 1)[0]
        path = f"{path}.{first}" if first in ("postal_code", "region") else path
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
        return bool(_storable(sku).strip())
    except ValueError:
        return False
