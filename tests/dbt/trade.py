"""Some days of trade in a small shop: through the services, and by plain SQL behind their backs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.care import commands as care
from oms_ops.care import feedback, opening
from oms_ops.care.forms import FeedbackIn, TicketIn
from oms_ops.database import as_time, run
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import cancellation
from oms_ops.orders.capture import capture
from oms_ops.orders.queries import number_of
from oms_ops.payments import commands as payments
from oms_ops.purchasing import orders as purchasing
from oms_ops.purchasing import receipts
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.shop import ADMIN, Shop, order


def moment(day: str, hour: int = 15) -> datetime:
    """Return an hour (UTC) of a day given as ``2026-03-01``."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


class Trade:
    """What happens in the shop, in short words; each call is a committed transaction."""

    def __init__(self, engine: Engine) -> None:
        """Open the shop on 1 March 2026 with stock in both warehouses."""
        self.engine = engine
        with clock.at(moment("2026-03-01", 12)):
            self.shop = Shop(engine)
            for number in (1, 2, 3):
                self.shop.stock(f"SKU-{number}", 40)
            self.shop.stock("SKU-2", 20, "NYC")
            self.shop.stock("SKU-4", 2)

    def sell(self, day: str, who: str, *lines: tuple[str, int], hour: int = 15) -> int:
        """Capture an order of customer ``who``; return its id."""
        person = {"email": f"{who}@example.com", "name": who.title()}
        submission = order(*lines, customer=person, allow_backorder=True)
        with clock.at(moment(day, hour)):
            number = capture(self.engine, ADMIN, submission)["number"]
        return int(self.shop.rows("SELECT id FROM orders WHERE number = :n", n=number)[0][0])

    def pay(self, day: str, order_id: int) -> None:
        """Capture the order's payment."""
        self._do(day, payments.capture, self._ids("payments", order_id))

    def dispatch(self, day: str, order_id: int, *steps: str) -> None:
        """Take the order's shipments through ``steps``; all of them by default."""
        for step in steps or ("pick", "pack", "ship", "deliver"):
            self._do(day, getattr(fulfilment, step), self._ids("shipments", order_id))

    def cancel(self, day: str, order_id: int) -> None:
        """Cancel the whole order."""
        self._do(day, cancellation.cancel, [order_id], "changed my mind")

    def send_back(self, day: str, order_id: int, units: int, *, hour: int = 15) -> None:
        """Return units of the order's first line, refunded at once."""
        line = self.shop.rows(
            "SELECT id FROM order_lines WHERE order_id = :o ORDER BY line_no", o=order_id
        )[0][0]
        request = ReturnRequest(order_id, (ReturnedLine(line, units),), "too small")
        self._do(day, returns.receive, [request], hour=hour)

    def buy(self, day: str, sku: str, units: int) -> int:
        """Order units from the supplier for Atlanta; return the purchase order's id."""
        return int(
            self._do(
                day, purchasing.create, supplier="ACME", warehouse="ATL",
                lines=[PurchaseLine(sku, units)],
            )["id"]
        )  # fmt: skip

    def receive(self, day: str, purchase_order_id: int, units: int) -> None:
        """Receive units on the purchase order's only line."""
        line = self.shop.rows(
            "SELECT id FROM purchase_order_lines WHERE purchase_order_id = :p", p=purchase_order_id
        )[0][0]
        self._do(day, receipts.receive, purchase_order_id, {line: units})

    def ask(self, day: str, topic: str, order_id: int | None = None, **changes: Any) -> int:
        """Open a ticket; return its id."""
        about = {"order": number_of(order_id, "SO")} if order_id else {"email": "hal@example.com"}
        wanted = {"channel": "phone", "topic": topic, "subject": "x", "message": "x"}
        ticket = TicketIn.model_validate({**wanted, **about, **changes})
        return int(self._do(day, opening.open_tickets, [ticket])[0])

    def answer(self, day: str, step: str, ticket_id: int, word: Any = "x", hour: int = 16) -> None:
        """Reply to a ticket, hear of it, solve or rate it."""
        self._do(day, getattr(care, step), {ticket_id: word}, hour=hour)

    def recommend(self, day: str, order_id: int, score: int) -> None:
        """Take the feedback on an order."""
        self._do(day, feedback.give, [FeedbackIn(order=number_of(order_id, "SO"), score=score)])

    def by_sql(self, *statements: str, **parameters: Any) -> None:
        """Write as one does who knows nothing of the services or, on SQLite, of foreign keys."""

        def work(connection: Connection) -> None:
            for statement in statements:
                connection.execute(sa.text(statement), parameters)

        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.commit()
        run(self.engine, work)

    def at(self, day: str, hour: int = 15) -> Any:
        """Return a moment as a parameter for :meth:`by_sql`."""
        with self.engine.connect() as connection:
            return as_time(connection, moment(day, hour))

    def _ids(self, table: str, order_id: int) -> list[int]:
        return [
            row[0]
            for row in self.shop.rows(f"SELECT id FROM {table} WHERE order_id = :o", o=order_id)
        ]

    def _do(self, day: str, act: Any, *arguments: Any, hour: int = 15, **named: Any) -> Any:
        with clock.at(moment(day, hour)):
            return run(self.engine, lambda c: act(c, ADMIN, *arguments, **named))


