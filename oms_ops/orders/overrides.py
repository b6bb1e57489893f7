"""Where a submission says another price than the shop's, which needs a permission of its own.

Importers, other sales channels and clerks state prices legitimately: they have the permission. A
key that is narrowed to ``orders:write`` orders at the shop's terms; what it states has to be them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oms_ops.access.actor import PRICES_OVERRIDE, Actor
from oms_ops.errors import FieldError, Forbidden
from oms_ops.orders.intake import LineIn, OrderIn
from oms_ops.orders.pricing import Priced, price
from oms_ops.orders.terms import DiscountTerms, SkuTerms
from oms_ops.rules.document import Rules

CODE = "not_permitted"
_UNSAID: dict[str, Any] = {
    "unit_price": None, "amount": None, "tax": None, "expected_unit_price": None,
    "discount": 0, "discount_percent": 0,
}  # fmt: skip


def refusal(actor: Actor, faults: Sequence[FieldError]) -> Forbidden:
    """Return the refusal that names what only somebody else may state."""
    return Forbidden(f"{actor.name} may not state prices: {PRICES_OVERRIDE} is needed.", faults)


def overridden(
    order: OrderIn,
    priced: Priced,
    known: Mapping[str, SkuTerms],
    rules: Rules,
    discounts: Sequence[DiscountTerms] = (),
    group: str | None = None,
) -> list[FieldError]:
    """Return each field of ``order``, priced as ``priced``, that is not what the shop would say."""
    plain = order.model_copy(
        update={
            "lines": [line.model_copy(update=_UNSAID) for line in order.lines],
            **dict.fromkeys(("discount", "discount_percent"), 0),
            **dict.fromkeys(("shipping", "shipping_tax", "tax_included", "expected_total")),
        }
    )
    shops, _ = price(plain, known, rules, discounts, group)
    fields = [
        f"lines[{index}].{name}"
        for index, line in enumerate(order.lines)
        for name in _of_line(line, index, priced, shops)
    ]
    fields += [name for name in ("discount", "discount_percent") if getattr(order, name)]
    for name in ("shipping", "shipping_tax"):
        if getattr(order, name) is not None and (
            shops is None or getattr(priced.totals, name) != getattr(shops.totals, name)
        ):
            fields.append(name)
    if order.tax_included not in (None, rules.prices_include_tax):
        fields.append("tax_included")
    return [FieldError(field, CODE, f"only with {PRICES_OVERRIDE}") for field in fields]


def _of_line(line: LineIn, index: int, priced: Priced, shops: Priced | None) -> list[str]:
    ours = priced.lines[index]
    theirs = None if shops is None else shops.lines[index]
    said = {
        "unit_price": line.unit_price is not None
        and (theirs is None or theirs.unit_price_minor != ours.unit_price_minor),
        "amount": line.amount is not None
        and (
            theirs is None
            or theirs.gross_minor + theirs.rounding_minor != ours.gross_minor + ours.rounding_minor
        ),
        "discount": bool(line.discount),
        "discount_percent": bool(line.discount_percent),
        "tax": line.tax is not None and (theirs is None or theirs.tax_minor != ours.tax_minor),
    }
    return [name for name, differs in said.items() if differs]
