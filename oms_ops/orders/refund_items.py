"""What of an order was refunded already, what still can be, and what a refund is for.

Of a line, so many units go back at what they were paid for: the difference of two running totals of
what is owed for its units (:mod:`oms_ops.orders.amounts`), so that however a line's refunds are cut
they sum to what the line costs. Returns and refunds by line count together. Shipping is what the
order costs beyond its lines, the rounding of its total included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.orders import amounts


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a refund, in minor units; ``line_id`` and ``units`` where it is for a line."""

    kind: str
    amount: int
    line_id: int | None = None
    units: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """What a line costs and what went back of it: by refunds, and by returns.

    ``units`` are those that are not cancelled; ``cost`` is what is owed for them, tax and all.
    """

    id: int
    line_no: int
    sku: str
    units: int
    cost: int
    units_back: int
    back: int
    columns: dict[str, int]
    tax_included: bool

    @property
    def left(self) -> int:
        """Minor units that may still go back."""
        return max(0, self.cost - self.back)

    def worth(self, units: int) -> int:
        """Return what goes back for the next ``units`` units, at most what is left."""

        def owed(until: int) -> int:
            return amounts.owed(self.columns, until, tax_included=self.tax_included)

        part = owed(self.units_back + units) - owed(self.units_back)
        return max(0, min(part, self.left))


@dataclass(frozen=True, slots=True)
class Paid:
    """The lines of an order by their numbers, and its shipping: its cost and what went back."""

    lines: dict[int, Line]
    shipping: int
    shipping_back: int

    @property
    def shipping_left(self) -> int:
        """Minor units of the shipping that may still go back."""
        return max(0, self.shipping - self.shipping_back)


_AMOUNTS = ("unit_price_minor", "discount_minor", "rounding_minor", "tax_minor", "quantity")


def paid(connection: Connection, order_id: int) -> Paid:
    """Return what an order's parts cost and what of them went back; its row is locked."""
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.line_no, k.code, l.quantity, l.cancelled, l.returned,"
            " l.unit_price_minor, l.discount_minor, l.rounding_minor, l.tax_minor,"
            " o.tax_included, o.total_minor - o.cancelled_minor AS total,"
            " coalesce(i.units, 0) AS units, coalesce(i.amount, 0) AS amount,"
            " coalesce(b.amount, 0) AS sent_back"
            " FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
            " JOIN skus AS k ON k.id = l.sku_id LEFT JOIN (SELECT x.order_line_id,"
            "  CAST(sum(x.quantity) AS bigint) AS units,"
            "  CAST(sum(x.amount_minor) AS bigint) AS amount FROM refund_items AS x"
            "  JOIN refunds AS r ON r.id = x.refund_id AND r.status <> 'failed'"
            "  WHERE r.order_id = :order AND x.kind = 'line'"
            "  GROUP BY x.order_line_id) AS i ON i.order_line_id = l.id"
            " LEFT JOIN (SELECT y.order_line_id, CAST(sum(y.refund_minor) AS bigint) AS amount"
            "  FROM return_lines AS y JOIN returns AS t ON t.id = y.return_id"
            "  WHERE t.order_id = :order GROUP BY y.order_line_id) AS b"
            "  ON b.order_line_id = l.id WHERE l.order_id = :order ORDER BY l.line_no"
        ),
        {"order": order_id},
    ).all()
    lines = {}
    for row in rows:
        columns = {name: getattr(row, name) for name in _AMOUNTS}
        kept, included = row.quantity - row.cancelled, bool(row.tax_included)
        lines[row.line_no] = Line(
            id=row.id,
            line_no=row.line_no,
            sku=row.code,
            units=kept,
            cost=amounts.owed(columns, kept, tax_included=included),
            units_back=row.units + row.returned,
            back=row.amount + row.sent_back,
            columns=columns,
            tax_included=included,
        )
    shipping_back: int = connection.execute(
        sa.text(
            "SELECT CAST(coalesce((SELECT sum(x.amount_minor) FROM refund_items AS x"
            " JOIN refunds AS r ON r.id = x.refund_id AND r.status <> 'failed'"
            " WHERE r.order_id = :order AND x.kind = 'shipping'), 0)"
            " + coalesce((SELECT sum(t.shipping_minor) FROM returns AS t"
            "  WHERE t.order_id = :order), 0) AS bigint)"
        ),
        {"order": order_id},
    ).scalar_one()
    total = rows[0].total if rows else 0
    shipping = max(0, total - sum(line.cost for line in lines.values()))
    return Paid(lines, shipping, shipping_back)


def store(
    connection: Connection, actor: Actor, items: Sequence[Item], refund_ids: Sequence[int]
) -> None:
    """Write down what refunds are for; their amounts sum to those of the items.

    A refund is of one tender, an item may be of several: it is cut where a refund ends. Its units
    stand on its first part.
    """
    amounts_of = execute(
        connection,
        f"SELECT id, amount_minor FROM refunds WHERE id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(refund_ids)},
    ).fetchall()
    rows = []
    waiting = list(reversed(items))
    for refund_id, room in amounts_of:
        rest = room
        while rest and waiting:
            item = waiting.pop()
            part = min(rest, item.amount)
            rest -= part
            rows.append(_row(refund_id, item, part))
            if part < item.amount:
                waiting.append(replace(item, amount=item.amount - part, units=0))
    _insert(connection, actor, rows)


def _row(refund_id: int, item: Item, amount: int) -> dict[str, Any]:
    return {
        "refund_id": refund_id,
        "kind": item.kind,
        "line_id": item.line_id,
        "units": item.units,
        "amount": amount,
    }


def _insert(connection: Connection, actor: Actor, rows: Sequence[dict[str, Any]]) -> None:
    columns = {
        "refund_id": "bigint",
        "kind": "text",
        "line_id": "bigint",
        "units": "bigint",
        "amount": "bigint",
    }
    execute(
        connection,
        "INSERT INTO refund_items (refund_id, kind, order_line_id, quantity, amount_minor, version,"
        " changed_by, changed_at) SELECT refund_id, kind, line_id, units, amount, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r",
        {
            "rows": as_rows(rows),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )


def of_refund(connection: Connection, refund_id: int) -> list[Item]:
    """Return what a refund is for; nothing where nobody said."""
    rows = execute(
        connection,
        "SELECT kind, amount_minor, order_line_id, quantity FROM refund_items"
        " WHERE refund_id = :id ORDER BY id",
        {"id": refund_id},
    ).fetchall()
    return [Item(*row) for row in rows]
