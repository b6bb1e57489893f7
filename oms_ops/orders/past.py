"""Reads a period as it happened, for :mod:`oms_ops.orders.replay`: one query a table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import as_time, execute, read_time
from oms_ops.orders.replay import (
    ADDED,
    CANCELLED,
    MOVED,
    PLACED,
    REDUCED,
    TAKEN,
    Event,
    Past,
    PastOrder,
)
from oms_ops.orders.sites import Destination, Site
from oms_ops.settings import settings
from oms_ops.stock.tables import ON_HAND_KINDS


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` until before ``end``, both aware."""

    start: datetime
    end: datetime


_ON_HAND = "('storage', 'bin')"
_ENDS = (
    " FROM stock_moves AS m JOIN locations AS f ON f.id = m.from_location_id"
    " JOIN locations AS t ON t.id = m.to_location_id"
)


def read(
    connection: Connection, sites: list[Site], period: Period, *, may_split: bool | None = None
) -> Past:
    """Return the orders of ``period`` and the stock that they met.

    ``may_split`` supposes that every order may (or may not) be split; None takes each as it was.
    """
    bounds = {
        "start": as_time(connection, period.start),
        "end": as_time(connection, period.end),
    }
    available = _levels(connection, bounds)
    events = [
        *_taken(connection, bounds, period.start, available),
        *_moved(connection, bounds),
        *_orders(connection, bounds, may_split),
    ]
    # What was changed or cancelled of the orders later is no part of the period.
    events = [event for event in events if event[0] < period.end]
    events.sort(key=lambda event: event[:2])
    return Past(sites, available, events)


def _second(value: Any) -> datetime:
    """Return a moment to the second: what one transaction wrote then happened at once."""
    moment = read_time(value)
    assert moment is not None  # noqa: S101 - the columns are not nullable
    return moment.replace(microsecond=0)


def _levels(connection: Connection, bounds: dict[str, Any]) -> dict[tuple[int, int], int]:
    """Return the units on hand at the start: what was moved until then."""
    levels: dict[tuple[int, int], int] = {}
    for warehouse_id, sku_id, units in execute(
        connection,
        "SELECT warehouse_id, sku_id, sum(units) FROM ("
        "SELECT t.warehouse_id, m.sku_id, m.quantity AS units FROM stock_moves AS m"
        " JOIN locations AS t ON t.id = m.to_location_id"
        f" WHERE t.kind IN {_ON_HAND} AND m.occurred_at < :start"
        " UNION ALL SELECT f.warehouse_id, m.sku_id, -m.quantity FROM stock_moves AS m"
        " JOIN locations AS f ON f.id = m.from_location_id"
        f" WHERE f.kind IN {_ON_HAND} AND m.occurred_at < :start) AS moves"
        " GROUP BY warehouse_id, sku_id",
        bounds,
    ):
        levels[warehouse_id, sku_id] = int(units)
    return levels


def _taken(
    connection: Connection,
    bounds: dict[str, Any],
    start: datetime,
    available: dict[tuple[int, int], int],
) -> Iterator[Event]:
    """Yield what earlier orders took in the period; what they held at its start is not free."""
    for allocated_at, warehouse_id, sku_id, units in execute(
        connection,
        "SELECT s.allocated_at, s.warehouse_id, x.sku_id, x.quantity FROM shipments AS s"
        " JOIN orders AS o ON o.id = s.order_id AND o.placed_at < :start"
        " JOIN shipment_lines AS x ON x.shipment_id = s.id WHERE s.status <> 'cancelled'"
        " AND (s.shipped_at IS NULL OR s.shipped_at >= :start) AND s.allocated_at < :end",
        bounds,
    ):
        pair = (warehouse_id, sku_id)
        moment = _second(allocated_at)
        if moment < start:
            available[pair] = available.get(pair, 0) - units
        else:
            yield moment, TAKEN, (*pair, -units)


def _moved(connection: Connection, bounds: dict[str, Any]) -> Iterator[Event]:
    """Yield every move in or out of a warehouse's stock but the shipments to customers."""
    for occurred_at, sku_id, units, source, source_kind, target, target_kind in execute(
        connection,
        "SELECT m.occurred_at, m.sku_id, m.quantity, f.warehouse_id, f.kind, t.warehouse_id,"
        f" t.kind{_ENDS} WHERE m.occurred_at >= :start AND m.occurred_at < :end"
        " AND m.reason NOT IN ('shipment', 'putaway', 'pick') ORDER BY m.id",
        bounds,
    ):
        moment = _second(occurred_at)
        if source_kind in ON_HAND_KINDS:
            yield moment, MOVED, (source, sku_id, -units)
        if target_kind in ON_HAND_KINDS:
            yield moment, MOVED, (target, sku_id, units)


