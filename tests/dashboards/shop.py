"""A small shop that trades for some weeks, simulated row by row with a fixed seed.

What it yields are the facts (orders, lines, returns, purchase orders, moves, daily stock) that
:mod:`tests.dashboards.snapshot` writes into a published snapshot. Money is integer cents here.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
WAREHOUSES = (("EAST", "East depot", "Newark"), ("SOUTH", "South depot", "Atlanta"),
              ("WEST", "West depot", "Reno"))  # fmt: skip
RANGE = {
    "GROCERY": ("SOFT DRINKS", "BREAKFAST CEREAL", "CANNED SOUP", "COFFEE"),
    "DRUG GM": ("PAPER TOWELS", "SHAMPOO", "BATTERIES"),
    "PRODUCE": ("APPLES", "SALAD MIX"),
    "MEAT-PCKGD": ("BACON", "LUNCHMEAT"),
}
SUPPLIERS = (("ACME", "Acme Wholesale", 7), ("BOREAL", "Boreal Foods", 14),
             ("CEDAR", "Cedar Trading", 10))  # fmt: skip
PACKS = (1, 6, 12, 24)
Pair = tuple[int, str]
Row = dict[str, Any]


@dataclass
class Shop:
    """The shop's facts at the close of ``business_date``; rows are keyed by column name."""

    business_date: date
    days: int
    skus: list[Row] = field(default_factory=list)
    customers: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    returns: list[Row] = field(default_factory=list)
    purchases: list[Row] = field(default_factory=list)
    moves: list[Row] = field(default_factory=list)
    stock: list[Row] = field(default_factory=list)
    on_hand: dict[Pair, int] = field(default_factory=dict)
    waiting: dict[Pair, list[Row]] = field(default_factory=dict)

    @property
    def as_of(self) -> datetime:
        """The moment of the newest fact: early evening of the business date, shop time."""
        return datetime.combine(self.business_date, time(18, 4), ZONE)


def trade(business_date: date, days: int = 60, sku_count: int = 200) -> Shop:
    """Run the shop for ``days`` days that end on ``business_date``."""
    rng = random.Random(20_26)
    shop = Shop(business_date, days)
    _range(shop, rng, sku_count)
    shop.customers = [
        {
            "customer_id": 1000 + n,
            "customer_name": f"Household {n + 1:04d}",
            "email": f"household{n + 1}@example.com",
            "home": WAREHOUSES[n % 3][0],
            "appetite": rng.paretovariate(1.3),
        }
        for n in range(400)
    ]
    for offset in range(days):
        day = business_date - timedelta(days=days - 1 - offset)
        _Day(shop, rng, day).run()
    return shop


