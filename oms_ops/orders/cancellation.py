"""Cancel orders, or units of their lines, before anything of them is picked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, execute, ids
from oms_ops.errors import Conflict, NotFound
from oms_ops.orders import amounts, claims, consequences, shipments, stuck, tenders, totals, units
from oms_ops.orders.locks import lock_orders_and_waiting
from oms_ops.orders.queries import number_of
from oms_ops.orders.units import CancelledUnits, GivenBack
from oms_ops.payments import standing
from oms_ops.stock.ledger import Quantity

_STAMP = "version = version + 1, changed_by = :actor, changed_at = :now"


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
        NotFound: there is no such order.
        Conflict: an order is cancelled or closed already, or something of it is picked or shipped;
            each order is named with what holds it, and none is then cancelled.
    """
    actor.require(ORDERS_WRITE)
    if not order_ids:
        return
    parameters = _parameters(connection, actor, order_ids, reason)
    chosen = f"IN ({ids(connection, 'ids')})"
    # From here on nobody picks, fills or pays anything of these orders.
    statuses = _locked(connection, order_ids)
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
        faults = stuck.of_orders(connection, order_ids, statuses)
        raise Conflict("Not every order can be cancelled any more.", faults)
    given_back = GivenBack(
        _content(connection, [row[0] for row in emptied]), _waited(connection, order_ids)
    )
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
    standing.settle_cancelled(connection, actor, order_ids)
    if notify:
        consequences.tell(connection, order_ids, "order.cancelled", reason)
    consequences.give_units_back(connection, actor, given_back)


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
    statuses = _locked(connection, order_ids)
    if any(status in stuck.OVER for status in statuses.values()):
        over = [order_id for order_id in order_ids if statuses[order_id] in stuck.OVER]
        faults = stuck.of_orders(connection, over, statuses)
        raise Conflict("An order is over.", faults)
    claims.settle_good_will(connection, actor, order_ids)
    parameters = _parameters(connection, actor, order_ids, reason)
    given_back = units.take(connection, wanted, parameters)
    totals.refresh(connection, parameters)
    consequences.give_codes_back(connection, parameters)
    tenders.settle(connection, actor, order_ids)
    if notify:
        consequences.tell(connection, order_ids, "order.units_cancelled", reason)
    consequences.give_units_back(connection, actor, given_back)


def _locked(connection: Connection, order_ids: Sequence[int]) -> dict[int, str]:
    """Lock orders and those that wait for their units; return the statuses of the first."""
    statuses = lock_orders_and_waiting(connection, order_ids)
    if missing := set(order_ids) - set(statuses):
        raise NotFound(f"There is no order {number_of(min(missing), 'SO')}.")
    return statuses


def _parameters(
    connection: Connection, actor: Actor, order_ids: Sequence[int], reason: str
) -> dict[str, Any]:
    return {
        "ids": as_ids(order_ids),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
        "reason": reason,
    }


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
