"""The one table of a shipment's steps, and the statement that takes shipments along it.

The UPDATE carries the status that it expects, so a shipment that somebody else moved or cancelled
meanwhile is refused instead of moved twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.notifications import outbox
from oms_ops.orders.locks import lock_orders_of_shipments
from oms_ops.stock.levels import stamp_of


@dataclass(frozen=True, slots=True)
class Step:
    """What a step needs of a shipment's status and its order's, and what it leaves.

    ``moment`` is the column of its moment. ``whole`` refuses shipments of an order that is to leave
    complete while some of it waits; one in a wave was complete when it was taken in. ``labelled``
    takes carrier and tracking number from the label, and waits for one that was asked for.
    """

    needs: tuple[str, ...]
    leaves: str
    moment: str | None
    order: tuple[str, ...] = ("open",)
    whole: bool = False
    labelled: bool = False


#: A hold stops what is in the house; of what is on its way, the carrier only tells.
_ON_ITS_WAY = ("open", "on_hold")
TRANSITIONS = {
    "pick": Step(("allocated",), "picked", "picked_at", whole=True),
    "pack": Step(("picked",), "packed", "packed_at"),
    "ship": Step(("packed",), "shipped", "shipped_at", whole=True, labelled=True),
    "deliver": Step(("shipped", "delivery_failed"), "delivered", "delivered_at", _ON_ITS_WAY),
    "fail": Step(("shipped", "delivery_failed"), "delivery_failed", "failed_at", _ON_ITS_WAY),
    "retry": Step(("delivery_failed",), "shipped", None, _ON_ITS_WAY),
    "return": Step(("shipped", "delivery_failed"), "returned", "returned_at", _ON_ITS_WAY),
}

#: SQL on an order ``o``: it is to leave complete, and some of it waits for stock.
WAITS = (
    "(o.ship_complete AND EXISTS (SELECT 1 FROM order_lines AS w"
    " WHERE w.order_id = o.id AND w.backordered > 0))"
)


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one shipment's step beyond the step itself; ``at`` is now if not said."""

    at: datetime | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A shipment that took a step."""

    id: int
    order_id: int
    wave_id: int | None


#: SQLite's RETURNING wants bare names: none of these may be a column of what it returns.
_ROW = {
    "row_id": "bigint",
    "at": "timestamptz",
    "by": "text",
    "tracking": "text",
    "reason": "text",
}


def advance(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    step: str,
    *,
    details: Mapping[int, Details] | None = None,
) -> list[Moved]:
    """Take shipments one step along, all of them or none.

    Raises:
        Conflict: a shipment or its order is not in a status for it; each is named with its reason.
    """
    actor.require(FULFIL)
    wanted = sorted(set(shipment_ids))
    if not wanted:
        return []
    rule = TRANSITIONS[step]
    # Cancel, hold and the filling of backorders hold the same rows: they come before or after.
    lock_orders_of_shipments(connection, wanted)
    known = details or {}
    rows = as_rows(_row(connection, i, known.get(i, Details())) for i in wanted)
    moment = f" {rule.moment} = coalesce(r.at, :now)," if rule.moment else ""
    reason = " failure_reason = r.reason," if step == "fail" else ""
    moved = execute(
        connection,
        f"UPDATE shipments AS s SET status = '{rule.leaves}',{moment}{reason}"
        f"{_carried(rule)}"
        " version = s.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _ROW)}) AS r"
        f" WHERE s.id = r.row_id AND s.status IN ({_listed(rule.needs)})"
        " AND EXISTS (SELECT 1 FROM orders AS o WHERE o.id = s.order_id"
        f" AND o.status IN ({_listed(rule.order)}) AND {_whole(rule)})"
        f" AND (r.tracking IS NOT NULL OR NOT {_waits_for_label(rule)})"
        " RETURNING id, order_id, wave_id",
        {"rows": rows, **stamp_of(connection, actor)},
    ).fetchall()
    if len(moved) != len(wanted):
        raise _refusal(connection, shipment_ids, {row[0] for row in moved}, step)
    return [Moved(*row) for row in moved]


def refuse_others(shipment_ids: Sequence[int], tracking_numbers: Mapping[int, str]) -> None:
    """Refuse tracking numbers of other shipments than these: they would be lost without a word."""
    known = set(shipment_ids)
    faults = [
        FieldError(f"tracking_numbers.{i}", "unknown_shipment", "is none of these shipments")
        for i in tracking_numbers
        if i not in known
    ]
    if faults:
        raise ValidationFailed("The tracking numbers have bad fields.", faults)


def _row(connection: Connection, shipment_id: int, known: Details) -> dict[str, Any]:
    return {
        "row_id": shipment_id,
        "at": as_time(connection, known.at) if known.at else None,
        "by": known.carrier,
        "tracking": known.tracking_number,
        "reason": known.reason,
    }


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _whole(rule: Step) -> str:
    if not rule.whole:
        return "true"
    if rule.leaves == "picked":
        return f"(s.wave_id IS NOT NULL OR NOT {WAITS})"
    return f"NOT {WAITS}"


#: SQL on a shipment ``s``: its carrier was asked for a label and has not answered.
_ASKED = (
    "EXISTS (SELECT 1 FROM shipment_labels AS b"
    " WHERE b.shipment_id = s.id AND b.status = 'requested')"
)


def _waits_for_label(rule: Step) -> str:
    return _ASKED if rule.labelled else "false"


def _carried(rule: Step) -> str:
    """Return the SET clauses of who carries a parcel: what is said, or else what its label says."""
    if not rule.labelled:
        return ""
    # The number of another carrier's label is of no use to the one that is named.
    label = (
        "(SELECT b.{} FROM shipment_labels AS b WHERE b.shipment_id = s.id"
        " AND b.status = 'booked' AND b.carrier = coalesce(r.by, b.carrier))"
    )
    return (
        f" carrier = coalesce(r.by, {label.format('carrier')}, s.carrier, 'manual'),"
        f" tracking_number = coalesce(r.tracking, {label.format('tracking_number')},"
        " s.tracking_number),"
    )


def _refusal(
    connection: Connection, wanted: Sequence[int], moved: Collection[int], step: str
) -> Conflict:
    """Return why those of ``wanted`` that were not ``moved`` cannot take a step.

    ``wanted`` is as the caller listed them: a fault names his place in that list.
    """
    rule = TRANSITIONS[step]
    rows = execute(
        connection,
        f"SELECT s.id, s.number, s.status, o.number, o.status, NOT {_whole(rule)},"
        f" {_waits_for_label(rule)}"
        " FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
        f" WHERE s.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(wanted)},
    )
    found = {row[0]: row[1:] for row in rows}
    faults = []
    for index, shipment_id in enumerate(wanted):
        field = f"shipment_ids[{index}]"
        if shipment_id in moved:
            continue
        if shipment_id not in found:
            faults.append(FieldError(field, "unknown_shipment", f"no shipment {shipment_id}"))
            continue
        code, message = _reason(rule, *found[shipment_id])
        faults.append(FieldError(field, code, message))
    needed = " or ".join(rule.needs).replace("_", " ")
    return Conflict(f"To {step}, a shipment must be {needed} and its order open.", faults)


def _reason(
    rule: Step, number: str, status: str, order: str, order_status: str, *waits: bool
) -> tuple[str, str]:
    """Return the code and the sentence of why one shipment cannot take a step."""
    if order_status not in rule.order:
        return "order_not_open", f"{order} is {order_status}"
    if status not in rule.needs:
        return "wrong_status", f"{number} is {status}, not {' or '.join(rule.needs)}"
    if waits[0]:
        return "waits_for_stock", f"{order} is to leave complete, and some of it waits for stock"
    return "label_not_ready", f"the carrier has not answered for {number}"


def tell(connection: Connection, kind: str, shipment_ids: Sequence[int]) -> None:
    """Tell the customers of shipments what became of them; call it after the step."""
    rows = connection.execute(
        sa.text(
            "SELECT o.number, s.number AS shipment, s.carrier, s.tracking_number, s.status,"
            " s.failure_reason, c.email FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
            " JOIN customers AS c ON c.id = o.customer_id"
            f" WHERE s.id IN ({ids(connection, 'ids')}) ORDER BY s.id"
        ),
        {"ids": as_ids(shipment_ids)},
    )
    messages = []
    for row in rows:
        payload = {
            "order": row.number,
            "shipment": row.shipment,
            "carrier": row.carrier,
            "tracking_number": row.tracking_number,
        }
        if row.status == "delivery_failed":
            payload["reason"] = row.failure_reason
        messages.append((row.email, payload))
    outbox.post_many(connection, kind, messages)
