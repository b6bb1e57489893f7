"""Move shipments along: pick, pack, ship, deliver. Each command takes a set of shipments.

One transition table says what follows what; the UPDATE carries the expected status, so a shipment
that somebody else moved or cancelled meanwhile is refused instead of moved twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import as_ids, as_rows, as_time, ids, rowset
from oms_ops.errors import Conflict
from oms_ops.notifications.tables import OutboxMessage
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity

#: step -> (status it needs, status it leaves, column of its moment)
TRANSITIONS = {
    "pick": ("allocated", "picked", "picked_at"),
    "pack": ("picked", "packed", "packed_at"),
    "ship": ("packed", "shipped", "shipped_at"),
    "deliver": ("shipped", "delivered", "delivered_at"),
}


def pick(connection: Connection, actor: Actor, shipment_ids: Sequence[int]) -> None:
    """Record that the goods were taken from their bins."""
    _advance(connection, actor, shipment_ids, "pick")


def pack(connection: Connection, actor: Actor, shipment_ids: Sequence[int]) -> None:
    """Record that the goods are in parcels."""
    _advance(connection, actor, shipment_ids, "pack")


def ship(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    carrier: str = "manual",
    tracking_numbers: dict[int, str] | None = None,
    notify: bool = True,
) -> None:
    """Hand the parcels to the carrier: the units leave the stock and the customer is told.

    ``tracking_numbers`` maps a shipment's id to the carrier's number. ``notify=False`` is for
    loading history, whose customers were told long ago.
    """
    if not shipment_ids:
        return
    _advance(
        connection, actor, shipment_ids, "ship", carrier=carrier, tracking=tracking_numbers or {}
    )
    stamp = {
        "ids": as_ids(shipment_ids),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
    }
    chosen = f"IN ({ids(connection, 'ids')})"
    connection.execute(
        sa.text(
            "UPDATE order_lines AS l SET allocated = l.allocated - p.units,"
            " shipped = l.shipped + p.units, version = l.version + 1,"
            " changed_by = :actor, changed_at = :now"
            " FROM (SELECT order_line_id, CAST(sum(quantity) AS bigint) AS units"
            f" FROM shipment_lines WHERE shipment_id {chosen} GROUP BY order_line_id) AS p"
            " WHERE l.id = p.order_line_id"
        ),
        stamp,
    )
    lines = connection.execute(
        sa.text(
            "SELECT s.warehouse_id, sl.sku_id, sl.quantity, s.number FROM shipment_lines AS sl"
            f" JOIN shipments AS s ON s.id = sl.shipment_id WHERE s.id {chosen}"
        ),
        stamp,
    ).all()
    if notify:
        _tell(connection, shipment_ids)
    ledger.ship(
        connection,
        actor,
        [Quantity(row.warehouse_id, row.sku_id, row.quantity) for row in lines],
        [row.number for row in lines],
    )


def deliver(connection: Connection, actor: Actor, shipment_ids: Sequence[int]) -> None:
    """Record that the customer has the parcels; an order with nothing left to do is closed."""
    if not shipment_ids:
        return
    _advance(connection, actor, shipment_ids, "deliver")
    connection.execute(
        sa.text(
            "UPDATE orders SET status = 'closed', closed_at = :now, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            " WHERE status = 'open' AND id IN ("
            f"SELECT order_id FROM shipments WHERE id IN ({ids(connection, 'ids')}))"
            " AND NOT EXISTS (SELECT 1 FROM order_lines AS l WHERE l.order_id = orders.id"
            " AND l.allocated + l.backordered > 0)"
            " AND NOT EXISTS (SELECT 1 FROM shipments AS s WHERE s.order_id = orders.id"
            " AND s.status NOT IN ('delivered', 'cancelled'))"
        ),
        {
            "ids": as_ids(shipment_ids),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )


def _advance(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    step: str,
    *,
    carrier: str | None = None,
    tracking: Mapping[int, str] | None = None,
) -> None:
    actor.require(FULFIL)
    if not shipment_ids:
        return
    needs, leaves, moment = TRANSITIONS[step]
    # Cancel, hold and the filling of backorders hold the same rows: they come before or after.
    lock_orders_of_shipments(connection, shipment_ids)
    numbers = tracking or {}
    columns = {"id": "bigint", "tracking_number": "text"}
    rows = ({"id": i, "tracking_number": numbers.get(i)} for i in sorted(set(shipment_ids)))
    moved = connection.execute(
        sa.text(
            f"UPDATE shipments AS s SET status = '{leaves}', {moment} = :now,"
            " carrier = coalesce(:carrier, s.carrier),"
            " tracking_number = coalesce(r.tracking_number, s.tracking_number),"
            " version = s.version + 1, changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            f" WHERE s.id = r.id AND s.status = '{needs}'"
            " AND EXISTS (SELECT 1 FROM orders AS o WHERE o.id = s.order_id"
            " AND o.status = 'open')"
        ),
        {
            "rows": as_rows(rows),
            "carrier": carrier,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    ).rowcount
    if moved != len(set(shipment_ids)):
        raise Conflict(f"To {step}, a shipment must be {needs} and its order open; one is not.")


def _tell(connection: Connection, shipment_ids: Sequence[int]) -> None:
    rows = connection.execute(
        sa.text(
            "SELECT o.number, s.number AS shipment, s.carrier, s.tracking_number, c.email"
            " FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
            " JOIN customers AS c ON c.id = o.customer_id"
            f" WHERE s.id IN ({ids(connection, 'ids')})"
        ),
        {"ids": as_ids(shipment_ids)},
    )
    connection.execute(
        sa.insert(OutboxMessage),
        [
            {
                "kind": "shipment.shipped",
                "recipient": row.email,
                "payload": {
                    "order": row.number,
                    "shipment": row.shipment,
                    "carrier": row.carrier,
                    "tracking_number": row.tracking_number,
                },
                "created_at": clock.now(),
            }
            for row in rows
        ],
    )