def first_days(trade: Trade) -> dict[str, int]:
    """Trade on 1 and 2 March; return the orders by a name to speak of them.

    One order has a day of its own: nothing else makes that day's sums right when it leaves.
    """
    sold = {
        "delivered": trade.sell("2026-03-01", "ann", ("SKU-1", 4), ("SKU-2", 1)),
        "late": trade.sell("2026-03-01", "bob", ("SKU-2", 2), hour=23),
        "deleted": trade.sell("2026-03-01", "cid", ("SKU-3", 3)),
        "moved": trade.sell("2026-02-26", "ann", ("SKU-3", 2)),
        "cancelled": trade.sell("2026-03-02", "dan", ("SKU-1", 5)),
        "waiting": trade.sell("2026-03-02", "eve", ("SKU-4", 6)),
    }
    for name in ("delivered", "late", "deleted"):
        trade.pay("2026-03-01", sold[name])
    trade.dispatch("2026-03-02", sold["delivered"])
    trade.dispatch("2026-03-02", sold["late"])
    # Dated ahead, and the first of its SKU: on the books before any daily stock can show it.
    _move(trade, "SKU-5", 3, "2026-03-05")
    trade.by_sql(
        "INSERT INTO stock_levels (warehouse_id, sku_id, on_hand, allocated, changed_by,"
        " changed_at) VALUES (:atl, :sku, 3, 0, 'sql', :at)",
        sku=trade.shop.sku_ids["SKU-5"], atl=trade.shop.warehouse_ids["ATL"],
        at=trade.at("2026-03-02"),
    )  # fmt: skip
    # Out of a warehouse that will have another name, while its SKU keeps its own.
    _move(trade, "SKU-3", -1, "2026-03-01")
    _level(trade, "SKU-3", -1)
    trade.send_back("2026-03-02", sold["late"], 1)
    _first_questions(trade, sold)
    return sold


def _first_questions(trade: Trade, sold: dict[str, int]) -> None:
    """Ask and answer; some tickets and feedback have days of their own, and will leave them."""
    answered = trade.ask("2026-03-01", "delivery", sold["delivered"])
    trade.answer("2026-03-01", "reply", answered)
    trade.answer("2026-03-02", "solve", answered)
    trade.answer("2026-03-02", "rate", answered, 4)
    trade.ask("2026-02-27", "product", priority="low")
    trade.ask("2026-03-01", "payment", sold["deleted"])
    trade.ask("2026-02-24", "account")
    trade.recommend("2026-03-02", sold["delivered"], 9)
    trade.recommend("2026-03-03", sold["late"], 3)
    trade.by_sql(
        "INSERT INTO feedback (order_id, customer_id, score, given_at, changed_by, changed_at)"
        " SELECT id, customer_id, 8, :at, 'sql', :at FROM orders WHERE id = :deleted",
        at=trade.at("2026-02-25"), deleted=sold["deleted"],
    )  # fmt: skip


