"""What is decided of a staged batch before it is written: promised days, and who has to look."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_rows, read_time, rowset
from oms_ops.orders import deadlines, holding, promises
from oms_ops.orders.bulk_terms import order_of
from oms_ops.orders.holding import UNPAID_SQL
from oms_ops.orders.supply import Waiting
from oms_ops.rules.document import Rules

#: What an order's lines add up to, and its tax where that is not in the prices.
ORDER_SUMS = """
SELECT l.ref, CAST(sum(l.quantity * l.unit_price_minor) AS bigint) AS gross,
    CAST(sum(l.discount_minor) AS bigint) AS discount,
    CAST(sum(l.rounding_minor) AS bigint) + max(b.cash_rounding_minor) AS rounding,
    CAST(sum(l.tax_minor) AS bigint) + max(b.shipping_tax_minor) AS tax
FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref GROUP BY l.ref
"""


def promise(connection: Connection, rules: Rules) -> set[promises.Pair]:
    """Say when what is short will be there; return for what younger orders wait already."""
    short = _run(
        connection,
        "SELECT l.ref, l.line_no, b.warehouse_id, l.sku_id, l.quantity - l.take AS units,"
        " b.placed_at"
        " FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref WHERE l.take < l.quantity"
        " ORDER BY b.placed_at, l.ref, l.line_no",
    ).all()
    waiting = [
        Waiting(row.warehouse_id, row.sku_id, int(row.units), _moment(row.placed_at))
        for row in short
    ]
    promise = promises.promise(connection, rules.routing, waiting)
    rows = [
        {"ref": row.ref, "line_no": row.line_no, "day": str(day)}
        for row, day in zip(short, promise.days, strict=True)
        if day is not None
    ]
    if not rows:
        return promise.behind
    columns = {"ref": "bigint", "line_no": "bigint", "day": "date"}
    source = f"({rowset(connection, 'rows', columns)}) AS r"
    _run(
        connection,
        f"UPDATE bulk_lines SET promised_on = r.day FROM {source}"
        " WHERE bulk_lines.ref = r.ref AND bulk_lines.line_no = r.line_no",
        rows=as_rows(rows),
    )
    _run(
        connection,
        f"UPDATE bulk_orders SET promised_on = d.day FROM (SELECT l.ref, {promises.WHOLE} AS day"
        " FROM bulk_lines AS l WHERE l.take < l.quantity GROUP BY l.ref) AS d"
        " WHERE d.ref = bulk_orders.ref",
    )
    return promise.behind


def set_deadlines(connection: Connection, rules: Rules) -> None:
    """Say by which day each order is to be with its customer, where the rules say so."""
    if not rules.delivery:
        return
    found = _run(
        connection,
        "SELECT b.ref, b.channel, b.ship_country, b.ship_region, b.placed_at, b.promised_on,"
        " EXISTS (SELECT 1 FROM bulk_lines AS l WHERE l.ref = b.ref AND l.take < l.quantity"
        " AND l.promised_on IS NULL) AS unknown FROM bulk_orders AS b",
    ).mappings()
    rows = []
    for row in found:
        place = (row["channel"], row["ship_country"], row["ship_region"])
        days = deadlines.delivery_days(rules, *place)
        day = deadlines.deliver_by(
            days, _moment(row["placed_at"]), _day(row["promised_on"]), unknown=row["unknown"]
        )
        rows.append({"ref": row["ref"], "days": days, "day": str(day) if day else None})
    columns = {"ref": "bigint", "days": "bigint", "day": "date"}
    _run(
        connection,
        "UPDATE bulk_orders SET delivery_days = r.days, deliver_by = r.day"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE r.ref = bulk_orders.ref",
        rows=as_rows(rows),
    )


def _moment(value: Any) -> datetime:
    moment = read_time(value)
    assert moment is not None  # noqa: S101 - the column is filled
    return moment


def _day(value: Any) -> date | None:
    return date.fromisoformat(str(value)) if value else None


def hold(connection: Connection, rules: Rules) -> None:
    """Mark the orders that a person has to look at first."""
    unpaid = f"({UNPAID_SQL.format(customer='b.customer_id')})"
    rows = _run(
        connection,
        "SELECT b.ref, b.channel, b.currency, b.ship_country, b.ship_region,"
        " t.gross - t.discount + b.shipping_minor + t.rounding"
        " + CASE WHEN b.tax_included THEN 0 ELSE t.tax END AS total,"
        f" {unpaid if holding.asks_history(rules) else '0'} AS unpaid"
        f" FROM bulk_orders AS b JOIN ({ORDER_SUMS}) AS t ON t.ref = b.ref",
    ).mappings()
    held = []
    for row in rows:
        order, total = order_of(row), int(row["total"])
        why = holding.reason(connection, rules, order, total, None, unpaid=row["unpaid"])
        if why:
            held.append({"ref": row["ref"], "why": why})
    if held:
        columns = {"ref": "bigint", "why": "text"}
        _run(
            connection,
            "UPDATE bulk_orders SET hold_reason = r.why"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE r.ref = bulk_orders.ref",
            rows=as_rows(held),
        )


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)
