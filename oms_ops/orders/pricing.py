"""What an order costs: line by line in minor units, adding up to the total to the cent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from oms_ops.errors import FieldError
from oms_ops.money import spread, to_minor
from oms_ops.orders.intake import OrderIn

#: An order's total, and so each part of it, stays below a thousand million (minor units).
MOST_MINOR = 100_000_000_000


@dataclass(frozen=True, slots=True)
class SkuTerms:
    """What capture needs to know of a SKU; ``unit_cost_minor`` is the preferred supplier's."""

    id: int
    code: str
    name: str
    is_active: bool
    currency: str
    price_minor: int
    unit_cost_minor: int


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line with its money, all in minor units."""

    sku: SkuTerms
    quantity: int
    unit_price_minor: int
    gross_minor: int
    discount_minor: int

    @property
    def net_minor(self) -> int:
        """Gross less discount."""
        return self.gross_minor - self.discount_minor


@dataclass(frozen=True, slots=True)
class Totals:
    """The order's money in minor units; ``total`` is the sum of the others, discount subtracted."""

    gross: int
    discount: int
    shipping: int

    @property
    def total(self) -> int:
        """What the customer owes."""
        return self.gross - self.discount + self.shipping


def catalogue_errors(
    lines: list[tuple[int, str]], known: dict[str, SkuTerms], currency: Any
) -> list[FieldError]:
    """Return what the catalogue objects to: unknown, inactive, or priced in another currency."""
    errors = []
    for index, code in lines:
        sku = known.get(code)
        field = f"lines[{index}].sku"
        if sku is None:
            errors.append(FieldError(field, "unknown_sku", f"there is no SKU {code!r}"))
        elif not sku.is_active:
            errors.append(FieldError(field, "inactive_sku", f"SKU {code!r} is not sold any more"))
        elif isinstance(currency, str) and sku.currency != currency:
            errors.append(
                FieldError("currency", "no_price", f"SKU {code!r} has no price in {currency}")
            )
    return errors


def price(
    order: OrderIn, known: dict[str, SkuTerms]
) -> tuple[list[PricedLine], Totals, list[FieldError]]:
    """Price every line; the order's discount is spread over the lines by their net value.

    The parts of a spread discount sum to it exactly (largest remainder), so the order's total is
    the sum of its lines without a rounding difference.
    """
    errors: list[FieldError] = []

    def minor(amount: Decimal, field: str) -> int:
        try:
            return to_minor(amount, order.currency)
        except ValueError as error:
            errors.append(FieldError(field, "invalid_amount", str(error)))
            return 0

    rows = []
    for index, line in enumerate(order.lines):
        sku = known[line.sku]
        unit = (
            sku.price_minor
            if line.unit_price is None
            else minor(line.unit_price, f"lines[{index}].unit_price")
        )
        gross = unit * line.quantity
        discount = minor(line.discount, f"lines[{index}].discount")
        if gross > MOST_MINOR:
            errors.append(
                FieldError(f"lines[{index}].quantity", "too_large", "the line's price is too large")
            )
        if discount > gross:
            errors.append(
                FieldError(f"lines[{index}].discount", "too_large", "more than the line's price")
            )
        rows.append((sku, line.quantity, unit, gross, discount))
    shipping = minor(order.shipping or Decimal(0), "shipping")
    discount = minor(order.discount, "discount")
    nets = [max(0, gross - line_discount) for *_, gross, line_discount in rows]
    if discount > sum(nets):
        errors.append(FieldError("discount", "too_large", "more than the lines' net price"))
    if sum(gross for *_, gross, _ in rows) + shipping > MOST_MINOR:
        errors.append(FieldError("lines", "too_large", "the order's total is too large"))
    if errors:
        return [], Totals(0, 0, 0), errors
    shares = spread(discount, nets)
    priced = [
        PricedLine(sku, quantity, unit, gross, line_discount + share)
        for (sku, quantity, unit, gross, line_discount), share in zip(rows, shares, strict=True)
    ]
    totals = Totals(
        sum(line.gross_minor for line in priced),
        sum(line.discount_minor for line in priced),
        shipping,
    )
    return priced, totals, []
