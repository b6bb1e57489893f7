"""The returns desk of a small shop, in the words of the business."""

from __future__ import annotations

from typing import Any

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import queries as orders
from oms_ops.orders.capture import capture
from oms_ops.payments import commands as payments
from oms_ops.returns import goods, queries, requests, resolution
from oms_ops.returns.goods import Inspected
from oms_ops.returns.requests import Asked
from oms_ops.rules import store
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

WAREHOUSE = Actor("willy", "warehouse")


class Desk:
    """Orders that were delivered, and what comes back of them."""

    def __init__(self, shop: Shop) -> None:
        """Use the shop's database."""
        self.shop, self.engine = shop, shop.engine

    def rules(self, **document: Any) -> None:
        """Publish rules; ``returns`` is the policy."""
        run(self.engine, lambda c: store.publish(c, ADMIN, document))

    def sold(
        self, *lines: tuple[str, int], paid: bool = True, stock: int = 20, **changes: Any
    ) -> int:
        """Sell, ship and deliver goods; return the order's id."""
        for sku in dict(lines):
            self.shop.stock(sku, stock)
        number = capture(self.engine, CLERK, order(*lines, **changes))["number"]
        order_id = orders.id_of(number, "SO")
        self.deliver(order_id)
        if paid:
            self.pay(order_id)
        return order_id

    def deliver(self, order_id: int) -> None:
        """Let all parcels of an order arrive."""
        ids = [r[0] for r in self.shop.rows(
            "SELECT id FROM shipments WHERE order_id = :i", i=order_id)]  # fmt: skip
        for step in ("pick", "pack", "ship", "deliver"):
            run(self.engine, lambda c, s=step: getattr(fulfilment, s)(c, ADMIN, ids))

    def pay(self, order_id: int) -> None:
        """Collect what is expected."""
        ids = [r[0] for r in self.shop.rows(
            "SELECT id FROM payments WHERE order_id = :i", i=order_id)]  # fmt: skip
        run(self.engine, lambda c: payments.capture(c, CLERK, ids))

    def token(self, order_id: int) -> str:
        """Return what opens the customer's page."""
        found = self.shop.rows("SELECT tracking_token FROM orders WHERE id = :i", i=order_id)
        return str(found[0][0])

    def ask(self, order_id: int, *lines: Asked, **changes: Any) -> int:
        """Ask for a return at the desk; return its id."""
        return run(
            self.engine,
            lambda c: requests.request(c, CLERK, order_id, lines, **{"reason": "x", **changes}),
        )

    def receive(self, return_id: int, counted: dict[int, int] | None = None) -> None:
        """Count the goods in."""
        run(self.engine, lambda c: goods.receive(c, WAREHOUSE, return_id, counted))

    def inspect(self, return_id: int, *found: Inspected) -> None:
        """Decide about the goods."""
        run(self.engine, lambda c: goods.inspect(c, WAREHOUSE, return_id, found))

    def resolve(self, return_id: int, how: str = "refund") -> None:
        """Give the money back."""
        run(self.engine, lambda c: resolution.resolve(c, CLERK, return_id, how))

    def back(self, order_id: int, *lines: Asked, how: str = "refund") -> int:
        """Take goods back through the whole life; return the return's id."""
        return_id = self.ask(order_id, *lines)
        self.receive(return_id)
        self.inspect(return_id, *(Inspected(line.line_no, line.quantity) for line in lines))
        self.resolve(return_id, how)
        return return_id

    def seen(self, return_id: int) -> dict[str, Any]:
        """Return a return as callers see it."""
        with reading(self.engine) as connection:
            return queries.shown(connection, [return_id])[0]

    def order(self, order_id: int) -> dict[str, Any]:
        """Return an order as callers see it."""
        with reading(self.engine) as connection:
            return orders.get(connection, f"SO-{10_000_000 + order_id}")

    def totals(self, order_id: int) -> tuple[str, ...]:
        """Return what is due, captured and refunded of an order."""
        totals = self.order(order_id)["totals"]
        return tuple(totals[name] for name in ("due", "captured", "refunded"))

    def quarantine(self, sku: str) -> int:
        """Return the units of a SKU in Atlanta's quarantine."""
        rows = self.shop.rows(
            "SELECT c.quantity FROM location_levels AS c JOIN locations AS p"
            " ON p.id = c.location_id WHERE p.kind = 'quarantine' AND c.sku_id = :s",
            s=self.shop.sku_ids[sku],
        )
        return int(rows[0][0]) if rows else 0

    def told(self) -> list[str]:
        """Return what customers were told of returns."""
        rows = self.shop.rows("SELECT kind FROM outbox_messages WHERE kind LIKE 'return%'"
                              " OR kind = 'payment.refunded' ORDER BY id")  # fmt: skip
        return [row[0] for row in rows]

    def later(self, **delta: float) -> Any:
        """Return a context in which so much time has gone by."""
        from datetime import timedelta

        return clock.at(clock.now() + timedelta(**delta))
