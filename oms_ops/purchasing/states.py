"""What may happen to a purchase order in which state; the one place that knows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_time, for_update, read_time
from oms_ops.errors import Conflict, FieldError, NotFound
from oms_ops.purchasing import queries
from oms_ops.settings import settings

#: step -> (states it needs, state it leaves; None where it depends on what came of it)
TRANSITIONS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "edit": (("draft",), "draft"),
    "send": (("draft",), "sent"),
    "confirm": (("sent",), "confirmed"),
    "reschedule": (("confirmed", "partly_received"), None),
    "receive": (("sent", "confirmed", "partly_received"), None),
    "cancel": (("draft", "sent", "confirmed"), "cancelled"),
    "close": (("partly_received",), "closed"),
}
#: States in which goods are still expected.
EXPECTED = ("sent", "confirmed", "partly_received")


def lock(connection: Connection, number: str | int, *steps: str) -> Any:
    """Lock a purchase order (by number or id) for a step; return its row, with the step to take.

    ``steps`` are tried in their order. The row has the columns of the table, the supplier's
    ``supplier`` code and ``email``, and ``step``.

    Raises:
        NotFound: there is no such purchase order.
        Conflict: its state allows none of the steps.
    """
    clause = for_update(connection)
    head = (
        connection.execute(
            sa.text(
                "SELECT p.*, s.code AS supplier, s.email FROM purchase_orders AS p"
                " JOIN suppliers AS s ON s.id = p.supplier_id"
                f" WHERE p.id = :id {clause and clause + ' OF p'}"
            ),
            {"id": queries.id_of(str(number))},
        )
        .mappings()
        .one_or_none()
    )
    if head is None:
        raise NotFound(f"There is no purchase order {number!r}.")
    for step in steps:
        if head["status"] in TRANSITIONS[step][0]:
            return {**head, "ordered_at": read_time(head["ordered_at"]), "step": step}
    needs = sorted({state for step in steps for state in TRANSITIONS[step][0]})
    message = (
        f"{head['number']} is {_words(head['status'])}; to {steps[0]}, it must be"
        f" {' or '.join(_words(state) for state in needs)}"
    )
    raise Conflict(f"{message}.", [FieldError("number", "wrong_status", message)])


def advance(
    connection: Connection, actor: Actor, head: Any, *, to: str | None = None, **columns: Any
) -> None:
    """Move a locked purchase order on; ``columns`` are set with its state (times as parameters).

    Without ``to`` the state is the one that the step leaves.
    """
    state = to or TRANSITIONS[head["step"]][1] or head["status"]
    assignments = "".join(f" {name} = :{name}," for name in columns)
    connection.execute(
        sa.text(
            f"UPDATE purchase_orders SET status = :status,{assignments} version = version + 1,"
            " changed_by = :actor, changed_at = :now WHERE id = :id"
        ),
        {
            **columns,
            "id": head["id"],
            "status": state,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )


def day_faults(field: str, day: date | None, ordered_at: datetime) -> list[FieldError]:
    """Return what is wrong with a day of delivery: it comes before that of the order (the shop's).

    Customers are promised what suppliers say.
    """
    ordered_on = ordered_at.astimezone(settings().zone).date()
    if day is None or day >= ordered_on:
        return []
    return [FieldError(field, "before_the_order", f"not before {ordered_on}, the day of the order")]


def pairs(connection: Connection, purchase_order_id: int) -> list[tuple[int, int]]:
    """Return the (warehouse id, SKU id) that a purchase order brings something of."""
    rows = connection.execute(
        sa.text(
            "SELECT DISTINCT p.warehouse_id, l.sku_id FROM purchase_order_lines AS l"
            " JOIN purchase_orders AS p ON p.id = l.purchase_order_id WHERE p.id = :id"
        ),
        {"id": purchase_order_id},
    )
    return [(row.warehouse_id, row.sku_id) for row in rows]


def _words(state: str) -> str:
    return state.replace("_", " ")
