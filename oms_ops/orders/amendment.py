"""Amend an order: lines, address, preferences, note, as far as nobody picked what changes.

Units that are picked, packed or shipped stay; more can be added, and what is not picked yet can be
changed. An address is that of all that is not packed yet. A preview is the amendment itself in a
transaction that is rolled back, so both give one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import as_ids, as_time, execute, run
from oms_ops.errors import Conflict
from oms_ops.money import to_text
from oms_ops.notifications import outbox
from oms_ops.orders import (
    additions,
    claims,
    consequences,
    deadlines,
    promises,
    queries,
    relocation,
    submission,
    tenders,
    totals,
    units,
    views,
)
from oms_ops.orders.additions import Amended
from oms_ops.orders.amendment_checks import checked, refuse, refuse_address
from oms_ops.orders.amendment_shape import AmendmentIn, Submitted, parse
from oms_ops.orders.idempotency import once
from oms_ops.orders.locks import lock_order_and_rivals
from oms_ops.orders.look import Seen, look
from oms_ops.orders.units import CancelledUnits


class _Undo(Exception):
    """Rolls a preview back; carries its answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("a preview")
        self.answer = answer


def amend(
    engine: Engine,
    actor: Actor,
    number: str,
    payload: Any,
    *,
    preview: bool = False,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Amend the order ``number``; return it with the price difference and what it comes to.

    The answer holds ``order``, ``difference`` (what it costs more than before), ``to_pay`` (what no
    payment covers), ``to_refund`` (what was captured too much; a preview refunds nothing),
    ``preview``, and ``changed``: False where the order was already as it was to be. Then nothing is
    written but a payment that was asked for, and the customer is not told. A repeat with the
    same key and body gets the first answer; a preview needs no key.

    Raises:
        KeyReused: the key came before with another request.
        NotFound: there is no such order.
        ValidationFailed: with every bad field.
        Forbidden: a price is stated that the actor may not state.
        OutOfStock: added units cannot be filled and the order allows no backorder.
        Conflict: units that are to go are picked already, or the address is to change of an order
            with a packed parcel; each is named. Or the order is cancelled or closed, or not of the
            version given.
    """
    actor.require(ORDERS_WRITE)
    submitted = parse(payload)

    def work(connection: Connection) -> dict[str, Any]:
        answer = apply(connection, actor, queries.order_id(connection, number), submitted)
        answer["preview"] = preview
        if preview:
            raise _Undo(answer)
        return answer

    key = None if preview else idempotency_key
    try:
        return run(
            engine, lambda c: once(c, actor, key, ("amend", number, payload), lambda: work(c))
        )
    except _Undo as undone:
        return undone.answer


def apply(
    connection: Connection, actor: Actor, order_id: int, submitted: Submitted
) -> dict[str, Any]:
    """Do as :func:`amend` in the caller's transaction."""
    actor.require(ORDERS_WRITE)
    codes = [sku for _, sku in submission.lines_of(submitted.payload)]
    lock_order_and_rivals(connection, order_id, codes)
    head, lines = _read(connection, order_id)
    seen = _look(connection, head, submitted, lines)
    wanted = checked(submitted, head, lines, seen)
    refuse(head, wanted)
    amended, others = additions.amended(enumerate(wanted.lines), lines)
    parameters = {
        "ids": as_ids([order_id]),
        "actor": actor.name,
        "now": as_time(connection, clock.now()),
        "reason": "amended" if any(each.added < 0 for each in amended) else None,
    }
    before = dict(head)
    refunded = _refunded(connection, order_id)
    changes = _changes(head, wanted)
    refuse_address(connection, head, changes)
    moves = any(name in changes for name in ("ship_country", "ship_region"))
    if moves or any(each.added for each in amended):
        # What the order costs is going to change.
        claims.settle_good_will(connection, actor, [order_id])
    _change_head(connection, head, changes, parameters)
    if moves:
        relocation.tax_again(connection, head, lines, seen, parameters)
        relocation.ship_from_the_best(connection, actor, head, seen)
        head, lines = _read(connection, order_id)
        amended, others = additions.amended(enumerate(wanted.lines), lines)
    found = additions.priced(actor, head, others, amended, seen)
    # Lines become shorter first: what they give back is there for the lines that are added.
    if _take(connection, actor, order_id, amended, parameters) or moves:
        seen = _look(connection, head, submitted, lines)
    is_changed = bool(changes) or any(each.added for each in amended)
    if is_changed:
        additions.add(connection, actor, head, amended, found, seen, parameters)
        if "allow_split" in changes:
            # It is served from elsewhere now, or not any more.
            waits = {(head["warehouse_id"], li["sku_id"]) for li in lines if li["backordered"]}
            promises.update(connection, actor, waits)
        totals.refresh(connection, parameters)
        consequences.give_codes_back(connection, parameters)
        grows = any(each.added > 0 for each in amended)
        deadlines.amended(connection, seen.rules.rules, head, parameters, moves=moves, grows=grows)
        tenders.settle(connection, actor, [order_id])
    to_pay = max(0, tenders.uncovered(connection, order_id))
    if wanted.payment is not None and to_pay:
        tenders.expect(
            connection, actor, order_id, wanted.payment.method, to_pay, field="payment.method"
        )
    back = _refunded(connection, order_id) - refunded
    return _answer(connection, before, to_pay, back, is_changed=is_changed)


def _read(connection: Connection, order_id: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head = (
        connection.execute(
            sa.text(
                "SELECT o.*, c.email, w.code AS warehouse, (SELECT max(l.line_no)"
                " FROM order_lines AS l WHERE l.order_id = o.id) AS last_line_no,"
                " (SELECT CAST(sum(l.allocated + l.backordered) AS bigint)"
                " FROM order_lines AS l WHERE l.order_id = o.id) AS units_left"
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


def _look(
    connection: Connection,
    head: Mapping[str, Any],
    submitted: Submitted,
    lines: Sequence[Mapping[str, Any]],
) -> Seen:
    codes = {sku for _, sku in submission.lines_of(submitted.payload)} | {
        line["sku"] for line in lines
    }
    terms = additions.submission(head, [])
    return look(connection, terms, ("", None), sorted(codes), clock.now())


def _take(
    connection: Connection,
    actor: Actor,
    order_id: int,
    amended: Sequence[Amended],
    parameters: dict[str, Any],
) -> bool:
    """Cancel the units that lines are to lose, if any; what is picked of them already stays."""
    fewer = [each for each in amended if each.line is not None and each.added < 0]
    if not fewer:
        return False
    wanted = [
        CancelledUnits(order_id, each.line["line_no"], -each.added) for each in fewer if each.line
    ]
    try:
        given_back = units.take(connection, wanted, parameters)
    except Conflict as refusal:
        errors = additions.relabel(refusal.errors, [each.index for each in fewer])
        raise Conflict(refusal.message, errors) from None
    consequences.give_units_back(connection, actor, given_back)
    return True


_PREFERENCES = ("allow_backorder", "allow_split", "ship_complete", "note")


def _changes(head: Mapping[str, Any], wanted: AmendmentIn) -> dict[str, Any]:
    """Return the columns of the order that become different: address, preferences and note."""
    changes = {name: value for name in _PREFERENCES if (value := getattr(wanted, name)) is not None}
    if "note" in changes:
        changes["note"] = changes["note"] or None
    if wanted.ship_to is not None:
        changes |= {f"ship_{name}": value for name, value in wanted.ship_to}
    return {name: value for name, value in changes.items() if head[name] != value}


def _change_head(
    connection: Connection,
    head: dict[str, Any],
    changes: Mapping[str, Any],
    parameters: dict[str, Any],
) -> None:
    """Change the order, in the database and in ``head``."""
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
    """Return what of an order's money went back, or is on its way: gateways are asked later."""
    row = execute(
        connection,
        "SELECT coalesce(sum(refunded_minor + refunding_minor), 0) FROM payments"
        " WHERE order_id = :id",
        {"id": order_id},
    ).fetchone()
    return int(row[0])


def _answer(
    connection: Connection,
    before: Mapping[str, Any],
    to_pay: int,
    back: int,
    *,
    is_changed: bool,
) -> dict[str, Any]:
    """Tell the customer of a change, and return what the caller gets."""
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
    order = queries.get(connection, before["number"])
    if is_changed:
        total = {"order": before["number"], "total": to_text(now.owed, currency)}
        payload = {**total, **money, **views.waiting(order)}
        outbox.post(connection, "order.amended", before["email"], payload)
    return {"order": order, "changed": is_changed, **money}
