"""Orders to suppliers: create them, read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import as_rows, as_time, read_time, rowset
from oms_ops.errors import FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import promises
from oms_ops.purchasing.tables import PurchaseOrder
from oms_ops.settings import settings

#: Units of one line, at most: more is a slip of the finger.
MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class PurchaseLine:
    """``quantity`` units of a SKU (its code) to order; cost in minor units, or the terms' cost."""

    sku: str
    quantity: int
    unit_cost_minor: int | None = None


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
) -> dict[str, Any]:
    """Order ``lines`` from a supplier (code) for a warehouse (code); return :func:`get`'s answer.

    Without ``expected_on`` the supplier's agreed lead time counts from today (the shop's day).

    Raises:
        ValidationFailed: with every bad field: unknown supplier, warehouse or SKU, a SKU that this
            supplier has no terms for, quantities below the minimum or off the pack multiple.
    """
    actor.require(PURCHASING_WRITE)
    head, terms = _terms(connection, supplier, warehouse, lines)
    errors = _faults(supplier, warehouse, lines, head, terms)
    if errors:
        raise ValidationFailed("The purchase order has bad fields.", errors)
    now = clock.now()
    today = now.astimezone(settings().zone).date()
    stamp = {"actor": actor.name, "now": as_time(connection, now)}
    stored = connection.execute(
        sa.insert(PurchaseOrder)
        .values(
            supplier_id=head.supplier_id,
            warehouse_id=head.warehouse_id,
            status=status,
            source=source,
            currency=terms[lines[0].sku].currency,
            ordered_at=now,
            expected_on=expected_on or today + timedelta(days=head.lead_time_days),
            changed_by=actor.name,
            changed_at=now,
        )
        .returning(PurchaseOrder.id, PurchaseOrder.number)
    ).one()
    columns = dict.fromkeys(("line_no", "sku_id", "quantity", "unit_cost_minor"), "bigint")
    connection.execute(
        sa.text(
            "INSERT INTO purchase_order_lines (purchase_order_id, line_no, sku_id, quantity,"
            " received, unit_cost_minor, version, changed_by, changed_at)"
            " SELECT :id, line_no, sku_id, quantity, 0, unit_cost_minor, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        ),
        {
            "id": stored.id,
            "rows": as_rows(
                {
                    "line_no": index + 1,
                    "sku_id": terms[line.sku].sku_id,
                    "quantity": line.quantity,
                    "unit_cost_minor": (
                        terms[line.sku].unit_cost_minor
                        if line.unit_cost_minor is None
                        else line.unit_cost_minor
                    ),
                }
                for index, line in enumerate(lines)
            ),
            **stamp,
        },
    )
    if status != "draft":
        skus = {terms[line.sku].sku_id for line in lines}
        promises.update(connection, actor, [(head.warehouse_id, sku_id) for sku_id in skus])
    return get(connection, stored.number)


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
    return errors


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


_HEAD_SQL = (
    "SELECT p.id, p.number, p.status, p.source, p.currency, p.ordered_at, p.expected_on,"
    " s.code AS supplier, s.name AS supplier_name, w.code AS warehouse FROM purchase_orders AS p"
    " JOIN suppliers AS s ON s.id = p.supplier_id JOIN warehouses AS w ON w.id = p.warehouse_id"
)


def get(connection: Connection, number: str) -> dict[str, Any]:
    """Return a purchase order by number or id, as JSON-ready data with its lines and total.

    Raises:
        NotFound: there is no such purchase order.
    """
    head = (
        connection.execute(
            sa.text(f"{_HEAD_SQL} WHERE p.number = :number OR CAST(p.id AS text) = :number"),
            {"number": number},
        )
        .mappings()
        .one_or_none()
    )
    if head is None:
        raise NotFound(f"There is no purchase order {number!r}.")
    lines = connection.execute(
        sa.text(
            "SELECT l.id, l.line_no, k.code AS sku, k.name, l.quantity, l.received,"
            " l.unit_cost_minor FROM purchase_order_lines AS l JOIN skus AS k ON k.id = l.sku_id"
            " WHERE l.purchase_order_id = :id ORDER BY l.line_no"
        ),
        {"id": head["id"]},
    ).mappings()
    return _render(head, [dict(line) for line in lines])


def listing(connection: Connection, *, after: int = 0, limit: int = 50) -> list[dict[str, Any]]:
    """Return purchase orders, newest first, below id ``after`` (0 for the newest page)."""
    rows = connection.execute(
        sa.text(f"{_HEAD_SQL} WHERE (:after = 0 OR p.id < :after) ORDER BY p.id DESC LIMIT :limit"),
        {"after": after, "limit": limit},
    ).mappings()
    return [_render(row, None) for row in rows]


def _render(head: Any, lines: list[dict[str, Any]] | None) -> dict[str, Any]:
    currency = head["currency"]
    answer = {key: head[key] for key in ("id", "number", "status", "source", "currency")}
    answer |= {key: head[key] for key in ("supplier", "supplier_name", "warehouse")}
    ordered_at = read_time(head["ordered_at"])
    answer["ordered_at"] = ordered_at.isoformat() if ordered_at else None
    answer["expected_on"] = str(head["expected_on"])
    if lines is not None:
        answer["total"] = to_text(
            sum(line["quantity"] * line["unit_cost_minor"] for line in lines), currency
        )
        answer["lines"] = [
            {
                **{key: line[key] for key in ("id", "line_no", "sku", "name", "quantity")},
                "received": line["received"],
                "unit_cost": to_text(line["unit_cost_minor"], currency),
            }
            for line in lines
        ]
    return answer
