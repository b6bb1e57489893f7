"""The database as the machine looks at it after each step: plain numbers, by the shop's names."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops.database import reading

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """A shipment: units by (id of its line, the order line's number)."""

    id: int
    warehouse: str
    status: str
    rows: tuple[tuple[int, int, int], ...]

    def units(self) -> dict[int, int]:
        """Return units by line number."""
        found: dict[int, int] = defaultdict(int)
        for _, line_no, units in self.rows:
            found[line_no] += units
        return dict(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that the model has an opinion of."""

    levels: dict[Pair, tuple[int, int]]
    nets: dict[Pair, int]
    contents: dict[Pair, int]
    heads: dict[int, dict[str, Any]]
    lines: dict[int, dict[int, dict[str, Any]]]
    boxes: dict[int, list[Box]]
    payments: dict[int, dict[int, tuple[int, int, int, int]]]
    baskets: dict[tuple[str, str, str], int]
    codes: dict[str, int]
    purchases: dict[int, tuple[str, int]]


_LEVELS = (
    "SELECT w.code, k.code, l.on_hand, l.allocated FROM stock_levels AS l"
    " JOIN warehouses AS w ON w.id = l.warehouse_id JOIN skus AS k ON k.id = l.sku_id"
)
_NETS = (
    "SELECT p.code, k.code, CAST(sum(m.units) AS bigint) FROM ("
    "SELECT to_location_id AS place, sku_id, quantity AS units FROM stock_moves"
    " UNION ALL SELECT from_location_id, sku_id, -quantity FROM stock_moves) AS m"
    " JOIN locations AS p ON p.id = m.place JOIN skus AS k ON k.id = m.sku_id"
    " GROUP BY p.code, k.code"
)
_CONTENTS = (
    "SELECT p.code, k.code, l.quantity FROM location_levels AS l"
    " JOIN locations AS p ON p.id = l.location_id JOIN skus AS k ON k.id = l.sku_id"
)
_HEADS = (
    "SELECT o.id, o.number, o.status, w.code AS home, o.gross_minor, o.discount_minor,"
    " o.shipping_minor, o.shipping_tax_minor, o.tax_minor, o.rounding_minor, o.total_minor,"
    " o.cancelled_minor FROM orders AS o JOIN warehouses AS w ON w.id = o.warehouse_id"
)
_LINES = "SELECT l.*, k.code AS sku FROM order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
_BOXES = (
    "SELECT s.order_id, s.id, w.code, s.status, x.id, l.line_no, x.quantity FROM shipments AS s"
    " JOIN warehouses AS w ON w.id = s.warehouse_id"
    " LEFT JOIN shipment_lines AS x ON x.shipment_id = s.id"
    " LEFT JOIN order_lines AS l ON l.id = x.order_line_id ORDER BY s.id, x.id"
)
_PAYMENTS = (
    "SELECT order_id, id, amount_minor, captured_minor, refunded_minor, voided_minor FROM payments"
)
_BASKETS = (
    "SELECT h.basket, w.code, k.code, h.quantity FROM basket_holds AS h"
    " JOIN warehouses AS w ON w.id = h.warehouse_id JOIN skus AS k ON k.id = h.sku_id"
)
_PURCHASES = (
    "SELECT p.id, p.status, l.received FROM purchase_orders AS p"
    " JOIN purchase_order_lines AS l ON l.purchase_order_id = p.id"
)


def look(engine: Engine) -> Seen:
    """Read it all in one snapshot."""
    with reading(engine) as connection:
        ask = connection.exec_driver_sql
        lines: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
        for row in ask(_LINES).mappings():
            lines[row["order_id"]][row["line_no"]] = dict(row)
        boxes: dict[int, dict[int, Box]] = defaultdict(dict)
        for order_id, box_id, warehouse, status, *row in ask(_BOXES):
            before = boxes[order_id].get(box_id)
            rows = (before.rows if before else ()) + ((tuple(row),) if row[0] else ())
            boxes[order_id][box_id] = Box(box_id, warehouse, status, rows)
        payments: dict[int, dict[int, tuple[int, int, int, int]]] = defaultdict(dict)
        for order_id, payment_id, *amounts in ask(_PAYMENTS):
            payments[order_id][payment_id] = tuple(amounts)  # type: ignore[assignment]
        return Seen(
            levels={(row[0], row[1]): (row[2], row[3]) for row in ask(_LEVELS)},
            nets={(row[0], row[1]): int(row[2]) for row in ask(_NETS)},
            contents={(row[0], row[1]): row[2] for row in ask(_CONTENTS)},
            heads={row["id"]: dict(row) for row in ask(_HEADS).mappings()},
            lines=dict(lines),
            boxes={order_id: list(found.values()) for order_id, found in boxes.items()},
            payments=dict(payments),
            baskets={(row[0], row[1], row[2]): row[3] for row in ask(_BASKETS)},
            purchases={row[0]: (row[1], row[2]) for row in ask(_PURCHASES)},
            codes={row[0]: row[1] for row in ask("SELECT code, used FROM discounts")},
        )
