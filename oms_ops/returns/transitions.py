"""The one table of a return's steps, and the statement that takes returns along it.

The UPDATE carries the status that it expects: a return that somebody else moved meanwhile is
refused instead of moved twice. What follows from refunds is in
:mod:`oms_ops.orders.return_refunds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import as_ids, as_time, execute, ids
from oms_ops.errors import Conflict, FieldError


@dataclass(frozen=True, slots=True)
class Step:
    """What a step needs of a return's status, what it leaves, and the column of its moment."""

    needs: tuple[str, ...]
    leaves: str
    moment: str | None = None


TRANSITIONS = {
    # A clerk may change her mind, or take what was refused or came too late after all.
    "approve": Step(("requested", "refused", "expired"), "approved", "decided_at"),
    "refuse": Step(("requested", "approved"), "refused", "decided_at"),
    "cancel": Step(("requested", "approved"), "cancelled", "decided_at"),
    "expire": Step(("approved",), "expired"),
    "receive": Step(("approved",), "received", "received_at"),
    "inspect": Step(("received",), "inspected", "inspected_at"),
    "resolve": Step(("inspected", "refund_failed"), "refunding"),
    "exchange": Step(("inspected", "exchanging"), "exchanging"),
    "stop_exchange": Step(("exchanging",), "inspected"),
    "exchanged": Step(("exchanging",), "refunding"),
}


def advance(
    connection: Connection, by: str, return_ids: Sequence[int], step: str, **columns: Any
) -> None:
    """Take returns, whose orders are locked, one step along; set ``columns`` with it.

    Raises:
        Conflict: a return is not in a status for it; none is then moved.
    """
    wanted = sorted(set(return_ids))
    rule = TRANSITIONS[step]
    moment = f", {rule.moment} = :now" if rule.moment else ""
    more = "".join(f", {name} = :{name}" for name in columns)
    needs = ", ".join(f"'{status}'" for status in rule.needs)
    moved = execute(
        connection,
        f"UPDATE returns SET status = '{rule.leaves}'{moment}{more},"
        " version = version + 1, changed_by = :actor, changed_at = :now"
        f" WHERE id IN ({ids(connection, 'ids')}) AND status IN ({needs}) RETURNING id",
        {
            **columns,
            "ids": as_ids(wanted),
            "actor": by,
            "now": as_time(connection, clock.now()),
        },
    ).fetchall()
    if len(moved) != len(wanted):
        raise _refusal(connection, sorted(set(wanted) - {row[0] for row in moved}), step)


def _refusal(connection: Connection, return_ids: Sequence[int], step: str) -> Conflict:
    rows = execute(
        connection,
        f"SELECT number, status FROM returns WHERE id IN ({ids(connection, 'ids')}) ORDER BY id",
        {"ids": as_ids(return_ids)},
    ).fetchall()
    needs = " or ".join(TRANSITIONS[step].needs).replace("_", " ")
    faults = [FieldError("number", "wrong_status", f"{n} is {s}, not {needs}") for n, s in rows]
    named = "; ".join(fault.message for fault in faults) or "There is no such return"
    return Conflict(f"{named}.", faults)
