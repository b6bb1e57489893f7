"""Writes what was planned again: shipments, lines, orders, and a message to who has to wait now.

Callers hold the orders' rows, and change the stock levels afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_ids, as_rows, execute, ids, rowset
from oms_ops.notifications import outbox
from oms_ops.orders import deadlines, promises, shipments
from oms_ops.orders.replan import Plan
from oms_ops.orders.supply import Waiting
from oms_ops.rules import store
from oms_ops.stock.levels import stamp_of

_LINE = {"id": "bigint", "waited": "bigint", "more": "bigint", "joins": "bigint", "day": "date"}
_ORDER = {"id": "bigint", "warehouse_id": "bigint", "routing": "json"}


def write(connection: Connection, actor: Actor, plans: Sequence[Plan], reason: str) -> None:
    """Move the units between the shipments; what newly waits gets a promised day.

    Raises:
        Retry: a line or a shipment is not as it was planned with.
    """
    stamp = stamp_of(connection, actor)
    joining = _joining(plans)
    days = _days(connection, joining)
    _move_units(connection, plans, stamp)
    _change_lines(connection, plans, days, stamp)
    _change_orders(connection, plans, reason, stamp)
    _tell(connection, plans, reason)
    # Who waits there already may come later now: the older order is filled first.
    promises.update(connection, actor, {(each.home_id, each.sku_id) for _, each in joining})


def _joining(plans: Sequence[Plan]) -> list[tuple[int, Waiting]]:
    """Return each line of which units begin to wait, by its id."""
    return [
        (
            line.id,
            Waiting(
                home_id=plan.home_id,
                sku_id=line.sku_id,
                units=units,
                placed_at=plan.order.placed_at,
                splits=plan.order.allow_split,
                place=(plan.order.destination.country, plan.order.destination.region),
                sources=plan.order.elsewhere | {share[0] for share in plan.shares},
            ),
        )
        for plan in plans
        for line in plan.lines()
        if (units := plan.joining(line))
    ]


def _days(connection: Connection, joining: Sequence[tuple[int, Waiting]]) -> dict[int, date | None]:
    """Return the promised day per order line of which units begin to wait."""
    if not joining:
        return {}
    rules = store.current(connection).rules.routing
    promise = promises.promise(connection, rules, [waiting for _, waiting in joining])
    return {line_id: day for (line_id, _), day in zip(joining, promise.days, strict=True)}


def _move_units(connection: Connection, plans: Sequence[Plan], stamp: dict[str, Any]) -> None:
    shipments.take_off(
        connection,
        [
            {
                "shipment_line_id": each.shipment_line_id,
                "quantity": each.quantity,
                "units": each.units,
            }
            for plan in plans
            for each in plan.order.leaving
        ],
        stamp,
    )
    takes = [
        {
            "order_id": plan.order.id,
            "warehouse_id": warehouse_id,
            "order_line_id": line.id,
            "sku_id": line.sku_id,
            "take": units,
        }
        for plan in plans
        for warehouse_id, line, units in plan.shares
    ]
    if takes:
        shipments.add(connection, takes, stamp)


def _change_lines(
    connection: Connection,
    plans: Sequence[Plan],
    days: dict[int, date | None],
    stamp: dict[str, Any],
) -> None:
    rows = [
        {
            "id": line.id,
            "waited": line.backordered,
            "more": plan.more_waiting(line),
            "joins": plan.joining(line),
            "day": str(days[line.id]) if days.get(line.id) else None,
        }
        for plan in plans
        for line in plan.lines()
    ]
    changed = execute(
        connection,
        "UPDATE order_lines AS l SET allocated = l.allocated - r.more,"
        " backordered = l.backordered + r.more,"
        " promised_on = CASE WHEN r.joins > 0 THEN r.day ELSE l.promised_on END,"
        " version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _LINE)}) AS r"
        " WHERE l.id = r.id AND l.backordered = r.waited AND l.allocated >= r.more",
        {"rows": as_rows(rows), **stamp},
    ).rowcount
    if changed != len(rows):
        raise Retry("a line was changed meanwhile")


def _change_orders(
    connection: Connection, plans: Sequence[Plan], reason: str, stamp: dict[str, Any]
) -> None:
    left = {warehouse_id for plan in plans for warehouse_id in plan.order.left}
    codes = execute(
        connection,
        f"SELECT id, code FROM warehouses WHERE id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(left)},
    )
    code_of = {row[0]: row[1] for row in codes}
    rows = [
        {
            "id": plan.order.id,
            "warehouse_id": plan.home_id,
            "routing": {
                **plan.reason,
                "rerouted_from": sorted(code_of[warehouse_id] for warehouse_id in plan.order.left),
                "because": reason,
            },
        }
        for plan in plans
    ]
    waiting = "FROM order_lines AS l WHERE l.order_id = o.id AND l.backordered > 0"
    day = (
        f"(SELECT CASE WHEN count(*) = count(l.promised_on) THEN max(l.promised_on) END {waiting})"
    )
    execute(
        connection,
        "UPDATE orders AS o SET warehouse_id = r.warehouse_id, routing = r.routing,"
        # The day of all that waits; what was promised last stays when nothing waits any more.
        f" promised_on = CASE WHEN EXISTS (SELECT 1 {waiting}) THEN {day} ELSE o.promised_on END,"
        f" deliver_by = CASE WHEN EXISTS (SELECT 1 {waiting})"
        f" THEN {deadlines.after_sql(connection, day)} ELSE o.deliver_by END,"
        " version = o.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _ORDER)}) AS r WHERE o.id = r.id",
        {"rows": as_rows(rows), **stamp},
    )


def _tell(connection: Connection, plans: Sequence[Plan], reason: str) -> None:
    """Tell the customers of orders of which more waits than before."""
    days = execute(
        connection,
        f"SELECT id, promised_on FROM orders WHERE id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(plan.order.id for plan in plans)},
    )
    promised = {row[0]: str(row[1]) if row[1] else None for row in days}
    messages = []
    for plan in plans:
        short = {line.sku: plan.more_waiting(line) for line in plan.lines()}
        lines = [{"sku": sku, "quantity": units} for sku, units in short.items() if units > 0]
        if lines:
            payload = {
                "order": plan.order.number,
                "reason": reason,
                "lines": lines,
                "promised_on": promised[plan.order.id],
            }
            messages.append((plan.order.email, payload))
    outbox.post_many(connection, "order.backordered", messages)
