"""Exchange what came back for other goods: a replacement order, paid with what was sent back.

A capture is a transaction of its own, so an exchange is three: the return is marked as being
exchanged; the replacement is captured under the return's number as idempotency key; the value goes
into the customer's store credit and pays the replacement, together with the return's last step.
Nothing goes through a gateway when both are equal. A process that dies in between leaves the return
``exchanging``: the same request goes on where it stopped, and makes no second order.

The replacement costs what was paid for the units that came back, and no restocking fee is taken.
What it costs less goes back to where the money came from; what it costs more is still to be paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import ORDERS_WRITE, PAYMENTS_WRITE, RETURNS_WRITE, Actor
from oms_ops.database import execute, run
from oms_ops.errors import Conflict, FieldError, OmsError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import capture, tenders
from oms_ops.orders.locks import lock_orders
from oms_ops.orders.queries import id_of
from oms_ops.returns import messages, queries, resolution, sold
from oms_ops.returns.giving_back import Due, give_back, refuse_uncovered
from oms_ops.returns.transitions import advance


@dataclass(frozen=True, slots=True)
class Wanted:
    """Units of a SKU to send instead, at the shop's price of today."""

    sku: str
    quantity: int


def exchange(
    engine: Engine,
    actor: Actor,
    return_id: int,
    wanted: Sequence[Wanted] = (),
    *,
    method: str | None = None,
    allow_backorder: bool = False,
) -> str:
    """Send other goods for those of an inspected return; return the replacement's number.

    Without ``wanted`` the same goods are sent, at the price that was paid for them. ``method`` is
    how a difference is going to be paid.

    Raises:
        Conflict: the return is not inspected.
        ValidationFailed, OutOfStock: the replacement cannot be captured; the return stays as it is.
        Forbidden: the role may not write returns, orders and payments.
    """
    for permission in (RETURNS_WRITE, ORDERS_WRITE, PAYMENTS_WRITE):
        actor.require(permission)

    def begin(connection: Connection) -> tuple[str, dict[str, Any] | None, str | None]:
        head = queries.locked(connection, return_id)
        if head["status"] == "exchanged":
            raise Conflict(f"{head['number']} is exchanged already.")
        # Once the replacement is there it has to be paid.
        refuse_uncovered(connection, head["order_id"], _value(connection, return_id))
        advance(connection, actor.name, [return_id], "exchange")
        if made := resolution.replacement(connection, head["number"]):
            # It broke off then, and goes on with what was captured.
            return head["number"], None, made
        return head["number"], _submission(connection, head, wanted, allow_backorder), None

    number, submission, made = run(engine, begin)
    try:
        made = (
            made
            or capture.capture(
                engine, actor, submission, idempotency_key=number, key_scope=resolution.EXCHANGE
            )["number"]
        )
    except OmsError:
        run(engine, lambda c: _stop(c, actor, return_id, number))
        raise
    order_id = id_of(made, "SO")
    run(engine, lambda c: _finish(c, actor, return_id, order_id, method))
    return str(made)


def _stop(connection: Connection, actor: Actor, return_id: int, number: str) -> None:
    """Leave the return as it was, unless an earlier attempt captured the replacement."""
    queries.locked(connection, return_id)
    if not resolution.replacement(connection, number):
        advance(connection, actor.name, [return_id], "stop_exchange")


def _submission(
    connection: Connection, head: dict[str, Any], wanted: Sequence[Wanted], backorder: bool
) -> dict[str, Any]:
    """Return the replacement as callers submit orders: to the same customer, shipped for free."""
    cursor = execute(
        connection,
        "SELECT o.*, c.email, c.name AS customer FROM orders AS o"
        " JOIN customers AS c ON c.id = o.customer_id WHERE o.id = :id",
        {"id": head["order_id"]},
    )
    names = [column[0] for column in cursor.description]
    order = dict(zip(names, cursor.fetchone(), strict=True))
    place = ("name", "line1", "line2", "city", "region", "postal_code", "country", "phone")
    lines = (
        [{"sku": each.sku, "quantity": each.quantity} for each in wanted]
        if wanted
        else _same(connection, head["id"], order["currency"])
    )
    if not lines:
        fault = FieldError("lines", "required", "nothing came back: say what is to be sent")
        raise ValidationFailed("The exchange has bad fields.", [fault])
    return {
        "channel": order["channel"],
        "currency": order["currency"],
        "customer": {"email": order["email"], "name": order["customer"]},
        "ship_to": {k: order[f"ship_{k}"] for k in place if order[f"ship_{k}"] is not None},
        "lines": lines,
        "shipping": "0",
        "tax_included": bool(order["tax_included"]),
        "allow_backorder": backorder,
        "note": f"exchange for {head['number']}",
    }


def _same(connection: Connection, return_id: int, currency: str) -> list[dict[str, Any]]:
    """Return what came back as lines that cost what they are worth, to the minor unit."""
    came = [line for line in queries.lines(connection, return_id) if line["received"]]
    known = sold.lines(connection, line_ids=[line["order_line_id"] for line in came])
    lines = []
    for line in came:
        order_line, units = known[line["order_line_id"]], line["received"]
        included = bool(order_line["tax_included"])
        net = line["refund_minor"] - (0 if included else line["tax_minor"])
        gross = max(net, order_line["unit_price_minor"] * units)
        lines.append(
            {
                "sku": line["sku"],
                "quantity": units,
                "unit_price": to_text(order_line["unit_price_minor"], currency),
                "amount": to_text(gross, currency),
                "discount": to_text(gross - net, currency),
                "tax": to_text(line["tax_minor"], currency),
            }
        )
    return lines


def _finish(
    connection: Connection, actor: Actor, return_id: int, order_id: int, method: str | None
) -> None:
    """Pay the replacement with what came back, in one transaction with the return's last step."""
    head = queries.head(connection, return_id)
    lock_orders(connection, [head["order_id"], order_id])
    advance(
        connection, actor.name, [return_id], "exchanged", resolution="exchange",
        exchange_order_id=order_id,
    )  # fmt: skip
    value = _value(connection, return_id)
    cost = tenders.uncovered(connection, order_id)
    due = Due(return_id, head["order_id"], value, resolution.why(head), min(value, cost))
    give_back(connection, actor, [due], notify=False)
    credit = _credited(connection, return_id)
    if credit:
        tenders.add(connection, actor, order_id, "store_credit", credit)
    if method and tenders.uncovered(connection, order_id) > 0:
        tenders.add(connection, actor, order_id, method)
    messages.tell(connection, "exchanged", [return_id])


def _value(connection: Connection, return_id: int) -> int:
    return sum(line["refund_minor"] for line in queries.lines(connection, return_id))


def _credited(connection: Connection, return_id: int) -> int:
    row = execute(
        connection,
        "SELECT CAST(coalesce(sum(amount_minor), 0) AS bigint) FROM refunds"
        " WHERE return_id = :id AND destination = 'store_credit' AND status = 'settled'",
        {"id": return_id},
    ).fetchone()
    return int(row[0])
