"""Feedback on orders: would the customer recommend the shop; one an order, the latest counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CARE_READ, CARE_WRITE, Actor
from oms_ops.care.forms import FeedbackIn
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, read_time, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders.queries import id_of


def give(connection: Connection, actor: Actor, wanted: Sequence[FeedbackIn]) -> list[int]:
    """Write down what customers think; return the ids, in the order of the orders' ids.

    Raises:
        ValidationFailed: with every bad field: an order that is not known, or there twice.
        Conflict: nothing of an order was delivered yet.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    return given(connection, actor.name, wanted)


def given(connection: Connection, by: str, wanted: Sequence[FeedbackIn]) -> list[int]:
    """Do what :func:`give` does, for whoever has asked for the permission."""
    if not wanted:
        return []
    _check(connection, wanted)
    columns = {"order_id": "bigint", "score": "integer", "comment": "text"}
    rows = execute(
        connection,
        "INSERT INTO feedback (order_id, customer_id, score, comment, given_at, version,"
        " changed_by, changed_at) SELECT r.order_id, o.customer_id, r.score, r.comment, :now, 1,"
        f" :actor, :now FROM ({rowset(connection, 'rows', columns)}) AS r"
        # Two who give feedback on the same orders meet at the first of them.
        " JOIN orders AS o ON o.id = r.order_id WHERE true ORDER BY r.order_id"
        " ON CONFLICT (order_id) DO UPDATE SET score = excluded.score, comment = excluded.comment,"
        " given_at = excluded.given_at, version = feedback.version + 1,"
        " changed_by = excluded.changed_by, changed_at = excluded.changed_at"
        " RETURNING id, order_id",
        {
            "rows": as_rows(
                {
                    "order_id": id_of(each.order, "SO"),
                    "score": each.score,
                    "comment": each.comment,
                }
                for each in wanted
            ),
            "actor": by,
            "now": as_time(connection, clock.now()),
        },
    ).fetchall()
    return [row[0] for row in sorted(rows, key=lambda row: row[1])]


def _check(connection: Connection, wanted: Sequence[FeedbackIn]) -> None:
    rows = execute(
        connection,
        "SELECT o.id, CASE WHEN EXISTS (SELECT 1 FROM shipments AS s WHERE s.order_id = o.id"
        " AND s.delivered_at IS NOT NULL) THEN 1 ELSE 0 END FROM orders AS o"
        f" WHERE o.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids({id_of(each.order, "SO") for each in wanted})},
    ).fetchall()
    arrived, seen = {row[0]: bool(row[1]) for row in rows}, set()
    faults, early = [], []
    for index, each in enumerate(wanted):
        field, order_id = f"feedback[{index}].order", id_of(each.order, "SO")
        if order_id not in arrived:
            faults.append(FieldError(field, "unknown_order", "there is no such order"))
        elif order_id in seen:
            faults.append(FieldError(field, "repeated_order", "is there twice"))
        elif not arrived[order_id]:
            early.append(FieldError(field, "nothing_delivered", "nothing of it was delivered yet"))
        seen.add(order_id)
    if faults:
        raise ValidationFailed("The feedback has bad fields.", faults)
    if early:
        raise Conflict("Nothing of this order was delivered yet.", early)


def of_order(connection: Connection, order_id: int) -> dict[str, Any] | None:
    """Return the feedback on an order, None where there is none, for who may see the order."""
    found = _shown(connection, "f.order_id = :order_id", {"order_id": order_id, "limit": 1})
    return found[0] if found else None


def shown(connection: Connection, feedback_id: int) -> dict[str, Any]:
    """Return one feedback as JSON-ready data, for who may see it."""
    return _shown(connection, "f.id = :id", {"id": feedback_id, "limit": 1})[0]


def listing(
    connection: Connection, actor: Actor, *, before: int = 0, limit: int = 50
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of feedback, newest first, and the cursor of the next page.

    Raises:
        Forbidden: the role may not read what customers think.
    """
    actor.require(CARE_READ)
    condition = "f.id < :before" if before else "true"
    found = _shown(connection, condition, {"before": before, "limit": limit + 1})
    return found[:limit], found[limit - 1]["id"] if len(found) > limit else None


def _shown(
    connection: Connection, condition: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = execute(
        connection,
        "SELECT f.id, o.number, c.email, f.score, f.comment, f.given_at, f.version"
        " FROM feedback AS f JOIN orders AS o ON o.id = f.order_id"
        f" JOIN customers AS c ON c.id = f.customer_id WHERE {condition}"
        " ORDER BY f.id DESC LIMIT :limit",
        parameters,
    ).fetchall()
    names = ("id", "order", "email", "score", "comment", "given_at", "version")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for each in found:
        moment = read_time(each["given_at"])
        each["given_at"] = moment.isoformat() if moment else None
    return found
