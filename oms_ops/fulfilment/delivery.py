"""What becomes of a parcel that left: delivered, not delivered, tried again, brought back.

The customer is told each time. The moments are those of the world outside, where they are known:
delivered in full and on time is measured by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, read_time, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment.transitions import Details, Moved, advance, tell
from oms_ops.orders import totals
from oms_ops.stock.levels import stamp_of


@dataclass(frozen=True, slots=True)
class Failed:
    """A parcel that could not be delivered: what the carrier says, and when (None: now)."""

    shipment_id: int
    reason: str
    at: datetime | None = None


def deliver(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    moments: Mapping[int, datetime] | None = None,
    notify: bool = True,
) -> None:
    """Record that customers have their parcels; an order with nothing left to do is closed.

    ``moments`` says when, by shipment id; now where it does not. ``notify=False`` is for loading
    history, whose customers were told long ago.

    Raises:
        ValidationFailed: a moment lies in the future or before the parcel left.
        Conflict: a shipment is not on its way.
    """
    _take_step(connection, actor, shipment_ids, "deliver", _details(moments), notify=notify)


def fail(
    connection: Connection, actor: Actor, failures: Sequence[Failed], *, notify: bool = True
) -> None:
    """Record that parcels could not be delivered: they are tried again, or come back.

    Raises:
        ValidationFailed: no reason is given, or a moment is not possible.
        Conflict: a shipment is not on its way.
    """
    if not all(failure.reason.strip() for failure in failures):
        fault = FieldError("reason", "required", "say why")
        raise ValidationFailed("The failed delivery has bad fields.", [fault])
    details = {f.shipment_id: Details(at=f.at, reason=f.reason) for f in failures}
    _take_step(connection, actor, list(details), "fail", details, notify=notify)


def retry(
    connection: Connection, actor: Actor, shipment_ids: Sequence[int], *, notify: bool = True
) -> None:
    """Record that parcels are on their way again; when they first left stays as it was.

    Raises:
        Conflict: a shipment's delivery did not fail.
    """
    _take_step(connection, actor, shipment_ids, "retry", {}, notify=notify)


def bring_back(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    *,
    moments: Mapping[int, datetime] | None = None,
    notify: bool = True,
) -> None:
    """Record that the carrier brought parcels back.

    Their units stay shipped until the goods are taken back (:mod:`oms_ops.returns.commands`).

    Raises:
        ValidationFailed: a moment lies in the future or before the parcel left.
        Conflict: a shipment is not on its way.
    """
    _take_step(connection, actor, shipment_ids, "return", _details(moments), notify=notify)


#: What the customer is told after each step.
_MESSAGES = {
    "deliver": "shipment.delivered",
    "fail": "shipment.delivery_failed",
    "retry": "shipment.out_again",
    "return": "shipment.returned",
}


def _details(moments: Mapping[int, datetime] | None) -> dict[int, Details]:
    return {shipment_id: Details(at=at) for shipment_id, at in (moments or {}).items()}


def _take_step(
    connection: Connection,
    actor: Actor,
    shipment_ids: Sequence[int],
    step: str,
    details: Mapping[int, Details],
    *,
    notify: bool,
) -> None:
    moved = advance(connection, actor, shipment_ids, step, details=details)
    if not moved:
        return
    _refuse_impossible(connection, details)
    _close(connection, actor, moved)
    if notify:
        tell(connection, _MESSAGES[step], [m.id for m in moved])


def _refuse_impossible(connection: Connection, details: Mapping[int, Details]) -> None:
    given = {shipment_id: d.at for shipment_id, d in details.items() if d.at is not None}
    if not given:
        return
    rows = execute(
        connection,
        "SELECT id, number, shipped_at FROM shipments"
        f" WHERE id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(given)},
    ).fetchall()
    faults = []
    for shipment_id, number, left in rows:
        if fault := impossible(given[shipment_id], read_time(left)):
            code, message = fault
            faults.append(FieldError("at", code, f"{number}: {message}"))
    if faults:
        raise ValidationFailed("A moment cannot be right.", faults)


def impossible(at: datetime, shipped_at: datetime | None) -> tuple[str, str] | None:
    """Return the code and the sentence of what is wrong with a moment, None if nothing is."""
    if at > clock.now():
        return "in_the_future", f"{at.isoformat()} has not come yet"
    if shipped_at is not None and at < shipped_at:
        return "before_it_left", f"it left at {shipped_at.isoformat()}"
    return None


def note_failures(connection: Connection, actor: Actor, failures: Sequence[Failed]) -> None:
    """Record failed deliveries that are heard of when their parcels have arrived or come back.

    Nobody is told; an earlier failure than the one that is known changes nothing.
    """
    actor.require(FULFIL)
    if not failures:
        return
    columns = {"row_id": "bigint", "at": "timestamptz", "reason": "text"}
    rows = [
        {
            "row_id": f.shipment_id,
            "at": as_time(connection, f.at or clock.now()),
            "reason": f.reason,
        }
        for f in failures
    ]
    execute(
        connection,
        "UPDATE shipments AS s SET failed_at = r.at, failure_reason = r.reason,"
        " version = s.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE s.id = r.row_id"
        " AND s.status IN ('delivered', 'returned')"
        " AND (s.failed_at IS NULL OR s.failed_at < r.at)",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )


def _close(connection: Connection, actor: Actor, moved: Sequence[Moved]) -> None:
    """Close the orders for which nothing is left to do."""
    orders = {"ids": as_ids({m.order_id for m in moved})}
    totals.close_finished(connection, {**orders, **stamp_of(connection, actor)})
