"""Refund a part of an order: units or amounts of lines, shipping, good will; or all of it.

What goes back is capped under the order's lock: of a line by what it cost, of shipping by what it
cost, in all by what its tenders have left. It goes back to the tenders as the rules say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import PAYMENTS_WRITE, Actor
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import outstanding, refund_items
from oms_ops.orders.locks import lock_orders
from oms_ops.orders.refund_items import Item, Line, Paid
from oms_ops.orders.tenders import spread_back
from oms_ops.payments import overview, refunds, settling
from oms_ops.payments.refunds import RefundRequest
from oms_ops.payments.standing import Tender, standing
from oms_ops.payments.tables import REFUND_DESTINATIONS
from oms_ops.rules import store


@dataclass(frozen=True, slots=True)
class LineBack:
    """What goes back of a line: for ``quantity`` units, or ``amount`` minor units; else its rest.

    With both, ``amount`` goes back, for so many units.
    """

    line_no: int
    quantity: int | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A refund as somebody asks for it; amounts are minor units of the order's currency.

    ``shipping`` is an amount, or True for what is left of it. ``everything`` is the rest of all
    lines and of shipping. ``destination`` is one of ``REFUND_DESTINATIONS``: what has gone
    ``elsewhere`` is only recorded.
    """

    reason: str
    lines: tuple[LineBack, ...] = ()
    shipping: int | Literal[True] | None = None
    goodwill: int | None = None
    destination: str = "original"
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes back: ``items`` say for what, ``parts`` (payment id, minor units) from where."""

    order_id: int
    currency: str
    items: list[Item]
    parts: list[tuple[int, int]]
    lines: dict[int, Line] = field(default_factory=dict)

    @property
    def amount(self) -> int:
        """All of it, in minor units."""
        return sum(item.amount for item in self.items)


def plan(connection: Connection, actor: Actor, order_id: int, wanted: Wanted) -> Plan:
    """Return what a refund would give back; nothing is written.

    Raises:
        NotFound: there is no such order.
        ValidationFailed: with every bad field: unknown lines, more units or money of a line or of
            shipping than is left, nothing asked for.
        Conflict: the tenders have less left to refund.
        Forbidden: the role may not see payments.
    """
    overview.permit(actor)
    if order_id not in lock_orders(connection, [order_id]):
        raise NotFound(f"There is no order {order_id}.")
    currency: str = connection.execute(
        sa.text("SELECT currency FROM orders WHERE id = :id"), {"id": order_id}
    ).scalar_one()
    held = standing(connection, [order_id]).get(order_id)
    tenders = held.tenders if held else []
    left = sum(max(0, tender.refundable) for tender in tenders)
    paid = refund_items.paid(connection, order_id)
    items = _everything(paid, left) if wanted.everything else _items(paid, wanted, currency)
    due = sum(item.amount for item in items)
    if due > left:
        raise Conflict(
            f"{to_text(due, currency)} {currency} is asked for, of what was collected"
            f" {to_text(left, currency)} {currency} can go back."
        )
    if not due:
        raise Conflict("Nothing of it is left to refund.")
    return Plan(order_id, currency, items, _parts(connection, tenders, due), paid.lines)


def refund(
    connection: Connection, actor: Actor, order_id: int, wanted: Wanted
) -> tuple[Plan, list[int]]:
    """Give a part of an order back; return what, and the refunds' ids: one a tender and capture.

    What gateways collected is asked of them after the transaction; the rest is settled, and the
    customer told.

    Raises:
        ValidationFailed, Conflict, NotFound: as :func:`plan` does; Conflict also while a gateway's
            news of the order wait to be read.
        Forbidden: the role may not write payments.
    """
    actor.require(PAYMENTS_WRITE)
    made = plan(connection, actor, order_id, wanted)
    if wanted.destination != refunds.ELSEWHERE:
        outstanding.refuse_while_news_wait(connection, [order_id])
    requests = [
        RefundRequest(payment_id, part, wanted.reason, destination=wanted.destination)
        for payment_id, part in made.parts
    ]
    refund_ids = refunds.refund(connection, actor, requests)
    refund_items.store(connection, actor, made.items, refund_ids)
    settling.tell_refunded(connection, refund_ids)
    return made, refund_ids


def _parts(connection: Connection, tenders: Sequence[Tender], due: int) -> list[tuple[int, int]]:
    return spread_back(tenders, due, store.current(connection).rules.payments.refund_order)


def _everything(paid: Paid, left: int) -> list[Item]:
    """Return the rest of all lines, then of shipping; at most what the tenders have left."""
    items = []
    for line in paid.lines.values():
        if part := min(line.left, left):
            left -= part
            units = max(0, line.units - line.units_back)
            items.append(Item("line", part, line.id, units))
    if part := min(paid.shipping_left, left):
        items.append(Item("shipping", part))
    return items


def _items(paid: Paid, wanted: Wanted, currency: str) -> list[Item]:
    faults: list[FieldError] = []
    items = []
    seen: set[int] = set()
    for index, each in enumerate(wanted.lines):
        line = paid.lines.get(each.line_no)
        if line is None or each.line_no in seen:
            code = "unknown_line" if line is None else "repeated"
            faults.append(FieldError(f"lines[{index}].line_no", code, "no such line to refund"))
            continue
        seen.add(each.line_no)
        found = _line(line, each, currency)
        if isinstance(found, FieldError):
            faults.append(FieldError(f"lines[{index}].{found.field}", found.code, found.message))
        else:
            items.append(found)
    if wanted.shipping is not None:
        asked = paid.shipping_left if wanted.shipping is True else wanted.shipping
        if asked > paid.shipping_left or not asked:
            rest = to_text(paid.shipping_left, currency)
            faults.append(FieldError("shipping", "too_large", f"{rest} {currency} is left of it"))
        else:
            items.append(Item("shipping", asked))
    if wanted.goodwill is not None:
        items.append(Item("goodwill", wanted.goodwill))
    if wanted.destination not in REFUND_DESTINATIONS:
        message = f"one of {', '.join(REFUND_DESTINATIONS)}"
        faults.append(FieldError("destination", "unknown", message))
    if not items and not faults:
        faults.append(FieldError("lines", "required", "lines, shipping, goodwill or everything"))
    if faults:
        raise ValidationFailed("The refund has bad fields.", faults)
    return items


def _line(line: Line, asked: LineBack, currency: str) -> Item | FieldError:
    rest = max(0, line.units - line.units_back)
    units = asked.quantity
    if units is not None and units > rest:
        return FieldError("quantity", "too_large", f"{rest} of {line.units} can be refunded")
    if asked.amount is not None:
        amount = asked.amount
    else:
        amount = line.left if units is None else line.worth(units)
    if amount > line.left or not amount:
        message = f"{to_text(line.left, currency)} {currency} is left of the line"
        where = "line_no" if asked.amount is None and units is None else "amount"
        return FieldError(where, "too_large", message)
    if units is None:
        units = rest if asked.amount is None else 0
    return Item("line", amount, line.id, units)


def shown(made: Plan) -> dict[str, Any]:
    """Return a plan as callers see it."""
    numbers = {line.id: line for line in made.lines.values()}

    def money(minor: int) -> str:
        return to_text(minor, made.currency)

    def total(kind: str) -> str:
        return money(sum(item.amount for item in made.items if item.kind == kind))

    return {
        "currency": made.currency,
        "amount": money(made.amount),
        "lines": [
            {
                "line_no": numbers[item.line_id].line_no,
                "sku": numbers[item.line_id].sku,
                "quantity": item.units,
                "amount": money(item.amount),
            }
            for item in made.items
            if item.line_id is not None
        ],
        "shipping": total("shipping"),
        "goodwill": total("goodwill"),
        "tenders": [{"payment": p, "amount": money(part)} for p, part in made.parts],
    }
