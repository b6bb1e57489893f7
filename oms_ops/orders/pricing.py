"""What an order costs: line by line in minor units, adding up to the total to the cent.

In this order: the unit price (the caller's, a price list's, the SKU's own), the line's discount,
the order's discount and codes spread over the lines, shipping, taxes, and rounding to cash.
Whatever rounding adds or takes has its own column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from oms_ops.errors import FieldError
from oms_ops.money import spread, to_minor, to_text
from oms_ops.orders import charges
from oms_ops.orders.intake import LineIn, OrderIn
from oms_ops.orders.terms import DiscountTerms, SkuTerms
from oms_ops.rules.document import Rules

#: An order's total, and so each part of it, stays below a thousand million (minor units).
MOST_MINOR = 100_000_000_000

_PPM_OF_PERCENT = 10_000
_WHOLE = 1_000_000


class PricedLine(NamedTuple):
    """A line with its money, all in minor units; the tax rate in millionths."""

    sku: SkuTerms
    quantity: int
    unit_price_minor: int
    price_source: str
    gross_minor: int
    rounding_minor: int = 0
    discount_minor: int = 0
    tax_rate_ppm: int = 0
    tax_minor: int = 0

    @property
    def net_minor(self) -> int:
        """Gross less discount, with what rounding adds."""
        return self.gross_minor - self.discount_minor + self.rounding_minor


@dataclass(frozen=True, slots=True)
class Totals:
    """The order's money in minor units; ``rounding`` is the lines' and the total's to cash."""

    gross: int
    discount: int
    shipping: int
    tax: int = 0
    shipping_tax: int = 0
    rounding: int = 0
    tax_included: bool = False

    @property
    def total(self) -> int:
        """What the customer owes."""
        added = 0 if self.tax_included else self.tax
        return self.gross - self.discount + self.shipping + self.rounding + added


@dataclass(frozen=True, slots=True)
class Priced:
    """A priced order: its lines, its totals, and what each discount code took off."""

    lines: list[PricedLine]
    totals: Totals
    code_amounts: dict[int, int]


def catalogue_errors(
    lines: Sequence[tuple[int, str]], known: Mapping[str, SkuTerms], channel: str | None
) -> list[FieldError]:
    """Return what the catalogue objects to: unknown, inactive, or not sold in the channel.

    ``channel`` is None where it cannot be told.
    """
    errors = []
    for index, code in lines:
        sku = known.get(code)
        field = f"lines[{index}].sku"
        if sku is None:
            errors.append(FieldError(field, "unknown_sku", f"there is no SKU {code!r}"))
        elif not sku.is_active:
            errors.append(FieldError(field, "inactive_sku", f"SKU {code!r} is not sold any more"))
        elif sku.channels is not None and channel is not None and channel not in sku.channels:
            message = f"SKU {code!r} is not sold in channel {channel!r}"
            errors.append(FieldError(field, "not_in_channel", message))
    return errors


def quantity_errors(
    order: OrderIn, known: Mapping[str, SkuTerms], added: Sequence[int] | None = None
) -> list[FieldError]:
    """Return what the SKUs' minimum, multiple and maximum object to; the maximum is the order's.

    ``added`` are the units that each line of an amended order gains; all of a new one's are new.
    Units that are there already count first, and only a line that gains some is above the maximum:
    one that was lowered since keeps nobody from taking units off. Lines of SKUs that are not known
    are passed over.
    """
    errors = []
    gained = [line.quantity for line in order.lines] if added is None else added
    ordered: Counter[str] = Counter()
    for line, units in zip(order.lines, gained, strict=True):
        ordered[line.sku] += line.quantity - max(0, units)
    for index, line in enumerate(order.lines):
        sku = known.get(line.sku)
        if sku is None:
            continue
        field = f"lines[{index}].quantity"
        ordered[line.sku] += max(0, gained[index])
        if line.quantity < sku.min_quantity:
            message = f"{line.sku}: at least {sku.min_quantity}"
            errors.append(FieldError(field, "below_minimum", message))
        if line.quantity % sku.quantity_multiple:
            message = f"{line.sku}: a multiple of {sku.quantity_multiple}"
            errors.append(FieldError(field, "not_a_multiple", message))
        most = sku.max_quantity
        if most is not None and gained[index] > 0 and ordered[line.sku] > most:
            message = f"{line.sku}: at most {most} in one order"
            errors.append(FieldError(field, "above_maximum", message))
    return errors