def _range(shop: Shop, rng: random.Random, count: int) -> None:
    shelves = [(d, c) for d, categories in RANGE.items() for c in categories]
    for n in range(count):
        department, category = shelves[n % len(shelves)]
        code, name, lead = SUPPLIERS[(n // 3) % len(SUPPLIERS)]
        price = rng.choice((149, 199, 249, 349, 499, 799, 1299))
        pack = rng.choice(PACKS)
        shop.skus.append(
            {
                "sku_id": n + 1, "sku": f"{820_000 + n * 7}",
                "sku_name": f"{category.capitalize()} no. {n // len(shelves) + 1}",
                "department": department, "category": category,
                "brand": rng.choice(("National", "Private")), "pack_size": f"{pack * 2} OZ",
                "is_active": True, "unit_price": price, "unit_cost": round(price * 0.66),
                "supplier": code, "supplier_name": name, "lead_time_days": lead,
                "review_days": 7, "moq": pack * 2, "pack_multiple": pack,
                "pull": rng.paretovariate(1.1), "neglected": n % 9 == 4,
            }
        )  # fmt: skip
    for sku in shop.skus:
        for warehouse, *_ in WAREHOUSES:
            # A few SKUs are not stocked everywhere, a few are stocked far too well.
            opening = (
                0
                if sku["sku_id"] % 23 == 0 and warehouse == "WEST"
                else round(5 + 5 * min(sku["pull"], 12))
            )
            shop.on_hand[sku["sku_id"], warehouse] = opening * (9 if n_is_dead(sku) else 1)


def n_is_dead(sku: Row) -> bool:
    """Tell whether nobody ever buys this SKU."""
    return sku["sku_id"] % 31 == 0


class _Day:
    """One day of trade: deliveries in the morning, orders and returns, buying at closing time."""

    def __init__(self, shop: Shop, rng: random.Random, day: date) -> None:
        self.shop, self.rng, self.day = shop, rng, day
        self.flow: dict[Pair, Row] = {}
        self.opening = dict(shop.on_hand)

    def run(self) -> None:
        self._deliveries()
        live = [s for s in self.shop.skus if not n_is_dead(s)]
        pulls = [min(s["pull"], 12) for s in live]
        appetites = [c["appetite"] for c in self.shop.customers]
        weekend = 1.4 if self.day.weekday() >= 5 else 1.0
        for _ in range(int(self.rng.gauss(62, 6) * weekend)):
            customer = self.rng.choices(self.shop.customers, appetites)[0]
            basket = self.rng.choices(live, pulls, k=self.rng.randint(1, 5))
            self._order(customer, list({s["sku_id"]: s for s in basket}.values()))
        self._returns()
        self._buy()
        self._close()

    def _moment(self, hour: int) -> datetime:
        return datetime.combine(self.day, time(hour, self.rng.randint(0, 59)), ZONE)

    def _move(self, sku: Row, warehouse: str, reason: str, change: int, reference: str) -> None:
        pair = (sku["sku_id"], warehouse)
        self.shop.on_hand[pair] += change
        bucket = {"receipt": "received", "shipment": "shipped", "return": "returned"}[reason]
        flow = self.flow.setdefault(pair, dict.fromkeys(("received", "shipped", "returned"), 0))
        flow[bucket] += abs(change)
        self.shop.moves.append(
            {
                "move_id": len(self.shop.moves) + 1, "occurred_at": self._moment(8),
                "moved_on": self.day, "sku_id": sku["sku_id"], "sku": sku["sku"],
                "warehouse": warehouse, "reason": reason, "reference": reference,
                "quantity_in": max(change, 0), "quantity_out": max(-change, 0),
                "quantity_change": change, "unit_cost": sku["unit_cost"],
                "value_change": change * sku["unit_cost"],
            }
        )  # fmt: skip

    def _deliveries(self) -> None:
        for line in self.shop.purchases:
            if line["arrives_on"] != self.day:
                continue
            sku = self.shop.skus[line["sku_id"] - 1]
            self._move(
                sku, line["warehouse"], "receipt", line["outstanding"], line["purchase_order"]
            )
            line |= {"received": line["ordered"], "outstanding": 0, "status": "closed",
                     "first_received_on": self.day, "last_received_on": self.day}  # fmt: skip
            self._fill(sku, line["warehouse"])

    def _fill(self, sku: Row, warehouse: str) -> None:
        queue = self.shop.waiting.get((sku["sku_id"], warehouse), [])
        while queue and self.shop.on_hand[sku["sku_id"], warehouse] >= queue[0]["backordered"]:
            line = queue.pop(0)
            units, line["backordered"] = line["backordered"], 0
            line["shipped"] += units
            self._move(sku, warehouse, "shipment", -units, line["order_number"])

    def _order(self, customer: Row, basket: list[Row]) -> None:
        order_id = len(self.shop.orders) + 1
        placed = self._moment(self.rng.choice((9, 10, 12, 15, 17)))
        warehouse = customer["home"] if self.rng.random() < 0.9 else "EAST"
        cancelled = self.rng.random() < 0.02
        order = {
            "order_id": order_id, "order_number": f"SO-{10_000_000 + order_id}",
            "external_id": f"B{order_id}", "channel": self.rng.choice(("store", "store", "web")),
            "customer_id": customer["customer_id"], "warehouse": warehouse,
            "status": "cancelled" if cancelled else "closed", "placed_at": placed,
            "ordered_on": self.day, "shipping": self.rng.choice((0, 0, 499)),
        }  # fmt: skip
        self.shop.orders.append(order)
        for number, sku in enumerate(basket, 1):
            self._line(order, number, sku, self.rng.choice((1, 1, 1, 2, 3)), cancelled)

    def _line(self, order: Row, number: int, sku: Row, quantity: int, cancelled: bool) -> None:
        sold = 0 if cancelled else quantity
        gross = sold * sku["unit_price"]
        discount = round(gross * self.rng.choice((0, 0, 0, 0.1)))
        free = min(sold, self.shop.on_hand[sku["sku_id"], order["warehouse"]])
        # The last two days' stock is allocated and has not left the building yet.
        leaves = self.shop.business_date - self.day > timedelta(days=1)
        line = {
            "order_line_id": len(self.shop.lines) + 1, "line_no": number,
            **{k: order[k] for k in ("order_id", "order_number", "ordered_on", "warehouse",
                                     "channel", "customer_id")},
            "order_status": order["status"],
            **{k: sku[k] for k in ("sku_id", "sku", "sku_name", "department", "category", "brand",
                                   "unit_price")},
            "quantity": quantity, "gross_sales": gross, "discounts": discount,
            "cost": sold * sku["unit_cost"],
            "gross_margin": gross - discount - sold * sku["unit_cost"],
            "allocated": 0 if leaves else free, "backordered": sold - free,
            "shipped": free if leaves else 0, "cancelled": quantity - sold, "returned": 0,
        }  # fmt: skip
        self.shop.lines.append(line)
        if leaves and free:
            self._move(sku, order["warehouse"], "shipment", -free, order["order_number"])
        if line["backordered"]:
            self.shop.waiting.setdefault((sku["sku_id"], order["warehouse"]), []).append(line)

    def _returns(self) -> None:
        kept = [li for li in self.shop.lines[-4000:] if li["shipped"] and not li["returned"]
                and timedelta(3) <= self.day - li["ordered_on"] <= timedelta(9)]  # fmt: skip
        for line in self.rng.sample(kept, min(len(kept), 3)):
            number = len(self.shop.returns) + 1
            line["returned"] = 1
            unit = (line["gross_sales"] - line["discounts"]) // line["quantity"]
            restock = self.rng.random() < 0.7
            self.shop.returns.append(
                {
                    "return_line_id": number, "return_id": number,
                    "return_number": f"RM-{10_000_000 + number}",
                    **{k: line[k] for k in ("order_id", "order_number", "order_line_id", "sku_id",
                                            "sku", "sku_name", "department", "category",
                                            "warehouse", "channel")},
                    "reason": self.rng.choice(("damaged", "not as described", "changed mind")),
                    "disposition": "restock" if restock else "scrap", "quantity": 1,
                    "refund": unit, "refunded_on": self.day, "received_on": self.day,
                    "status": "refunded",
                }
            )  # fmt: skip
            if restock:
                sku = self.shop.skus[line["sku_id"] - 1]
                self._move(sku, line["warehouse"], "return", 1, f"RM-{10_000_000 + number}")

    def _buy(self) -> None:
        if self.day.weekday() != 0:
            return
        due: dict[Pair, int] = {}
        for line in self.shop.purchases:
            pair = (line["sku_id"], line["warehouse"])
            due[pair] = due.get(pair, 0) + line["outstanding"]
        for sku in self.shop.skus:
            if sku["neglected"] or n_is_dead(sku):
                continue
            for warehouse, *_ in WAREHOUSES:
                pair = (sku["sku_id"], warehouse)
                position = self.shop.on_hand[pair] + due.get(pair, 0)
                target = round(6 + 5 * min(sku["pull"], 12))
                if position < target * 0.6:
                    self._purchase(sku, warehouse, target - position)

    def _purchase(self, sku: Row, warehouse: str, wanted: int) -> None:
        pack = sku["pack_multiple"]
        units = math.ceil(max(wanted, sku["moq"]) / pack) * pack
        late = self.rng.choice((0, 0, 0, 1, 4, 12)) if sku["supplier"] == "CEDAR" else 0
        number = f"PO-{10_000_000 + self.day.toordinal() % 10_000 * 10 + len(SUPPLIERS)}"
        expected = self.day + timedelta(days=sku["lead_time_days"])
        self.shop.purchases.append(
            {
                "purchase_order_line_id": len(self.shop.purchases) + 1,
                "purchase_order": f"{number}{sku['supplier'][0]}{warehouse[0]}",
                **{k: sku[k] for k in ("supplier", "supplier_name", "sku_id", "sku", "sku_name",
                                       "unit_cost")},
                "warehouse": warehouse, "source": "reorder", "status": "sent",
                "ordered_on": self.day, "expected_on": expected,
                "arrives_on": expected + timedelta(days=late), "first_received_on": None,
                "last_received_on": None, "ordered": units, "received": 0, "outstanding": units,
            }
        )  # fmt: skip

    def _close(self) -> None:
        for sku in self.shop.skus:
            for warehouse, *_ in WAREHOUSES:
                pair = (sku["sku_id"], warehouse)
                flow = self.flow.get(pair, dict.fromkeys(("received", "shipped", "returned"), 0))
                closing = self.shop.on_hand[pair]
                self.shop.stock.append(
                    {
                        "day": self.day, "warehouse": warehouse, "sku_id": sku["sku_id"],
                        "sku": sku["sku"], "opening": self.opening[pair], **flow, "adjusted": 0,
                        "on_hand": closing, "unit_cost": sku["unit_cost"],
                        "stock_value": closing * sku["unit_cost"],
                        "is_stocked_out": closing == 0,
                    }
                )  # fmt: skip
