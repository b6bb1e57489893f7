"""Bring the amounts and the status of orders up to date with their lines."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute, ids
from oms_ops.orders import amounts

_STAMP = "version = o.version + 1, changed_by = :actor, changed_at = :now"

#: SQL on an order ``o``: nothing is left to do for it, what is not cancelled was delivered.
FINISHED = (
    "NOT EXISTS (SELECT 1 FROM order_lines AS l"
    " WHERE l.order_id = o.id AND l.allocated + l.backordered > 0)"
    " AND NOT EXISTS (SELECT 1 FROM shipments AS s WHERE s.order_id = o.id"
    " AND s.status NOT IN ('delivered', 'returned', 'cancelled'))"
)


def refresh(connection: Connection, parameters: dict[str, Any]) -> None:
    """Sum the lines of the orders ``:ids`` up again, and set what follows from them.

    An order of which nothing is left is cancelled, one of which all that is left was delivered is
    closed. The orders are locked. ``parameters`` bind ``:ids``, ``:actor``, ``:now``, and with
    ``:reason`` why units were cancelled, or None.
    """
    chosen = f"IN ({ids(connection, 'ids')})"
    included = "(SELECT o.tax_included FROM orders AS o WHERE o.id = l.order_id)"
    cancelled = amounts.cancelled_sql("l", "l.cancelled", included)
    execute(
        connection,
        f"UPDATE order_lines AS l SET cancelled_minor = {cancelled}, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" WHERE l.order_id {chosen} AND l.cancelled_minor <> {cancelled}",
        parameters,
    )
    sums = (
        "SELECT l.order_id, CAST(sum(l.gross_minor) AS bigint) AS gross,"
        " CAST(sum(l.discount_minor) AS bigint) AS discount,"
        " CAST(sum(l.tax_minor) AS bigint) AS tax,"
        " CAST(sum(l.cancelled_minor) AS bigint) AS cancelled,"
        " max(CASE WHEN l.cancelled < l.quantity THEN 1 ELSE 0 END) AS is_kept"
        f" FROM order_lines AS l WHERE l.order_id {chosen} GROUP BY l.order_id"
    )
    total = (
        "t.gross - t.discount + o.shipping_minor + o.rounding_minor"
        " + CASE WHEN o.tax_included THEN 0 ELSE t.tax + o.shipping_tax_minor END"
    )
    execute(
        connection,
        "UPDATE orders AS o SET gross_minor = t.gross, discount_minor = t.discount,"
        f" tax_minor = t.tax + o.shipping_tax_minor, total_minor = {total},"
        f" cancelled_minor = CASE WHEN t.is_kept = 1 THEN t.cancelled ELSE {total} END,"
        " status = CASE WHEN t.is_kept = 1 THEN o.status ELSE 'cancelled' END,"
        " hold_reason = CASE WHEN t.is_kept = 1 THEN o.hold_reason END,"
        " cancel_reason = coalesce(CAST(:reason AS text), o.cancel_reason),"
        f" cancelled_at = CASE WHEN t.is_kept = 1 THEN o.cancelled_at ELSE :now END, {_STAMP}"
        f" FROM ({sums}) AS t WHERE t.order_id = o.id",
        parameters,
    )
    close_finished(connection, parameters)


def close_finished(connection: Connection, parameters: dict[str, Any]) -> None:
    """Close those of the orders ``:ids`` for which nothing is left to do."""
    execute(
        connection,
        "UPDATE orders AS o SET status = 'closed', closed_at = :now, hold_reason = NULL,"
        f" {_STAMP} WHERE o.id IN ({ids(connection, 'ids')})"
        f" AND o.status IN ('open', 'on_hold') AND {FINISHED}",
        parameters,
    )
