"""Cancel orders, or units of their lines, before anything of them is picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.orders import amounts, consequences, shipments, tenders
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import commands as payments
from oms_ops.stock.ledger import Quantity

_STAMP = "version = version + 1, changed_by = :actor, changed_at = :now"


@dataclass(frozen=True, slots=True)
class CancelledUnits:
    """``units`` of a line, by its order's id and its number on the order."""

    order_id: int
    line_no: int
    units: int


def cancel(
    connection: Connection,
    actor: Actor,
    order_ids: Sequence[int],
    reason: str,
    *,
    notify: bool = True,
) -> None:
    """Cancel whole orders: allocations released, payments voided or refunded, codes given back.

    ``notify=False`` is for loading history, whose customers were told long ago.

    Raises:
        Conflict: an order is cancelled or closed already, or partly picked; none is then cancelled.
    """
    actor.require(ORDERS_WRITE)
    if not order_ids:
        return
    parameters = _parameters(connection, actor, order_ids, reason)
    chosen = f"IN ({ids(connection, 'ids')})"
    # From here on nobody picks, fills or pays anything of these orders.
    lock_orders(connection, order_ids)
    emptied = execute(
        connection,
        f"UPDATE shipments AS s SET status = 'cancelled', {_STAMP}"
        f" WHERE s.order_id {chosen} AND {shipments.UNPICKED} RETURNING id",
        parameters,
    ).fetchall()
    cancelled = connection.execute(
        sa.text(
            "UPDATE orders SET status = 'cancelled', cancelled_at = :now, hold_reason = NULL,"
            f" cancelled_minor = total_minor, cancel_reason = :reason, {_STAMP}"
            f" WHERE id {chosen} AND status IN ('open', 'on_hold') AND NOT EXISTS ("
            "SELECT 1 FROM shipments AS s WHERE s.order_id = orders.id AND s.status <> 'cancelled')"
        ),
        parameters,
    ).rowcount
    if cancelled != len(set(order_ids)):
        raise Conflict("An order is already cancelled, closed or being picked.")
    freed = _content(connection, [row[0] for row in emptied])
    waited = _waited(connection, order_ids)
    included = "(SELECT o.tax_included FROM orders AS o WHERE o.id = l.order_id)"
    everything = amounts.cancelled_sql("l", "l.quantity", included)
    connection.execute(
        sa.text(
            "UPDATE order_lines AS l SET cancelled = quantity, allocated = 0, backordered = 0,"
            f" cancelled_minor = {everything}, {_STAMP} WHERE l.order_id {chosen}"
        ),
        parameters,
    )
    consequences.give_codes_back(connection, parameters)
    payments.settle_cancelled(connection, actor, order_ids)
    if notify:
        consequences.tell(connection, order_ids, "order.cancelled", reason)
    consequences.give_units_back(connection, actor, freed, waited)


def cancel_units(
    connection: Connection,
    actor: Actor,
    wanted: Sequence[CancelledUnits],
    reason: str,
    *,
    notify: bool = True,
) -> None:
    """Cancel units of lines: those that wait first, then those in shipments that nobody picks yet.

    What was captured beyond what the order then costs is refunded. An order of which nothing is
    left is cancelled, one of which all that is left was delivered is closed.

    Raises:
        NotFound: there is no such order.
        ValidationFailed: with every bad field: unknown lines, a line twice, units not positive.
        Conflict: an order is cancelled or closed, or more is to be cancelled of a line than waits
            or is unpicked; each line is named, and nothing is then changed.
    """
    actor.require(ORDERS_WRITE)
    order_ids = sorted({each.order_id for each in wanted})
    statuses = lock_orders(connection, order_ids)
    if missing := set(order_ids) - set(statuses):
        raise NotFound(f"There is no order {missing.pop()}.")
    if any(status not in ("open", "on_hold") for status in statuses.values()):
        raise Conflict("An order is already cancelled or closed.")
    lines = _lines(connection, order_ids)
    _refuse_bad(wanted, lines)
    takes = _take(wanted, lines, _unpicked(connection, order_ids))
    parameters = _parameters(connection, actor, order_ids, reason)
    shipments.take_off(connection, [part for take in takes for part in take.parts], parameters)
    _change_lines(connection, takes, parameters)
    _change_orders(connection, parameters)
    consequences.give_codes_back(connection, parameters)
    tenders.settle(connection, actor, order_ids)
    if notify:
        consequences.tell(connection, order_ids, "order.units_cancelled", reason)
    freed = [
        Quantity(part["warehouse_id"], take.line.sku_id, part["units"])
        for take in takes
        for part in take.parts
    ]
    waited = {(t.line.warehouse_id, t.line.sku_id) for t in takes if t.backordered}
    consequences.give_units_back(connection, actor, freed, waited)


@dataclass(frozen=True, slots=True)
class _Take:
    """Units to cancel of a line: those that wait, and parts of shipment lines."""

    line: Any
    backordered: int
    parts: list[dict[str, Any]]

    @property
    def allocated(self) -> int:
        return sum(part["units"] for part in self.parts)


def _parameters(
    connection: Connection, actor: Actor, order_ids: Sequence[int], reason: str
) -> dict[str, Any]:
    return {
        "ids": as_ids(order_ids),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
        "reason": reason,
    }


