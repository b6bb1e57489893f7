"""What an amendment is refused for beyond its shape: by the order, the catalogue, the parcels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import submission
from oms_ops.orders.amendment_shape import AmendmentIn, Submitted, unknown_lines
from oms_ops.orders.look import Seen
from oms_ops.orders.pricing import catalogue_errors


def checked(
    submitted: Submitted, head: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], seen: Seen
) -> AmendmentIn:
    """Return the amendment, or refuse it with all that its shape, the order and the SKUs object."""
    known = {line["line_no"]: line for line in lines}
    chosen = submission.lines_of(submitted.payload)
    if submitted.wanted is not None:
        chosen += [
            (index, known[each.line_no]["sku"])
            for index, each in enumerate(submitted.wanted.lines)
            if each.line_no in known and each.quantity > kept(known[each.line_no])
        ]
    errors = [
        *submitted.faults,
        *unknown_lines(submitted, known),
        *catalogue_errors(sorted(chosen), seen.known, head["channel"]),
    ]
    if submitted.wanted is None or errors:
        raise ValidationFailed("The amendment has bad fields.", errors)
    return submitted.wanted


def kept(line: Mapping[str, Any]) -> int:
    """Return the units of a line that are not cancelled."""
    return int(line["quantity"] - line["cancelled"])


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
