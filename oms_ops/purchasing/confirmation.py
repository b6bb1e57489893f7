"""What a supplier says to a purchase order: the days and costs he confirms; and giving it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import as_rows, as_time, execute, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders import promises
from oms_ops.purchasing import queries, sending, states


@dataclass(frozen=True, slots=True)
class ConfirmedLine:
    """The day and the unit cost (minor units) that a supplier confirms; None leaves it as it is."""

    line_no: int
    confirmed_on: date | None = None
    unit_cost_minor: int | None = None


def confirm(
    connection: Connection,
    actor: Actor,
    number: str,
    *,
    lines: Sequence[ConfirmedLine] = (),
    confirmed_on: date | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    """Record what the supplier confirms; return the purchase order.

    The first confirmation is of every line: on its own day, else ``confirmed_on``, else the day
    that was expected; at its own cost, else the cost ordered. Later ones change the lines that they
    name, or with ``confirmed_on`` all that are not received. Whoever waits for the goods is told
    when the day moves.

    Raises:
        NotFound: there is no such purchase order.
        ValidationFailed: an unknown line, a line twice, a negative cost, a day before the order's.
        Conflict: it is a draft, closed or cancelled.
    """
    actor.require(PURCHASING_WRITE)
    head = states.lock(connection, number, "confirm", "reschedule")
    known = _lines(connection, head["id"])
    faults = _faults(lines, known, head["ordered_at"])
    faults += states.day_faults("confirmed_on", confirmed_on, head["ordered_at"])
    if faults:
        raise ValidationFailed("The confirmation has bad fields.", faults)
    named = {line.line_no: line for line in lines}
    first = head["step"] == "confirm"
    rows = []
    for line_no, line in known.items():
        own = named.get(line_no, ConfirmedLine(line_no))
        untouched = own.line_no not in named and (confirmed_on is None or line.received)
        if not first and untouched:
            continue
        day = own.confirmed_on or confirmed_on or line.confirmed_on or head["expected_on"]
        costs = (own.unit_cost_minor, line.confirmed_cost_minor, line.unit_cost_minor)
        cost = next(cost for cost in costs if cost is not None)
        rows.append({"id": line.id, "confirmed_on": str(day), "cost": cost})
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    columns = {"id": "bigint", "confirmed_on": "date", "cost": "bigint"}
    execute(
        connection,
        "UPDATE purchase_order_lines AS l SET confirmed_on = r.confirmed_on,"
        " confirmed_cost_minor = r.cost, version = l.version + 1, changed_by = :actor,"
        f" changed_at = :now FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
        {"rows": as_rows(rows), **stamp},
    )
    states.advance(
        connection,
        actor,
        head,
        confirmed_at=stamp["now"],
        supplier_reference=reference or head["supplier_reference"],
    )
    promises.update(connection, actor, states.pairs(connection, head["id"]))
    return queries.get(connection, head["number"])


def cancel(connection: Connection, actor: Actor, number: str, reason: str) -> dict[str, Any]:
    """Give up what has not arrived, tell the supplier and whoever waits; return the order.

    An order of which something arrived is closed, any other is cancelled.

    Raises:
        NotFound: there is no such purchase order.
        Conflict: it is closed or cancelled already.
    """
    actor.require(PURCHASING_WRITE)
    head = states.lock(connection, number, "cancel", "close")
    note = "\n".join(part for part in (head["note"], f"Cancelled: {reason}") if part)
    now = as_time(connection, clock.now())
    states.advance(connection, actor, head, closed_at=now, note=note)
    promises.update(connection, actor, states.pairs(connection, head["id"]))
    order = queries.get(connection, head["number"])
    if head["status"] != "draft":
        kind, title = "purchase_order.cancelled", "Cancellation of purchase order"
        return sending.tell_supplier(connection, order, head["email"], kind, title)
    return order


def _lines(connection: Connection, purchase_order_id: int) -> dict[int, Any]:
    rows = connection.execute(
        sa.text(
            "SELECT id, line_no, received, confirmed_on, confirmed_cost_minor, unit_cost_minor"
            " FROM purchase_order_lines WHERE purchase_order_id = :id ORDER BY line_no"
        ),
        {"id": purchase_order_id},
    )
    return {row.line_no: row for row in rows}


def _faults(
    lines: Sequence[ConfirmedLine], known: dict[int, Any], ordered_at: datetime
) -> list[FieldError]:
    errors = []
    seen: set[int] = set()
    for index, line in enumerate(lines):
        field = f"lines[{index}]"
        if line.line_no not in known:
            errors.append(FieldError(f"{field}.line_no", "unknown_line", "no such line"))
        elif line.line_no in seen:
            errors.append(FieldError(f"{field}.line_no", "repeated_line", "is there twice"))
        if line.unit_cost_minor is not None and line.unit_cost_minor < 0:
            errors.append(FieldError(f"{field}.unit_cost", "negative", "not below zero"))
        errors += states.day_faults(f"{field}.confirmed_on", line.confirmed_on, ordered_at)
        seen.add(line.line_no)
    return errors
