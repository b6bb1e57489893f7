"""Reads what routing again needs: units in shipments, and the orders that they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, execute, ids, read_time, rowset
from oms_ops.errors import Conflict, FieldError, NotFound
from oms_ops.orders.replan import Affected, Leaving, Line
from oms_ops.orders.shipments import UNPICKED
from oms_ops.orders.sites import Destination

_LEAVING = (
    "SELECT x.shipment_id, x.id, x.order_line_id, s.order_id, x.sku_id, x.quantity, s.warehouse_id"
    " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
)


def shipments_of_lines(connection: Connection, line_ids: Iterable[int]) -> list[int]:
    """Return the ids of the shipments that the shipment lines are in.

    Raises:
        NotFound: there is no such line.
    """
    wanted = set(line_ids)
    rows = execute(
        connection,
        f"SELECT id, shipment_id FROM shipment_lines WHERE id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(wanted)},
    ).fetchall()
    if missing := wanted - {row[0] for row in rows}:
        raise NotFound(f"There is no shipment line {min(missing)}.")
    return sorted({row[1] for row in rows})


def shipments_of_numbers(connection: Connection, numbers: Sequence[str]) -> list[int]:
    """Return the ids of the shipments with these numbers, in their order.

    Raises:
        NotFound: there is no such shipment.
    """
    rows = execute(
        connection,
        "SELECT s.number, s.id FROM"
        f" ({rowset(connection, 'numbers', {'number': 'text', 'id': 'bigint'})}) AS r"
        " JOIN shipments AS s ON s.id = r.id AND s.number = r.number",
        {"numbers": as_rows({"number": each, "id": _id_of(each)} for each in numbers)},
    )
    found = {row[0]: row[1] for row in rows}
    if missing := [each for each in numbers if each not in found]:
        raise NotFound(f"There is no shipment {missing[0]!r}.")
    return [found[each] for each in dict.fromkeys(numbers)]


def _id_of(number: str) -> int:
    """Return the id that a shipment with this number would have."""
    digits = number.removeprefix("SH-")
    return int(digits) - 10_000_000 if digits.isascii() and digits.isdecimal() else -1


def of_lines(connection: Connection, units: Mapping[int, int]) -> list[Leaving]:
    """Return what leaves: ``units`` by the id of a shipment line that is not shipped yet.

    Raises:
        Conflict: a line holds fewer units, or its shipment is shipped or cancelled.
    """
    rows = execute(
        connection,
        f"{_LEAVING} WHERE x.id IN ({ids(connection, 'ids')})"
        " AND s.status IN ('allocated', 'picked', 'packed') ORDER BY x.id",
        {"ids": as_ids(units)},
    )
    leaving = [Leaving(*(*row, units[row[1]])) for row in rows]
    held = {each.shipment_line_id: each.quantity for each in leaving}
    faults = [
        FieldError(f"takes[{index}].units", "not_held", f"the line holds {held.get(line_id, 0)}")
        for index, (line_id, wanted) in enumerate(units.items())
        if held.get(line_id, 0) < wanted
    ]
    if faults:
        raise Conflict("A shipment does not hold so many units any more.", faults)
    return leaving


def immovable(connection: Connection, shipment_ids: Sequence[int]) -> list[FieldError]:
    """Return which shipments there are not, or somebody picks, by their places in the list."""
    rows = execute(
        connection,
        f"SELECT s.id, s.number, s.status, {UNPICKED} FROM shipments AS s"
        f" WHERE s.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(shipment_ids)},
    )
    found = {row[0]: row[1:] for row in rows}
    faults = []
    for index, shipment_id in enumerate(shipment_ids):
        field = f"shipment_ids[{index}]"
        number, status, unpicked = found.get(shipment_id, (None, None, False))
        if number is None:
            faults.append(FieldError(field, "unknown_shipment", f"no shipment {shipment_id}"))
        elif not unpicked:
            where = "in a wave" if status == "allocated" else status
            faults.append(FieldError(field, "not_unpicked", f"{number} is {where}"))
    return faults


def of_shipments(connection: Connection, shipment_ids: Sequence[int]) -> list[Leaving]:
    """Return all that is in shipments, none of which is :func:`immovable`."""
    rows = execute(
        connection,
        f"{_LEAVING} WHERE x.shipment_id IN ({ids(connection, 'ids')}) ORDER BY x.id",
        {"ids": as_ids(shipment_ids)},
    )
    return [Leaving(*(*row, row[5])) for row in rows]


def orders(connection: Connection, leaving: Sequence[Leaving]) -> list[Affected]:
    """Return the orders with units that leave, the oldest first."""
    parameters = {"ids": as_ids({each.order_id for each in leaving})}
    chosen = f"IN ({ids(connection, 'ids')})"
    parts: dict[int, list[Leaving]] = defaultdict(list)
    for each in leaving:
        parts[each.order_id].append(each)
    lines: dict[int, list[Line]] = defaultdict(list)
    for order_id, *line in execute(
        connection,
        "SELECT l.order_id, l.id, l.line_no, l.sku_id, k.code, l.backordered FROM order_lines AS l"
        f" JOIN skus AS k ON k.id = l.sku_id WHERE l.order_id {chosen} ORDER BY l.id",
        parameters,
    ):
        lines[order_id].append(Line(*line))
    elsewhere = _elsewhere(connection, leaving, parameters, chosen)
    rows = execute(
        connection,
        "SELECT o.id, o.number, c.email, o.channel, o.allow_split, o.warehouse_id, o.ship_country,"
        " o.ship_region, o.ship_latitude, o.ship_longitude, o.placed_at FROM orders AS o"
        f" JOIN customers AS c ON c.id = o.customer_id WHERE o.id {chosen}"
        " ORDER BY o.placed_at, o.id",
        parameters,
    )
    return [
        Affected(
            id=row[0],
            number=row[1],
            email=row[2],
            channel=row[3],
            allow_split=bool(row[4]),
            home_id=row[5],
            destination=Destination(*row[6:10]),
            placed_at=cast(datetime, read_time(row[10])),
            lines=lines[row[0]],
            leaving=parts[row[0]],
            elsewhere=frozenset(elsewhere[row[0]]),
        )
        for row in rows
    ]


def _elsewhere(
    connection: Connection, leaving: Sequence[Leaving], parameters: dict[str, Any], chosen: str
) -> dict[int, set[int]]:
    """Return per order the warehouses that have units of it which do not leave."""
    rows = execute(
        connection,
        "SELECT s.order_id, s.warehouse_id, sum(x.quantity) FROM shipments AS s"
        f" JOIN shipment_lines AS x ON x.shipment_id = s.id WHERE s.order_id {chosen}"
        " AND s.status <> 'cancelled' GROUP BY s.order_id, s.warehouse_id",
        parameters,
    )
    left = {(row[0], row[1]): int(row[2]) for row in rows}
    for each in leaving:
        left[each.order_id, each.warehouse_id] -= each.units
    found: dict[int, set[int]] = defaultdict(set)
    for (order_id, warehouse_id), units in left.items():
        if units:
            found[order_id].add(warehouse_id)
    return found


def placement(connection: Connection, order_ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return where the units of orders are: a row a shipment and line, and one for what waits."""
    rows = execute(
        connection,
        "SELECT o.number, w.code, s.number, s.status, l.line_no, k.code, x.quantity"
        " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
        " JOIN orders AS o ON o.id = s.order_id JOIN warehouses AS w ON w.id = s.warehouse_id"
        " JOIN order_lines AS l ON l.id = x.order_line_id JOIN skus AS k ON k.id = x.sku_id"
        f" WHERE o.id IN ({ids(connection, 'ids')}) AND s.status <> 'cancelled'"
        " UNION ALL SELECT o.number, w.code, NULL, 'backordered', l.line_no, k.code, l.backordered"
        " FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
        " JOIN warehouses AS w ON w.id = o.warehouse_id JOIN skus AS k ON k.id = l.sku_id"
        f" WHERE o.id IN ({ids(connection, 'ids')}) AND l.backordered > 0 ORDER BY 1, 5, 2",
        {"ids": as_ids(order_ids)},
    )
    names = ("order", "warehouse", "shipment", "status", "line_no", "sku", "quantity")
    return [dict(zip(names, row, strict=True)) for row in rows]
