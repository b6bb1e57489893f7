"""Transfers between two warehouses: plan them, send them, cancel what was not sent.

The transfer's row is locked by whoever moves it on, before any order and any level. What is sent
leaves the stock on hand of one warehouse and lies in transit until it arrives at the other
(:mod:`oms_ops.stock.transfer_receipts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import as_rows, execute, for_update, read_day, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.settings import settings
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Line, Names, own, world
from oms_ops.stock.plans import Plan
from oms_ops.stock.tables import Transfer


@dataclass(frozen=True, slots=True)
class Head:
    """A transfer as it was when its row was locked."""

    id: int
    number: str
    status: str
    from_warehouse_id: int
    to_warehouse_id: int
    expected_on: date | None = None


def create(
    connection: Connection,
    actor: Actor,
    source: str,
    target: str,
    lines: Sequence[Line],
    *,
    reason: str = "",
    expected_on: date | None = None,
) -> str:
    """Plan a transfer from a warehouse to another (codes); return its number.

    Raises:
        ValidationFailed: with every bad field.
    """
    actor.require(STOCK_WRITE)
    names = Names(connection, "The transfer")
    ids = names.warehouses([("from_warehouse", source), ("to_warehouse", target)])
    if source == target:
        names.fault("to_warehouse", "same_warehouse", "is where the goods are")
    if fault := _passed(expected_on):
        names.errors.append(fault)
    names.some("lines", lines)
    skus = names.skus((f"lines[{i}].sku", line.sku) for i, line in enumerate(lines))
    for index, line in enumerate(lines):
        names.units(f"lines[{index}].quantity", line.quantity)
    names.check()
    now = clock.now()
    head = connection.execute(
        sa.insert(Transfer)
        .values(
            from_warehouse_id=ids[source],
            to_warehouse_id=ids[target],
            status="draft",
            reason=reason,
            created_at=now,
            expected_on=expected_on,
            changed_by=actor.name,
            changed_at=now,
        )
        .returning(Transfer.id, Transfer.number)
    ).one()
    columns = dict.fromkeys(("line_no", "sku_id", "quantity"), "bigint")
    execute(
        connection,
        "INSERT INTO transfer_lines (transfer_id, line_no, sku_id, quantity, version, changed_by,"
        " changed_at) SELECT :id, line_no, sku_id, quantity, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r",
        {
            "id": head.id,
            "rows": as_rows(
                {"line_no": index + 1, "sku_id": skus[line.sku], "quantity": line.quantity}
                for index, line in enumerate(lines)
            ),
            **stamp_of(connection, actor),
        },
    )
    return str(head.number)


def _passed(expected_on: date | None) -> FieldError | None:
    """Return the fault of a day that has passed in the shop: customers are promised such days."""
    today = clock.now().astimezone(settings().zone).date()
    if expected_on is None or expected_on >= today:
        return None
    return FieldError("expected_on", "in_the_past", f"not before today, {today}")


def arriving(connection: Connection, actor: Actor, number: str) -> set[tuple[int, int]]:
    """Lock a transfer; return the pairs (warehouse id, SKU id) that it brings something of.

    Raises:
        NotFound: there is no such transfer.
    """
    actor.require(STOCK_WRITE)
    row = execute(
        connection,
        "SELECT id, to_warehouse_id FROM transfers"
        f" WHERE number = :number {for_update(connection)}",
        {"number": number},
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no transfer {number}.")
    lines = execute(
        connection, "SELECT sku_id FROM transfer_lines WHERE transfer_id = :id", {"id": row[0]}
    )
    return {(row[1], line[0]) for line in lines.fetchall()}


def leaving(
    connection: Connection, number: str, quantities: Mapping[int, int] | None
) -> dict[tuple[int, int], int]:
    """Return the units by pair (warehouse id, SKU id) that :func:`send` would take."""
    rows = execute(
        connection,
        "SELECT t.from_warehouse_id, l.sku_id, l.line_no, l.quantity FROM transfers AS t"
        " JOIN transfer_lines AS l ON l.transfer_id = t.id WHERE t.number = :number",
        {"number": number},
    )
    units: dict[tuple[int, int], int] = {}
    for warehouse_id, sku_id, line_no, planned in rows.fetchall():
        sent = planned if quantities is None else quantities.get(line_no, 0)
        units[warehouse_id, sku_id] = units.get((warehouse_id, sku_id), 0) + sent
    return units


def send(
    connection: Connection,
    actor: Actor,
    number: str,
    quantities: Mapping[int, int] | None = None,
    *,
    expected_on: date | None = None,
) -> None:
    """Send a draft's goods off its floor: all of them, or ``quantities`` (units per line number).

    What is not sent now is not sent at all. A fault names a line by its place in ``quantities``.

    Raises:
        NotFound: there is no such transfer.
        ValidationFailed: a line is not of this transfer, more is sent than was planned, or nothing;
            or the day has passed, the one that it was planned with or the one given.
        OutOfStock: the floor has less, or what would leave is promised.
        Conflict: it is no draft.
    """
    actor.require(STOCK_WRITE)
    head = locked(connection, number, ("draft",), "be sent")
    if fault := _passed(expected_on or head.expected_on):
        raise ValidationFailed("The transfer has bad fields.", [fault])
    lines = lines_of(connection, head.id)
    sent = _sent(connection, lines, quantities)
    stamp = stamp_of(connection, actor)
    move_lines(connection, {i: {"sent": units} for i, units in sent.items()}, lines, stamp)
    connection.execute(
        sa.update(Transfer)
        .where(Transfer.id == head.id)
        .values(
            status="in_transit",
            sent_at=clock.now(),
            **({"expected_on": expected_on} if expected_on else {}),
            version=Transfer.version + 1,
            changed_by=actor.name,
            changed_at=clock.now(),
        )
    )
    floor, transit = own(connection, "storage"), world(connection)["transit"]
    plan = Plan()
    # Where the caller lists no lines, a fault names those of the transfer.
    named = {
        line_no: index for index, line_no in enumerate(lines if quantities is None else quantities)
    }
    for line_no, units in sent.items():
        line = lines[line_no]
        plan.add(f"lines[{named[line_no]}]", line.sku, line.sku_id, floor[head.from_warehouse_id],
                 transit, units, "transfer", head.number)  # fmt: skip
    plan.post(connection, actor)


def _sent(
    connection: Connection, lines: dict[int, Any], quantities: Mapping[int, int] | None
) -> dict[int, int]:
    if quantities is None:
        return {line_no: line.quantity for line_no, line in lines.items()}
    names = Names(connection, "The list of lines")
    names.some("lines", [units for units in quantities.values() if units])
    for index, (line_no, units) in enumerate(quantities.items()):
        if line_no not in lines:
            names.fault(f"lines[{index}].line_no", "unknown_line", "not of this transfer")
        elif not 0 <= units <= lines[line_no].quantity:
            message = f"between 0 and {lines[line_no].quantity} were planned"
            names.fault(f"lines[{index}].quantity", "out_of_range", message)
    names.check()
    return {line_no: units for line_no, units in quantities.items() if units}


def cancel(connection: Connection, actor: Actor, number: str) -> None:
    """Cancel a draft.

    Raises:
        NotFound: there is no such transfer.
        Conflict: its goods left already.
    """
    actor.require(STOCK_WRITE)
    head = locked(connection, number, ("draft",), "be cancelled")
    execute(
        connection,
        "UPDATE transfers SET status = 'cancelled', version = version + 1, changed_by = :actor,"
        " changed_at = :now WHERE id = :id",
        {"id": head.id, **stamp_of(connection, actor)},
    )


def locked(connection: Connection, number: str, statuses: Sequence[str], step: str) -> Head:
    """Lock a transfer for the rest of the transaction; refuse unless it has one of ``statuses``."""
    row = execute(
        connection,
        "SELECT id, number, status, from_warehouse_id, to_warehouse_id, expected_on FROM transfers"
        f" WHERE number = :number {for_update(connection)}",
        {"number": number},
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no transfer {number}.")
    head = Head(*(*row[:5], read_day(row[5])))
    if head.status not in statuses:
        message = f"{head.number} is {head.status.replace('_', ' ')}: it cannot {step}"
        raise Conflict(f"{message}.", [FieldError("number", "wrong_status", message)])
    return head


def lines_of(connection: Connection, transfer_id: int) -> dict[int, Any]:
    """Return a transfer's lines by number, with SKU codes and what a unit costs on average."""
    rows = connection.execute(
        sa.text(
            "SELECT l.id, l.line_no, l.sku_id, k.code AS sku, k.name, l.quantity, l.sent,"
            " l.received, l.lost, (v.average_cost_e4 + 5000) / 10000 AS unit_cost_minor"
            " FROM transfer_lines AS l JOIN skus AS k ON k.id = l.sku_id"
            " JOIN transfers AS t ON t.id = l.transfer_id"
            " LEFT JOIN stock_levels AS v ON v.sku_id = l.sku_id"
            " AND v.warehouse_id = t.from_warehouse_id"
            " WHERE l.transfer_id = :id ORDER BY l.line_no"
        ),
        {"id": transfer_id},
    )
    return {row.line_no: row for row in rows}


_CHANGE = dict.fromkeys(("id", "sent", "received", "lost"), "bigint")


def move_lines(
    connection: Connection,
    changes: Mapping[int, Mapping[str, int]],
    lines: dict[int, Any],
    stamp: dict[str, Any],
) -> None:
    """Add to what lines sent, received and lost; a CHECK holds that no more arrives than left."""
    rows = as_rows(
        {"id": lines[line_no].id, **dict.fromkeys(("sent", "received", "lost"), 0), **change}
        for line_no, change in changes.items()
    )
    execute(
        connection,
        "UPDATE transfer_lines AS l SET sent = l.sent + r.sent,"
        " received = l.received + r.received, lost = l.lost + r.lost, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _CHANGE)}) AS r WHERE l.id = r.id",
        {"rows": rows, **stamp},
    )
