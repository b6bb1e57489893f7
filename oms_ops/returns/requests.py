"""Ask for a return (RMA), by a clerk or by the customer herself, and decide about it.

What keeps to the policy is approved at once, unless the shop wants a clerk to look. A clerk may
approve what does not, with a reason that is kept. What a customer asks against the policy is kept
as refused, so that somebody can look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import RETURNS_WRITE, SYSTEM, Actor
from oms_ops.database import as_rows, as_time, execute, for_update, rowset, run
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.orders.locks import lock_orders
from oms_ops.returns import messages, policy, queries, sold
from oms_ops.returns.tables import REASONS
from oms_ops.returns.transitions import advance
from oms_ops.rules import store
from oms_ops.rules.document import ReturnRules

#: Who made a change that a customer made by her link.
CUSTOMER = "customer"
_MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Units of an order's line (by its number) that are to come back, and why."""

    line_no: int
    quantity: int
    reason: str = "other"
    note: str | None = None


def request(
    connection: Connection,
    actor: Actor,
    order_id: int,
    lines: Sequence[Asked],
    *,
    reason: str = "",
    override: str | None = None,
) -> int:
    """Ask for a return in the customer's name; return its id.

    ``override`` says why it is approved although the policy is against it.

    Raises:
        ValidationFailed: with every bad field: unknown or repeated lines, more than was shipped and
            is not on its way back, and what the policy is against (``outside_window``,
            ``not_returnable``), where nothing overrides it.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    rules = store.current(connection).rules.returns
    chosen, objections = _checked(connection, rules, order_id, lines, reason)
    if objections and not (override and override.strip()):
        raise ValidationFailed("The policy is against this return.", objections)
    automatic = rules.approve == "automatic" or bool(override)
    return _store(
        connection, actor.name, order_id, lines, chosen, rules,
        reason=reason, asked_by="shop", decision=override,
        status="approved" if automatic else "requested",
    )  # fmt: skip


def ask(connection: Connection, token: str, lines: Sequence[Asked], note: str = "") -> int:
    """Ask for a return as the customer; the token of her link is the permission. Return its id.

    Raises:
        NotFound: there is no such link.
        Conflict: the shop takes no requests online.
        ValidationFailed: with every bad field.
    """
    row = execute(
        connection, "SELECT id FROM orders WHERE tracking_token = :token", {"token": token}
    ).fetchone()
    if row is None:
        raise NotFound("This tracking link is not valid.")
    rules = store.current(connection).rules.returns
    if not rules.online:
        raise Conflict("Returns cannot be asked for online; please write to us.")
    chosen, objections = _checked(connection, rules, row[0], lines, note)
    status = "approved" if rules.approve == "automatic" else "requested"
    return _store(
        connection, CUSTOMER, row[0], lines, chosen, rules, reason=note, asked_by="customer",
        decision="; ".join(fault.message for fault in objections) or None,
        status="refused" if objections else status,
    )  # fmt: skip


def eligible(connection: Connection, order_id: int) -> list[dict[str, Any]]:
    """Return the lines that a customer may ask for now: ``line_no``, ``name``, ``left``, ``until``.

    None where the shop takes no requests online.
    """
    rules = store.current(connection).rules.returns
    if not rules.online:
        return []
    came, coming = policy.arrived(connection, order_id), policy.open_units(connection, order_id)
    found = []
    for line in sold.lines(connection, order_id=order_id).values():
        left = line["shipped"] - line["returned"] - coming.get(line["id"], 0)
        if left > 0 and not policy.objections(rules, [line], came):
            until = policy.last_day(rules, line, came.get(line["id"]))
            found.append(
                {"line_no": line["line_no"], "name": line["name"], "left": left, "until": until}
            )
    return sorted(found, key=lambda each: each["line_no"])


def _checked(
    connection: Connection,
    rules: ReturnRules,
    order_id: int,
    lines: Sequence[Asked],
    reason: str,
) -> tuple[list[dict[str, Any]], list[FieldError]]:
    """Lock the order; return the order lines of ``lines``, and what the policy says against it."""
    lock_orders(connection, [order_id])
    known = {row["line_no"]: row for row in sold.lines(connection, order_id=order_id).values()}
    coming = policy.open_units(connection, order_id)
    faults = [] if lines else [FieldError("lines", "required", "a return has at least one line")]
    seen: set[int] = set()
    for index, line in enumerate(lines):
        where = f"lines[{index}]"
        row = known.get(line.line_no)
        if row is None:
            faults.append(FieldError(f"{where}.line_no", "unknown_line", "no such line"))
        elif line.line_no in seen:
            faults.append(FieldError(f"{where}.line_no", "repeated_line", "is there twice"))
        elif not 1 <= line.quantity <= _MOST_UNITS:
            faults.append(FieldError(f"{where}.quantity", "not_positive", "at least 1"))
        elif line.quantity > (left := row["shipped"] - row["returned"] - coming.get(row["id"], 0)):
            message = f"{max(0, left)} of {row['name']} were shipped and are not on their way back"
            faults.append(FieldError(f"{where}.quantity", "more_than_shipped", message))
        seen.add(line.line_no)
        if line.reason not in REASONS:
            faults.append(FieldError(f"{where}.reason", "unknown_reason", f"one of {REASONS}"))
        elif line.reason == "other" and not (line.note or reason).strip():
            faults.append(FieldError(f"{where}.note", "note_required", "say why"))
    if faults:
        raise ValidationFailed("The return has bad fields.", faults)
    chosen = [known[line.line_no] for line in lines]
    came = policy.arrived(connection, order_id)
    return chosen, policy.objections(rules, chosen, came)


def _store(
    connection: Connection,
    by: str,
    order_id: int,
    lines: Sequence[Asked],
    chosen: Sequence[dict[str, Any]],
    rules: ReturnRules,
    *,
    reason: str,
    asked_by: str,
    decision: str | None,
    status: str,
) -> int:
    now = clock.now()
    stamp = {"actor": by, "now": as_time(connection, now)}
    decided = status != "requested"
    (return_id,) = execute(
        connection,
        "INSERT INTO returns (order_id, warehouse_id, status, asked_by, reason, decision,"
        " requested_at, decided_at, expires_at, version, changed_by, changed_at) VALUES"
        " (:order_id, :warehouse_id, :status, :asked_by, :reason, :decision, :now, :decided,"
        " :expires, 1, :actor, :now) RETURNING id",
        {
            "order_id": order_id,
            "warehouse_id": chosen[0]["warehouse_id"],
            "status": status,
            "asked_by": asked_by,
            "reason": reason,
            "decision": decision,
            "decided": stamp["now"] if decided else None,
            "expires": _expiry(connection, rules) if status == "approved" else None,
            **stamp,
        },
    ).fetchone()
    columns = {
        "order_line_id": "bigint", "sku_id": "bigint", "quantity": "bigint", "reason": "text",
        "note": "text",
    }  # fmt: skip
    rows = as_rows(
        {
            "order_line_id": row["id"],
            "sku_id": row["sku_id"],
            "quantity": line.quantity,
            "reason": line.reason,
            "note": line.note,
        }
        for line, row in zip(lines, chosen, strict=True)
    )
    execute(
        connection,
        "INSERT INTO return_lines (return_id, order_line_id, sku_id, quantity, reason, note,"
        " version, changed_by, changed_at) SELECT :return_id, order_line_id, sku_id, quantity,"
        f" reason, note, 1, :actor, :now FROM ({rowset(connection, 'rows', columns)}) AS r",
        {"return_id": return_id, "rows": rows, **stamp},
    )
    if decided:
        messages.tell(connection, status, [return_id])
    return int(return_id)


def _expiry(connection: Connection, rules: ReturnRules) -> Any:
    return as_time(connection, clock.now() + timedelta(days=rules.expires_days))


def approve(connection: Connection, actor: Actor, return_id: int, reason: str | None) -> None:
    """Approve a return: one that waits, was refused or is over.

    What the policy refused, or what is over, is approved only with a reason, which is kept.

    Raises:
        Conflict: it is in no status to be approved, or its units are on their way back already.
        ValidationFailed: a reason is needed and missing.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    head = queries.locked(connection, return_id)
    if head["status"] in ("refused", "expired") and not (reason and reason.strip()):
        message = f"{head['number']} is {head['status']}: say why it is approved after all"
        fault = FieldError("reason", "required", message)
        raise ValidationFailed("The decision has bad fields.", [fault])
    if head["status"] in ("refused", "expired"):
        _refuse_taken(connection, head)
    rules = store.current(connection).rules.returns
    advance(
        connection, actor.name, [return_id], "approve", decision=reason,
        expires_at=_expiry(connection, rules),
    )  # fmt: skip
    messages.tell(connection, "approved", [return_id])