def _more_questions(trade: Trade, sold: dict[str, int]) -> None:
    """Answer late, open a ticket again, let one go and one be of another day."""
    trade.answer("2026-03-04", "hear", 1)
    trade.answer("2026-03-04", "reply", 2)
    # Late by the days alone, while nothing else happens to it.
    trade.ask("2026-03-04", "other", channel="web")
    trade.recommend("2026-03-04", sold["late"], 10)
    trade.by_sql(
        "DELETE FROM tickets WHERE id = 4",
        "UPDATE tickets SET opened_at = :at WHERE id = 2",
        "DELETE FROM feedback WHERE order_id = :deleted",
        at=trade.at("2026-02-28"), deleted=sold["deleted"],
    )  # fmt: skip


def changed_days(trade: Trade, sold: dict[str, int]) -> None:
    """Trade on 4 March, with everything that makes an old figure wrong."""
    trade.send_back("2026-03-04", sold["delivered"], 1, hour=3)
    trade.cancel("2026-03-04", sold["cancelled"])
    trade.receive("2026-03-04", trade.buy("2026-03-03", "SKU-4", 12), 6)
    trade.sell("2026-03-04", "fay", ("SKU-1", 1), ("SKU-3", 1))
    trade.by_sql(
        "UPDATE skus SET code = 'THING-1', category = 'Renamed', version = version + 1"
        " WHERE code = 'SKU-1'",
        "UPDATE warehouses SET code = 'ATLANTA' WHERE code = 'ATL'",
        "UPDATE customers SET name = 'Anna' WHERE email = 'ann@example.com'",
    )
    # An order that turns out to be of another day, channel and warehouse, and one that never was.
    trade.by_sql(
        "UPDATE orders SET placed_at = :at, channel = 'shop', warehouse_id = :nyc"
        " WHERE id = :moved",
        at=trade.at("2026-02-27"), nyc=trade.shop.warehouse_ids["NYC"], moved=sold["moved"],
    )  # fmt: skip
    # Due on a day that passes while nothing else happens to it.
    trade.by_sql(
        "UPDATE orders SET deliver_by = '2026-03-05' WHERE id = :moved",
        "UPDATE orders SET deliver_by = '2026-03-03', status = 'on_hold', hold_reason = 'address'"
        " WHERE id = :waiting",
        "UPDATE skus SET price_minor = price_minor + 1 WHERE code = 'SKU-2'",
        moved=sold["moved"], waiting=sold["waiting"],
    )  # fmt: skip
    _more_questions(trade, sold)
    _delete(trade, sold["deleted"])
    # Units that were found on an earlier day.
    _move(trade, "SKU-3", 7, "2026-03-01")
    _level(trade, "SKU-3", 7)


def last_days(trade: Trade, sold: dict[str, int]) -> None:
    """Trade on 6 March, with changes of rows that hang on an order but are not it."""
    trade.by_sql(
        "UPDATE orders SET status = 'open', hold_reason = NULL WHERE id = :waiting",
        waiting=sold["waiting"],
    )  # fmt: skip
    trade.dispatch("2026-03-06", sold["waiting"], "pick", "pack", "ship")
    trade.by_sql(
        "UPDATE return_lines SET disposition = 'scrap' WHERE id = 1",
        "UPDATE refunds SET status = 'failed', refunded_at = NULL WHERE return_id IN"
        " (SELECT id FROM returns WHERE order_id = :delivered)",
        "DELETE FROM supplier_terms WHERE sku_id = :sku",
        # Nothing but its moves shows this one.
        "UPDATE skus SET code = 'THING-5', version = version + 1 WHERE code = 'SKU-5'",
        # What hangs on a ticket and is not it.
        "INSERT INTO ticket_messages (ticket_id, author, step, is_internal, body, sent_at,"
        " changed_by) SELECT id, 'customer', 'reply', false, 'x', opened_at, 'sql' FROM tickets"
        " WHERE id = 3",
        delivered=sold["delivered"], sku=trade.shop.sku_ids["SKU-2"],
    )  # fmt: skip
    trade.sell("2026-03-06", "gus", ("SKU-4", 99))
    _aftermath(trade, sold["late"])


