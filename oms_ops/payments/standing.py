"""What the payments of orders hold for them, and what follows when an order costs less."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, for_update, ids
from oms_ops.payments import commands, messages, refunds, settling
from oms_ops.payments.operations import OPEN, REFUNDABLE
from oms_ops.payments.refunds import LOWERS_COST, ORDER_CANCELLED, RefundRequest


@dataclass(frozen=True, slots=True)
class Tender:
    """What stands on a payment, in minor units: still to be collected, and still refundable."""

    payment_id: int
    method: str
    open: int
    refundable: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The payments of an order, the oldest first, and what they hold for it in minor units.

    ``collected`` is what was captured, or is being captured, less what was charged back and less
    what was given back because units were cancelled; other refunds, for returns or as goodwill, do
    not lower what the order costs. ``capturing`` is what of it a gateway has not said yes to.
    ``charged_back`` is what banks took back, ``added`` what payments are for that were added since.
    """

    tenders: list[Tender]
    collected: int
    capturing: int = 0
    charged_back: int = 0
    added: int = 0

    @property
    def secured(self) -> int:
        """What was collected for good: only of that too much can be given back."""
        return self.collected - self.capturing

    @property
    def open(self) -> int:
        """What is still to be collected."""
        return sum(tender.open for tender in self.tenders)

    def disputed(self, cost: int, capturable: int) -> int:
        """What was charged back of an order of ``cost``, and gateways hold nothing for.

        They would capture ``capturable``. It may come back: only a person collects it another way,
        by a payment that she adds, and that one alone is to bring it.
        """
        return min(self.charged_back, max(0, cost - self.collected - capturable))

    def surplus(self, cost: int) -> int:
        """What is still to be collected beyond an order of ``cost``.

        What was charged back is not expected of the payments that there were before.
        """
        disputed = max(0, self.charged_back - self.added)
        return max(0, self.open - max(0, cost - self.collected - disputed))


def standing(connection: Connection, order_ids: Iterable[int]) -> dict[int, Standing]:
    """Lock the payments of orders and return how each order stands."""
    rows = connection.execute(
        sa.text(
            "SELECT p.order_id, p.id, p.method, p.captured_minor + p.capturing_minor"
            " - p.charged_back_minor AS held, p.capturing_minor AS capturing,"
            " p.charged_back_minor AS charged_back,"
            f" {OPEN} AS open, {REFUNDABLE} AS refundable,"
            " (SELECT coalesce(CAST(sum(r.amount_minor) AS bigint), 0) FROM refunds AS r"
            f"  WHERE r.payment_id = p.id AND {LOWERS_COST}) AS given_back"
            f" FROM payments AS p WHERE p.order_id IN ({ids(connection, 'ids')})"
            f" ORDER BY p.id {for_update(connection)}"
        ),
        {"ids": as_ids(order_ids)},
    ).all()
    payments: dict[int, list[Any]] = {}
    for row in rows:
        payments.setdefault(row.order_id, []).append(row)
    disputed = [i for i, found in payments.items() if any(p.charged_back for p in found)]
    added = _added(connection, disputed)
    return {
        order_id: Standing(
            [Tender(p.id, p.method, p.open, p.refundable) for p in found],
            collected=sum(p.held - p.given_back for p in found),
            capturing=sum(p.capturing for p in found),
            charged_back=sum(p.charged_back for p in found),
            added=added.get(order_id, 0),
        )
        for order_id, found in payments.items()
    }


def _added(connection: Connection, order_ids: Sequence[int]) -> dict[int, int]:
    """Return per order what the payments are for that were added since the first charge back."""
    if not order_ids:
        return {}
    rows = connection.execute(
        sa.text(
            "SELECT p.order_id, CAST(sum(p.amount_minor - p.voided_minor) AS bigint) AS added"
            f" FROM payments AS p WHERE p.order_id IN ({ids(connection, 'ids')})"
            " AND p.created_at > (SELECT min(e.occurred_at) FROM payment_events AS e"
            "  JOIN payments AS q ON q.id = e.payment_id"
            "  WHERE q.order_id = p.order_id AND e.kind = 'charged_back') GROUP BY p.order_id"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {row.order_id: row.added for row in rows}


def settle_cancelled(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Void what was not captured and refund what was, for orders that are cancelled whole.

    What a gateway's message may tell of goes back when the message was read.
    """
    held = standing(connection, order_ids)
    found = [t for each in held.values() for t in each.tenders]
    commands.give_up(connection, actor, [(t.payment_id, t.open) for t in found if t.open > 0])
    waiting = messages.waiting(connection, order_ids)
    back = [
        RefundRequest(t.payment_id, t.refundable, ORDER_CANCELLED, lowers_cost=True)
        for order_id, each in held.items()
        if order_id not in waiting
        for t in each.tenders
        if t.refundable > 0
    ]
    made = refunds.give_back(connection, actor, back)
    settling.tell_refunded(connection, made)
