"""Pick waves: shipments of one warehouse that are picked in one walk.

A shipment in a wave stays as it is: its order is amended, cancelled or routed again only after the
wave gave it back. Picks are planned when the wave is opened, so that two pickers are never sent for
the same units of a bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import Retry, as_ids, execute, ids
from oms_ops.errors import Conflict, FieldError, NotFound
from oms_ops.fulfilment import picks, walk
from oms_ops.fulfilment.transitions import WAITS
from oms_ops.fulfilment.walk import Need, Take, Walk
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.orders.queries import id_of
from oms_ops.orders.shipments import UNPICKED
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names

#: Shipments of one wave: what a picker can push, and at most.
USUAL_SHIPMENTS = 20
MOST_SHIPMENTS = 500
#: Of so many waiting shipments, the oldest, a wave is chosen.
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave that is being picked."""

    id: int
    number: str
    warehouse_id: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What goes into a wave: goods that lie in ``zone`` alone, and how much of them.

    A shipment that has more than ``units`` by itself is a wave of its own.
    """

    zone: str | None = None
    shipments: int = USUAL_SHIPMENTS
    units: int | None = None


def open_wave(connection: Connection, actor: Actor, warehouse: str, limits: Limits) -> str:
    """Open a wave of the warehouse's oldest shipments that may be picked; return its number.

    Shipments on hold, in another wave, or of an order that is to leave complete while some of it
    waits are left out.

    Raises:
        ValidationFailed: the warehouse, its zone or a limit is none.
        Conflict: nothing is there to pick.
    """
    actor.require(FULFIL)
    warehouse_id = _checked(connection, warehouse, limits)
    _queue_up(connection, warehouse_id)
    waiting = _waiting(connection, warehouse_id, limits)
    lock_orders_of_shipments(connection, waiting)
    needs = walk.needs_of(connection, waiting)
    found = walk.read(connection, {(n.warehouse_id, n.sku_id) for n in needs}, zone=limits.zone)
    takes = _chosen(needs, found, walk.floors(connection), limits)
    if not takes:
        where = f" in zone {limits.zone}" if limits.zone else ""
        message = f"{warehouse} has no shipment to pick{where}"
        raise Conflict(f"{message}.", [FieldError("warehouse", "nothing_to_pick", message)])
    wave_id, number = _insert(connection, actor, warehouse_id, limits.zone)
    _take_in(connection, actor, wave_id, sorted({take.need.shipment_id for take in takes}))
    picks.insert(connection, actor, wave_id, takes)
    return number


def cancel(connection: Connection, actor: Actor, number: str) -> list[str]:
    """Give back the shipments of a wave of which nothing was picked; return their numbers.

    What was begun stays in the wave and is picked to its end.

    Raises:
        NotFound: there is no such wave.
        Conflict: it is not open, or all of its shipments were begun.
    """
    actor.require(FULFIL)
    wave = find_open(connection, number)
    untouched = (
        "s.wave_id = :wave AND s.status = 'allocated' AND NOT EXISTS (SELECT 1 FROM picks AS k"
        " WHERE k.shipment_id = s.id AND k.picked IS NOT NULL)"
    )
    rows = execute(
        connection, f"SELECT s.id FROM shipments AS s WHERE {untouched}", {"wave": wave.id}
    )
    lock_orders_of_shipments(connection, [row[0] for row in rows.fetchall()])
    freed = execute(
        connection,
        "UPDATE shipments AS s SET wave_id = NULL, version = version + 1, changed_by = :actor,"
        f" changed_at = :now WHERE {untouched} RETURNING id, number",
        {"wave": wave.id, **stamp_of(connection, actor)},
    ).fetchall()
    if not freed:
        message = "everything in it was begun"
        raise Conflict(
            f"{number} cannot be cancelled: {message}.", [FieldError("number", "begun", message)]
        )
    picks.drop(connection, actor, [row[0] for row in freed])
    picks.finish_waves(connection, actor, [wave.id])
    return sorted(row[1] for row in freed)


def find_open(connection: Connection, number: str) -> Wave:
    """Return an open wave.

    Raises:
        NotFound: there is no such wave.
        Conflict: it is not open any more.
    """
    row = execute(
        connection,
        "SELECT id, number, warehouse_id, status FROM pick_waves WHERE id = :id",
        {"id": id_of(number.strip().upper(), "WV")},
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no wave {number}.")
    if row[3] != "open":
        message = f"{row[1]} is {row[3]}"
        raise Conflict(f"{message}.", [FieldError("number", "wrong_status", message)])
    return Wave(*row[:3])


def _checked(connection: Connection, warehouse: str, limits: Limits) -> int:
    names = Names(connection, "The wave")
    warehouse_id = names.warehouse("warehouse", warehouse)
    if not 1 <= limits.shipments <= MOST_SHIPMENTS:
        names.fault("max_shipments", "out_of_range", f"between 1 and {MOST_SHIPMENTS}")
    if limits.units is not None:
        names.units("max_units", limits.units)
    if warehouse_id and limits.zone is not None:
        known = execute(
            connection,
            "SELECT 1 FROM locations WHERE warehouse_id = :warehouse AND zone = :zone LIMIT 1",
            {"warehouse": warehouse_id, "zone": limits.zone},
        ).fetchone()
        if known is None:
            names.fault("zone", "unknown_zone", f"{warehouse} has no zone {limits.zone!r}")
    names.check()
    return warehouse_id


def _queue_up(connection: Connection, warehouse_id: int) -> None:
    """Let those who open waves of one warehouse come one after the other.

    What refers to the warehouse goes on meanwhile: its key is not locked.
    """
    if connection.dialect.name == "sqlite":
        return
    execute(
        connection,
        "SELECT id FROM warehouses WHERE id = :id FOR NO KEY UPDATE",
        {"id": warehouse_id},
    ).fetchone()


def _waiting(connection: Connection, warehouse_id: int, limits: Limits) -> list[int]:
    """Return the shipments that may be picked, those of the oldest orders first."""
    # Without a zone, the limit of shipments says how many are looked at; a limit of units passes
    # over some.
    plain = limits.zone is None and limits.units is None
    rows = execute(
        connection,
        "SELECT s.id FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
        f" WHERE s.warehouse_id = :warehouse AND {UNPICKED} AND o.status = 'open'"
        f" AND NOT {WAITS} ORDER BY o.placed_at, o.id, s.id LIMIT :most",
        {"warehouse": warehouse_id, "most": limits.shipments if plain else _LOOKED_AT},
    )
    return [row[0] for row in rows]


def _chosen(
    needs: Sequence[Need], found: Walk, floors: dict[int, int], limits: Limits
) -> list[Take]:
    """Return the takes of the shipments that fit into the limits, in their order."""
    by_shipment: dict[int, list[Need]] = {}
    for need in needs:
        by_shipment.setdefault(need.shipment_id, []).append(need)
    takes: list[Take] = []
    chosen, units = 0, 0
    for wanted in by_shipment.values():
        more = sum(need.units for need in wanted)
        if limits.units is not None and takes and units + more > limits.units:
            continue
        pairs = {(need.warehouse_id, need.sku_id) for need in wanted}
        here = {pair: found[pair] for pair in pairs if pair in found}
        left = deepcopy(here)
        planned = walk.plan(wanted, left, floors)
        if limits.zone is not None and not _in_zone(planned, here, limits.zone):
            continue
        found |= left
        takes += planned
        chosen, units = chosen + 1, units + more
        if chosen == limits.shipments or (limits.units is not None and units >= limits.units):
            break
    return takes


def _in_zone(takes: Sequence[Take], found: Walk, zone: str) -> bool:
    bins = {
        place.location_id for places in found.values() for place in places if place.zone == zone
    }
    return all(take.location_id in bins for take in takes)


def _insert(
    connection: Connection, actor: Actor, warehouse_id: int, zone: str | None
) -> tuple[int, str]:
    row = execute(
        connection,
        "INSERT INTO pick_waves (warehouse_id, status, zone, created_at, version, changed_by,"
        " changed_at) VALUES (:warehouse, 'open', :zone, :now, 1, :actor, :now)"
        " RETURNING id, number",
        {"warehouse": warehouse_id, "zone": zone, **stamp_of(connection, actor)},
    ).fetchone()
    return row[0], row[1]


def _take_in(connection: Connection, actor: Actor, wave_id: int, shipment_ids: list[int]) -> None:
    taken = execute(
        connection,
        "UPDATE shipments AS s SET wave_id = :wave, version = s.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" WHERE s.id IN ({ids(connection, 'ids')}) AND {UNPICKED}"
        " AND EXISTS (SELECT 1 FROM orders AS o WHERE o.id = s.order_id AND o.status = 'open')",
        {"wave": wave_id, "ids": as_ids(shipment_ids), **stamp_of(connection, actor)},
    ).rowcount
    if taken != len(shipment_ids):
        raise Retry("a shipment was picked or changed while the wave was planned")
