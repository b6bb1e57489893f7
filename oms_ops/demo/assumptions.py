"""What the data lacks and the demo therefore assumes: every number of the simulation.

Chances come from a hash of what they are about, not from a generator's state: the same history is
simulated on every machine, and a load that was cut off goes on as if it had not been.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

SEED = 20170101
ACTOR = "history"
CHANNEL = "store"
CURRENCY = "USD"

#: Warehouses (invented): code, name, city, region, postal code, latitude, longitude.
WAREHOUSES = (
    ("CIN", "Cincinnati", "Cincinnati", "OH", "45202", 39.10, -84.51),
    ("ATL", "Atlanta", "Atlanta", "GA", "30303", 33.75, -84.39),
    ("DAL", "Dallas", "Dallas", "TX", "75201", 32.78, -96.80),
)

#: Suppliers are invented; a manufacturer's goods all come from one of them.
SUPPLIERS = 14
REVIEW_DAYS = 7

#: Units on hand at the start, in days of the SKU's early demand in that warehouse.
OPENING_DAYS = (14.0, 32.0)
#: Days of demand that make the "early" and the "recent" average.
EARLY_DAYS = 28
RECENT_DAYS = 21
#: Buyers are not equally careful with every SKU: the factor on what is needed, lowest and highest.
CARE = (0.95, 1.75)
#: Days of demand that a buyer adds to the lead time and the review period.
SAFETY_DAYS = 4

CANCELLED = 0.015
RETURNED = 0.03
SCRAPPED = 0.3
#: A shipment leaves one day after its allocation, or two.
SHIPS_NEXT_DAY = 0.8
#: A delivery is late with this chance, by one day up to a week; some come short, the rest later.
LATE = 0.22
SHORT = 0.06
RETURN_REASONS = ("damaged", "not as described", "wrong item", "changed my mind")
#: Orders above this (minor units) wait for a check on the last day of the history.
LARGE_ORDER_MINOR = 3500


def chance(about: str, key: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the seed, ``about`` and ``key``."""
    digest = blake2b(f"{SEED}:{about}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def between(about: str, key: object, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``, both included."""
    return low + int(chance(about, key) * (high - low + 1))


def payment_method(basket: int) -> str:
    """Return how a basket is paid: 70 % card, 15 % bank transfer, 10 % cash, 5 % gift card."""
    roll = chance("method", basket)
    if roll < 0.70:
        return "card"
    if roll < 0.85:
        return "bank_transfer"
    return "cash" if roll < 0.95 else "gift_card"


@dataclass(frozen=True, slots=True)
class Terms:
    """A supplier's terms for a SKU: cost in minor units, minimum and pack in units."""

    unit_cost_minor: int
    moq: int
    pack_multiple: int


def terms(product_id: int, price_minor: int) -> Terms:
    """Return a cost of 48 to 62 % of the list price, and a case size that falls with the price."""
    cost = max(1, round(price_minor * (0.48 + 0.14 * chance("cost", product_id))))
    pack = 24 if price_minor < 150 else 12 if price_minor < 400 else 6
    return Terms(cost, pack * between("moq", product_id, 1, 2), pack)


def lead_time_days(supplier: int) -> int:
    """Return a supplier's agreed lead time: 2 to 9 days."""
    return between("lead", supplier, 2, 9)


def days_late(purchase_order: str) -> int:
    """Return how many days after the agreed day a delivery comes."""
    if chance("late", purchase_order) >= LATE:
        return 0
    return between("late by", purchase_order, 1, 7)
