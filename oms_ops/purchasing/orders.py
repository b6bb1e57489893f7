"""Orders to suppliers: create them, edit drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import as_rows, as_time, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.money import to_minor
from oms_ops.purchasing import sending, states
from oms_ops.purchasing.queries import get, listing
from oms_ops.purchasing.tables import PurchaseOrder
from oms_ops.rules import store
from oms_ops.settings import settings

__all__ = ["MOST_UNITS", "PurchaseLine", "create", "edit", "get", "listing", "quantity_faults"]

#: Units of one line, at most: more is a slip of the finger.
MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class PurchaseLine:
    """``quantity`` units of a SKU (its code) to order.

    The unit cost is in the currency of the supplier's terms; without one, the terms' cost holds.
    """

    sku: str
    quantity: int
    unit_cost: Decimal | None = None

    def cost_minor(self, term: Any) -> int:
        """Return the unit cost in minor units, given the terms."""
        if self.unit_cost is None:
            return int(term.unit_cost_minor)
        return to_minor(self.unit_cost, term.currency)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The ids behind the codes of an order's head, and the terms of its SKUs by their codes."""

    head: Any
    terms: dict[str, Any]

    @property
    def currency(self) -> str:
        return str(next(iter(self.terms.values())).currency)

    def expected_on(self) -> date:
        """The supplier's agreed lead time from today, the shop's day."""
        today = clock.now().astimezone(settings().zone).date()
        return today + timedelta(days=self.head.lead_time_days)


def create(
    connection: Connection,
    actor: Actor,
    *,
    supplier: str,
    warehouse: str,
    lines: Sequence[PurchaseLine],
    source: str = "manual",
    status: str = "sent",
    expected_on: date | None = None,
    note: str | None = None,
    notify: bool = True,
) -> dict[str, Any]:
    """Order ``lines`` from a supplier (code) for a warehouse (code); return :func:`get`'s answer.

    It is sent at once, or kept as a ``draft``. Without ``expected_on`` the supplier's agreed lead
    time counts from today (the shop's day). ``notify=False`` is for loading history.

    Raises:
        ValidationFailed: with every bad field: unknown supplier, warehouse or SKU, a SKU that this
            supplier has no terms for, quantities below the minimum or off the pack multiple, terms
            in several currencies or in one without an exchange rate, a day that has passed.
    """
    actor.require(PURCHASING_WRITE)
    checked = _check(connection, supplier, warehouse, lines, expected_on)
    now = clock.now()
    stored = connection.execute(
        sa.insert(PurchaseOrder)
        .values(
            supplier_id=checked.head.supplier_id,
            warehouse_id=checked.head.warehouse_id,
            status="draft",
            source=source,
            currency=checked.currency,
            ordered_at=now,
            expected_on=expected_on or checked.expected_on(),
            note=note,
            changed_by=actor.name,
            changed_at=now,
        )
        .returning(PurchaseOrder.id, PurchaseOrder.number)
    ).one()
    _insert_lines(connection, actor, stored.id, lines, checked.terms)
    if status == "draft":
        return get(connection, stored.number)
    return sending.send(connection, actor, stored.number, notify=notify)