class _Pricing:
    """The pricing of one order; every objection is kept, so that one answer names them all."""

    def __init__(
        self, order: OrderIn, known: Mapping[str, SkuTerms], rules: Rules, group: str | None
    ) -> None:
        self.order = order
        self.known = known
        self.rules = rules
        self.group = group
        self.errors: list[FieldError] = []
        #: How much of it makes the sums unreliable: nothing is to be said of them then.
        self.spoiling = 0

    def refuse(self, field: str, code: str, message: str, *, spoils: bool = True) -> None:
        self.errors.append(FieldError(field, code, message))
        self.spoiling += spoils

    def minor(self, amount: Decimal, field: str) -> int:
        try:
            return to_minor(amount, self.order.currency)
        except ValueError as error:
            self.refuse(field, "invalid_amount", str(error))
            return 0

    def line(self, index: int, line: LineIn) -> PricedLine:
        sku = self.known[line.sku]
        where = f"lines[{index}]"
        before = self.spoiling
        amount = None if line.amount is None else self.minor(line.amount, f"{where}.amount")
        unit, source = self.unit_price(sku, line, where, amount)
        is_known = self.spoiling == before
        gross = unit * line.quantity
        rounding = 0 if amount is None else amount - gross
        if abs(rounding) > line.quantity and is_known:
            message = f"more than {line.quantity} minor units off quantity times unit price"
            self.refuse(f"{where}.amount", "beyond_rounding", message)
        discount = self.minor(line.discount, f"{where}.discount")
        discount += _percent_of(line.discount_percent, gross + rounding)
        if gross > MOST_MINOR:
            self.refuse(f"{where}.quantity", "too_large", "the line's price is too large")
        if discount > gross + rounding and is_known:
            self.refuse(f"{where}.discount", "too_large", "more than the line's price")
        rate = charges.tax_rate(
            self.rules, self.order.ship_to.country, self.order.ship_to.region, sku.tax_category
        )
        return PricedLine(sku, line.quantity, unit, source, gross, rounding, discount, rate)

    def unit_price(
        self, sku: SkuTerms, line: LineIn, where: str, amount: int | None
    ) -> tuple[int, str]:
        """Return the price of one unit and where it is from."""
        before = self.spoiling
        if line.unit_price is not None:
            unit, source = self.minor(line.unit_price, f"{where}.unit_price"), "caller"
        elif amount is not None:
            unit, source = charges.half_up(amount, line.quantity), "caller"
        elif listed := sku.list_price(line.quantity, self.group):
            unit, source = listed.price_minor, listed.list_code
        else:
            unit, source = self.own_price(sku), "list"
        if line.expected_unit_price is not None:
            expected = self.minor(line.expected_unit_price, f"{where}.expected_unit_price")
            if expected != unit and self.spoiling == before:
                price = f"{to_text(unit, self.order.currency)} {self.order.currency}"
                field = f"{where}.expected_unit_price"
                self.refuse(field, "price_changed", f"now {price}", spoils=False)
        return unit, source

    def amounts(self, index: int, line: LineIn) -> None:
        """Refuse amounts of a line that the currency has not; its price cannot be told."""
        for name in ("amount", "unit_price", "expected_unit_price", "discount"):
            stated = getattr(line, name)
            if stated is not None:
                self.minor(stated, f"lines[{index}].{name}")

    def others(self, discounts: Sequence[DiscountTerms | None]) -> None:
        """Refuse what is wrong with the order's amounts and codes whatever its lines cost."""
        order = self.order
        for index, line in enumerate(order.lines):
            if line.tax is not None:
                self.minor(line.tax, f"lines[{index}].tax")
        for name in ("discount", "shipping", "shipping_tax", "expected_total"):
            stated = getattr(order, name)
            if stated is not None:
                self.minor(stated, name)
        for index, discount in enumerate(discounts):
            if discount is not None and (refusal := self.code_refusal(discount)):
                self.refuse(f"discount_codes[{index}]", *refusal)

    def own_price(self, sku: SkuTerms) -> int:
        """Return the SKU's own price in the order's currency, exchanged and rounded half up."""
        currency = self.order.currency
        price = self.rules.exchanged(sku.price_minor, sku.currency, currency)
        if price is None:
            self.refuse("currency", "no_price", f"SKU {sku.code!r} has no price in {currency}")
        return price or 0

    def take_off(
        self, lines: list[PricedLine], amount: int, chosen: Callable[[PricedLine], bool]
    ) -> list[PricedLine]:
        """Spread a discount over the chosen lines by their net value, to the last minor unit."""
        weights = [line.net_minor if chosen(line) else 0 for line in lines]
        shares = spread(amount, weights) if amount else [0] * len(lines)
        return [
            line._replace(discount_minor=line.discount_minor + share) if share else line
            for line, share in zip(lines, shares, strict=True)
        ]

    def discount_order(self, lines: list[PricedLine]) -> list[PricedLine]:
        net = sum(line.net_minor for line in lines)
        amount = self.minor(self.order.discount, "discount")
        amount += _percent_of(self.order.discount_percent, net)
        if amount > net:
            self.refuse("discount", "too_large", "more than the lines' net price")
            return lines
        return self.take_off(lines, amount, lambda _: True)

    def discount_code(
        self, lines: list[PricedLine], index: int, discount: DiscountTerms
    ) -> tuple[list[PricedLine], int]:
        net = sum(line.net_minor for line in lines)
        base = sum(line.net_minor for line in lines if discount.fits(line.sku))
        if refusal := self.code_refusal(discount) or self.unfit(discount, net, base):
            self.refuse(f"discount_codes[{index}]", *refusal)
            return lines, 0
        if discount.percent_ppm is not None:
            amount = charges.half_up(base * discount.percent_ppm, _WHOLE)
        else:
            amount = min(discount.amount_minor or 0, base)
        return self.take_off(lines, amount, lambda line: discount.fits(line.sku)), amount

    def code_refusal(self, discount: DiscountTerms) -> tuple[str, str] | None:
        """Return why a code does not hold whatever the goods are, as (code, message)."""
        if discount.is_used_up:
            return "discount_used_up", f"{discount.code} has been used as often as it may be"
        if discount.customer_group not in (None, self.group):
            return "discount_not_for_customer", f"{discount.code} is for another customer group"
        if self.least_net(discount) is None or (
            discount.amount_minor is not None
            and discount.currency not in (None, self.order.currency)
        ):
            return "discount_other_currency", f"{discount.code} is of {discount.currency}"
        return None

    def least_net(self, discount: DiscountTerms) -> int | None:
        """Return the goods that a code needs in minor units of the order, None without a rate."""
        own = discount.currency or self.rules.base_currency
        least = discount.min_net_minor
        return self.rules.exchanged(least, own, self.order.currency) if least else 0

    def unfit(self, discount: DiscountTerms, net: int, base: int) -> tuple[str, str] | None:
        """Return why a code does not hold for goods of ``net``, ``base`` of them its own."""
        least = self.least_net(discount) or 0
        if net < least:
            needed = f"{to_text(least, self.order.currency)} {self.order.currency}"
            return "discount_below_minimum", f"{discount.code} needs goods for {needed}"
        if base <= 0:
            return "discount_fits_no_line", f"{discount.code} is of none of these SKUs"
        return None

    def tax(self, lines: list[PricedLine], included: bool) -> list[PricedLine]:
        """Set each line's tax: by the rules, or as another system states it."""
        computed = charges.taxes(
            [line.net_minor for line in lines], [line.tax_rate_ppm for line in lines],
            included=included,
        )  # fmt: skip
        stated = [
            None if line.tax is None else self.minor(line.tax, f"lines[{index}].tax")
            for index, line in enumerate(self.order.lines)
        ]
        for index, (line, given) in enumerate(zip(lines, stated, strict=True)):
            if included and given is not None and given > line.net_minor:
                self.refuse(f"lines[{index}].tax", "too_large", "more than the net price it is in")
        return [
            line._replace(tax_minor=own if given is None else given)
            if own or given is not None
            else line
            for line, own, given in zip(lines, computed, stated, strict=True)
        ]

    def expect(self, total: int) -> None:
        """Refuse a total that is not the one the caller was shown."""
        expected = self.order.expected_total
        wanted = None if expected is None else self.minor(expected, "expected_total")
        if wanted != total and not self.spoiling:
            now = f"{to_text(total, self.order.currency)} {self.order.currency}"
            self.refuse("expected_total", "total_changed", f"now {now}")

    def shipping(self, lines: list[PricedLine], included: bool) -> tuple[int, int]:
        """Return what shipping costs and its tax."""
        order = self.order
        if order.shipping is not None:
            charge = self.minor(order.shipping, "shipping")
        else:
            charge = charges.shipping_charge(
                self.rules,
                currency=order.currency,
                country=order.ship_to.country,
                region=order.ship_to.region,
                channel=order.channel,
                net_minor=sum(line.net_minor for line in lines),
                weight_grams=sum((line.sku.weight_grams or 0) * line.quantity for line in lines),
            )
        if order.shipping_tax is not None:
            tax = self.minor(order.shipping_tax, "shipping_tax")
            if included and tax > charge:
                self.refuse("shipping_tax", "too_large", "more than the charge it is in")
            return charge, tax
        if not charge or not self.rules.taxes:
            return charge, 0
        rate = charges.tax_rate(
            self.rules, order.ship_to.country, order.ship_to.region, charges.SHIPPING
        )
        return charge, charges.taxes([charge], [rate], included=included)[0]


