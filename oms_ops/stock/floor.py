"""What of a warehouse's goods is free to be moved, and a refusal that says how much that is.

The floor is what lies in no bin. Goods that were picked stand there too, until they are shipped:
they are *staged*, and neither a putaway nor a transfer may take them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.database import as_rows, execute, for_update, rowset
from oms_ops.errors import FieldError, OutOfStock

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}

#: Begins a statement: ``staged`` has, by warehouse and SKU, the ``units`` that were picked and
#: stand on the floor. It is worked out once, whatever the planner thinks of its size.
WITH_STAGED = (
    "WITH staged AS MATERIALIZED (SELECT warehouse_id, sku_id, sum(units) AS units FROM ("
    "SELECT s.warehouse_id, sl.sku_id, sl.quantity AS units FROM shipments AS s"
    " JOIN shipment_lines AS sl ON sl.shipment_id = s.id WHERE s.status IN ('picked', 'packed')"
    # A shipment whose picks are half done is still allocated.
    " UNION ALL SELECT v.warehouse_id, k.sku_id, k.picked FROM pick_waves AS v"
    " JOIN picks AS k ON k.wave_id = v.id AND k.picked > 0"
    " JOIN shipments AS s ON s.id = k.shipment_id AND s.status = 'allocated'"
    " WHERE v.status = 'open') AS standing GROUP BY warehouse_id, sku_id) "
)
#: Joins it as ``g`` to the SKU ``x.sku_id`` of ``x.warehouse_id``.
JOIN_STAGED = " LEFT JOIN staged AS g ON g.sku_id = x.sku_id AND g.warehouse_id = x.warehouse_id"
#: Units of SKU ``x.sku_id`` in the bins of ``x.warehouse_id``. The outer join makes every plan
#: begin with the few places that hold the SKU, and not with all the bins that there are.
BINNED = (
    "coalesce((SELECT sum(CASE WHEN p.kind = 'bin' AND p.warehouse_id = x.warehouse_id"
    " THEN c.quantity ELSE 0 END) FROM location_levels AS c"
    " LEFT JOIN locations AS p ON p.id = c.location_id WHERE c.sku_id = x.sku_id), 0)"
)


@dataclass(frozen=True, slots=True)
class Holding:
    """Units of one SKU in one warehouse, by where they are and whether they are promised."""

    on_hand: int
    allocated: int
    binned: int
    staged: int

    @property
    def available(self) -> int:
        """Units that are promised to nobody."""
        return self.on_hand - self.allocated

    @property
    def loose(self) -> int:
        """Units that lie on the floor and were not picked."""
        return max(0, self.on_hand - self.binned - self.staged)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Units that a line of a request (``field``) takes off the floor or out of the warehouse."""

    field: str
    sku: str
    warehouse_id: int
    sku_id: int
    quantity: int


def holdings(
    connection: Connection, pairs: Iterable[tuple[int, int]], *, lock: bool = False
) -> dict[tuple[int, int], Holding]:
    """Return what each pair (warehouse id, SKU id) has; ``lock`` keeps its level as it is."""
    rows = {"pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in sorted(set(pairs)))}
    source = f"({rowset(connection, 'pairs', _PAIR)}) AS r"
    joined = "r.sku_id = x.sku_id AND r.warehouse_id = x.warehouse_id"
    if lock and for_update(connection):
        # In a statement of its own: the next one then sees what was committed before the lock.
        execute(
            connection,
            f"SELECT x.id FROM stock_levels AS x JOIN {source} ON {joined}"
            " ORDER BY x.id FOR UPDATE OF x",
            rows,
        ).fetchall()
    found = execute(
        connection,
        f"{WITH_STAGED}SELECT x.warehouse_id, x.sku_id, x.on_hand, x.allocated, {BINNED},"
        f" coalesce(g.units, 0) FROM stock_levels AS x JOIN {source} ON {joined}{JOIN_STAGED}",
        rows,
    )
    return {(row[0], row[1]): Holding(row[2], row[3], int(row[4]), int(row[5])) for row in found}


def refuse(
    connection: Connection, leaving: Sequence[Leaving], off_floor: Sequence[Leaving]
) -> None:
    """Raise OutOfStock, saying how much is free, where a request takes more than there is.

    ``leaving`` goes out of the warehouse's stock on hand: what is promised cannot. ``off_floor`` is
    taken from the floor: what lies in bins or was picked cannot. The levels stay locked, so that
    the answer still holds when the ledger moves the units.
    """
    going, taken = _by_pair(leaving), _by_pair(off_floor)
    named = {(n.warehouse_id, n.sku_id): n for n in (*off_floor, *leaving)}
    held = holdings(connection, named, lock=True)
    faults = []
    for pair, line in named.items():
        has = held.get(pair, Holding(0, 0, 0, 0))
        if going.get(pair, 0) > has.available:
            message = (
                f"{line.sku}: {has.allocated} of {has.on_hand} are promised,"
                f" {has.available} can be taken"
            )
            faults.append(FieldError(f"{line.field}.quantity", "not_available", message))
        elif taken.get(pair, 0) > has.loose:
            message = (
                f"{line.sku}: {has.loose} lie on the floor, {has.binned} in bins,"
                f" {has.staged} are picked"
            )
            faults.append(FieldError(f"{line.field}.quantity", "not_on_floor", message))
    if faults:
        raise OutOfStock("Not enough stock is free to be moved.", faults)


def _by_pair(lines: Sequence[Leaving]) -> dict[tuple[int, int], int]:
    units: dict[tuple[int, int], int] = {}
    for line in lines:
        pair = (line.warehouse_id, line.sku_id)
        units[pair] = units.get(pair, 0) + line.quantity
    return units