def edit(
    connection: Connection,
    actor: Actor,
    number: str,
    *,
    warehouse: str | None = None,
    lines: Sequence[PurchaseLine] | None = None,
    expected_on: date | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """Change a draft; what is None stays, ``lines`` replace all there are. Return the order.

    Raises:
        NotFound: there is no such purchase order.
        ValidationFailed: with every bad field, as :func:`create` does.
        Conflict: it is no draft any more.
    """
    actor.require(PURCHASING_WRITE)
    head = states.lock(connection, number, "edit")
    order = get(connection, head["number"])
    wanted = lines if lines is not None else _lines_of(order)
    site = warehouse or order["warehouse"]
    checked = _check(connection, order["supplier"], site, wanted, expected_on)
    if lines is not None:
        _delete_lines(connection, actor, head["id"])
        _insert_lines(connection, actor, head["id"], lines, checked.terms)
    states.advance(
        connection,
        actor,
        head,
        warehouse_id=checked.head.warehouse_id,
        currency=checked.currency,
        expected_on=str(expected_on or head["expected_on"])
        if connection.dialect.name == "sqlite"
        else expected_on or head["expected_on"],
        note=head["note"] if note is None else note or None,
    )
    return get(connection, head["number"])


def _lines_of(order: dict[str, Any]) -> list[PurchaseLine]:
    return [
        PurchaseLine(line["sku"], line["quantity"], Decimal(line["unit_cost"]))
        for line in order["lines"]
    ]


def _delete_lines(connection: Connection, actor: Actor, purchase_order_id: int) -> None:
    # The feed tells who deleted a row by what it held last.
    connection.execute(
        sa.text(
            "UPDATE purchase_order_lines SET changed_by = :actor WHERE purchase_order_id = :id"
        ),
        {"actor": actor.name, "id": purchase_order_id},
    )
    connection.execute(
        sa.text("DELETE FROM purchase_order_lines WHERE purchase_order_id = :id"),
        {"id": purchase_order_id},
    )


def _insert_lines(
    connection: Connection,
    actor: Actor,
    purchase_order_id: int,
    lines: Sequence[PurchaseLine],
    terms: dict[str, Any],
) -> None:
    columns = dict.fromkeys(("line_no", "sku_id", "quantity", "unit_cost_minor"), "bigint")
    rows = [
        {
            "line_no": index + 1,
            "sku_id": terms[line.sku].sku_id,
            "quantity": line.quantity,
            "unit_cost_minor": line.cost_minor(terms[line.sku]),
        }
        for index, line in enumerate(lines)
    ]
    connection.execute(
        sa.text(
            "INSERT INTO purchase_order_lines (purchase_order_id, line_no, sku_id, quantity,"
            " received, unit_cost_minor, version, changed_by, changed_at)"
            " SELECT :id, line_no, sku_id, quantity, 0, unit_cost_minor, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        ),
        {
            "id": purchase_order_id,
            "rows": as_rows(rows),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )


def _check(
    connection: Connection,
    supplier: str,
    warehouse: str,
    lines: Sequence[PurchaseLine],
    expected_on: date | None,
) -> _Checked:
    head, terms = _terms(connection, supplier, warehouse, lines)
    errors = _faults(supplier, warehouse, lines, head, terms)
    # What is not sent yet is ordered today at the earliest.
    errors += states.day_faults("expected_on", expected_on, clock.now())
    currencies = {term.currency for term in terms.values() if term.currency}
    if not errors and len(currencies) > 1:
        message = f"{supplier} sells these in {', '.join(sorted(currencies))}: order them apart"
        errors.append(FieldError("lines", "several_currencies", message))
    # Without a rate, what the goods cost could not go into the stock's average cost.
    rules = store.current(connection).rules
    if not errors and (unrated := [c for c in currencies if rules.rate_of(c) is None]):
        message = f"the rules have no exchange rate for {unrated[0]}"
        errors.append(FieldError("lines", "no_exchange_rate", message))
    if errors:
        raise ValidationFailed("The purchase order has bad fields.", errors)
    return _Checked(head, terms)


def _terms(
    connection: Connection, supplier: str, warehouse: str, lines: Sequence[PurchaseLine]
) -> tuple[Any, dict[str, Any]]:
    head = connection.execute(
        sa.text(
            "SELECT (SELECT id FROM suppliers WHERE code = :supplier) AS supplier_id,"
            " (SELECT lead_time_days FROM suppliers WHERE code = :supplier) AS lead_time_days,"
            " (SELECT id FROM warehouses WHERE code = :warehouse AND is_active) AS warehouse_id"
        ),
        {"supplier": supplier, "warehouse": warehouse},
    ).one()
    rows = connection.execute(
        sa.text(
            "SELECT s.code, s.id AS sku_id, t.moq, t.pack_multiple, t.unit_cost_minor, t.currency"
            f" FROM ({rowset(connection, 'codes', {'code': 'text'})}) AS c"
            " JOIN skus AS s ON s.code = c.code"
            " LEFT JOIN supplier_terms AS t ON t.sku_id = s.id AND t.supplier_id = :supplier_id"
        ),
        {
            "codes": as_rows({"code": code} for code in sorted({line.sku for line in lines})),
            "supplier_id": head.supplier_id,
        },
    )
    return head, {row.code: row for row in rows}


def _faults(
    supplier: str, warehouse: str, lines: Sequence[PurchaseLine], head: Any, terms: dict[str, Any]
) -> list[FieldError]:
    errors = []
    if head.supplier_id is None:
        errors.append(FieldError("supplier", "unknown_supplier", f"no supplier {supplier!r}"))
    if head.warehouse_id is None:
        errors.append(FieldError("warehouse", "unknown_warehouse", f"no warehouse {warehouse!r}"))
    if not lines:
        errors.append(FieldError("lines", "required", "at least one line"))
    for index, line in enumerate(lines):
        where = f"lines[{index}]"
        term = terms.get(line.sku)
        if term is None:
            errors.append(
                FieldError(f"{where}.sku", "unknown_sku", f"there is no SKU {line.sku!r}")
            )
        elif term.moq is None:
            if head.supplier_id is not None:
                message = f"{supplier} has no terms for {line.sku}"
                errors.append(FieldError(f"{where}.sku", "no_terms", message))
        else:
            errors.extend(quantity_faults(where, line, term))
            errors.extend(_cost_faults(where, line, term))
    return errors


def _cost_faults(where: str, line: PurchaseLine, term: Any) -> list[FieldError]:
    try:
        cost = line.cost_minor(term)
    except ValueError as error:
        return [FieldError(f"{where}.unit_cost", "invalid_amount", str(error))]
    return [] if cost >= 0 else [FieldError(f"{where}.unit_cost", "negative", "not below zero")]


def quantity_faults(where: str, line: PurchaseLine, term: Any) -> list[FieldError]:
    """Return what the terms (``moq``, ``pack_multiple``) object to in a line's quantity."""
    field = f"{where}.quantity"
    if not 0 < line.quantity <= MOST_UNITS:
        return [FieldError(field, "out_of_range", f"{line.sku}: between 1 and {MOST_UNITS:,}")]
    errors = []
    if line.quantity < term.moq:
        message = f"{line.sku}: the minimum order is {term.moq}"
        errors.append(FieldError(field, "below_moq", message))
    if line.quantity % term.pack_multiple:
        message = f"{line.sku}: comes in packs of {term.pack_multiple}"
        errors.append(FieldError(field, "not_a_pack_multiple", message))
    return errors
