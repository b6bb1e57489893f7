"""What the data lacks and the demo therefore assumes: every number of the simulation.

Chances come from a hash of what they are about, not from a generator's state: the same history is
simulated on every machine, and a load that was cut off goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping
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
#: Days that customers are told: to leave the house, and on the way.
HANDLING_DAYS = 1
TRANSIT_DAYS = 3
#: A delivery is late with this chance, by one day up to a week; some come short, the rest later.
LATE = 0.22
SHORT = 0.06
#: Why a unit comes back, in the customer's words, and the reason that is booked.
RETURN_REASONS = (
    ("damaged", "damaged"),
    ("not as described", "not_as_described"),
    ("wrong item", "wrong_item"),
    ("changed my mind", "changed_mind"),
)
#: Orders above this (minor units) wait for a check on the last day of the history.
LARGE_ORDER_MINOR = 3500

#: Customers who ask about an order, in the days after it; how, about what, how urgent (weights).
ASKS = 0.015
ASKS_WITHIN_DAYS = 8
ASKED_BY = {"email": 40, "web": 25, "phone": 25, "order_desk": 10}
TOPICS = {"delivery": 35, "product": 25, "return": 15, "payment": 12, "other": 8, "account": 5}
PRIORITIES = {"normal": 60, "low": 20, "high": 15, "urgent": 5}
#: The desk answers in two rounds a day, and solves what it answered in the evening.
ANSWERED_IN_A_ROUND = 0.75
SOLVED_IN_A_DAY = 0.55
#: Customers who write back to an answer in a round; to a solution, that it is none, only once.
WRITES_BACK = 0.08
REOPENS = 0.005
#: Customers who rate a solved ticket; who say whether they would recommend the shop.
RATED = 0.45
GIVES_FEEDBACK = 0.03
SCORES = (10, 10, 10, 9, 9, 9, 8, 8, 7, 7, 6, 4)
SCORES_OF_WHO_ASKED = (10, 9, 8, 7, 6, 5, 3, 1)
QUESTIONS = {
    "delivery": ("Where is my order?", "It was to be here by now."),
    "product": ("A question about an article", "Is this the same as the one in the old packing?"),
    "return": ("Sending something back", "How do I send one article back?"),
    "payment": ("My payment", "Was my card charged once or twice?"),
    "account": ("My details", "Please spell my name as it stands on the order."),
    "other": ("A question", "When are you open on Sunday?"),
}
ANSWERS = {
    "delivery": "It is on its way; the carrier says tomorrow.",
    "product": "It is the same article in a new packing.",
    "return": "Please ask for the return on the page of your order.",
    "payment": "It was charged once; the other entry is only reserved, and goes by itself.",
    "account": "Done, thank you.",
    "other": "From ten to six.",
}


def chance(about: str, key: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the seed, ``about`` and ``key``."""
    digest = blake2b(f"{SEED}:{about}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def between(about: str, key: object, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``, both included."""
    return low + int(chance(about, key) * (high - low + 1))


def weighted(about: str, key: object, weights: Mapping[str, int]) -> str:
    """Return one of the names of ``weights``, each as often as its weight says."""
    roll = chance(about, key) * sum(weights.values())
    for name, weight in weights.items():
        roll -= weight
        if roll < 0:
            return name
    return name


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
