"""Move shipments along: pick, pack, ship, deliver. Each command takes a set of shipments.

:mod:`oms_ops.fulfilment.transitions` says what follows what; what becomes of a parcel on its way is
in :mod:`oms_ops.fulfilment.delivery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, SYSTEM, Actor
from oms_ops.database import as_ids, execute, ids
from oms_ops.fulfilment.delivery import deliver
from oms_ops.fulfilment.packing import pack
from oms_ops.fulfilment.picking import pick
from oms_ops.fulfilment.transitions import Details, advance, refuse_others, tell
from oms_ops.orders import collecting
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity
from oms_ops.stock.levels import stamp_of

__all__ = ["deliver", "pack", "pick", "ship"]


def ship(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    carrier: str | None = None,
    tracking_numbers: Mapping[int, str] | None = None,
    notify: bool = True,
) -> None:
    """Hand the parcels to the carrier: the units leave the stock and the customer is told.

    Carrier and tracking number are those of the label, unless they are given; ``tracking_numbers``
    maps a shipment's id to the carrier's number. ``notify=False`` is for loading history, whose
    customers were told long ago.

    Raises:
        ValidationFailed: a number is of another shipment.
        Conflict: a shipment or its order is not in a status for it; each is named.
    """
    actor.require(FULFIL)
    numbers = tracking_numbers or {}
    refuse_others(shipment_ids, numbers)
    details = {i: Details(carrier=carrier, tracking_number=numbers.get(i)) for i in shipment_ids}
    moved = advance(connection, actor, shipment_ids, "ship", details=details)
    if not moved:
        return
    stamp = {"ids": as_ids(m.id for m in moved), **stamp_of(connection, actor)}
    chosen = f"IN ({ids(connection, 'ids')})"
    execute(
        connection,
        "UPDATE order_lines AS l SET allocated = l.allocated - p.units,"
        " shipped = l.shipped + p.units, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        " FROM (SELECT order_line_id, CAST(sum(quantity) AS bigint) AS units"
        f" FROM shipment_lines WHERE shipment_id {chosen} GROUP BY order_line_id) AS p"
        " WHERE l.id = p.order_line_id",
        stamp,
    )
    lines = execute(
        connection,
        "SELECT s.warehouse_id, sl.sku_id, sl.quantity, s.number FROM shipment_lines AS sl"
        f" JOIN shipments AS s ON s.id = sl.shipment_id WHERE s.id {chosen} ORDER BY sl.id",
        stamp,
    ).fetchall()
    if notify:
        tell(connection, "shipment.shipped", [m.id for m in moved])
    # What has left is earned; the gateways are asked for it after the commit.
    collecting.collect(connection, SYSTEM, {m.order_id for m in moved})
    ledger.ship(connection, actor, [Quantity(*row[:3]) for row in lines], [row[3] for row in lines])
