"""Quarantine: goods that are in the house but not for sale, until somebody decides about them.

What goes in leaves the stock on hand, so it must be promised to nobody. What is released comes back
to the floor and fills backorders: :func:`oms_ops.fulfilment.arrivals.dispose` runs that plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.stock.names import Line, Names, own, world
from oms_ops.stock.plans import Plan

#: What can be decided -> (the kind of place that the goods go to, the reason of the move).
DECISIONS = {
    "release": ("storage", "quarantine_release"),
    "scrap": ("scrap", "scrap"),
    "return_to_supplier": ("supplier", "return"),
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """``quantity`` units of a SKU to take out of a place (code; None is the floor)."""

    sku: str
    quantity: int
    location: str | None = None


def put_in(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    lines: Sequence[Suspect],
    note: str = "",
) -> None:
    """Move goods into a warehouse's quarantine.

    Raises:
        ValidationFailed: with every bad field.
        OutOfStock: a place holds less, or what would leave the shelf is promised.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The list of goods")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("lines", lines)
    skus = names.skus((f"lines[{i}].sku", line.sku) for i, line in enumerate(lines))
    places = names.places(
        ((f"lines[{i}].location", line.location) for i, line in enumerate(lines) if line.location),
        warehouse_id,
        ("storage", "bin"),
    )
    for index, line in enumerate(lines):
        names.units(f"lines[{index}].quantity", line.quantity)
    names.check()
    floor, quarantine = (own(connection, kind)[warehouse_id] for kind in ("storage", "quarantine"))
    plan = Plan()
    for index, line in enumerate(lines):
        source = places[line.location] if line.location else floor
        plan.add(f"lines[{index}]", line.sku, skus[line.sku], source, quarantine, line.quantity,
                 "damage", note or None)  # fmt: skip
    plan.post(connection, actor)


def plan_decision(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    lines: Sequence[Line],
    decision: str,
    note: str = "",
) -> Plan:
    """Return the moves that a decision about quarantined goods makes, for :meth:`Plan.post`.

    Raises:
        ValidationFailed: with every bad field.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The decision")
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("lines", lines)
    skus = names.skus((f"lines[{i}].sku", line.sku) for i, line in enumerate(lines))
    for index, line in enumerate(lines):
        names.units(f"lines[{index}].quantity", line.quantity)
    if decision not in DECISIONS:
        names.fault("decision", "unknown_decision", f"one of {', '.join(DECISIONS)}")
    names.check()
    kind, reason = DECISIONS[decision]
    source = own(connection, "quarantine")[warehouse_id]
    target = own(connection, kind)[warehouse_id] if kind == "storage" else world(connection)[kind]
    plan = Plan()
    for index, line in enumerate(lines):
        plan.add(f"lines[{index}]", line.sku, skus[line.sku], source, target, line.quantity,
                 reason, note or None)  # fmt: skip
    return plan
