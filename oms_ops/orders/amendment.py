"""Amend an order until it is picked: lines, address, preferences, note.

A preview is the amendment itself in a transaction that is rolled back, so both give one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, execute, run
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.notifications import outbox
from oms_ops.orders import (
    additions,
    consequences,
    queries,
    relocation,
    shipments,
    tenders,
    totals,
    units,
)
from oms_ops.orders.additions import Amended
from oms_ops.orders.amendment_shape import AmendmentIn, parse
from oms_ops.orders.locks import lock_orders
from oms_ops.orders.look import Seen, look
from oms_ops.orders.units import CancelledUnits


class _Undo(Exception):
    """Rolls a preview back; carries its answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("a preview")
        self.answer = answer


def amend(
    engine: Engine, actor: Actor, number: str, payload: Any, *, preview: bool = False
) -> dict[str, Any]:
    """Amend the order ``number``; return it with the price difference and what it comes to.

    The answer holds ``order``, ``difference`` (what it costs more than before), ``to_pay`` (what no
    payment covers), ``to_refund`` (what was captured too much; a preview refunds nothing) and
    ``preview``.

    Raises:
        NotFound: there is no such order.
        ValidationFailed: with every bad field.
        OutOfStock: added units cannot be filled and the order allows no backorder.
        Conflict: the order is being picked, cancelled or closed, or not of the version given.
    """
    actor.require(ORDERS_WRITE)
    wanted = parse(payload)

    def work(connection: Connection) -> dict[str, Any]:
        answer = apply(connection, actor, queries.order_id(connection, number), wanted)
        answer["preview"] = preview
        if preview:
            raise _Undo(answer)
        return answer

    try:
        return run(engine, work)
    except _Undo as undone:
        return undone.answer


def apply(
    connection: Connection, actor: Actor, order_id: int, wanted: AmendmentIn
) -> dict[str, Any]:
    """Do as :func:`amend` in the caller's transaction."""
    actor.require(ORDERS_WRITE)
    lock_orders(connection, [order_id])
    head, lines = _read(connection, order_id)
    _refuse(head, wanted)
    amended, others = _amended(wanted, lines)
    parameters = {
        "ids": as_ids([order_id]),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
        "reason": "amended" if any(each.added < 0 for each in amended) else None,
    }
    before = dict(head)
    refunded = _refunded(connection, order_id)
    _change_head(connection, head, wanted, parameters)
    if wanted.ship_to is not None and _moves(before, head):
        seen = _look(connection, head, amended, others)
        relocation.tax_again(connection, head, lines, seen, parameters)
        relocation.ship_from_the_best(connection, actor, head, seen)
        head, lines = _read(connection, order_id)
        amended, others = _amended(wanted, lines)
    # Lines become shorter first: what they give back is there for the lines that are added.
    fewer = [
        CancelledUnits(order_id, each.line["line_no"], -each.added)
        for each in amended
        if each.line is not None and each.added < 0
    ]
    if fewer:
        given_back = units.take(connection, fewer, parameters)
        consequences.give_units_back(connection, actor, given_back)
    seen = _look(connection, head, amended, others)
    found = additions.priced(head, others, amended, seen)
    additions.add(connection, actor, head, amended, found, seen, parameters)
    totals.refresh(connection, parameters)
    consequences.give_codes_back(connection, parameters)
    tenders.settle(connection, actor, [order_id])
    to_pay = max(0, tenders.uncovered(connection, order_id))
    if wanted.payment is not None and to_pay:
        tenders.expect(connection, actor, order_id, wanted.payment.method, to_pay)
    back = _refunded(connection, order_id) - refunded
    return _answer(connection, before, to_pay, back)


def _moves(before: Mapping[str, Any], head: Mapping[str, Any]) -> bool:
    return any(before[name] != head[name] for name in ("ship_country", "ship_region"))


