"""Corrections of what the books say: goods found, lost, broken or expired, each with its reason.

A move's ``reference`` keeps the reason and the note (``lost: fell off the truck``); who and when
stand on the move as on every one. :func:`oms_ops.fulfilment.arrivals.adjust` runs the plan, since
goods that are found fill backorders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.stock.names import MOST_UNITS, Names, own, world
from oms_ops.stock.plans import Plan


@dataclass(frozen=True, slots=True)
class Reason:
    """Whether units may come (+) and go (-), to where they go, and the reason of their moves."""

    signs: str
    counterpart: str
    move: str


REASONS = {
    "opening": Reason("+", "adjustment", "opening"),
    "found": Reason("+", "adjustment", "adjustment"),
    "correction": Reason("+-", "adjustment", "adjustment"),
    "lost": Reason("-", "adjustment", "adjustment"),
    "stolen": Reason("-", "adjustment", "adjustment"),
    "used": Reason("-", "adjustment", "adjustment"),
    "damaged": Reason("-", "scrap", "scrap"),
    "expired": Reason("-", "scrap", "scrap"),
}


@dataclass(frozen=True, slots=True)
class Adjustment:
    """``quantity`` units more (or, negative, less) of a SKU in a place; None is the floor.

    ``unit_cost_minor`` is what a unit that comes in cost, where that is known.
    """

    sku: str
    quantity: int
    location: str | None = None
    unit_cost_minor: int | None = None


def plan(
    connection: Connection,
    actor: Actor,
    warehouse: str,
    lines: Sequence[Adjustment],
    reason: str,
    note: str = "",
    what: str = "The adjustment",
) -> Plan:
    """Return the moves of an adjustment, for :meth:`Plan.post`; ``what`` is refused.

    Raises:
        ValidationFailed: with every bad field.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, what)
    warehouse_id = names.warehouse("warehouse", warehouse)
    names.some("lines", lines)
    skus = names.skus((f"lines[{i}].sku", line.sku) for i, line in enumerate(lines))
    places = names.places(
        ((f"lines[{i}].location", line.location) for i, line in enumerate(lines) if line.location),
        warehouse_id,
        ("storage", "bin", "quarantine"),
    )
    why = REASONS.get(reason)
    if why is None:
        names.fault("reason", "unknown_reason", f"one of {', '.join(REASONS)}")
    for index, line in enumerate(lines):
        _check(names, f"lines[{index}]", line, why)
    names.check()
    assert why is not None  # noqa: S101 - checked above
    floor, outside = own(connection, "storage")[warehouse_id], world(connection)[why.counterpart]
    planned = Plan()
    reference = f"{reason}: {note}" if note else reason
    for index, line in enumerate(lines):
        place = places[line.location] if line.location else floor
        source, target = (outside, place) if line.quantity > 0 else (place, outside)
        planned.add(
            f"lines[{index}]", line.sku, skus[line.sku], source, target, abs(line.quantity),
            why.move, reference, line.unit_cost_minor,
        )  # fmt: skip
    return planned


def _check(names: Names, field: str, line: Adjustment, why: Reason | None) -> None:
    if not 1 <= abs(line.quantity) <= MOST_UNITS:
        ways = "" if why is not None and why.signs == "+" else ", up or down"
        names.fault(f"{field}.quantity", "out_of_range", f"1 to {MOST_UNITS} units{ways}")
    elif why is not None and ("+" if line.quantity > 0 else "-") not in why.signs:
        message = "units can only come for this reason" if why.signs == "+" else "units can only go"
        names.fault(f"{field}.quantity", "wrong_sign", message)
    cost = line.unit_cost_minor
    if cost is not None and (cost < 0 or line.quantity < 0):
        names.fault(f"{field}.unit_cost", "out_of_range", "0 or more, of units that come in")
