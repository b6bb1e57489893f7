"""What pricing knows of the catalogue: SKUs with their prices, and discount codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


# Tuples, for a capture makes some ten of them: a frozen dataclass takes three times as long.
class ListPrice(NamedTuple):
    """A price list's price of a SKU from ``min_quantity`` units on, in minor units."""

    list_id: int
    list_code: str
    customer_group: str | None
    priority: int
    min_quantity: int
    price_minor: int


class SkuTerms(NamedTuple):
    """A SKU as capture needs it; ``unit_cost_minor`` is the preferred supplier's.

    ``prices`` are those of the price lists valid now in the order's currency; ``price_minor`` is
    the SKU's own price in its own ``currency``. ``channels`` is None for every channel.
    """

    id: int
    code: str
    name: str
    is_active: bool
    currency: str
    price_minor: int
    unit_cost_minor: int
    category: str = ""
    tax_category: str = "standard"
    min_quantity: int = 1
    quantity_multiple: int = 1
    max_quantity: int | None = None
    channels: list[str] | None = None
    weight_grams: int | None = None
    prices: tuple[ListPrice, ...] = ()

    def list_price(self, quantity: int, group: str | None) -> ListPrice | None:
        """Return the price list's price for ``quantity`` units, None where no list has one.

        The customer group's own lists come before the general ones, then the greater priority,
        then the later list; of one list, the greatest break that the quantity reaches.
        """
        fitting = [
            price
            for price in self.prices
            if price.min_quantity <= quantity and price.customer_group in (None, group)
        ]
        return max(
            fitting,
            key=lambda p: (p.customer_group is not None, p.priority, p.list_id, p.min_quantity),
            default=None,
        )


@dataclass(frozen=True, slots=True)
class DiscountTerms:
    """A discount code that is valid now; amounts in minor units of ``currency``."""

    id: int
    code: str
    percent_ppm: int | None
    amount_minor: int | None
    currency: str | None
    sku_id: int | None
    category: str | None
    customer_group: str | None
    min_net_minor: int
    is_used_up: bool

    def fits(self, sku: SkuTerms) -> bool:
        """Tell whether the discount is of this SKU's lines."""
        return self.sku_id in (None, sku.id) and self.category in (None, sku.category)