def _refuse_taken(connection: Connection, head: dict[str, Any]) -> None:
    """Refuse to approve units that came back or are asked for again meanwhile."""
    coming = policy.open_units(connection, head["order_id"])
    known = sold.lines(connection, order_id=head["order_id"])
    for line in queries.lines(connection, head["id"]):
        row = known[line["order_line_id"]]
        left = row["shipped"] - row["returned"] - coming.get(row["id"], 0)
        if line["quantity"] > left:
            message = f"{max(0, left)} of {row['name']} are left to send back"
            fault = FieldError("quantity", "more_than_shipped", message)
            raise Conflict("Meanwhile its units came back or are on their way.", [fault])


def refuse(connection: Connection, actor: Actor, return_id: int, reason: str) -> None:
    """Refuse a return that waits or was approved; the customer is told the reason.

    Raises:
        Conflict: its goods came already, or it is decided otherwise.
        ValidationFailed: there is no reason.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    if not reason.strip():
        fault = FieldError("reason", "required", "say why")
        raise ValidationFailed("The decision has bad fields.", [fault])
    queries.locked(connection, return_id)
    advance(connection, actor.name, [return_id], "refuse", decision=reason)
    messages.tell(connection, "refused", [return_id])


def cancel(connection: Connection, actor: Actor, return_id: int, reason: str | None) -> None:
    """Give a return up whose goods have not come.

    Raises:
        Conflict: they have, or it is over.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    queries.locked(connection, return_id)
    advance(connection, actor.name, [return_id], "cancel", decision=reason)


def expire(engine: Engine, *, batch: int = 200) -> int:
    """End approved returns whose goods did not come in time; return how many."""
    done = 0
    while ended := run(engine, lambda connection: _expire(connection, batch)):
        done += ended
    return done


def _expire(connection: Connection, batch: int) -> int:
    now = as_time(connection, clock.now())
    rows = execute(
        connection,
        "SELECT id, order_id FROM returns WHERE status = 'approved' AND expires_at < :now"
        " ORDER BY id LIMIT :batch",
        {"now": now, "batch": batch},
    ).fetchall()
    if not rows:
        return 0
    lock_orders(connection, {row[1] for row in rows})
    # Under the locks: the goods of one may have come, or it was given up.
    due = {row[0] for row in rows}
    still = execute(
        connection,
        "SELECT id FROM returns WHERE status = 'approved' AND expires_at < :now"
        f" ORDER BY id {for_update(connection)}",
        {"now": now},
    ).fetchall()
    advance(connection, SYSTEM.name, [row[0] for row in still if row[0] in due], "expire")
    return len(rows)