def _orders(
    connection: Connection, bounds: dict[str, Any], may_split: bool | None
) -> Iterator[Event]:
    lines, changes = _lines(connection, bounds)
    zone = settings().zone
    for row in execute(
        connection,
        "SELECT id, number, channel, ship_country, ship_region, ship_latitude, ship_longitude,"
        " allow_split, allow_backorder, routing, placed_at, cancelled_at FROM orders"
        " WHERE placed_at >= :start AND placed_at < :end ORDER BY placed_at, id",
        bounds,
    ):
        placed = _second(row[10])
        yield (
            placed,
            PLACED,
            PastOrder(
                id=row[0],
                number=row[1],
                channel=row[2],
                destination=Destination(*row[3:7]),
                allow_split=bool(row[7]) if may_split is None else may_split,
                allow_backorder=bool(row[8]),
                override=_override(row[9]),
                day=placed.astimezone(zone).date(),
                wanted=lines[row[0]],
                from_basket=_reason(row[9]).get("from_basket", False),
            ),
        )
        cancelled = None if row[11] is None else _second(row[11])
        if cancelled is not None:
            yield cancelled, CANCELLED, row[0]
        for moment, sku_id, units in changes[row[0]]:
            # The end of an order takes all of its units off by itself.
            if cancelled is None or moment < cancelled:
                yield moment, ADDED if units > 0 else REDUCED, (row[0], sku_id, abs(units))


#: What is left to send of an order's line, and when it was written, in a change ``c`` of the log.
_LOGGED = {
    "sqlite": (
        "json_extract(c.payload, '$.quantity') - json_extract(c.payload, '$.cancelled')",
        "json_extract(c.payload, '$.changed_at')",
    ),
    "postgresql": (
        "CAST(c.payload ->> 'quantity' AS bigint) - CAST(c.payload ->> 'cancelled' AS bigint)",
        "CAST(c.payload ->> 'changed_at' AS timestamptz)",
    ),
}


def _lines(
    connection: Connection, bounds: dict[str, Any]
) -> tuple[dict[int, list[tuple[int, int]]], dict[int, list[tuple[datetime, int, int]]]]:
    """Return what each order wanted, (SKU id, units) per line, and how that changed in the period.

    A change is (moment, SKU id, units more or, negative, less). The log tells both; of what was
    pruned from it, a line counts with the units that it has now.
    """
    units, at = _LOGGED[connection.dialect.name]
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    changes: dict[int, list[tuple[datetime, int, int]]] = defaultdict(list)
    for order_id, sku_id, quantity, is_new, is_added, moment, left, was in execute(
        connection,
        "WITH steps AS (SELECT l.id, l.order_id, l.sku_id, l.quantity, c.op, c.epoch, c.seq,"
        f" {units} AS units, {at} AS at,"
        f" (SELECT {at} FROM change_log AS c WHERE c.entity = 'orders' AND c.entity_id = o.id"
        "  AND c.op = 'I' ORDER BY c.epoch DESC, c.seq DESC LIMIT 1) AS captured_at,"
        f" lag({units}) OVER (PARTITION BY l.id ORDER BY c.epoch, c.seq) AS was,"
        " row_number() OVER (PARTITION BY l.id ORDER BY c.epoch, c.seq) AS place"
        " FROM orders AS o JOIN order_lines AS l ON l.order_id = o.id"
        " LEFT JOIN change_log AS c ON c.entity = 'order_lines' AND c.entity_id = l.id"
        " WHERE o.placed_at >= :start AND o.placed_at < :end)"
        " SELECT order_id, sku_id, quantity, place = 1, op = 'I' AND at > captured_at, at, units,"
        " was FROM steps WHERE place = 1 OR units <> was ORDER BY id, epoch, seq",
        bounds,
    ):
        if not is_new:
            changes[order_id].append((_second(moment), sku_id, left - was))
        elif is_added:
            changes[order_id].append((_second(moment), sku_id, left))
        else:
            wanted[order_id].append((sku_id, quantity if left is None else left))
    return wanted, changes


def _override(routing: Any) -> str | None:
    """Return the warehouse that a person named for the order."""
    reason = _reason(routing)
    return str(reason["warehouse"]) if reason.get("rule") == "override" else None


def _reason(routing: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(routing) if isinstance(routing, str) else routing
    return found