def price(
    order: OrderIn,
    known: Mapping[str, SkuTerms],
    rules: Rules,
    discounts: Sequence[DiscountTerms] = (),
    group: str | None = None,
) -> tuple[Priced | None, list[FieldError]]:
    """Price an order whose SKUs are all ``known``; return it, or None and every objection.

    ``discounts`` are the terms of ``order.discount_codes``, in their order. The parts of a spread
    amount sum to it exactly (largest remainder), so that the total is the sum of the lines.
    """
    work = _Pricing(order, known, rules, group)
    lines = _priced_lines(work, range(len(order.lines)))
    if work.spoiling:
        work.others(discounts)
        return None, work.errors
    lines = work.discount_order(lines)
    amounts: dict[int, int] = {}
    for index, discount in enumerate(discounts):
        lines, amounts[discount.id] = work.discount_code(lines, index, discount)
    included = rules.prices_include_tax if order.tax_included is None else order.tax_included
    lines = work.tax(lines, included)
    totals = _totals(work, lines, included)
    if totals.total > MOST_MINOR:
        work.refuse("lines", "too_large", "the order's total is too large")
    if order.expected_total is not None:
        work.expect(totals.total)
    return (None, work.errors) if work.errors else (Priced(lines, totals, amounts), [])


def objections(
    order: OrderIn,
    known: Mapping[str, SkuTerms],
    rules: Rules,
    discounts: Sequence[DiscountTerms | None],
    group: str | None,
    lines: Collection[int],
) -> list[FieldError]:
    """Return what is wrong with the amounts of an order that cannot be priced as a whole.

    Only the ``lines`` of these indexes can be; ``discounts`` are None for codes that are none.
    """
    work = _Pricing(order, known, rules, group)
    _priced_lines(work, [index for index in lines if order.lines[index].sku in known])
    for index, line in enumerate(order.lines):
        if index not in lines or line.sku not in known:
            work.amounts(index, line)
    work.others(discounts)
    return work.errors


