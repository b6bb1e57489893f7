"""What an amendment is refused for beyond its shape: by the order, the catalogue, the parcels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import additions, submission
from oms_ops.orders.amendment_shape import AmendmentIn, Submitted, legible, unknown_lines
from oms_ops.orders.look import Seen
from oms_ops.orders.pricing import catalogue_errors


def checked(
    submitted: Submitted, head: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], seen: Seen
) -> AmendmentIn:
    """Return the amendment, or refuse it with all that its shape, the order and the SKUs object.

    What can be read of one with faults is held against limits and prices all the same; one without
    is when it is priced.
    """
    known = {line["line_no"]: line for line in lines}
    readable, broken = legible(submitted)
    readable = [each for each in readable if each.line.line_no in {None, *known}]
    amended, others = additions.amended(
        [(each.index, each.line) for each in readable],
        [line for line in lines if line["line_no"] not in broken],
    )
    chosen = submission.lines_of(submitted.payload)
    chosen += [(each.index, each.sku) for each in amended if each.line and each.added > 0]
    errors = [
        *submitted.faults,
        *unknown_lines(submitted, known),
        *catalogue_errors(sorted(chosen), seen.known, head["channel"]),
    ]
    if submitted.wanted is None or errors:
        marred = {each.index for each in readable if each.marred}
        errors += additions.objections(head, others, amended, seen, marred)
        raise ValidationFailed("The amendment has bad fields.", errors)
    return submitted.wanted


def refuse(head: Mapping[str, Any], wanted: AmendmentIn) -> None:
    """Refuse to amend an order that is over, or not as the caller saw it."""
    if wanted.version is not None and wanted.version != head["version"]:
        raise Conflict(
            f"{head['number']} was changed by {head['changed_by']} meanwhile; look again.",
            [FieldError("version", "changed_meanwhile", f"is {head['version']} now")],
        )
    if head["status"] not in ("open", "on_hold"):
        over = f"{head['number']} is {head['status']}"
        raise Conflict(
            f"{over} and cannot be amended.", [FieldError("number", head["status"], over)]
        )


def refuse_address(
    connection: Connection, head: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    """Refuse another address where a parcel is addressed already, or nothing is left to send."""
    if not any(name.startswith("ship_") and name != "ship_complete" for name in changes):
        return
    rows = execute(
        connection,
        "SELECT s.number FROM shipments AS s WHERE s.order_id = :id AND s.status = 'packed'"
        " ORDER BY s.id",
        {"id": head["id"]},
    ).fetchall()
    faults = [
        FieldError("ship_to", "packed", f"{row[0]} is packed for the old address") for row in rows
    ]
    if not head["units_left"]:
        faults.append(FieldError("ship_to", "nothing_left", "all of it was sent already"))
    if faults:
        raise Conflict(f"The address of {head['number']} cannot change now.", faults)
