"""Take goods back over the counter: asked for, received, inspected and refunded at once.

A set of returns is one transaction and one statement a step, for a day of them as for one. Who has
the goods in her hands has decided already: the policy's window does not bind here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, RETURNS_WRITE, Actor
from oms_ops.database import as_rows, execute, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_orders_and_those_waiting
from oms_ops.returns import goods, policy, sold, worth
from oms_ops.returns.giving_back import Due, give_back
from oms_ops.returns.tables import DISPOSITIONS, REASONS
from oms_ops.returns.worth import Worth
from oms_ops.rules import store
from oms_ops.rules.document import ReturnRules
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move, PlaceMove
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import own, world


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """``quantity`` units of an order line, and what becomes of them: restock, quarantine, scrap.

    ``refund_minor`` is the refund that was agreed where it is not what the units are worth by the
    rules; no fee is then taken.
    """

    order_line_id: int
    quantity: int
    disposition: str = "restock"
    refund_minor: int | None = None
    reason: str = "other"


@dataclass(frozen=True, slots=True)
class ReturnRequest:
    """What one customer sends back of one order, and why; ``resolution`` is what she gets."""

    order_id: int
    lines: tuple[ReturnedLine, ...]
    reason: str
    resolution: str = "refund"


def receive(
    connection: Connection,
    actor: Actor,
    requests: Sequence[ReturnRequest],
    *,
    notify: bool = True,
) -> list[str]:
    """Receive returned goods and refund them to the order's payments; return the RMA numbers.

    The refund of a line is what its units are worth (:mod:`oms_ops.returns.worth`) less the fee, or
    what was agreed. What was not captured is not refunded, and need not be paid any more.
    ``notify=False`` is for loading history.

    Raises:
        ValidationFailed: a line does not belong to its order, or a code is unknown.
        Conflict: more comes back than was shipped, or money is just being collected and the rest
            does not cover the refund.
    """
    actor.require(RETURNS_WRITE)
    # Nobody else looks at it before the money goes back.
    actor.require(PAYMENTS_WRITE)
    if not requests:
        return []
    line_ids = [line.order_line_id for request in requests for line in request.lines]
    known = sold.lines(connection, line_ids=line_ids)
    _check(requests, known)
    # Two returns of one line are refunded one after the other: the second sees the first.
    pairs = {(row["warehouse_id"], row["sku_id"]) for row in known.values()}
    lock_orders_and_those_waiting(connection, [r.order_id for r in requests], pairs)
    known = sold.lines(connection, line_ids=line_ids)
    rules = store.current(connection).rules.returns
    worths = {request.order_id: _worths(request, known, rules) for request in requests}
    goods.add_returned(
        connection,
        actor,
        [(line.order_line_id, line.quantity) for request in requests for line in request.lines],
    )
    reasons = {r.order_id: {line.reason for line in r.lines} for r in requests if not _agreed(r)}
    shipping = policy.shipping(connection, rules, reasons) if reasons else {}
    stored = _insert(connection, actor, requests, known, worths, shipping)
    give_back(
        connection, actor, [_due(request, worths, shipping, stored) for request in requests],
        notify=notify,
    )  # fmt: skip
    _move(connection, actor, requests, stored, known)
    return [stored[request.order_id]["number"] for request in requests]


def _check(requests: Sequence[ReturnRequest], known: Mapping[int, Any]) -> None:
    if len({request.order_id for request in requests}) != len(requests):
        raise ValidationFailed("One return per order at a time.")
    errors = [fault for request in requests for fault in _faults(request, known)]
    if errors:
        raise ValidationFailed("The return has bad fields.", errors)


def _faults(request: ReturnRequest, known: Mapping[int, Any]) -> list[FieldError]:
    faults = []
    if not request.lines:
        faults.append(FieldError("lines", "required", "a return has at least one line"))
    if request.resolution not in ("refund", "store_credit"):
        faults.append(FieldError("resolution", "unknown_resolution", "refund or store_credit"))
    seen: set[int] = set()
    for index, line in enumerate(request.lines):
        row = known.get(line.order_line_id)
        where = f"lines[{index}]"
        if row is None or row["order_id"] != request.order_id or line.order_line_id in seen:
            faults.append(
                FieldError(f"{where}.order_line_id", "unknown_line", "no such line to return")
            )
        seen.add(line.order_line_id)
        faults += _line_faults(line, where)
    return faults


def _line_faults(line: ReturnedLine, where: str) -> list[FieldError]:
    faults = []
    if line.quantity <= 0:
        faults.append(FieldError(f"{where}.quantity", "not_positive", "at least 1"))
    if line.refund_minor is not None and line.refund_minor < 0:
        faults.append(FieldError(f"{where}.refund", "out_of_range", "is negative"))
    for field, value, values in (
        ("disposition", line.disposition, DISPOSITIONS),
        ("reason", line.reason, REASONS),
    ):
        if value not in values:
            faults.append(FieldError(f"{where}.{field}", "unknown", f"one of {values}"))
    return faults


def _agreed(request: ReturnRequest) -> bool:
    return any(line.refund_minor is not None for line in request.lines)


def _worths(
    request: ReturnRequest, known: Mapping[int, Mapping[str, Any]], rules: ReturnRules
) -> list[Worth]:
    """Return what the lines of a return are worth, before they are counted as returned."""
    worths = []
    for line in request.lines:
        row = known[line.order_line_id]
        value = worth.of(row, row["returned"], line.quantity)
        worths.append(
            value if line.refund_minor is None else worth.agreed(value, line.refund_minor)
        )
    if _agreed(request):
        return worths
    return policy.with_fee(rules, worths, [line.reason for line in request.lines])


def _due(
    request: ReturnRequest,
    worths: Mapping[int, Sequence[Worth]],
    shipping: Mapping[int, int],
    stored: Mapping[int, Any],
) -> Due:
    goods_minor = sum(each.refund for each in worths[request.order_id])
    total = goods_minor + shipping.get(request.order_id, 0)
    entry = stored[request.order_id]
    reason = request.reason or f"return {entry['number']}"
    credit = total if request.resolution == "store_credit" else 0
    return Due(entry["id"], request.order_id, total, reason, credit)


def _insert(
    connection: Connection,
    actor: Actor,
    requests: Sequence[ReturnRequest],
    known: Mapping[int, Mapping[str, Any]],
    worths: Mapping[int, Sequence[Worth]],
    shipping: Mapping[int, int],
) -> dict[int, dict[str, Any]]:
    """Write returns and their lines; return id, number and warehouse of each by its order."""
    columns = {
        "order_id": "bigint", "warehouse_id": "bigint", "reason": "text", "resolution": "text",
        "shipping": "bigint",
    }  # fmt: skip
    stamp = stamp_of(connection, actor)
    heads = execute(
        connection,
        "INSERT INTO returns (order_id, warehouse_id, status, reason, resolution, shipping_minor,"
        " requested_at, decided_at, received_at, inspected_at, version, changed_by, changed_at)"
        " SELECT order_id, warehouse_id, 'refunding', reason, resolution, shipping, :now, :now,"
        f" :now, :now, 1, :actor, :now FROM ({rowset(connection, 'rows', columns)}) AS r"
        " RETURNING order_id, warehouse_id, id, number",
        {
            "rows": as_rows(
                {
                    "order_id": r.order_id,
                    "warehouse_id": known[r.lines[0].order_line_id]["warehouse_id"],
                    "reason": r.reason,
                    "resolution": r.resolution,
                    "shipping": shipping.get(r.order_id, 0),
                }
                for r in requests
            ),
            **stamp,
        },
    ).fetchall()
    stored = {row[0]: {"warehouse_id": row[1], "id": row[2], "number": row[3]} for row in heads}
    numbers = ("return_id", "order_line_id", "sku_id", "quantity", "restock", "quarantine",
               "scrap", "refund", "tax", "fee")  # fmt: skip
    rows = [
        {
            "return_id": stored[request.order_id]["id"],
            "order_line_id": line.order_line_id,
            "sku_id": known[line.order_line_id]["sku_id"],
            "quantity": line.quantity,
            **{name: line.quantity if line.disposition == name else 0 for name in DISPOSITIONS},
            "refund": value.refund,
            "tax": value.tax,
            "fee": value.fee,
            "reason": line.reason,
            "disposition": line.disposition,
        }
        for request in requests
        for line, value in zip(request.lines, worths[request.order_id], strict=True)
    ]
    source = {**dict.fromkeys(numbers, "bigint"), "reason": "text", "disposition": "text"}
    execute(
        connection,
        "INSERT INTO return_lines (return_id, order_line_id, sku_id, quantity, received,"
        " restocked, quarantined, scrapped, refund_minor, tax_minor, fee_minor, reason,"
        " disposition, version, changed_by, changed_at) SELECT return_id, order_line_id, sku_id,"
        " quantity, quantity, restock, quarantine, scrap, refund, tax, fee, reason, disposition,"
        f" 1, :actor, :now FROM ({rowset(connection, 'rows', source)}) AS r",
        {"rows": as_rows(rows), **stamp},
    )
    return stored


def _move(
    connection: Connection,
    actor: Actor,
    requests: Sequence[ReturnRequest],
    stored: Mapping[int, Mapping[str, Any]],
    known: Mapping[int, Mapping[str, Any]],
) -> None:
    """Book every unit in from the customer, then scrapped ones out again."""
    back, scrapped, apart = [], [], []
    for request in requests:
        entry = stored[request.order_id]
        for line in request.lines:
            row = known[line.order_line_id]
            fields = (entry["warehouse_id"], row["sku_id"], line.quantity)
            detail = (entry["number"], row["unit_cost_minor"])
            if line.disposition == "quarantine":
                apart.append((*fields, *detail))
                continue
            back.append(Move(*fields, "customer", True, "return", *detail))
            if line.disposition == "scrap":
                scrapped.append(Move(*fields, "scrap", False, "scrap", *detail))
    pairs = {(move.warehouse_id, move.sku_id) for move in back}
    ledger.receive(connection, actor, back)
    if scrapped:
        ledger.take_out(connection, actor, scrapped)
    if apart:
        customer, places = world(connection)["customer"].id, own(connection, "quarantine")
        ledger.move(
            connection,
            actor,
            [
                PlaceMove(customer, places[warehouse].id, sku, units, "return", number, cost)
                for warehouse, sku, units, number, cost in apart
            ],
        )
    if pairs:
        backorders.fill(connection, actor, pairs)
