"""The bodies of the requests about money, which refuse anything that looks like a card number."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from oms_ops import cards
from oms_ops.api.parts import MOST_LINES, Money, Units
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.orders.intake import Email
from oms_ops.shapes import Body, Text, storable

Token = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(storable)]
Url = Annotated[
    str,
    StringConstraints(max_length=2000, pattern=r"^https?://[^\s]+$"),
    AfterValidator(storable),
]
#: No field takes a longer text.
_LONGEST = 5000
SignedMoney = Annotated[Decimal, Field(ge=-1_000_000_000, le=1_000_000_000, allow_inf_nan=False)]


class MoneyBody(Body):
    """A body that takes no card number in any field."""

    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="wrap")
    @classmethod
    def _no_cards(cls, data: Any, check: ModelWrapValidatorHandler[MoneyBody]) -> MoneyBody:
        """Refuse card numbers beside whatever else is wrong, and never repeat them."""
        where = list(dict.fromkeys(cards.found(data, longest=_LONGEST)))
        if not where:
            return check(data)
        found = [_fault(cards.CODE, cards.MESSAGE, path) for path in where]
        try:
            check(data)
        except ValidationError as error:
            found += [
                _fault(each["type"], each["msg"], each["loc"])
                for each in error.errors(include_url=False, include_input=False)
                if each["loc"] not in where
                and not any(cards.looks_like_card(str(part)) for part in each["loc"])
            ]
        raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True)


def _fault(code: str, message: str, path: tuple[str | int, ...]) -> InitErrorDetails:
    # What the message says must not be taken for a template.
    plain = message.replace("{", "(").replace("}", ")")
    return InitErrorDetails(type=PydanticCustomError(code, plain), loc=path, input=None)


class PaymentBody(MoneyBody):
    """How an order, or ``amount`` of it, is going to be paid; ``code`` is a gift card's."""

    method: Text
    amount: Money | None = None
    code: Text | None = None


class AuthoriseBody(MoneyBody):
    """What the gateway's own form in the customer's browser gave for her means of payment.

    ``return_url`` is where the gateway sends her back to, should it ask her for something.
    """

    token: Token | None = None
    return_url: Url | None = None


class CaptureBody(MoneyBody):
    """How much is collected; all that is open where nothing is said."""

    amount: Money | None = None


class DismissBody(MoneyBody):
    """How much of a refund that failed has gone back another way; all that is listed if unsaid."""

    amount: Money | None = None


class RefundBody(MoneyBody):
    """How much goes back of one payment, and why; ``return`` is the number of the return's.

    Where none is said it goes first towards what a gateway declined to give back of the order.
    ``elsewhere``: it has gone back already, in a way that the shop's payments do not know.
    """

    amount: Money
    reason: Text
    elsewhere: bool = False
    return_: Annotated[Text | None, Field(alias="return")] = None


class LineRefundBody(MoneyBody):
    """What goes back of a line: for ``quantity`` units, or an ``amount``; else all its rest."""

    line_no: Units
    quantity: Units | None = None
    amount: Money | None = None


class OrderRefundBody(MoneyBody):
    """What goes back of an order, and where to; ``everything`` is the rest of all its parts."""

    reason: Text
    lines: Annotated[list[LineRefundBody], Field(max_length=MOST_LINES)] = []  # noqa: RUF012 - Pydantic copies it
    shipping: Literal[True] | Money | None = None
    goodwill: Money | None = None
    destination: Literal["original", "store_credit", "elsewhere"] = "original"
    everything: bool = False


class GiftCardBody(MoneyBody):
    """A gift card to issue; ``customer`` is the e-mail address of who gets it."""

    currency: Text
    amount: Money
    expires_on: date | None = None
    customer: Email | None = None
    reason: Text = "issued"


class CodeBody(MoneyBody):
    """The code of a gift card: in a body, so that no log of addresses holds it."""

    code: Text


class AdjustBody(MoneyBody):
    """By how much a balance is corrected, up or down, and why."""

    amount: SignedMoney
    reason: Text


class CreditBody(MoneyBody):
    """Store credit that a customer is given."""

    currency: Text
    amount: Money
    reason: Text


class CreditAdjustBody(MoneyBody):
    """By how much a customer's credit is corrected, up or down, and why."""

    currency: Text
    amount: SignedMoney
    reason: Text


def minor(amount: Decimal, currency: str, field: str = "amount", *, signed: bool = False) -> int:
    """Return an amount in minor units.

    Raises:
        ValidationFailed: it has more decimal places than the currency, or is not positive (for a
            ``signed`` one: is zero), or there is no such currency.
    """
    try:
        units = to_minor(amount, currency)
    except ValueError as error:
        fault = FieldError(field, "invalid_amount", str(error))
        raise ValidationFailed("The amount is wrong.", [fault]) from None
    if units == 0 if signed else units <= 0:
        code, message = ("zero", "not zero") if signed else ("not_positive", "more than zero")
        raise ValidationFailed("The amount is wrong.", [FieldError(field, code, message)])
    return units
