"""Moves within a warehouse: from the floor to a bin, from bin to bin, back to the floor.

A bin with a capacity takes no more than that. Whoever fills a bin holds its row, so that two who
fill the same one come one after the other; taking out of it needs no such lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import as_ids, as_rows, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError
from oms_ops.stock import ledger
from oms_ops.stock.floor import Leaving, refuse_not_loose
from oms_ops.stock.ledger import PlaceMove
from oms_ops.stock.names import Names, Place, own


@dataclass(frozen=True, slots=True)
class BinMove:
    """``quantity`` units of a SKU from one location to another of the same warehouse (codes).

    ``source`` None is the floor.
    """

    sku: str
    quantity: int
    target: str
    source: str | None = None


def move(
    connection: Connection, actor: Actor, warehouse: str, moves: Sequence[BinMove]
) -> list[int]:
    """Move goods within a warehouse (code): floor to bin, bin to bin, bin to floor.

    Returns the ids of the bins that it touched.

    Raises:
        ValidationFailed: with every bad field.
        OutOfStock: a place has less than is to leave it; goods that were picked do not count.
        Conflict: a bin would hold more than its capacity.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The list of moves")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("lines", moves)
    skus = names.skus((f"lines[{i}].sku", m.sku) for i, m in enumerate(moves))
    places = names.places(
        [
            *((f"lines[{i}].target", m.target) for i, m in enumerate(moves)),
            *((f"lines[{i}].source", m.source) for i, m in enumerate(moves) if m.source),
        ],
        warehouse_id,
        ("bin", "storage"),
    )
    floor = own(connection, "storage").get(warehouse_id, 0)
    for index, m in enumerate(moves):
        names.units(f"lines[{index}].quantity", m.quantity)
        source = _place_id(places, m.source, floor)
        if source and source == _place_id(places, m.target, floor):
            names.fault(f"lines[{index}].target", "same_place", "is where the goods are")
    names.check()
    into = {places[m.target].id for m in moves if places[m.target].kind == "bin"}
    lock(connection, sorted(into))
    taken = [
        Leaving(f"lines[{i}]", m.sku, warehouse_id, skus[m.sku], m.quantity)
        for i, m in enumerate(moves)
        if _place_id(places, m.source, floor) == floor
    ]
    if taken:
        refuse_not_loose(connection, taken, within=True)
    ledger.move(
        connection,
        actor,
        [
            PlaceMove(
                _place_id(places, m.source, floor), places[m.target].id, skus[m.sku], m.quantity,
                "putaway",
            )
            for m in moves
        ],
    )  # fmt: skip
    refuse_over_capacity(connection, {m.target: f"lines[{i}]" for i, m in enumerate(moves)})
    left = {places[m.source].id for m in moves if m.source and m.source in places}
    refuse_spoken_for(connection, sorted(left - {floor}))
    touched = into | left
    return sorted(touched - {floor})


def _place_id(places: dict[str, Place], code: str | None, floor: int) -> int:
    if code is None:
        return floor
    return places[code].id if code in places else 0


def refuse_over_capacity(connection: Connection, fields: dict[str, str]) -> None:
    """Raise Conflict where a bin (its code, with the field that named it) is over its capacity."""
    rows = execute(
        connection,
        "SELECT p.code, p.capacity_units, sum(c.quantity) FROM locations AS p"
        f" JOIN ({rowset(connection, 'codes', {'code': 'text'})}) AS r ON r.code = p.code"
        " JOIN location_levels AS c ON c.location_id = p.id WHERE p.kind = 'bin'"
        " GROUP BY p.code, p.capacity_units HAVING sum(c.quantity) > p.capacity_units"
        " ORDER BY p.code",
        {"codes": as_rows({"code": code} for code in sorted(fields))},
    ).fetchall()
    if rows:
        raise Conflict(
            "A bin cannot hold that much.",
            [
                FieldError(f"{fields[code]}.target", "over_capacity",
                           f"{code} takes {capacity}, it would hold {int(units)}")
                for code, capacity, units in rows
            ],
        )  # fmt: skip


def refuse_spoken_for(connection: Connection, location_ids: Sequence[int]) -> None:
    """Raise Conflict where a bin holds less than pickers were sent there for."""
    row = execute(
        connection,
        "SELECT p.code, s.code, k.units, c.quantity FROM ("
        "SELECT location_id, sku_id, sum(quantity) AS units FROM picks WHERE picked IS NULL"
        f" AND location_id IN ({ids(connection, 'ids')}) GROUP BY location_id, sku_id) AS k"
        " JOIN location_levels AS c ON c.location_id = k.location_id AND c.sku_id = k.sku_id"
        " JOIN locations AS p ON p.id = k.location_id JOIN skus AS s ON s.id = k.sku_id"
        " WHERE c.quantity < k.units ORDER BY p.code, s.code LIMIT 1",
        {"ids": as_ids(location_ids)},
    ).fetchone()
    if row is not None:
        place, sku, units, held = row
        raise Conflict(
            f"{int(units)} {sku} in {place} are to be picked; {held} would be left.",
            [FieldError("source", "to_be_picked", f"{place} is on a pick list")],
        )


def lock(connection: Connection, location_ids: Sequence[int]) -> None:
    """Lock bins that are about to be filled; :func:`refuse_over_capacity` then sees all in them."""
    if connection.dialect.name == "sqlite" or not location_ids:
        return
    # A move's foreign key shares the row with this lock: picking out of the bin goes on.
    execute(
        connection,
        f"SELECT id FROM locations WHERE id IN ({ids(connection, 'ids')})"
        " ORDER BY id FOR NO KEY UPDATE",
        {"ids": as_ids(location_ids)},
    ).fetchall()
