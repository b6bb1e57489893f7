"""The rows of ``picks``: what pickers were sent for, and what they found.

Callers hold the orders' rows. The wave's row is locked last of all, by those who may finish it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, execute, for_update, ids, rowset
from oms_ops.errors import Conflict, FieldError
from oms_ops.fulfilment.walk import Need, Take
from oms_ops.stock.levels import stamp_of


@dataclass(frozen=True, slots=True)
class OpenPick:
    """Units that somebody is to take from one place."""

    id: int
    location_id: int
    location: str
    on_floor: bool
    units: int
    need: Need
    order_id: int

    @property
    def pair(self) -> tuple[int, int]:
        """Whose units they are: (warehouse id, SKU id)."""
        return self.need.warehouse_id, self.need.sku_id


def insert(connection: Connection, actor: Actor, wave_id: int, takes: Sequence[Take]) -> None:
    """Send pickers of a wave for ``takes``."""
    columns = dict.fromkeys(
        ("shipment_id", "shipment_line_id", "location_id", "sku_id", "quantity"), "bigint"
    )
    rows = as_rows(
        {
            "shipment_id": take.need.shipment_id,
            "shipment_line_id": take.need.shipment_line_id,
            "location_id": take.location_id,
            "sku_id": take.need.sku_id,
            "quantity": take.units,
        }
        for take in takes
    )
    execute(
        connection,
        "INSERT INTO picks (wave_id, shipment_id, shipment_line_id, location_id, sku_id, quantity,"
        " version, changed_by, changed_at)"
        " SELECT :wave, shipment_id, shipment_line_id, location_id, sku_id, quantity, 1, :actor,"
        f" :now FROM ({rowset(connection, 'rows', columns)}) AS r",
        {"rows": rows, "wave": wave_id, **stamp_of(connection, actor)},
    )


def still_open(
    connection: Connection, *, wave_id: int | None = None, shipment_ids: Collection[int] = ()
) -> list[OpenPick]:
    """Return the open picks of a wave, or those of shipments."""
    chosen = "k.wave_id = :wave" if wave_id else f"k.shipment_id IN ({ids(connection, 'ids')})"
    rows = execute(
        connection,
        "SELECT k.id, k.location_id, p.code, p.kind = 'storage', k.quantity, k.shipment_id,"
        " s.number, k.shipment_line_id, s.warehouse_id, k.sku_id, s.order_id FROM picks AS k"
        " JOIN shipments AS s ON s.id = k.shipment_id JOIN locations AS p ON p.id = k.location_id"
        f" WHERE {chosen} AND k.picked IS NULL ORDER BY k.id",
        {"wave": wave_id} if wave_id else {"ids": as_ids(shipment_ids)},
    )
    picks = []
    for pick_id, location_id, code, on_floor, units, *need, order_id in rows:
        shipment_id, number, line_id, warehouse_id, sku_id = need
        wanted = Need(shipment_id, number, line_id, warehouse_id, sku_id, units)
        picks.append(OpenPick(pick_id, location_id, code, bool(on_floor), units, wanted, order_id))
    return picks


def stopped(order: str, status: str, hold_reason: str | None) -> str | None:
    """Return why nothing of an order is picked now; None where it is open."""
    if status == "open":
        return None
    why = f": {hold_reason}" if hold_reason else ""
    return f"{order} is {status.replace('_', ' ')}{why}"


def record(
    connection: Connection, actor: Actor, picks: Sequence[OpenPick], found: Mapping[int, int]
) -> None:
    """Record the units ``found`` by each pick's id.

    Raises:
        Conflict: a pick was recorded or dropped meanwhile, or its order is held; each is named.
    """
    # SQLite's RETURNING wants bare names: none of these may be a column of what it returns.
    rows = [{"pick_id": p.id, "planned": p.units, "units": found[p.id]} for p in picks]
    columns = dict.fromkeys(("pick_id", "planned", "units"), "bigint")
    recorded = execute(
        connection,
        "UPDATE picks AS k SET picked = r.units, picked_at = :now, version = k.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " WHERE k.id = r.pick_id AND k.picked IS NULL AND k.quantity = r.planned AND EXISTS ("
        "SELECT 1 FROM shipments AS s JOIN orders AS o ON o.id = s.order_id AND o.status = 'open'"
        " WHERE s.id = k.shipment_id AND s.wave_id = k.wave_id"
        " AND s.status IN ('allocated', 'picked')) RETURNING id",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    ).fetchall()
    if len(recorded) != len(rows):
        raise refusal(connection, {p.id for p in picks} - {row[0] for row in recorded})


def refusal(connection: Connection, pick_ids: Collection[int]) -> Conflict:
    """Return why picks cannot be recorded."""
    rows = execute(
        connection,
        "SELECT k.id, o.number, o.status, o.hold_reason FROM picks AS k"
        " JOIN shipments AS s ON s.id = k.shipment_id JOIN orders AS o ON o.id = s.order_id"
        f" WHERE k.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(pick_ids)},
    )
    known = {row[0]: stopped(*row[1:]) for row in rows}
    faults = []
    for pick_id in sorted(pick_ids):
        if why := known.get(pick_id):
            faults.append(FieldError(f"picks.{pick_id}", "order_not_open", why))
        else:
            message = "was recorded or dropped meanwhile"
            faults.append(FieldError(f"picks.{pick_id}", "not_open", message))
    return Conflict("Some picks cannot be recorded.", faults)


def drop(connection: Connection, actor: Actor, shipment_ids: Collection[int]) -> None:
    """Forget the picks of shipments; what was taken already stands in the ledger of moves."""
    parameters = {"ids": as_ids(shipment_ids), **stamp_of(connection, actor)}
    chosen = f"WHERE shipment_id IN ({ids(connection, 'ids')})"
    # The feed tells who deleted a row by what it held last.
    execute(
        connection,
        f"UPDATE picks SET version = version + 1, changed_by = :actor, changed_at = :now {chosen}",
        parameters,
    )
    execute(connection, f"DELETE FROM picks {chosen}", parameters)


def done_shipments(connection: Connection, shipment_ids: Collection[int]) -> list[int]:
    """Return those of the shipments in waves for which nobody walks any more."""
    rows = execute(
        connection,
        f"SELECT s.id FROM shipments AS s WHERE s.id IN ({ids(connection, 'ids')})"
        " AND s.status = 'allocated' AND s.wave_id IS NOT NULL AND NOT EXISTS ("
        "SELECT 1 FROM picks AS k WHERE k.shipment_id = s.id AND k.picked IS NULL) ORDER BY s.id",
        {"ids": as_ids(shipment_ids)},
    )
    return [row[0] for row in rows]


def finish_waves(connection: Connection, actor: Actor, wave_ids: Collection[int]) -> None:
    """Close those of the waves in which nothing is left to pick; the last thing of a transaction.

    A wave of which nothing was picked at all is cancelled.
    """
    if not wave_ids:
        return
    parameters = {"ids": as_ids(wave_ids), **stamp_of(connection, actor)}
    chosen = f"IN ({ids(connection, 'ids')})"
    # In a statement of its own: two who pick the last two shipments each see the other's.
    execute(
        connection,
        f"SELECT id FROM pick_waves WHERE id {chosen} ORDER BY id {for_update(connection)}",
        parameters,
    ).fetchall()
    of_wave = "SELECT 1 FROM picks AS k WHERE k.wave_id = v.id"
    execute(
        connection,
        "UPDATE pick_waves AS v SET finished_at = :now, status ="
        f" CASE WHEN EXISTS ({of_wave} AND k.picked > 0) THEN 'done' ELSE 'cancelled' END,"
        " version = v.version + 1, changed_by = :actor, changed_at = :now"
        f" WHERE v.id {chosen} AND v.status = 'open' AND NOT EXISTS (SELECT 1 FROM picks AS k"
        " JOIN shipments AS s ON s.id = k.shipment_id AND s.status = 'allocated'"
        " WHERE k.wave_id = v.id)",
        parameters,
    )
