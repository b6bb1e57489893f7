"""What units that come back are worth: what the customer paid or owes for them, tax and all.

The units of a line come back in an order; what the first ``n`` of them are worth is what a line of
``n`` units still costs (:mod:`oms_ops.orders.amounts`). So however the returns are cut, they sum to
what the line costs, exactly, and what was cancelled of it has its own share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oms_ops.money import spread
from oms_ops.orders import amounts

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Worth:
    """Minor units for units of a line: what goes back, the fee that does not, the tax in it."""

    refund: int
    tax: int
    fee: int = 0


def of(line: Mapping[str, Any], before: int, units: int) -> Worth:
    """Return what ``units`` of a line are worth after ``before`` others came back.

    ``line`` has the amounts of ``order_lines``, ``tax_included``, and ``gone_minor``: what went
    back of it already is not worth anything again.
    """
    included = bool(line["tax_included"])
    first, last = before, before + units
    owed_first, owed_last, every = (
        amounts.owed(line, count, tax_included=included)
        for count in (first, last, line["quantity"])
    )
    if included:
        # It goes with the money: a share by units could fall to units that a discount made free.
        tax = _share(line["tax_minor"], owed_last, every) - _share(
            line["tax_minor"], owed_first, every
        )
    else:
        tax = amounts.kept(line["tax_minor"], line["quantity"], last) - amounts.kept(
            line["tax_minor"], line["quantity"], first
        )
    whole = Worth(owed_last - owed_first, tax)
    kept = line["quantity"] - line["cancelled"]
    left = max(0, amounts.owed(line, kept, tax_included=included) - line["gone_minor"])
    return whole if whole.refund <= left else agreed(whole, left)


def _share(tax: int, value: int, every: int) -> int:
    """Return the part of an included ``tax`` that is in ``value`` of ``every`` cent of a line."""
    return tax * value // every if every else 0


def agreed(worth: Worth, refund: int) -> Worth:
    """Return ``worth`` where another refund was agreed; the tax in it keeps its share."""
    whole = worth.refund
    return Worth(refund, min(refund, worth.tax * refund // whole) if whole else 0)


def less_fee(worths: Sequence[Worth], bearing: Sequence[bool], ppm: int) -> list[Worth]:
    """Take a fee of ``ppm`` millionths off those of ``worths`` that bear one.

    The fee is rounded once, halves up, and spread over the lines: the parts sum to it.
    """
    weights = [w.refund if bears else 0 for w, bears in zip(worths, bearing, strict=True)]
    whole = (2 * sum(weights) * ppm + _MILLION) // (2 * _MILLION)
    if not whole:
        return list(worths)
    fees = spread(whole, weights)
    return [
        Worth(w.refund - fee, w.tax * (w.refund - fee) // w.refund if w.refund else 0, fee)
        for w, fee in zip(worths, fees, strict=True)
    ]
