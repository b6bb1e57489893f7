"""What arrives of a transfer: in parts, damaged units to quarantine, lost ones written off.

:func:`oms_ops.fulfilment.arrivals.receive_transfer` runs the plan, since arrivals fill backorders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import execute
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names, own, world
from oms_ops.stock.plans import Plan
from oms_ops.stock.transfers import Head, lines_of, locked, move_lines

_OPEN = ("in_transit", "partly_received")


@dataclass(frozen=True, slots=True)
class Arrived:
    """Units of a line: ``quantity`` arrived, ``damaged`` of them broken; ``lost`` never will."""

    line_no: int
    quantity: int = 0
    damaged: int = 0
    lost: int = 0


def plan_receipt(
    connection: Connection, actor: Actor, number: str, arrived: Sequence[Arrived], note: str = ""
) -> Plan:
    """Write down what arrived of a transfer and what is lost; return the moves, for Plan.post.

    ``note`` says why units are lost; it stands on the move that writes them off.

    Raises:
        NotFound: there is no such transfer.
        ValidationFailed: with every bad field; a line cannot arrive beyond what was sent.
        Conflict: it is not in transit.
    """
    actor.require(STOCK_WRITE)
    head = locked(connection, number, _OPEN, "be received")
    lines = lines_of(connection, head.id)
    _check_arrived(connection, arrived, lines)
    stamp = stamp_of(connection, actor)
    changes = {a.line_no: {"received": a.quantity, "lost": a.lost} for a in arrived}
    move_lines(connection, changes, lines, stamp)
    open_lines = (
        "EXISTS (SELECT 1 FROM transfer_lines AS l"
        " WHERE l.transfer_id = transfers.id AND l.received + l.lost < l.sent)"
    )
    execute(
        connection,
        f"UPDATE transfers SET status = CASE WHEN {open_lines} THEN 'partly_received'"
        f" ELSE 'received' END, received_at = CASE WHEN {open_lines} THEN NULL ELSE :now END,"
        " version = version + 1, changed_by = :actor, changed_at = :now WHERE id = :id",
        {"id": head.id, **stamp},
    )
    return _receipt(connection, head, arrived, lines, note)


def _receipt(
    connection: Connection, head: Head, arrived: Sequence[Arrived], lines: dict[int, Any], note: str
) -> Plan:
    outside = world(connection)
    floor = own(connection, "storage")[head.to_warehouse_id]
    quarantine = own(connection, "quarantine")[head.to_warehouse_id]
    lost = f"{head.number}: lost" + (f": {note}" if note else "")
    plan = Plan()
    for index, a in enumerate(arrived):
        line = lines[a.line_no]
        for units, target, reason, reference in (
            (a.quantity - a.damaged, floor, "transfer", head.number),
            (a.damaged, quarantine, "damage", head.number),
            (a.lost, outside["adjustment"], "adjustment", lost),
        ):
            if units:
                plan.add(f"lines[{index}]", line.sku, line.sku_id, outside["transit"], target,
                         units, reason, reference, line.unit_cost_minor)  # fmt: skip
    return plan


def _check_arrived(
    connection: Connection, arrived: Sequence[Arrived], lines: dict[int, Any]
) -> None:
    names = Names(connection, "The receipt")
    names.some("lines", arrived)
    seen: set[int] = set()
    for index, a in enumerate(arrived):
        field, line = f"lines[{index}]", lines.get(a.line_no)
        if line is None:
            names.fault(f"{field}.line_no", "unknown_line", "not of this transfer")
        elif a.line_no in seen:
            names.fault(f"{field}.line_no", "duplicate", "is named twice")
        elif min(a.quantity, a.lost, a.damaged) < 0 or a.damaged > a.quantity:
            message = "damaged units are part of those that arrived"
            names.fault(f"{field}.damaged", "out_of_range", message)
        elif not 0 < a.quantity + a.lost <= line.sent - line.received - line.lost:
            most = line.sent - line.received - line.lost
            names.fault(f"{field}.quantity", "out_of_range", f"{most} units are in transit")
        seen.add(a.line_no)
    names.check()
