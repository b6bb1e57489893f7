"""Taxes and shipping charges by the shop's rules, to the minor unit.

Tax is rounded once for each rate of an order, half up, and spread over its lines by largest
remainder: so the lines add up to the tax, and a rate's tax is right to the minor unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from oms_ops.money import spread, to_minor
from oms_ops.rules.document import Rules, place_names

_WHOLE = 1_000_000
#: The tax category of shipping.
SHIPPING = "shipping"


def half_up(numerator: int, denominator: int) -> int:
    """Return the quotient of two integers that are not negative, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def tax_rate(rules: Rules, country: str, region: str | None, category: str) -> int:
    """Return the rate in millionths for a tax category at a place; 0 where no rule fits."""
    places = place_names(country, region)
    for rule in rules.taxes:
        if (not rule.places or any(place in rule.places for place in places)) and (
            not rule.categories or category in rule.categories
        ):
            return rule.ppm
    return 0


def taxes(nets: Sequence[int], rates: Sequence[int], *, included: bool) -> list[int]:
    """Return the tax of each line in minor units, given net prices and rates in millionths.

    ``included`` tells that the net prices hold the tax, which is then the part of them that it is.
    """
    parts = [0] * len(nets)
    for rate in sorted(set(rates) - {0}):
        members = [index for index, own in enumerate(rates) if own == rate]
        base = sum(nets[index] for index in members)
        whole = half_up(base * rate, _WHOLE + rate if included else _WHOLE)
        shares = spread(whole, [nets[index] for index in members])
        for index, share in zip(members, shares, strict=True):
            parts[index] = share
    return parts


def shipping_charge(
    rules: Rules,
    *,
    currency: str,
    country: str,
    region: str | None,
    channel: str,
    net_minor: int,
    weight_grams: int,
) -> int:
    """Return what the first fitting rule charges for shipping, in minor units; 0 without one.

    In a currency that no rule names, the rules of the base currency are exchanged: the bounds of
    the net value, and then the whole charge, each rounded half up.
    """
    own = any(rule.currency == currency for rule in rules.shipping)
    named = currency if own else rules.base_currency

    def exchanged(amount: Decimal) -> int:
        # Without a rate the order is refused.
        return rules.exchanged(to_minor(amount, named), named, currency) or 0

    places = place_names(country, region)
    for rule in rules.shipping:
        if (
            rule.currency == named
            and (not rule.places or any(place in rule.places for place in places))
            and (not rule.channels or channel in rule.channels)
            and (rule.min_net is None or net_minor >= exchanged(rule.min_net))
            and (rule.max_net is None or net_minor < exchanged(rule.max_net))
            and (rule.max_weight_grams is None or weight_grams <= rule.max_weight_grams)
        ):
            kilograms = -(-weight_grams // 1000)
            return exchanged(rule.charge + kilograms * rule.per_kilogram)
    return 0


def to_cash(total: int, rules: Rules, currency: str) -> int:
    """Return the minor units that rounding ``total`` to the currency's smallest coin adds."""
    step = rules.cash_rounding.get(currency, 1)
    return half_up(total, step) * step - total