def _aftermath(trade: Trade, order_id: int) -> None:
    """Add what tells more of an order without a change of it, its shipments or its payments."""
    payment = "FROM payments WHERE order_id = :id"
    trade.by_sql(
        "INSERT INTO payment_events (payment_id, kind, amount_minor, currency, gateway_reference,"
        f" occurred_at, changed_by) SELECT id, 'failed', 100, 'USD', 'again', :at, 'sql' {payment}",
        "INSERT INTO payment_operations (payment_id, kind, status, key, amount_minor, currency,"
        " code, attempts, requested_at, changed_by, changed_at)"
        f" SELECT id, 'capture', 'failed', 'again', 100, 'USD', 'expired', 1, :at, 'sql', :at"
        f" {payment}",
        "INSERT INTO picks (shipment_id, shipment_line_id, location_id, sku_id, quantity, picked,"
        " changed_by, changed_at) SELECT s.id, x.id, l.id, x.sku_id, 2, 1, 'sql', :at"
        " FROM shipments AS s JOIN shipment_lines AS x ON x.shipment_id = s.id JOIN locations AS l"
        " ON l.warehouse_id = s.warehouse_id AND l.kind = 'storage' WHERE s.order_id = :id",
        "INSERT INTO refund_items (refund_id, kind, quantity, amount_minor, changed_by, changed_at)"
        " SELECT id, 'goodwill', 0, 10, 'sql', :at FROM refunds WHERE order_id = :id",
        "INSERT INTO stock_counts (warehouse_id, status, created_at, created_by, counted_at,"
        " changed_by, changed_at) VALUES (:atl, 'counted', :at, 'sql', :at, 'sql', :at)",
        "INSERT INTO stock_count_lines (stock_count_id, location_id, sku_id, expected, counted,"
        " changed_by, changed_at) SELECT c.id, l.id, :sku, 5, 4, 'sql', :at FROM stock_counts AS c"
        " JOIN locations AS l ON l.warehouse_id = c.warehouse_id AND l.kind = 'storage'",
        id=order_id, at=trade.at("2026-03-06"), sku=trade.shop.sku_ids["SKU-1"],
        atl=trade.shop.warehouse_ids["ATL"],
    )  # fmt: skip


def _delete(trade: Trade, order_id: int) -> None:
    """Delete an order with all that hangs on it, and give its allocation back."""
    chosen = "(SELECT id FROM shipments WHERE order_id = :id)"
    trade.by_sql(
        "UPDATE stock_levels SET allocated = allocated - 3 WHERE sku_id = :sku AND allocated >= 3",
        f"DELETE FROM shipment_lines WHERE shipment_id IN {chosen}",
        *(
            f"DELETE FROM {table} WHERE order_id = :id"
            for table in ("shipments", "payments", "order_lines")
        ),
        "DELETE FROM orders WHERE id = :id",
        id=order_id, sku=trade.shop.sku_ids["SKU-3"],
    )  # fmt: skip


def _move(trade: Trade, sku: str, units: int, day: str) -> None:
    """Book units into Atlanta, or out of it, on some other day, behind the back of the levels."""
    ends = "o.id, s.id" if units > 0 else "s.id, o.id"
    trade.by_sql(
        "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
        f" occurred_at, changed_by) SELECT :sku, {ends}, :units, 'adjustment', :at, 'sql'"
        " FROM locations AS o, locations AS s WHERE o.kind = 'adjustment'"
        " AND s.kind = 'storage' AND s.warehouse_id = :atl",
        sku=trade.shop.sku_ids[sku], atl=trade.shop.warehouse_ids["ATL"], units=abs(units),
        at=trade.at(day),
    )  # fmt: skip


def _level(trade: Trade, sku: str, units: int) -> None:
    """Let Atlanta's level have so many units more."""
    trade.by_sql(
        "UPDATE stock_levels SET on_hand = on_hand + :units WHERE sku_id = :sku"
        " AND warehouse_id = :atl",
        sku=trade.shop.sku_ids[sku], atl=trade.shop.warehouse_ids["ATL"], units=units,
    )  # fmt: skip
