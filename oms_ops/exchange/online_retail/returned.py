"""Credit notes: goods that come back are matched to the customer's sales; credits are refunded.

A returned row is taken whole or not at all. It is matched to the customer's earlier sales of that
SKU: those of the same price first, oldest first. The refund is what the credit note says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import Actor
from oms_ops.database import as_rows, read_time, rowset
from oms_ops.exchange.online_retail.sales import CHANNEL
from oms_ops.exchange.runs import Fate
from oms_ops.payments import commands as payments
from oms_ops.payments.commands import RefundRequest
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest

#: A returned row of the data: ROW, invoice, code, quantity (negative), price, customer, placed_at.
Row = dict[str, Any]


@dataclass(slots=True)
class Sold:
    """A line that was shipped: ``units`` of it can still come back."""

    line_id: int
    order_id: int
    price_minor: int
    placed_at: datetime
    units: int


@dataclass(frozen=True, slots=True)
class Part:
    """Units of one sold line that a row brings back, and the pence for them."""

    line: Sold
    units: int
    refund_minor: int


def pence(amount_e4: int) -> int:
    """Return ten-thousandths of a pound as pence, half up."""
    return (amount_e4 + 50) // 100


def take(
    connection: Connection, actor: Actor, rows: Sequence[Row]
) -> tuple[list[Fate], list[tuple[int, str, str]]]:
    """Take back the goods of ``rows``; return their fates, and (row, code, message) of the rest."""
    if not rows:
        return [], []
    sold = _sold(connection, rows)
    rests = _rests(connection, {line.order_id for lines in sold.values() for line in lines})
    refused = []
    matched: dict[tuple[str, int], list[tuple[Row, Part]]] = defaultdict(list)
    for row in rows:
        lines = sold.get((row["customer"], row["code"]), [])
        parts, found = match(row, lines, rests)
        if not parts:
            message = f"{found} of {-row['quantity']} units are in sales before and not returned"
            refused.append((row["row_no"], "no_earlier_sale", message))
        for part in parts:
            matched[row["invoice"], part.line.order_id].append((row, part))
    return _receive(connection, actor, matched), refused


def match(row: Row, lines: Sequence[Sold], rests: dict[int, int]) -> tuple[list[Part], int]:
    """Find the sold lines that a returned row came from; take their units and their orders' money.

    ``rests`` is what is left to refund of each order, in pence. Returns the parts, none where the
    row does not fit in whole, and how many of its units were found.
    """
    wanted, price = -row["quantity"], row["price"]
    earlier = [line for line in lines if line.units and line.placed_at <= row["placed_at"]]
    earlier.sort(key=lambda line: (line.price_minor * 100 != price, line.placed_at, line.line_id))
    parts: list[Part] = []
    spent: dict[int, int] = defaultdict(int)
    found = 0
    for line in earlier:
        units = min(line.units, wanted - found)
        refund = pence((found + units) * price) - pence(found * price)
        if units and spent[line.order_id] + refund <= rests.get(line.order_id, 0):
            spent[line.order_id] += refund
            parts.append(Part(line, units, refund))
            found += units
    if found < wanted:
        return [], found
    for part in parts:
        part.line.units -= part.units
        rests[part.line.order_id] -= part.refund_minor
    return parts, found


_PAIR = {"customer": "text", "code": "text"}


def _sold(connection: Connection, rows: Sequence[Row]) -> dict[tuple[str, str], list[Sold]]:
    pairs = sorted({(row["customer"], row["code"]) for row in rows})
    found = connection.execute(
        sa.text(
            "SELECT l.id, l.order_id, l.unit_price_minor, o.placed_at, l.shipped - l.returned AS"
            f" units, r.customer, r.code FROM ({rowset(connection, 'rows', _PAIR)}) AS r"
            " JOIN customers AS c ON c.external_id = r.customer JOIN skus AS k ON k.code = r.code"
            " JOIN orders AS o ON o.customer_id = c.id AND o.channel = :channel"
            " JOIN order_lines AS l ON l.order_id = o.id AND l.sku_id = k.id"
            " WHERE l.shipped > l.returned ORDER BY l.id"
        ),
        {"rows": as_rows({"customer": c, "code": k} for c, k in pairs), "channel": CHANNEL},
    )
    lines: dict[tuple[str, str], list[Sold]] = defaultdict(list)
    for r in found:
        placed_at = read_time(r.placed_at)
        assert placed_at is not None  # noqa: S101 - no order is without
        lines[r.customer, r.code].append(
            Sold(r.id, r.order_id, r.unit_price_minor, placed_at, r.units)
        )
    return lines


def _rests(connection: Connection, orders: Iterable[int]) -> dict[int, int]:
    left = payments.refundable(connection, sorted(orders))
    return {order: sum(rest for _, rest in each) for order, each in left.items()}


def _receive(
    connection: Connection,
    actor: Actor,
    matched: dict[tuple[str, int], list[tuple[Row, Part]]],
) -> list[Fate]:
    """Receive one return for each credit note and order; return the fates of the rows."""
    numbers: dict[int, list[str]] = defaultdict(list)
    rows: dict[int, Row] = {}
    for round_ in _rounds(matched):
        requests = [_request(key, matched[key]) for key in round_]
        made = returns.receive(connection, actor, requests, notify=False)
        for key, number in zip(round_, made, strict=True):
            for row, _ in matched[key]:
                rows[row["row_no"]] = row
                if number not in numbers[row["row_no"]]:
                    numbers[row["row_no"]].append(number)
    return [
        Fate(row_no, "return", row["reason"], None, " ".join(numbers[row_no]), row["amount"])
        for row_no, row in rows.items()
    ]


def _rounds(keys: Iterable[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """Put the returns of one order into rounds of their own: a set takes one of each order."""
    rounds: list[list[tuple[str, int]]] = []
    before: dict[int, int] = defaultdict(int)
    for invoice, order_id in keys:
        number = before[order_id]
        before[order_id] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append((invoice, order_id))
    return rounds


def _request(key: tuple[str, int], parts: Sequence[tuple[Row, Part]]) -> ReturnRequest:
    units: dict[int, int] = defaultdict(int)
    refunds: dict[int, int] = defaultdict(int)
    for _, part in parts:
        units[part.line.line_id] += part.units
        refunds[part.line.line_id] += part.refund_minor
    return ReturnRequest(
        key[1],
        tuple(ReturnedLine(line, units[line], "restock", refunds[line]) for line in units),
        f"credit note {key[0]}",
    )


def credit(connection: Connection, actor: Actor, rows: Sequence[Row]) -> list[Fate]:
    """Refund credited discounts and postage to the customer's earlier orders, newest first.

    What no earlier order's money covers stays in the journal alone (``uncovered_credit``).
    """
    if not rows:
        return []
    paid = _paid(connection, {row["customer"] for row in rows})
    fates, requests = [], []
    for row in rows:
        due = pence(-row["amount"])
        earlier = [p for p in paid[row["customer"]] if p["placed_at"] <= row["placed_at"]]
        covered = sum(p["rest"] for p in earlier) >= due
        numbers = []
        for payment in earlier if covered else []:
            part = min(due, payment["rest"])
            if part > 0:
                due -= part
                payment["rest"] -= part
                numbers.append(payment["number"])
                requests.append(RefundRequest(payment["id"], part, credit_reason(row)))
        reason = row["reason"] if covered else "uncovered_credit"
        fates.append(
            Fate(row["row_no"], "charge", reason, None, " ".join(numbers) or None, row["amount"])
        )
    payments.refund(connection, actor, requests)
    return fates


def credit_reason(row: Row) -> str:
    """Return the reason that stands on the refund of a credited row."""
    return f"{row['reason']} {row['invoice']}"


def _paid(connection: Connection, customers: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    found = connection.execute(
        sa.text(
            "SELECT p.id, p.captured_minor - p.refunded_minor AS rest, o.number, o.placed_at,"
            f" r.customer FROM ({rowset(connection, 'rows', {'customer': 'text'})}) AS r"
            " JOIN customers AS c ON c.external_id = r.customer"
            " JOIN orders AS o ON o.customer_id = c.id AND o.channel = :channel"
            " JOIN payments AS p ON p.order_id = o.id AND p.captured_minor > p.refunded_minor"
            " ORDER BY o.placed_at DESC, p.id DESC"
        ),
        {"rows": as_rows({"customer": c} for c in sorted(customers)), "channel": CHANNEL},
    ).mappings()
    paid: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        paid[row["customer"]].append({**row, "placed_at": read_time(row["placed_at"])})
    return paid
