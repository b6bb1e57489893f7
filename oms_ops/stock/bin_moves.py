"""Moves within a warehouse: from the floor to a bin, from bin to bin, back to the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.stock import capacity
from oms_ops.stock.names import Names, own
from oms_ops.stock.plans import Plan


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
    """Move goods within a warehouse (code); return the ids of the places that they touched.

    Raises:
        ValidationFailed: with every bad field.
        OutOfStock: a place has less than is to leave it; goods that were picked do not count.
        Conflict: a bin would hold more than its capacity, or less than pickers were sent for.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The list of moves")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("lines", moves)
    skus = names.skus((f"lines[{i}].sku", m.sku) for i, m in enumerate(moves))
    named = [(f"lines[{i}].target", m.target) for i, m in enumerate(moves)]
    named += [(f"lines[{i}].source", m.source) for i, m in enumerate(moves) if m.source]
    places = names.places(named, warehouse_id, ("bin", "storage"))
    floor = own(connection, "storage").get(warehouse_id)
    plan = Plan()
    for index, m in enumerate(moves):
        field = f"lines[{index}]"
        names.units(f"{field}.quantity", m.quantity)
        source, target = places.get(m.source) if m.source else floor, places.get(m.target)
        if source is None or target is None or m.sku not in skus:
            continue
        if source.id == target.id:
            names.fault(f"{field}.target", "same_place", "is where the goods are")
        plan.add(field, m.sku, skus[m.sku], source, target, m.quantity, "putaway")
    names.check()
    plan.post(connection, actor)
    capacity.refuse_spoken_for(connection, [source.id for source in plan.sources])
    return sorted({place.id for place in (*plan.sources, *plan.targets)})
