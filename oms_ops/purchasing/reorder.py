"""Turn approved reorder lines into purchase orders, once each and only from a list that is true.

A reorder list is a picture of the stock at its ``as_of``. Approving from it is refused when the
line was approved already, when the list is too old, or when something was ordered for the same SKU
and warehouse after the picture was taken: that order is not in its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import as_rows, as_time, read_time, rowset, run
from oms_ops.errors import Conflict, FieldError, OmsError, StaleList, ValidationFailed
from oms_ops.feed.reader import Cursor, after_sql
from oms_ops.purchasing import orders
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.settings import settings


@dataclass(frozen=True, slots=True)
class ApprovalLine:
    """A reorder line (SKU and warehouse codes) and the units the merchandiser approves of it."""

    sku: str
    warehouse: str
    suggested_quantity: int
    approved_quantity: int


@dataclass(frozen=True, slots=True)
class ReorderList:
    """A published list: its id, the moment of its picture, and its place in the change feed."""

    list_id: str
    as_of: datetime
    cursor: Cursor


def approve(
    engine: Engine,
    actor: Actor,
    list_id: str,
    list_as_of: datetime,
    lines: Sequence[ApprovalLine],
    *,
    list_cursor: Cursor,
) -> list[dict[str, Any]]:
    """Approve ``lines`` of a published list; return the purchase orders (``orders.get``) made.

    One order per supplier and warehouse; all or nothing. ``list_cursor`` is the place in the change
    feed up to which the list knows the stock: a purchase order line that the feed carries after it
    is not in the list's numbers, whatever the clocks say.

    Raises:
        StaleList: the list is too old, or a line was ordered since; each line is named.
        Conflict: a line was approved from this list before; each line is named with its order.
        ValidationFailed: with every bad field (unknown SKU, below the minimum, off the pack).
        Forbidden: the role may not write purchase orders.
    """
    actor.require(PURCHASING_WRITE)
    if not lines:
        raise ValidationFailed(
            "Nothing to approve.", [FieldError("lines", "required", "tick at least one line")]
        )
    age = clock.now() - list_as_of
    limit = timedelta(hours=settings().reorder_max_age_hours)
    if age > limit:
        hours = int(age.total_seconds() // 3600)
        raise StaleList(
            f"This list is {hours} hours old (at most {limit.total_seconds() / 3600:.0f} are"
            " allowed). Run the pipeline and approve from the new list."
        )
    try:
        return run(
            engine,
            lambda c: _approve(c, actor, ReorderList(list_id, list_as_of, list_cursor), lines),
        )
    except IntegrityError as error:
        if "reorder_approvals" not in str(error.orig):
            raise
        # Two people approved the same line in the same moment; the other one's is in force.
        raise Conflict("A line of this list was approved by somebody else just now.") from None


def _approve(
    connection: Connection, actor: Actor, source: ReorderList, lines: Sequence[ApprovalLine]
) -> list[dict[str, Any]]:
    facts = _facts(connection, source, lines)
    _refuse(lines, facts)
    groups: dict[tuple[str, str], list[ApprovalLine]] = {}
    for line in lines:
        supplier = facts[line.sku, line.warehouse].supplier
        groups.setdefault((supplier, line.warehouse), []).append(line)
    made = []
    for (supplier, warehouse), members in sorted(groups.items()):
        order = orders.create(
            connection,
            actor,
            supplier=supplier,
            warehouse=warehouse,
            lines=[PurchaseLine(m.sku, m.approved_quantity) for m in members],
            source="reorder",
        )
        _record(connection, actor, source, members, facts, order)
        made.append(order)
    return made


def _facts(
    connection: Connection, source: ReorderList, lines: Sequence[ApprovalLine]
) -> dict[tuple[str, str], Any]:
    """Read per line: ids, preferred supplier, minimum and pack, earlier approval, later order."""
    columns = {"sku": "text", "warehouse": "text"}
    rows = connection.execute(
        sa.text(
            "WITH since AS (SELECT pl.sku_id, p.warehouse_id, max(p.number) AS number"
            " FROM change_log AS c JOIN purchase_order_lines AS pl ON pl.id = c.entity_id"
            " JOIN purchase_orders AS p ON p.id = pl.purchase_order_id"
            " WHERE c.entity = 'purchase_order_lines' AND c.op = 'I' AND p.status <> 'cancelled'"
            f" AND {after_sql(connection.dialect.name, source.cursor)}"
            " GROUP BY pl.sku_id, p.warehouse_id)"
            " SELECT r.sku, r.warehouse, k.id AS sku_id, w.id AS warehouse_id, s.code AS supplier,"
            " t.moq, t.pack_multiple,"
            " (SELECT p.number FROM reorder_approvals AS a"
            "  JOIN purchase_order_lines AS pl ON pl.id = a.purchase_order_line_id"
            "  JOIN purchase_orders AS p ON p.id = pl.purchase_order_id"
            "  WHERE a.list_id = :list_id AND a.sku_id = k.id AND a.warehouse_id = w.id)"
            " AS approved_in,"
            " since.number AS ordered_since"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " LEFT JOIN skus AS k ON k.code = r.sku"
            " LEFT JOIN warehouses AS w ON w.code = r.warehouse"
            " LEFT JOIN supplier_terms AS t ON t.sku_id = k.id AND t.is_preferred"
            " LEFT JOIN suppliers AS s ON s.id = t.supplier_id"
            " LEFT JOIN since ON since.sku_id = k.id AND since.warehouse_id = w.id"
        ),
        {
            "rows": as_rows({"sku": li.sku, "warehouse": li.warehouse} for li in lines),
            "list_id": source.list_id,
        },
    )
    return {(row.sku, row.warehouse): row for row in rows}


def _refuse(lines: Sequence[ApprovalLine], facts: dict[tuple[str, str], Any]) -> None:
    """Raise for everything that is wrong with the lines, the most telling refusal first."""
    repeated: list[FieldError] = []
    stale: list[FieldError] = []
    wrong: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, line in enumerate(lines):
        fact = facts[line.sku, line.warehouse]
        where = f"lines[{index}]"
        label = f"{line.sku} at {line.warehouse}"
        if (line.sku, line.warehouse) in seen:
            wrong.append(FieldError(where, "repeated_line", f"{label} is there twice"))
        seen.add((line.sku, line.warehouse))
        if fact.sku_id is None or fact.warehouse_id is None or fact.supplier is None:
            message = f"{label}: unknown SKU, warehouse or supplier terms"
            wrong.append(FieldError(f"{where}.sku", "unknown", message))
        elif fact.approved_in is not None:
            message = f"{label} was already approved: {fact.approved_in}"
            repeated.append(FieldError(where, "already_approved", message))
        elif fact.ordered_since is not None:
            message = f"{label} was ordered after this list was made: {fact.ordered_since}"
            stale.append(FieldError(where, "ordered_since", message))
        else:
            purchase = PurchaseLine(line.sku, line.approved_quantity)
            wrong.extend(orders.quantity_faults(where, purchase, fact))
    refusals: list[tuple[type[OmsError], str, list[FieldError]]] = [
        (Conflict, "Some lines were already approved from this list.", repeated),
        (StaleList, "The list is stale for some lines; reload it.", stale),
        (ValidationFailed, "Some lines have bad fields.", wrong),
    ]
    for refusal, message, errors in refusals:
        if errors:
            raise refusal(message, [*repeated, *stale, *wrong])


def _record(
    connection: Connection,
    actor: Actor,
    source: ReorderList,
    members: Sequence[ApprovalLine],
    facts: dict[tuple[str, str], Any],
    order: dict[str, Any],
) -> None:
    line_ids = {line["sku"]: line["id"] for line in order["lines"]}
    columns = dict.fromkeys(
        ("sku_id", "warehouse_id", "suggested", "approved", "purchase_order_line_id"), "bigint"
    )
    connection.execute(
        sa.text(
            "INSERT INTO reorder_approvals (list_id, list_as_of, sku_id, warehouse_id,"
            " suggested_quantity, approved_quantity, purchase_order_line_id, approved_at,"
            " changed_by)"
            " SELECT :list_id, :as_of, sku_id, warehouse_id, suggested, approved,"
            " purchase_order_line_id, :now, :actor"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        ),
        {
            "list_id": source.list_id,
            "as_of": as_time(connection, source.as_of),
            "now": as_time(connection, clock.now()),
            "actor": actor.name,
            "rows": as_rows(
                {
                    "sku_id": facts[m.sku, m.warehouse].sku_id,
                    "warehouse_id": facts[m.sku, m.warehouse].warehouse_id,
                    "suggested": m.suggested_quantity,
                    "approved": m.approved_quantity,
                    "purchase_order_line_id": line_ids[m.sku],
                }
                for m in members
            ),
        },
    )


def approved(connection: Connection, list_id: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what was approved from a list: per (SKU, warehouse) the order, units, who and when."""
    rows = connection.execute(
        sa.text(
            "SELECT k.code AS sku, w.code AS warehouse, p.number, a.approved_quantity,"
            " a.changed_by AS approved_by, a.approved_at FROM reorder_approvals AS a"
            " JOIN skus AS k ON k.id = a.sku_id JOIN warehouses AS w ON w.id = a.warehouse_id"
            " JOIN purchase_order_lines AS l ON l.id = a.purchase_order_line_id"
            " JOIN purchase_orders AS p ON p.id = l.purchase_order_id WHERE a.list_id = :list_id"
        ),
        {"list_id": list_id},
    )
    return {
        (row["sku"], row["warehouse"]): {**row, "approved_at": read_time(row["approved_at"])}
        for row in rows.mappings()
    }
