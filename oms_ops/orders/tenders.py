"""How an order is paid: by as many tenders as it takes, never for more than it costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.database import as_ids, ids
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import claims
from oms_ops.orders.amounts import owed_by_order_sql
from oms_ops.orders.locks import lock_orders
from oms_ops.payments import balances, messages, refunds, settling
from oms_ops.payments import commands as payments
from oms_ops.payments.gateways.registry import BALANCE, MANUAL, problem
from oms_ops.payments.refunds import UNITS_CANCELLED, RefundRequest
from oms_ops.payments.standing import Standing, Tender, standing
from oms_ops.payments.tables import PAYMENT_METHODS
from oms_ops.rules import store
from oms_ops.rules.document import Rules
from oms_ops.settings import settings

_NOTHING = Standing([], 0)


def terms_of(method: str, rules: Rules, placed_at: datetime) -> dict[str, Any]:
    """Return what the rules say of a method: its ``gateway``, and ``due_on`` of an invoice."""
    due_on = None
    if method == "invoice":
        placed_on = placed_at.astimezone(settings().zone).date()
        due_on = (placed_on + timedelta(days=rules.payments.invoice_days)).isoformat()
    gateway = rules.payments.gateways.get(method, MANUAL)
    return {"method": method, "gateway": gateway, "due_on": due_on}


def gateway_faults(method: str, rules: Rules, field: str) -> list[FieldError]:
    """Object to a method whose gateway is not set up: nobody could collect such a payment.

    ``field`` is where the caller named the method.
    """
    name = rules.payments.gateways.get(method, MANUAL)
    if (why := problem(name)) is None:
        return []
    return [FieldError(field, "gateway_not_set_up", f"the rules send it to {name!r}: {why}")]


def add(
    connection: Connection,
    actor: Actor,
    order_id: int,
    method: str,
    amount: int | None = None,
    *,
    code: str | None = None,
) -> int:
    """Record a payment of ``amount`` minor units, or of all that is still open; return its id.

    A gift card (by its ``code``) and store credit pay at once, as much as they hold where no amount
    is given.

    Raises:
        Conflict: the order is cancelled, its payments cover it already, or the balance has less.
        NotFound: there is no such gift card.
        ValidationFailed: the amount is more than is still open, or the method is unknown.
    """
    actor.require(PAYMENTS_WRITE)
    lock_orders(connection, [order_id])
    order = connection.execute(
        sa.text("SELECT number, status, currency, customer_id FROM orders WHERE id = :id"),
        {"id": order_id},
    ).one()
    if order.status == "cancelled":
        raise Conflict(f"{order.number} is cancelled: nothing is to be paid.")
    _check_method(method, code)
    rest = uncovered(connection, order_id)
    if rest <= 0:
        raise Conflict(f"The payments of {order.number} cover its total already.")
    if amount is not None and amount > rest:
        message = f"{to_text(rest, order.currency)} {order.currency} is still open"
        raise ValidationFailed(
            "The payment has bad fields.", [FieldError("amount", "too_large", message)]
        )
    if method == "store_credit" or code is not None:
        balance = _balance(connection, order, code)
        part = min(rest, balance["balance_minor"]) if amount is None else amount
        return _redeem(connection, actor, order_id, method, order.currency, part, balance)
    return expect(connection, actor, order_id, method, rest if amount is None else amount)


def expect(
    connection: Connection,
    actor: Actor,
    order_id: int,
    method: str,
    amount: int,
    *,
    field: str = "method",
) -> int:
    """Record a payment of ``amount`` minor units as the rules say of its method; return its id.

    Raises:
        ValidationFailed: the method's gateway is not set up; ``field`` is where it was named.
    """
    rules = store.current(connection).rules
    if faults := gateway_faults(method, rules, field):
        raise ValidationFailed("The payment has bad fields.", faults)
    currency: str = connection.execute(
        sa.text("SELECT currency FROM orders WHERE id = :id"), {"id": order_id}
    ).scalar_one()
    terms = terms_of(method, rules, clock.now())
    due_on = date.fromisoformat(terms["due_on"]) if terms["due_on"] else None
    return payments.create(
        connection, actor, order_id, method, currency, amount,
        gateway=terms["gateway"], due_on=due_on,
    )  # fmt: skip


def _check_method(method: str, code: str | None) -> None:
    if method not in PAYMENT_METHODS:
        fault = FieldError("method", "unknown_method", f"one of {', '.join(PAYMENT_METHODS)}")
    elif code is not None and method != "gift_card":
        fault = FieldError("code", "not_a_gift_card", "is for the method gift_card")
    elif code is None and method == "gift_card":
        fault = FieldError("code", "required", "is what is written on the card")
    else:
        return
    raise ValidationFailed("The payment has bad fields.", [fault])


def _balance(connection: Connection, order: Any, code: str | None) -> dict[str, Any]:
    if code is not None:
        balance = balances.find_card(connection, code)
    else:
        own = balances.credits_of(connection, order.customer_id)
        found = [credit for credit in own if credit["currency"] == order.currency]
        if not found:
            raise Conflict("The customer has no store credit in the order's currency.")
        balance = found[0]
    if balance["currency"] != order.currency:
        fault = FieldError("code", "wrong_currency", f"the card is in {balance['currency']}")
        raise ValidationFailed("The payment has bad fields.", [fault])
    return balance


def _redeem(
    connection: Connection,
    actor: Actor,
    order_id: int,
    method: str,
    currency: str,
    amount: int,
    balance: dict[str, Any],
) -> int:
    if amount <= 0:
        raise Conflict("The balance is empty.")
    payment_id = payments.create(
        connection, actor, order_id, method, currency, amount,
        gateway=BALANCE, balance_id=balance["id"],
    )  # fmt: skip
    balances.redeem(connection, actor, balance["id"], payment_id, amount)
    payments.capture(connection, actor, [payment_id])
    return payment_id


def uncovered(connection: Connection, order_id: int) -> int:
    """Return the minor units of an order that no payment covers; negative when they are too many.

    The caller holds the order's row; its payments are locked here.
    """
    held = standing(connection, [order_id]).get(order_id, _NOTHING)
    return owed(connection, [order_id])[order_id] - held.collected - held.open


def settle(
    connection: Connection, actor: Actor, order_ids: Sequence[int], *, news: bool = False
) -> None:
    """Refund what was captured beyond what orders still cost, and expect no more than the rest.

    For orders of which units were cancelled, or whose payments brought ``news``; their rows are
    locked. Refunds go back as the rules say, and the newest payment is reduced first. While a
    gateway's message waits that may tell of a refund of an order, nothing of it goes back.
    """
    if news:
        claims.attribute(connection, actor, order_ids)
    cost = owed(connection, order_ids)
    found = standing(connection, order_ids)
    back: list[RefundRequest] = []
    given_up: list[tuple[int, int]] = []
    order_of_refunds = store.current(connection).rules.payments.refund_order
    for order_id, held in found.items():
        # Beyond what is collected for good, only the rest of the cost is still expected.
        surplus = held.surplus(cost[order_id])
        # What is only being captured may yet be declined: it is given back when it has come.
        due = max(0, held.secured - cost[order_id])
        for payment_id, part in spread_back(held.tenders, due, order_of_refunds):
            back.append(RefundRequest(payment_id, part, UNITS_CANCELLED, lowers_cost=True))
        for tender in reversed(held.tenders):
            # More may have been captured at the gateway itself than was open here.
            if part := max(0, min(surplus, tender.open)):
                surplus -= part
                given_up.append((tender.payment_id, part))
    payments.give_up(connection, actor, given_up)
    if back and (waiting := messages.waiting(connection, order_ids)):
        held_back = {t.payment_id for order_id in waiting for t in found[order_id].tenders}
        back = [each for each in back if each.payment_id not in held_back]
    settling.tell_refunded(connection, refunds.give_back(connection, actor, back))


def spread_back(
    tenders: Sequence[Tender], due: int, methods: Sequence[str]
) -> list[tuple[int, int]]:
    """Return the part (payment id, minor units) of ``due`` that goes back to each tender.

    Tenders whose method is in ``methods`` come first, in that order; then those with most left. The
    parts sum to ``due``, or to all that can be refunded where that is less.
    """

    def turn(tender: Tender) -> tuple[int, int, int]:
        rank = methods.index(tender.method) if tender.method in methods else len(methods)
        return rank, -tender.refundable, tender.payment_id

    parts = []
    for tender in sorted(tenders, key=turn):
        if part := max(0, min(due, tender.refundable)):
            due -= part
            parts.append((tender.payment_id, part))
    return parts


def owed(connection: Connection, order_ids: Sequence[int]) -> dict[int, int]:
    """Return per order what it costs now, in minor units: without what came back unpaid."""
    chosen = f"IN ({ids(connection, 'ids')})"
    rows = connection.execute(
        sa.text(
            f"SELECT o.id, {owed_by_order_sql(chosen)} AS owed FROM orders AS o WHERE o.id {chosen}"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {row.id: row.owed for row in rows}
