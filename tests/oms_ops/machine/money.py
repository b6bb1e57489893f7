"""What an order costs, worked out a second time: in fractions, and rounded where the shop rounds.

The terms of the shop stand here too: two taxes, one shipping charge, two discount codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

#: The price of a unit, in cents.
PRICES = {f"SKU-{number}": 199 * number for number in range(1, 5)}
#: What is taken of a net price, by region; shipping is taxed like goods.
RATES = {"GA": Fraction(825, 10_000), "NY": Fraction(7, 100)}
SHIPPING, SHIPS_FREE_FROM = 499, 5_000
#: Percent of the goods, or cents; and how often.
PERCENT_CODE, PERCENT, USES = "TENTH", Fraction(1, 10), 2
AMOUNT_CODE, AMOUNT = "FIVER", 500

#: The same terms as the shop's own documents have them.
RULES = {
    "taxes": [
        {"percent": "8.25", "places": ["US-GA"]},
        {"percent": "7", "places": ["US-NY"]},
    ],
    "shipping": [
        {"name": "free", "currency": "USD", "charge": "0", "min_net": "50"},
        {"name": "parcel", "currency": "USD", "charge": "4.99"},
    ],
    "receipts": {"over_tolerance_percent": "20"},
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A line as the buyer asks for it; ``stated`` is a gross amount of its own, in cents."""

    sku: str
    quantity: int
    discount: int = 0
    stated: int | None = None


@dataclass(slots=True)
class Amounts:
    """A line's money in cents."""

    unit: int
    discount: int
    rounding: int
    quantity: int
    rate: Fraction
    tax: int = 0

    @property
    def net(self) -> int:
        return self.unit * self.quantity - self.discount + self.rounding

    def owed(self, units: int, *, included: bool) -> int:
        """What is owed for some of the units: each share is cut to the whole cent."""

        def share(amount: int) -> int:
            return floor(Fraction(amount * units, self.quantity))

        tax = 0 if included else share(self.tax)
        return self.unit * units - share(self.discount) + share(self.rounding) + tax


def nearest(amount: Fraction) -> int:
    """Round half up."""
    return floor(amount + Fraction(1, 2))


def divided(total: int, weights: Sequence[int]) -> list[int]:
    """Divide cents by weight; the cents that are left go where most was cut off, earliest first."""
    whole = sum(weights)
    if not whole:
        return [total, *[0] * (len(weights) - 1)]
    exact = [Fraction(total * weight, whole) for weight in weights]
    parts = [floor(part) for part in exact]
    cut = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for index in cut[: total - sum(parts)]:
        parts[index] += 1
    return parts


def taxed(lines: Sequence[Amounts], *, included: bool) -> None:
    """Set the tax of lines of one rate: rounded once for all, then divided."""
    if not lines:
        return
    rate = lines[0].rate
    base = sum(line.net for line in lines)
    whole = nearest(base * rate / (1 + rate) if included else base * rate)
    for line, tax in zip(lines, divided(whole, [line.net for line in lines]), strict=True):
        line.tax = tax


def line_of(wanted: Wanted, region: str) -> Amounts:
    """Return a line before the order's discounts and taxes."""
    unit = PRICES[wanted.sku]
    if wanted.stated is not None:
        unit = nearest(Fraction(wanted.stated, wanted.quantity))
    rounding = 0 if wanted.stated is None else wanted.stated - unit * wanted.quantity
    return Amounts(unit, wanted.discount, rounding, wanted.quantity, RATES[region])


def priced(
    wanted: Sequence[Wanted], region: str, code: str | None, *, included: bool
) -> tuple[list[Amounts], int, int]:
    """Return the lines of an order, its shipping and the tax of that."""
    lines = [line_of(each, region) for each in wanted]
    nets = [line.net for line in lines]
    if code is not None:
        off = nearest(sum(nets) * PERCENT) if code == PERCENT_CODE else min(AMOUNT, sum(nets))
        for line, part in zip(lines, divided(off, nets), strict=True):
            line.discount += part
    taxed(lines, included=included)
    shipping = 0 if sum(line.net for line in lines) >= SHIPS_FREE_FROM else SHIPPING
    rate = RATES[region]
    shipping_tax = nearest(shipping * rate / (1 + rate) if included else shipping * rate)
    return lines, shipping, shipping_tax