def _read(connection: Connection, order_id: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head = (
        connection.execute(
            sa.text(
                "SELECT o.*, c.email, w.code AS warehouse, (SELECT max(l.line_no)"
                " FROM order_lines AS l WHERE l.order_id = o.id) AS last_line_no,"
                " EXISTS (SELECT 1 FROM shipments AS s WHERE s.order_id = o.id"
                f" AND s.status <> 'cancelled' AND NOT ({shipments.UNPICKED})) AS is_picked"
                " FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
                " JOIN warehouses AS w ON w.id = o.warehouse_id WHERE o.id = :id"
            ),
            {"id": order_id},
        )
        .mappings()
        .one()
    )
    lines = connection.execute(
        sa.text(
            "SELECT l.*, k.code AS sku FROM order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
            " WHERE l.order_id = :id ORDER BY l.line_no"
        ),
        {"id": order_id},
    ).mappings()
    return dict(head), [dict(line) for line in lines]


def _refuse(head: Mapping[str, Any], wanted: AmendmentIn) -> None:
    if wanted.version is not None and wanted.version != head["version"]:
        raise Conflict(
            f"{head['number']} was changed by {head['changed_by']} meanwhile; look again.",
            [FieldError("version", "changed_meanwhile", f"is {head['version']} now")],
        )
    if head["status"] not in ("open", "on_hold"):
        raise Conflict(f"{head['number']} is {head['status']} and cannot be amended.")
    if head["is_picked"]:
        raise Conflict(f"{head['number']} is being picked and cannot be amended any more.")


def _amended(
    wanted: AmendmentIn, lines: Sequence[dict[str, Any]]
) -> tuple[list[Amended], list[dict[str, Any]]]:
    """Return the lines to amend, and those that are left alone."""
    known = {line["line_no"]: line for line in lines}
    amended, errors = [], []
    for index, each in enumerate(wanted.lines):
        line = None if each.line_no is None else known.get(each.line_no)
        if each.line_no is not None and line is None:
            errors.append(FieldError(f"lines[{index}].line_no", "unknown_line", "no such line"))
            continue
        now = line["quantity"] - line["cancelled"] if line else 0
        amended.append(
            Amended(
                index=index,
                line=line,
                sku=line["sku"] if line else cast(str, each.sku),
                units=each.quantity,
                added=each.quantity - now,
                unit_price=each.unit_price,
                discount=each.discount or Decimal(0),
            )
        )
    if errors:
        raise ValidationFailed("The amendment has bad fields.", errors)
    touched = {each.line["line_no"] for each in amended if each.line}
    return amended, [line for line in lines if line["line_no"] not in touched]


def _look(
    connection: Connection,
    head: Mapping[str, Any],
    amended: Sequence[Amended],
    others: Sequence[Mapping[str, Any]],
) -> Seen:
    codes = sorted({each.sku for each in amended} | {line["sku"] for line in others})
    return look(connection, additions.submission(head, []), ("", None), codes, clock.now())


_PREFERENCES = ("allow_backorder", "allow_split", "ship_complete", "note")


def _change_head(
    connection: Connection,
    head: dict[str, Any],
    wanted: AmendmentIn,
    parameters: dict[str, Any],
) -> None:
    """Change address, preferences and note, in the database and in ``head``."""
    changes = {name: value for name in _PREFERENCES if (value := getattr(wanted, name)) is not None}
    if "note" in changes:
        changes["note"] = changes["note"] or None
    if wanted.ship_to is not None:
        changes |= {f"ship_{name}": value for name, value in wanted.ship_to}
    changes = {name: value for name, value in changes.items() if head[name] != value}
    if not changes:
        return
    assignments = ", ".join(f"{name} = :{name}" for name in changes)
    execute(
        connection,
        f"UPDATE orders SET {assignments}, version = version + 1, changed_by = :actor,"
        " changed_at = :now WHERE id = :order_id",
        {**changes, **parameters, "order_id": head["id"]},
    )
    head.update(changes)


def _refunded(connection: Connection, order_id: int) -> int:
    row = execute(
        connection,
        "SELECT coalesce(sum(refunded_minor), 0) FROM payments WHERE order_id = :id",
        {"id": order_id},
    ).fetchone()
    return int(row[0])


def _answer(
    connection: Connection, before: Mapping[str, Any], to_pay: int, back: int
) -> dict[str, Any]:
    """Tell the customer, and return what the caller gets."""
    currency = before["currency"]
    now = connection.execute(
        sa.text("SELECT total_minor - cancelled_minor AS owed FROM orders WHERE id = :id"),
        {"id": before["id"]},
    ).one()
    difference = now.owed - (before["total_minor"] - before["cancelled_minor"])
    money = {
        "difference": to_text(difference, currency),
        "to_pay": to_text(to_pay, currency),
        "to_refund": to_text(back, currency),
        "currency": currency,
    }
    total = {"order": before["number"], "total": to_text(now.owed, currency)}
    outbox.post(connection, "order.amended", before["email"], {**total, **money})
    return {"order": queries.get(connection, before["number"]), **money}
