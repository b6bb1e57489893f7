"""Receive a delivery: stock comes in, backorders are filled, the purchase order moves on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import as_rows, as_time, execute, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import EXPONENTS
from oms_ops.orders import backorders
from oms_ops.orders.locks import lock_waiting
from oms_ops.purchasing import states
from oms_ops.purchasing.tables import Receipt
from oms_ops.rules import store
from oms_ops.rules.document import Rules
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move, PlaceMove


@dataclass(frozen=True, slots=True)
class Delivered:
    """``quantity`` units that came of a line, ``damaged`` of them; None charges the cost agreed.

    ``unit_cost_minor`` is what the supplier charges for a unit, in the order's currency.
    """

    quantity: int
    damaged: int = 0
    unit_cost_minor: int | None = None


def receive(
    connection: Connection,
    actor: Actor,
    purchase_order_id: int,
    quantities: Mapping[int, int | Delivered],
    *,
    close_short: bool = False,
) -> str:
    """Receive ``quantities`` (per purchase order line id); return the receipt's number.

    A fault names a line by its place in ``quantities``.

    Damaged units go to quarantine, the others to the stock, where backordered lines are filled,
    oldest first, in the same transaction; the promises to those that wait on follow. The shop's
    rules say how much more than ordered may come. The order is closed when every line has arrived,
    or with ``close_short`` when the rest will never come.

    Raises:
        NotFound: there is no such purchase order.
        ValidationFailed: a line is not of this order, a quantity is not positive or more than may
            still come, more is damaged than came, or a cost is negative.
        Conflict: the order is a draft, closed or cancelled.
    """
    actor.require(STOCK_WRITE)
    head = states.lock(connection, purchase_order_id, "receive")
    delivered = {
        line_id: came if isinstance(came, Delivered) else Delivered(came)
        for line_id, came in quantities.items()
    }
    rules = store.current(connection).rules
    lines = _lines(connection, purchase_order_id)
    _check(delivered, lines, rules.receipts.over_tolerance_percent)
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    rows = [
        {
            "line_id": line_id,
            "sku_id": lines[line_id].sku_id,
            "units": came.quantity,
            "damaged": came.damaged,
            "unit_cost_minor": lines[line_id].agreed_cost_minor
            if came.unit_cost_minor is None
            else came.unit_cost_minor,
        }
        for line_id, came in sorted(delivered.items())
    ]
    number = _write(connection, actor, head, rows, stamp)
    _move_on(connection, actor, head, close_short, stamp)
    pairs = {(head["warehouse_id"], row["sku_id"]) for row in rows}
    if close_short:
        pairs |= set(states.pairs(connection, head["id"]))
    lock_waiting(connection, pairs)
    _post(connection, actor, head, rows, rules)
    backorders.fill(connection, actor, pairs, from_supply=True)
    return number


def _lines(connection: Connection, purchase_order_id: int) -> dict[int, Any]:
    rows = connection.execute(
        sa.text(
            "SELECT id, sku_id, quantity, received,"
            " coalesce(confirmed_cost_minor, unit_cost_minor) AS agreed_cost_minor"
            " FROM purchase_order_lines WHERE purchase_order_id = :id"
        ),
        {"id": purchase_order_id},
    )
    return {row.id: row for row in rows}


def _check(
    delivered: Mapping[int, Delivered], lines: dict[int, Any], tolerance_percent: Decimal
) -> None:
    errors = []
    if not delivered:
        errors.append(FieldError("lines", "required", "at least one line"))
    for index, (line_id, came) in enumerate(delivered.items()):
        line = lines.get(line_id)
        where = f"lines[{index}]"
        if line is None:
            errors.append(FieldError(f"{where}.line_no", "unknown_line", "not of this order"))
            continue
        most = line.quantity + int(line.quantity * tolerance_percent / 100) - line.received
        if not 0 < came.quantity <= most:
            message = f"at least 1 and at most {max(0, most)} units may come"
            errors.append(FieldError(f"{where}.quantity", "out_of_range", message))
        if not 0 <= came.damaged <= came.quantity:
            errors.append(FieldError(f"{where}.damaged", "out_of_range", "more than came"))
        if came.unit_cost_minor is not None and came.unit_cost_minor < 0:
            errors.append(FieldError(f"{where}.unit_cost", "negative", "not below zero"))
    if errors:
        raise ValidationFailed("The receipt has bad fields.", errors)


_ROW = dict.fromkeys(("line_id", "sku_id", "units", "damaged", "unit_cost_minor"), "bigint")


def _write(
    connection: Connection,
    actor: Actor,
    head: Any,
    rows: list[dict[str, Any]],
    stamp: dict[str, Any],
) -> str:
    receipt = connection.execute(
        sa.insert(Receipt)
        .values(
            purchase_order_id=head["id"],
            warehouse_id=head["warehouse_id"],
            received_at=clock.now(),
            changed_by=actor.name,
        )
        .returning(Receipt.id, Receipt.number)
    ).one()
    source = f"({rowset(connection, 'rows', _ROW)}) AS r"
    parameters = {"receipt": receipt.id, "rows": as_rows(rows), **stamp}
    execute(
        connection,
        "INSERT INTO receipt_lines (receipt_id, purchase_order_line_id, sku_id, quantity, damaged,"
        " unit_cost_minor, changed_by)"
        f" SELECT :receipt, line_id, sku_id, units, damaged, unit_cost_minor, :actor FROM {source}",
        parameters,
    )
    execute(
        connection,
        "UPDATE purchase_order_lines AS l SET received = l.received + r.units,"
        " version = l.version + 1, changed_by = :actor, changed_at = :now"
        f" FROM {source} WHERE l.id = r.line_id",
        parameters,
    )
    return str(receipt.number)


def _move_on(
    connection: Connection,
    actor: Actor,
    head: Any,
    close_short: bool,
    stamp: dict[str, Any],
) -> None:
    still_open = execute(
        connection,
        "SELECT count(*) FROM purchase_order_lines"
        " WHERE purchase_order_id = :id AND received < quantity",
        {"id": head["id"]},
    ).fetchone()[0]
    if still_open and not close_short:
        states.advance(connection, actor, head, to="partly_received")
    else:
        states.advance(connection, actor, head, to="closed", closed_at=stamp["now"])


def _post(
    connection: Connection, actor: Actor, head: Any, rows: list[dict[str, Any]], rules: Rules
) -> None:
    """Move what is sound into the stock and what is damaged into quarantine."""
    number, warehouse_id = head["number"], head["warehouse_id"]
    costs = [_in_base_currency(row["unit_cost_minor"], head["currency"], rules) for row in rows]
    sound = [
        Move(warehouse_id, row["sku_id"], row["units"] - row["damaged"], "supplier", True,
             "receipt", number, cost)
        for row, cost in zip(rows, costs, strict=True)
        if row["units"] > row["damaged"]
    ]  # fmt: skip
    ledger.receive(connection, actor, sound)
    if not any(row["damaged"] for row in rows):
        return
    supplier, quarantine = execute(
        connection,
        "SELECT (SELECT id FROM locations WHERE kind = 'supplier'),"
        " (SELECT id FROM locations WHERE kind = 'quarantine' AND warehouse_id = :warehouse)",
        {"warehouse": warehouse_id},
    ).fetchone()
    damaged = [
        PlaceMove(supplier, quarantine, row["sku_id"], row["damaged"], "damage", number, cost)
        for row, cost in zip(rows, costs, strict=True)
        if row["damaged"]
    ]
    ledger.move(connection, actor, damaged)


def _in_base_currency(minor: int, currency: str, rules: Rules) -> int | None:
    """Return a cost in minor units of the shop's currency; None where there is no exchange rate."""
    if currency == rules.base_currency:
        return minor
    rate = rules.rate_of(currency)
    if rate is None:
        return None
    scale = Decimal(10) ** (EXPONENTS[rules.base_currency] - EXPONENTS[currency])
    return int((minor * rate * scale).to_integral_value(ROUND_HALF_UP))
