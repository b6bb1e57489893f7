"""A small shop whose cards go through the fake gateway, in the words of the business."""

from __future__ import annotations

from typing import Any

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import collecting, queries
from oms_ops.orders.capture import capture
from oms_ops.payments import messages, operations
from oms_ops.payments.gateways.fake import Fake, FakeSettings
from oms_ops.payments.gateways.registry import gateway
from oms_ops.rules import store
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order


class Till:
    """The shop, its orders and what the gateway made of them."""

    def __init__(self, shop: Shop, **rules: Any) -> None:
        """Send cards through the fake gateway."""
        self.shop, self.engine = shop, shop.engine
        document = {"payments": {"gateways": {"card": "fake", "paypal": "fake"}, **rules}}
        run(self.engine, lambda c: store.publish(c, ADMIN, document))
        gateway.cache_clear()
        opened = gateway("fake")
        assert isinstance(opened, Fake)
        self.fake = opened

    def sell(self, *lines: tuple[str, int], stock: int = 50, **changes: Any) -> int:
        """Capture an order of goods that are there; return its id."""
        for sku in dict(lines):
            self.shop.stock(sku, stock)
        number = capture(self.engine, CLERK, order(*lines, **changes))["number"]
        return queries.id_of(number, "SO")

    def seen(self, order_id: int) -> dict[str, Any]:
        """Return the order as callers see it."""
        with reading(self.engine) as connection:
            return queries.get(connection, f"SO-{10_000_000 + order_id}")

    def money(self, order_id: int) -> tuple[str, ...]:
        """Return what is due, authorised, captured and refunded of an order."""
        totals = self.seen(order_id)["totals"]
        return tuple(totals[name] for name in ("due", "authorised", "captured", "refunded"))

    def payments(self, order_id: int) -> list[Any]:
        """Return the payments of an order."""
        return self.shop.rows(
            "SELECT * FROM payments WHERE order_id = :id ORDER BY id", id=order_id
        )

    def payment(self, order_id: int) -> int:
        """Return the id of the order's first payment."""
        return int(self.payments(order_id)[0].id)

    def operations(self) -> list[tuple[str, str]]:
        """Return kind and status of every operation."""
        rows = self.shop.rows("SELECT kind, status FROM payment_operations ORDER BY id")
        return [tuple(row) for row in rows]

    def authorise(self, order_id: int) -> int:
        """Ask the gateway to hold the money, and let it."""
        payment_id = self.payment(order_id)
        run(self.engine, lambda c: operations.authorise(c, CLERK, payment_id, token="tok_1"))
        collecting.perform(self.engine)
        return payment_id

    def ship(self, order_id: int, *shipments: int) -> None:
        """Let parcels of an order leave: all, or those of the places given."""
        rows = self.shop.rows(
            "SELECT id FROM shipments WHERE order_id = :i ORDER BY id", i=order_id
        )
        ids = [row[0] for row in rows]
        chosen = [ids[place] for place in shipments] if shipments else ids
        for step in ("pick", "pack", "ship"):
            run(self.engine, lambda c, s=step: getattr(fulfilment, s)(c, ADMIN, chosen))

    def deliver_events(self, *, order: list[int] | None = None, times: int = 1) -> None:
        """Bring the gateway's messages to the shop and let it fold them."""
        events = self.fake.events()
        for place in order if order is not None else range(len(events)):
            for _ in range(times):
                messages.receive(self.engine, "fake", *events[place])
        collecting.hear(self.engine)

    def later(self, **delta: float) -> Any:
        """Return a context in which so much time has gone by."""
        from datetime import timedelta

        return clock.at(clock.now() + timedelta(**delta))


def other_fake(**changes: Any) -> Fake:
    """Return another view of the same books."""
    return Fake(FakeSettings(**changes))
