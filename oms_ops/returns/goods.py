"""Goods that come back: counted in from the customer, and what becomes of them.

Until they are inspected, units lie in the warehouse's quarantine, where nobody sells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import RETURNS_WRITE, Actor
from oms_ops.database import as_rows, execute, rowset
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_orders_and_those_waiting
from oms_ops.returns import messages, queries, sold, worth
from oms_ops.returns.transitions import advance
from oms_ops.stock import ledger
from oms_ops.stock.ledger import PlaceMove
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import Names, own, world


@dataclass(frozen=True, slots=True)
class Inspected:
    """What becomes of the received units of an order's line (by its number)."""

    line_no: int
    restock: int = 0
    quarantine: int = 0
    scrap: int = 0


def receive(
    connection: Connection,
    actor: Actor,
    return_id: int,
    counted: Mapping[int, int] | None = None,
    *,
    warehouse: str | None = None,
) -> None:
    """Count the goods of an approved return in, into quarantine; what they are worth is fixed.

    ``counted`` has the units by line number, 0 for what did not come; None is all as asked. A line
    that is not named did not come. ``warehouse`` is where they came, the order's own if not said.

    Raises:
        ValidationFailed: with every bad field: lines that are not the return's, nothing at all.
        Conflict: it is not approved, or more came of a line than was shipped and is not back yet.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    head = queries.locked(connection, return_id)
    lines = queries.lines(connection, return_id)
    units = _counted(connection, lines, counted)
    if warehouse is not None:
        names = Names(connection, "The receipt")
        head["warehouse_id"] = names.warehouse("warehouse", warehouse)
        names.check()
    advance(connection, actor.name, [return_id], "receive", warehouse_id=head["warehouse_id"])
    known = sold.lines(connection, line_ids=[line["order_line_id"] for line in lines])
    add_returned(
        connection, actor, [(line["order_line_id"], units[line["line_no"]]) for line in lines]
    )
    _keep(connection, actor, lines, units, known)
    customer = world(connection)["customer"].id
    quarantine = own(connection, "quarantine")[head["warehouse_id"]].id
    ledger.move(
        connection,
        actor,
        [
            PlaceMove(customer, quarantine, line["sku_id"], units[line["line_no"]], "return",
                      head["number"], known[line["order_line_id"]]["unit_cost_minor"])
            for line in lines
            if units[line["line_no"]]
        ],
    )  # fmt: skip
    messages.tell(connection, "received", [return_id])


def _counted(
    connection: Connection, lines: Sequence[Mapping[str, Any]], counted: Mapping[int, int] | None
) -> dict[int, int]:
    asked = {line["line_no"]: line["quantity"] for line in lines}
    if counted is None:
        return asked
    names = Names(connection, "The receipt")
    for index, (line_no, units) in enumerate(counted.items()):
        if line_no not in asked:
            names.fault(f"lines[{index}].line_no", "unknown_line", "is not of this return")
        names.units(f"lines[{index}].quantity", units, least=0)
    if not any(counted.values()):
        names.fault("lines", "nothing_received", "at least one unit")
    names.check()
    return {line_no: counted.get(line_no, 0) for line_no in asked}


def add_returned(connection: Connection, actor: Actor, units: Sequence[tuple[int, int]]) -> None:
    """Count units of order lines (id, units) as returned, all or none.

    Raises:
        Conflict: more comes back of a line than was shipped; each is named.
    """
    wanted = [(line_id, count) for line_id, count in units if count]
    columns = {"line_id": "bigint", "units": "bigint"}
    rows = as_rows({"line_id": line_id, "units": count} for line_id, count in wanted)
    updated = execute(
        connection,
        "UPDATE order_lines AS l SET returned = l.returned + r.units, version = l.version + 1,"
        " changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        " WHERE l.id = r.line_id AND l.shipped - l.returned >= r.units RETURNING id",
        {"rows": rows, **stamp_of(connection, actor)},
    ).fetchall()
    if len(updated) != len(wanted):
        done = {row[0] for row in updated}
        faults = [
            FieldError(f"lines[{index}].quantity", "more_than_shipped", "more than was shipped")
            for index, (line_id, _) in enumerate(wanted)
            if line_id not in done
        ]
        raise Conflict("More comes back than was shipped and not returned yet.", faults)


def _keep(
    connection: Connection,
    actor: Actor,
    lines: Sequence[Mapping[str, Any]],
    units: Mapping[int, int],
    known: Mapping[int, Mapping[str, Any]],
) -> None:
    """Keep what was counted, and what it is worth by what came back before."""
    columns = dict.fromkeys(("line_id", "units", "refund", "tax"), "bigint")
    rows = []
    for line in lines:
        order_line = known[line["order_line_id"]]
        count = units[line["line_no"]]
        value = worth.of(order_line, order_line["returned"], count)
        rows.append(
            {"line_id": line["id"], "units": count, "refund": value.refund, "tax": value.tax}
        )
    execute(
        connection,
        "UPDATE return_lines AS l SET received = r.units, refund_minor = r.refund,"
        " tax_minor = r.tax, version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.line_id",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )


def inspect(
    connection: Connection, actor: Actor, return_id: int, found: Sequence[Inspected]
) -> None:
    """Decide about all the units of a received return: back on sale, kept apart, or thrown away.

    What is restocked fills backorders, oldest first, in the same transaction. What is quarantined
    stays where it is, for :func:`oms_ops.fulfilment.arrivals.dispose` to decide.

    Raises:
        ValidationFailed: with every bad field; each line's units are to sum to what was received.
        Conflict: it is not received, or is inspected already.
        OutOfStock: somebody else took the units out of quarantine.
        Forbidden: the role may not write returns.
    """
    actor.require(RETURNS_WRITE)
    lines = queries.lines(connection, return_id)
    head = queries.head(connection, return_id)
    pairs = {(head["warehouse_id"], line["sku_id"]) for line in lines}
    lock_orders_and_those_waiting(connection, [head["order_id"]], pairs)
    advance(connection, actor.name, [return_id], "inspect")
    # The warehouse and the counts are those of the receipt, which is done.
    head, lines = queries.head(connection, return_id), queries.lines(connection, return_id)
    decided = _decided(lines, found)
    _keep_dispositions(connection, actor, lines, decided)
    warehouse_id = head["warehouse_id"]
    quarantine = own(connection, "quarantine")[warehouse_id].id
    floor, scrap = own(connection, "storage")[warehouse_id].id, world(connection)["scrap"].id
    moves = []
    for line in lines:
        result = decided[line["line_no"]]
        for target, units, reason in (
            (floor, result.restock, "return"),
            (scrap, result.scrap, "scrap"),
        ):
            if units:
                moves.append(
                    PlaceMove(quarantine, target, line["sku_id"], units, reason, head["number"])
                )
    ledger.move(connection, actor, moves)
    restocked = {
        (warehouse_id, line["sku_id"]) for line in lines if decided[line["line_no"]].restock
    }
    if restocked:
        backorders.fill(connection, actor, restocked)


def _decided(
    lines: Sequence[Mapping[str, Any]], found: Sequence[Inspected]
) -> dict[int, Inspected]:
    received = {line["line_no"]: line["received"] for line in lines}
    faults, decided = [], {}
    for index, each in enumerate(found):
        where = f"lines[{index}]"
        parts = (each.restock, each.quarantine, each.scrap)
        if each.line_no not in received or each.line_no in decided:
            faults.append(FieldError(f"{where}.line_no", "unknown_line", "is not of this return"))
        elif min(parts) < 0 or sum(parts) != received[each.line_no]:
            message = f"{received[each.line_no]} were received, {sum(parts)} are decided about"
            faults.append(FieldError(where, "does_not_add_up", message))
        decided[each.line_no] = each
    for line_no, units in received.items():
        if units and line_no not in decided:
            faults.append(FieldError("lines", "missing_line", f"line {line_no} is not decided"))
        decided.setdefault(line_no, Inspected(line_no))
    if faults:
        raise ValidationFailed("The inspection has bad fields.", faults)
    return decided


def disposition(result: Inspected) -> str | None:
    """Return the one thing that became of a line's units, or ``mixed``; None of none."""
    kinds = [name for name in ("restock", "quarantine", "scrap") if getattr(result, name)]
    if not kinds:
        return None
    return kinds[0] if len(kinds) == 1 else "mixed"


def _keep_dispositions(
    connection: Connection,
    actor: Actor,
    lines: Sequence[Mapping[str, Any]],
    decided: Mapping[int, Inspected],
) -> None:
    columns = dict.fromkeys(("line_id", "restock", "quarantine", "scrap"), "bigint")
    rows = [
        {
            "line_id": line["id"],
            "restock": (result := decided[line["line_no"]]).restock,
            "quarantine": result.quarantine,
            "scrap": result.scrap,
            "kind": disposition(result),
        }
        for line in lines
    ]
    source = rowset(connection, "rows", {**columns, "kind": "text"})
    execute(
        connection,
        "UPDATE return_lines AS l SET restocked = r.restock, quarantined = r.quarantine,"
        " scrapped = r.scrap, disposition = r.kind, version = l.version + 1,"
        f" changed_by = :actor, changed_at = :now FROM ({source}) AS r WHERE l.id = r.line_id",
        {"rows": as_rows(rows), **stamp_of(connection, actor)},
    )
