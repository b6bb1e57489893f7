"""Where a picker finds what shipments need: in bins in the order of the walk, then on the floor.

What open picks were promised of a bin is not free. Whoever plans holds the stock levels, so that
two who plan, or one who plans and one who moves goods, come one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.stock.names import own
from oms_ops.stock.places import lock_levels


@dataclass(frozen=True, slots=True)
class Need:
    """``units`` of a shipment line that are to be picked."""

    shipment_id: int
    number: str
    shipment_line_id: int
    warehouse_id: int
    sku_id: int
    units: int


@dataclass(frozen=True, slots=True)
class Take:
    """``units`` of a need, from one place; on the floor they only change hands."""

    need: Need
    location_id: int
    units: int
    on_floor: bool


@dataclass(slots=True)
class Bin:
    """A bin in the walk and what of one SKU is free in it."""

    location_id: int
    zone: str | None
    free: int


#: By (warehouse id, SKU id), the bins that hold it in the order of the walk.
Walk = dict[tuple[int, int], list[Bin]]

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}


def plan(needs: Sequence[Need], walk: Walk, floors: Mapping[int, int]) -> list[Take]:
    """Return from where each need is taken; what no bin has comes from the floor.

    ``floors`` has the storage location per warehouse id. The bins' free units are used up.
    """
    takes = []
    for need in needs:
        left = need.units
        for place in walk.get((need.warehouse_id, need.sku_id), ()):
            units = min(left, place.free)
            if units > 0:
                place.free -= units
                left -= units
                takes.append(Take(need, place.location_id, units, on_floor=False))
            if not left:
                break
        if left:
            takes.append(Take(need, floors[need.warehouse_id], left, on_floor=True))
    return takes


def read(
    connection: Connection,
    pairs: Iterable[tuple[int, int]],
    *,
    zone: str | None = None,
    lock: bool = True,
) -> Walk:
    """Return the bins that hold pairs (warehouse id, SKU id); ``lock`` keeps it so.

    The bins of ``zone`` come first. A warehouse without bins costs one look at its places.
    """
    wanted = set(pairs)
    with_bins = _with_bins(connection, {warehouse_id for warehouse_id, _ in wanted})
    wanted = {pair for pair in wanted if pair[0] in with_bins}
    if not wanted:
        return {}
    if lock:
        lock_levels(connection, wanted)
    rows = execute(
        connection,
        "SELECT p.warehouse_id, c.sku_id, p.id, p.zone, c.quantity - coalesce(("
        "SELECT sum(k.quantity) FROM picks AS k WHERE k.location_id = c.location_id"
        " AND k.sku_id = c.sku_id AND k.picked IS NULL), 0)"
        f" FROM ({rowset(connection, 'pairs', _PAIR)}) AS r"
        " JOIN location_levels AS c ON c.sku_id = r.sku_id AND c.quantity > 0"
        " JOIN locations AS p ON p.id = c.location_id AND p.kind = 'bin'"
        " AND p.warehouse_id = r.warehouse_id"
        " ORDER BY coalesce(p.pick_sequence, 2147483647), p.code",
        {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(wanted))},
    )
    walk: Walk = {}
    for warehouse_id, sku_id, location_id, bin_zone, free in rows:
        walk.setdefault((warehouse_id, sku_id), []).append(Bin(location_id, bin_zone, int(free)))
    if zone is not None:
        for bins in walk.values():
            bins.sort(key=lambda place: place.zone != zone)
    return walk


def assign(connection: Connection, needs: Sequence[Need], *, zone: str | None = None) -> list[Take]:
    """Read the walk and plan ``needs`` with it."""
    walk = read(connection, {(n.warehouse_id, n.sku_id) for n in needs}, zone=zone)
    return plan(needs, walk, floors(connection))


def floors(connection: Connection) -> dict[int, int]:
    """Return the storage location of each warehouse, by its id."""
    return {warehouse_id: place.id for warehouse_id, place in own(connection, "storage").items()}


def needs_of(connection: Connection, shipment_ids: Collection[int]) -> list[Need]:
    """Return all that shipments hold, in the order in which they are given."""
    rows = execute(
        connection,
        "SELECT x.shipment_id, s.number, x.id, s.warehouse_id, x.sku_id, x.quantity"
        " FROM shipment_lines AS x JOIN shipments AS s ON s.id = x.shipment_id"
        f" WHERE x.shipment_id IN ({ids(connection, 'ids')}) ORDER BY x.id",
        {"ids": as_ids(shipment_ids)},
    ).fetchall()
    order = {shipment_id: index for index, shipment_id in enumerate(shipment_ids)}
    return sorted((Need(*row) for row in rows), key=lambda need: order[need.shipment_id])


def has_bins(connection: Connection) -> bool:
    """Tell whether any warehouse has bins."""
    found = execute(connection, "SELECT 1 FROM locations WHERE kind = 'bin' LIMIT 1", {})
    return found.fetchone() is not None


def _with_bins(connection: Connection, warehouse_ids: Collection[int]) -> set[int]:
    rows = execute(
        connection,
        "SELECT DISTINCT warehouse_id FROM locations WHERE kind = 'bin'"
        f" AND warehouse_id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(warehouse_ids)},
    )
    return {row[0] for row in rows}