def _lines(connection: Connection, order_ids: Sequence[int]) -> dict[tuple[int, int], Any]:
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.order_id, l.line_no, l.sku_id, l.backordered, o.warehouse_id"
            " FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
            f" WHERE l.order_id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {(row.order_id, row.line_no): row for row in rows}


def _unpicked(connection: Connection, order_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return per order line what its unpicked shipments hold, the newest shipment first."""
    rows = connection.execute(
        sa.text(
            "SELECT x.id AS shipment_line_id, x.order_line_id, x.quantity, s.warehouse_id"
            " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
            f" WHERE s.order_id IN ({ids(connection, 'ids')}) AND {shipments.UNPICKED}"
            " ORDER BY x.id DESC"
        ),
        {"ids": as_ids(order_ids)},
    ).mappings()
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["order_line_id"], []).append(dict(row))
    return found


def _refuse_bad(wanted: Sequence[CancelledUnits], lines: dict[tuple[int, int], Any]) -> None:
    errors = []
    if not wanted:
        errors.append(FieldError("lines", "required", "at least one line"))
    seen = set()
    for index, each in enumerate(wanted):
        key = (each.order_id, each.line_no)
        if key not in lines:
            errors.append(FieldError(f"lines[{index}].line_no", "unknown_line", "no such line"))
        elif key in seen:
            errors.append(FieldError(f"lines[{index}].line_no", "repeated_line", "is there twice"))
        if each.units <= 0:
            errors.append(FieldError(f"lines[{index}].quantity", "not_positive", "at least 1"))
        seen.add(key)
    if errors:
        raise ValidationFailed("The cancellation has bad fields.", errors)


def _take(
    wanted: Sequence[CancelledUnits],
    lines: dict[tuple[int, int], Any],
    unpicked: dict[int, list[dict[str, Any]]],
) -> list[_Take]:
    takes, errors = [], []
    for index, each in enumerate(wanted):
        line = lines[each.order_id, each.line_no]
        backordered = min(each.units, line.backordered)
        rest = each.units - backordered
        parts = []
        for held in unpicked.get(line.id, []):
            if units := min(rest, held["quantity"]):
                rest -= units
                parts.append({**held, "units": units})
        if rest:
            message = f"only {each.units - rest} units are neither picked nor cancelled"
            errors.append(FieldError(f"lines[{index}].quantity", "being_picked", message))
        takes.append(_Take(line, backordered, parts))
    if errors:
        raise Conflict("Some units are picked, shipped or cancelled already.", errors)
    return takes


def _change_lines(
    connection: Connection, takes: Sequence[_Take], parameters: dict[str, Any]
) -> None:
    columns = dict.fromkeys(("id", "backordered", "allocated"), "bigint")
    included = "(SELECT o.tax_included FROM orders AS o WHERE o.id = l.order_id)"
    cancelled = "l.cancelled + r.backordered + r.allocated"
    rows = as_rows(
        {"id": take.line.id, "backordered": take.backordered, "allocated": take.allocated}
        for take in takes
    )
    execute(
        connection,
        "UPDATE order_lines AS l SET backordered = l.backordered - r.backordered,"
        f" allocated = l.allocated - r.allocated, cancelled = {cancelled},"
        f" cancelled_minor = {amounts.cancelled_sql('l', cancelled, included)},"
        " version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
        {**parameters, "rows": rows},
    )


def _change_orders(connection: Connection, parameters: dict[str, Any]) -> None:
    """Bring what is cancelled of the orders' totals, and so their statuses, up to date."""
    of_order = "FROM order_lines AS l WHERE l.order_id = orders.id"
    left = f"EXISTS (SELECT 1 {of_order} AND l.cancelled < l.quantity)"
    execute(
        connection,
        f"UPDATE orders SET cancel_reason = :reason, {_STAMP},"
        f" cancelled_minor = CASE WHEN {left} THEN (SELECT sum(l.cancelled_minor) {of_order})"
        f" ELSE total_minor END, status = CASE WHEN {left} THEN status ELSE 'cancelled' END,"
        f" hold_reason = CASE WHEN {left} THEN hold_reason END,"
        f" cancelled_at = CASE WHEN {left} THEN cancelled_at ELSE :now END"
        f" WHERE id IN ({ids(connection, 'ids')})",
        parameters,
    )
    execute(
        connection,
        f"UPDATE orders SET status = 'closed', closed_at = :now, hold_reason = NULL, {_STAMP}"
        f" WHERE id IN ({ids(connection, 'ids')}) AND status IN ('open', 'on_hold')"
        f" AND {consequences.FINISHED}",
        parameters,
    )


def _content(connection: Connection, shipment_ids: Sequence[int]) -> list[Quantity]:
    rows = connection.execute(
        sa.text(
            "SELECT s.warehouse_id, x.sku_id, x.quantity FROM shipment_lines AS x"
            f" JOIN shipments AS s ON s.id = x.shipment_id WHERE s.id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(shipment_ids)},
    )
    return [Quantity(row.warehouse_id, row.sku_id, row.quantity) for row in rows]


def _waited(connection: Connection, order_ids: Sequence[int]) -> set[tuple[int, int]]:
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT o.warehouse_id, l.sku_id FROM order_lines AS l"
            " JOIN orders AS o ON o.id = l.order_id"
            f" WHERE o.id IN ({ids(connection, 'ids')}) AND l.backordered > 0"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {(row.warehouse_id, row.sku_id) for row in rows}