def _priced_lines(work: _Pricing, indexes: Iterable[int]) -> list[PricedLine]:
    order = work.order
    if work.rules.rate_of(order.currency) is None:
        message = f"the shop has no exchange rate for {order.currency}"
        work.refuse("currency", "no_exchange_rate", message)
    lines = [work.line(index, order.lines[index]) for index in indexes]
    if sum(line.gross_minor for line in lines) > MOST_MINOR:
        work.refuse("lines", "too_large", "the order's total is too large")
    return lines


def _totals(work: _Pricing, lines: list[PricedLine], included: bool) -> Totals:
    shipping, shipping_tax = work.shipping(lines, included)
    totals = Totals(
        gross=sum(line.gross_minor for line in lines),
        discount=sum(line.discount_minor for line in lines),
        shipping=shipping,
        tax=sum(line.tax_minor for line in lines) + shipping_tax,
        shipping_tax=shipping_tax,
        rounding=sum(line.rounding_minor for line in lines),
        tax_included=included,
    )
    if work.rules.cash_rounding and work.order.payment and work.order.payment.method == "cash":
        added = charges.to_cash(totals.total, work.rules, work.order.currency)
        totals = replace(totals, rounding=totals.rounding + added)
    return totals


def _percent_of(percent: Decimal, amount: int) -> int:
    """Return a percentage of minor units, rounded half up; it has four decimal places at most."""
    return charges.half_up(int(percent * _PPM_OF_PERCENT) * max(0, amount), _WHOLE)
