"""The shop's policy on returns, applied: what may come back, the fee, the shipping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_ids, execute, ids, read_time
from oms_ops.errors import FieldError
from oms_ops.returns.worth import Worth, less_fee
from oms_ops.rules.document import ReturnRules
from oms_ops.settings import settings


def arrived(connection: Connection, order_id: int) -> dict[int, datetime]:
    """Return per order line when its last parcel was delivered, or left while that is not known."""
    rows = execute(
        connection,
        "SELECT x.order_line_id, max(coalesce(s.delivered_at, s.shipped_at)) FROM shipments AS s"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id WHERE s.order_id = :order"
        " AND s.shipped_at IS NOT NULL GROUP BY x.order_line_id",
        {"order": order_id},
    ).fetchall()
    moments = {row[0]: read_time(row[1]) for row in rows}
    return {line: moment for line, moment in moments.items() if moment is not None}


def open_units(connection: Connection, order_id: int) -> dict[int, int]:
    """Return per order line the units that are asked for and did not come yet."""
    rows = execute(
        connection,
        "SELECT l.order_line_id, CAST(sum(l.quantity) AS bigint) FROM return_lines AS l"
        " JOIN returns AS r ON r.id = l.return_id WHERE r.order_id = :order"
        " AND r.status IN ('requested', 'approved') GROUP BY l.order_line_id",
        {"order": order_id},
    ).fetchall()
    return {row[0]: int(row[1]) for row in rows}


def last_day(rules: ReturnRules, line: Mapping[str, Any], came_at: datetime | None) -> date | None:
    """Return the shop's last day on which a line may be sent back, None if there is no limit."""
    _, days = rules.terms(line["category"], line["tax_category"])
    if days is None or came_at is None:
        return None
    return date.fromordinal(_day(came_at).toordinal() + days)


def objections(
    rules: ReturnRules,
    chosen: Sequence[Mapping[str, Any]],
    came: Mapping[int, datetime],
) -> list[FieldError]:
    """Return what the policy says against ``chosen`` order lines coming back now."""
    today = _day(clock.now())
    found = []
    for index, line in enumerate(chosen):
        may, _ = rules.terms(line["category"], line["tax_category"])
        limit = last_day(rules, line, came.get(line["id"]))
        field = f"lines[{index}].line_no"
        if not may:
            message = f"{line['name']} cannot be sent back"
            found.append(FieldError(field, "not_returnable", message))
        elif limit is not None and today > limit:
            message = f"{line['name']} could be sent back until {limit.isoformat()}"
            found.append(FieldError(field, "outside_window", message))
    return found


def with_fee(rules: ReturnRules, worths: Sequence[Worth], reasons: Sequence[str]) -> list[Worth]:
    """Take the restocking fee off what comes back for reasons that are not the shop's."""
    return less_fee(worths, [r not in rules.shop_reasons for r in reasons], rules.fee_ppm)


def shipping(
    connection: Connection, rules: ReturnRules, reasons: Mapping[int, Collection[str]]
) -> dict[int, int]:
    """Return per order the minor units of its shipping, tax and all, that go back now.

    With the last of its goods goes what rounding to cash added to its total.
    ``reasons`` has the reasons of the lines that came back, per order. What came back already is in
    the lines of the orders, which are locked.
    """
    rows = execute(
        connection,
        "SELECT o.id, o.shipping_minor + CASE WHEN o.tax_included THEN 0"
        " ELSE o.shipping_tax_minor END - coalesce((SELECT sum(x.amount_minor)"
        "  FROM refund_items AS x JOIN refunds AS f ON f.id = x.refund_id AND f.status <> 'failed'"
        "  WHERE f.order_id = o.id AND x.kind = 'shipping'), 0),"
        " coalesce((SELECT sum(r.shipping_minor) FROM returns AS r WHERE r.order_id = o.id), 0),"
        " o.rounding_minor - coalesce((SELECT sum(l.rounding_minor) FROM order_lines AS l"
        "  WHERE l.order_id = o.id), 0),"
        " EXISTS (SELECT 1 FROM order_lines AS l"
        " WHERE l.order_id = o.id AND l.quantity - l.cancelled > l.returned)"
        f" FROM orders AS o WHERE o.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(reasons)},
    ).fetchall()
    due = {}
    for order_id, charged, returned, rounding, something_stays in rows:
        ours = any(reason in rules.shop_reasons for reason in reasons[order_id])
        whole = rules.refund_shipping and not something_stays
        rounded = 0 if something_stays else int(rounding)
        beyond = int(charged - returned) + rounded
        # While shipping is left, what went back beyond the lines with a return was the rounding.
        gone = int(returned) if returned < charged else 0
        due[order_id] = max(0, beyond if ours or whole else min(rounded - gone, beyond))
    return due


def _day(moment: datetime) -> date:
    return moment.astimezone(settings().zone).date()
