"""One day of the demo's history after the other, through the services that serve a live shop.

Nothing is kept between days: each step asks the database what is due and decides by the hash of
what it is about (:mod:`oms_ops.demo.assumptions`). A day is one transaction, so a load that was cut
off resumes with the day after the last one that is there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_time, read_time
from oms_ops.demo import assumptions as assume
from oms_ops.demo.care import CareDay
from oms_ops.demo.source import Source, moment
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import bulk, cancellation, holds
from oms_ops.payments import commands as payments
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.settings import settings

if TYPE_CHECKING:
    import polars as pl


class Day:
    """One day of the shop, from the first delivery to the evening's purchasing."""

    def __init__(
        self, connection: Connection, actor: Actor, source: Source, day: date, orders: pl.DataFrame
    ) -> None:
        """Take the day's order lines (rows of ``Source.lines``)."""
        self.connection = connection
        self.actor = actor
        self.source = source
        self.day = day
        self.lines = orders
        self.is_last = day == source.last

    def run(self) -> bulk.BulkResult:
        """Live the day; return what became of its orders."""
        self._at(7, self._receive)
        self._at(8, self._cancel)
        self._at(9, self._take_returns)
        self._at(10, self._fulfil)
        self._at(18, self._deliver)
        self._at(20, self._purchase)
        CareDay(self.connection, self.actor, self.day).run()
        with clock.at(moment(self.day, 23.75, settings().timezone)):
            result = self._capture()
            if self.is_last:
                self._hold()
        return result

    def _at(self, hour: float, step: Any) -> None:
        with clock.at(moment(self.day, hour, settings().timezone)):
            step()

    def _rows(self, statement: str, **parameters: Any) -> list[Any]:
        return list(self.connection.execute(sa.text(statement), parameters))

    def _days_since(self, value: Any) -> int:
        then = read_time(value)
        assert then is not None  # noqa: S101 - the queries ask for it
        return (self.day - then.astimezone(settings().zone).date()).days

    def _receive(self) -> None:
        """Receive what suppliers deliver today; some come late, some short with the rest later."""
        due = self._rows(
            "SELECT p.id, p.number, p.status, p.expected_on, l.id AS line_id,"
            " l.quantity - l.received AS open FROM purchase_orders AS p"
            " JOIN purchase_order_lines AS l ON l.purchase_order_id = p.id"
            " WHERE p.status IN ('sent', 'partly_received') AND p.expected_on <= :today"
            " AND l.received < l.quantity ORDER BY p.id, l.id",
            today=self.day if self.connection.dialect.name != "sqlite" else str(self.day),
        )
        orders: dict[int, list[Any]] = defaultdict(list)
        for row in due:
            orders[row.id].append(row)
        for order_id, lines in orders.items():
            head = lines[0]
            expected = date.fromisoformat(str(head.expected_on))
            arrives = expected + timedelta(days=assume.days_late(head.number))
            rest_arrives = arrives + timedelta(days=assume.between("rest", head.number, 2, 4))
            if self.day < (arrives if head.status == "sent" else rest_arrives):
                continue
            quantities = {line.line_id: self._arrived(head, line) for line in lines}
            quantities = {line: units for line, units in quantities.items() if units > 0}
            if quantities:
                receipts.receive(self.connection, self.actor, order_id, quantities)

    def _arrived(self, head: Any, line: Any) -> int:
        if head.status == "sent" and assume.chance("short", line.line_id) < assume.SHORT:
            return int(line.open * 0.7)
        return int(line.open)

    def _cancel(self) -> None:
        """Cancel some of yesterday's orders, and some that wait for stock too long."""
        since = moment(self.day - timedelta(days=1), 0, settings().timezone)
        fresh = self._rows(
            "SELECT o.id FROM orders AS o WHERE o.placed_at >= :since AND o.status = 'open'"
            " AND NOT EXISTS (SELECT 1 FROM shipments AS s WHERE s.order_id = o.id"
            " AND s.status <> 'allocated')",
            since=as_time(self.connection, since),
        )
        chosen = [row.id for row in fresh if assume.chance("cancel", row.id) < assume.CANCELLED]
        cancellation.cancel(
            self.connection, self.actor, chosen, "cancelled by the customer", notify=False
        )

    def _take_returns(self) -> None:
        """Take back a unit of some of the orders that were delivered two to ten days ago."""
        first = moment(self.day - timedelta(days=10), 0, settings().timezone)
        last = moment(self.day - timedelta(days=1), 0, settings().timezone)
        closed = self._rows(
            "SELECT o.id, o.closed_at FROM orders AS o WHERE o.status = 'closed'"
            " AND o.closed_at >= :first AND o.closed_at < :last ORDER BY o.id",
            first=as_time(self.connection, first),
            last=as_time(self.connection, last),
        )
        due = [
            row.id
            for row in closed
            if assume.chance("return", row.id) < assume.RETURNED
            and self._days_since(row.closed_at) == assume.between("returned after", row.id, 2, 9)
        ]
        requests = [request for order_id in due if (request := self._return_of(order_id))]
        returns.receive(self.connection, self.actor, requests, notify=False)

    def _return_of(self, order_id: int) -> ReturnRequest | None:
        lines = self._rows(
            "SELECT id FROM order_lines WHERE order_id = :id AND shipped > returned"
            " AND net_minor > 0 ORDER BY id",
            id=order_id,
        )
        if not lines:
            return None
        line = lines[assume.between("which line", order_id, 0, len(lines) - 1)]
        scrapped = assume.chance("scrap", order_id) < assume.SCRAPPED
        why, reason = assume.RETURN_REASONS[
            assume.between("reason", order_id, 0, len(assume.RETURN_REASONS) - 1)
        ]
        back = ReturnedLine(line.id, 1, "scrap" if scrapped else "restock", reason=reason)
        return ReturnRequest(order_id, (back,), why)

    def _fulfil(self) -> None:
        """Pick, pack and ship what was allocated before today; the last day ends half done."""
        waiting = self._rows(
            "SELECT s.id, s.allocated_at FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
            " WHERE s.status = 'allocated' AND o.status = 'open' ORDER BY s.id"
        )
        due = []
        for row in waiting:
            delay = 1 if assume.chance("ships", row.id) < assume.SHIPS_NEXT_DAY else 2
            if self._days_since(row.allocated_at) >= delay:
                due.append(row.id)
        packed, shipped = due, due
        if self.is_last:
            packed = [i for i in due if assume.chance("last pack", i) < 0.7]
            shipped = [i for i in packed if assume.chance("last ship", i) < 0.6]
        zone = settings().timezone
        with clock.at(moment(self.day, 10, zone)):
            fulfilment.pick(self.connection, self.actor, due)
        with clock.at(moment(self.day, 13, zone)):
            fulfilment.pack(self.connection, self.actor, packed, history=True)
        with clock.at(moment(self.day, 16, zone)):
            numbers = {i: f"1Z{i:010d}" for i in shipped}
            fulfilment.ship(
                self.connection,
                self.actor,
                shipped,
                carrier="parcel",
                tracking_numbers=numbers,
                notify=False,
            )
            self._collect(("card", "gift_card"), "shipped")

    def _deliver(self) -> None:
        """Deliver parcels that left one to three days ago; cash and transfers arrive with them."""
        travelling = self._rows(
            "SELECT id, shipped_at FROM shipments WHERE status = 'shipped' ORDER BY id"
        )
        arrived = [
            row.id
            for row in travelling
            if self._days_since(row.shipped_at) >= assume.between("transit", row.id, 1, 3)
        ]
        fulfilment.deliver(self.connection, self.actor, arrived, notify=False)
        self._collect(("cash", "bank_transfer"), "delivered")

    def _collect(self, methods: tuple[str, str], status: str) -> None:
        """Record the money of orders whose goods have reached ``status``."""
        waiting = self._rows(
            "SELECT p.id FROM shipments AS s JOIN payments AS p ON p.order_id = s.order_id"
            f" WHERE s.status = :status AND s.{status}_at >= :since"
            " AND p.captured_minor = 0 AND p.voided_minor = 0 AND p.amount_minor > 0"
            " AND p.method IN (:one, :other) GROUP BY p.id ORDER BY p.id",
            status=status,
            since=as_time(self.connection, moment(self.day, 0, settings().timezone)),
            one=methods[0],
            other=methods[1],
        )
        payments.capture(self.connection, self.actor, [row.id for row in waiting])

    def _purchase(self) -> None:
        """Order from the suppliers whose review is today: up to some days of recent demand."""
        numbers = [
            number
            for number in range(1, assume.SUPPLIERS + 1)
            if (self.day.toordinal() + number) % assume.REVIEW_DAYS == 0
        ]
        recent = self._recent_demand()
        for number in numbers:
            lead = assume.lead_time_days(number)
            wanted: dict[str, list[PurchaseLine]] = defaultdict(list)
            for row in self._positions(f"V{number:02}"):
                pace, position = recent.get((row.warehouse, int(row.sku)), 0.0), int(row.position)
                low, high = assume.CARE
                care = low + (high - low) * assume.chance("care", f"{row.warehouse}:{row.sku}")
                target = pace * (lead + assume.REVIEW_DAYS + assume.SAFETY_DAYS) * care
                if pace and position < target - pace * assume.REVIEW_DAYS / 2:
                    need = max(row.moq, math.ceil(target - position))
                    packs = math.ceil(need / row.pack_multiple)
                    wanted[row.warehouse].append(PurchaseLine(row.sku, packs * row.pack_multiple))
            for warehouse, lines in sorted(wanted.items()):
                purchasing.create(
                    self.connection,
                    self.actor,
                    supplier=f"V{number:02}",
                    warehouse=warehouse,
                    lines=lines,
                    notify=False,
                )

    def _recent_demand(self) -> dict[tuple[str, int], float]:
        """Units a day per (warehouse code, product) over the recent past, or the early weeks."""
        import polars as pl

        last = max(self.day, self.source.first + timedelta(days=assume.RECENT_DAYS))
        window = pl.col("day").is_between(
            last - timedelta(days=assume.RECENT_DAYS), last, closed="left"
        )
        totals = (
            self.source.lines.filter(window)
            .group_by("warehouse_index", "product_id")
            .agg(pl.col("quantity").sum())
        )
        codes = [row[0] for row in assume.WAREHOUSES]
        return {
            (codes[index], product): units / assume.RECENT_DAYS
            for index, product, units in totals.iter_rows()
        }

    def _positions(self, supplier: str) -> list[Any]:
        """Inventory position per warehouse and SKU of a supplier."""
        return self._rows(
            "SELECT w.code AS warehouse, k.code AS sku, t.moq, t.pack_multiple,"
            " v.on_hand - v.allocated - coalesce((SELECT sum(l.backordered) FROM order_lines AS l"
            "   JOIN orders AS o ON o.id = l.order_id WHERE l.sku_id = v.sku_id"
            "   AND l.backordered > 0 AND o.warehouse_id = v.warehouse_id), 0)"
            " + coalesce((SELECT sum(pl.quantity - pl.received) FROM purchase_order_lines AS pl"
            "   JOIN purchase_orders AS p ON p.id = pl.purchase_order_id"
            "   WHERE pl.sku_id = v.sku_id AND pl.received < pl.quantity"
            "   AND p.warehouse_id = v.warehouse_id"
            "   AND p.status IN ('sent', 'partly_received')), 0) AS position"
            " FROM suppliers AS s JOIN supplier_terms AS t ON t.supplier_id = s.id"
            " JOIN skus AS k ON k.id = t.sku_id JOIN stock_levels AS v ON v.sku_id = k.id"
            " JOIN warehouses AS w ON w.id = v.warehouse_id"
            " WHERE s.code = :supplier ORDER BY w.code, k.id",
            supplier=supplier,
        )

    def _capture(self) -> bulk.BulkResult:
        """Capture the day's baskets."""
        orders, lines = frames(self.lines)
        return bulk.capture_many(self.connection, self.actor, orders, lines)

    def _hold(self) -> None:
        """Hold the large orders of the last day, so that somebody has to look at them."""
        since = as_time(self.connection, moment(self.day, 0, settings().timezone))
        large = self._rows(
            "SELECT id FROM orders WHERE placed_at >= :since AND status = 'open'"
            " AND total_minor > :limit",
            since=since,
            limit=assume.LARGE_ORDER_MINOR,
        )
        holds.hold(
            self.connection, self.actor, [row.id for row in large], "large order: to be checked"
        )


