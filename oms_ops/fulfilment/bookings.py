"""What a carrier is told of shipments: from where to where, and the parcels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, ids
from oms_ops.fulfilment.carriers.interface import Booking, ParcelOf

_PARTS = ("name", "line1", "line2", "city", "region", "postal_code", "country")


def of_labels(
    connection: Connection,
    label_ids: Collection[int],
    tracking_numbers: Mapping[int, str] | None = None,
) -> list[Booking]:
    """Return what is asked for with each label; ``tracking_numbers`` are typed in, by shipment.

    A shipment that was packed without saying into what is one parcel, as heavy as its goods where
    all of their weights are known.
    """
    typed = tracking_numbers or {}
    address = ", ".join(f"o.ship_{p} AS to_{p}" for p in (*_PARTS, "phone"))
    sender = ", ".join(f"w.{p} AS from_{p}" for p in _PARTS if p != "line2")
    rows = connection.execute(
        sa.text(
            "SELECT b.id, b.number AS reference, b.booking, s.id AS shipment_id,"
            f" s.number AS shipment, o.number AS order_number, {address}, {sender}"
            " FROM shipment_labels AS b JOIN shipments AS s ON s.id = b.shipment_id"
            " JOIN orders AS o ON o.id = s.order_id JOIN warehouses AS w ON w.id = s.warehouse_id"
            f" WHERE b.id IN ({ids(connection, 'ids')}) ORDER BY b.id"
        ),
        {"ids": as_ids(label_ids)},
    ).all()
    parcels = _parcels(connection, [row.shipment_id for row in rows])
    return [
        Booking(
            reference=row.reference,
            booking=row.booking,
            shipment_id=row.shipment_id,
            shipment=row.shipment,
            order=row.order_number,
            ship_from=_address(row, "from"),
            ship_to=_address(row, "to"),
            parcels=parcels[row.shipment_id],
            tracking_number=typed.get(row.shipment_id),
        )
        for row in rows
    ]


def _address(row: Any, prefix: str) -> dict[str, str | None]:
    return {part: getattr(row, f"{prefix}_{part}", None) for part in (*_PARTS, "phone")}


def _parcels(
    connection: Connection, shipment_ids: Collection[int]
) -> dict[int, tuple[ParcelOf, ...]]:
    chosen = f"IN ({ids(connection, 'ids')})"
    rows = connection.execute(
        sa.text(
            "SELECT shipment_id, parcel_no, weight_grams FROM parcels"
            f" WHERE shipment_id {chosen}"
            # A weight that is not known makes the sum of all not known.
            " UNION ALL SELECT x.shipment_id, 1, CASE WHEN count(*) = count(k.weight_grams)"
            " THEN CAST(sum(x.quantity * k.weight_grams) AS bigint) END"
            " FROM shipment_lines AS x JOIN skus AS k ON k.id = x.sku_id"
            f" WHERE x.shipment_id {chosen} AND NOT EXISTS ("
            "SELECT 1 FROM parcels AS p WHERE p.shipment_id = x.shipment_id)"
            " GROUP BY x.shipment_id ORDER BY 1, 2"
        ),
        {"ids": as_ids(shipment_ids)},
    )
    found: dict[int, tuple[ParcelOf, ...]] = {}
    for row in rows:
        before = found.get(row.shipment_id, ())
        found[row.shipment_id] = (*before, ParcelOf(row.parcel_no, row.weight_grams))
    return found