def frames(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn rows of ``Source.lines`` into the frames that bulk capture takes."""
    import polars as pl

    cities = pl.DataFrame(
        {
            "warehouse_index": range(len(assume.WAREHOUSES)),
            "warehouse": [row[0] for row in assume.WAREHOUSES],
            "ship_city": [row[2] for row in assume.WAREHOUSES],
            "ship_region": [row[3] for row in assume.WAREHOUSES],
            "ship_postal_code": [row[4] for row in assume.WAREHOUSES],
        },
        schema_overrides={"warehouse_index": pl.Int32},
    )
    household = pl.col("household_id").cast(pl.String)
    heads = lines.unique("basket_id", keep="first", maintain_order=True)
    methods = [assume.payment_method(basket) for basket in heads["basket_id"]]
    orders = heads.join(cities, on="warehouse_index", how="left", maintain_order="left").select(
        ref=pl.col("basket_id"),
        channel=pl.lit(assume.CHANNEL),
        external_id=pl.col("basket_id").cast(pl.String),
        currency=pl.lit(assume.CURRENCY),
        email=pl.lit("household-") + household + pl.lit("@example.com"),
        customer_name=pl.lit("Household ") + household,
        customer_external_id=household,
        placed_at=pl.col("placed_at"),
        warehouse=pl.col("warehouse"),
        ship_name=pl.lit("Household ") + household,
        ship_line1=household + pl.lit(" Main Street"),
        ship_city=pl.col("ship_city"),
        ship_region=pl.col("ship_region"),
        ship_postal_code=pl.col("ship_postal_code"),
        ship_country=pl.lit("US"),
        shipping_minor=pl.lit(0, pl.Int64),
        payment_method=pl.Series(methods, dtype=pl.String),
        allow_backorder=pl.lit(True),
    )
    return orders, lines.select(
        ref=pl.col("basket_id"),
        line_no=pl.col("basket_id").cum_count().over("basket_id").cast(pl.Int64),
        sku=pl.col("product_id").cast(pl.String),
        quantity=pl.col("quantity"),
        unit_price_minor=pl.col("unit_price_minor"),
        discount_minor=pl.col("discount_minor"),
    )
