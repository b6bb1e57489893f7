"""Suppliers and their terms: who sells a SKU, at what cost, how much at least, how fast."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import EmailStr, Field
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_READ, PURCHASING_WRITE, Actor
from oms_ops.database import as_time, execute, for_update
from oms_ops.errors import FieldError, NotFound, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import promises
from oms_ops.shapes import Amount, Body, Text, coded, in_minor

Days = Annotated[int, Field(ge=0, le=1000)]
Units = Annotated[int, Field(ge=1, le=1_000_000)]

_NO_SUPPLIER = "There is no supplier {!r}."
_NO_SKU = "There is no SKU {!r}."


class SupplierIn(Body):
    """A supplier; the lead time is the agreed one, in days from order to receipt."""

    name: Text
    email: EmailStr | None = None
    lead_time_days: Days
    review_days: Annotated[int, Field(ge=1, le=366)] = 7


class TermIn(Body):
    """What a supplier asks for a SKU; a SKU has one preferred supplier, its first one by itself."""

    currency: str
    unit_cost: Amount
    moq: Units = 1
    pack_multiple: Units = 1
    is_preferred: bool | None = None


def put(connection: Connection, actor: Actor, code: str, supplier: SupplierIn) -> dict[str, Any]:
    """Create the supplier ``code`` or change it; return it with its terms.

    Another lead time moves the days of those who wait for what he is the preferred supplier of.
    """
    actor.require(PURCHASING_WRITE)
    code = coded(code, "The supplier")
    known = execute(
        connection,
        f"SELECT lead_time_days FROM suppliers WHERE code = :code {for_update(connection)}",
        {"code": code},
    ).fetchone()
    execute(
        connection,
        "INSERT INTO suppliers (code, name, email, lead_time_days, review_days, version,"
        " changed_by, changed_at)"
        " VALUES (:code, :name, :email, :lead_time_days, :review_days, 1, :actor, :now)"
        " ON CONFLICT (code) DO UPDATE SET name = excluded.name, email = excluded.email,"
        " lead_time_days = excluded.lead_time_days, review_days = excluded.review_days,"
        " version = suppliers.version + 1, changed_by = excluded.changed_by,"
        " changed_at = excluded.changed_at",
        {"code": code, **supplier.model_dump(), **_stamp(connection, actor)},
    )
    if known is not None and known[0] != supplier.lead_time_days:
        preferred = execute(
            connection,
            "SELECT t.sku_id FROM supplier_terms AS t JOIN suppliers AS s ON s.id = t.supplier_id"
            " WHERE s.code = :code AND t.is_preferred",
            {"code": code},
        ).fetchall()
        promises.update_lead_times(connection, actor, [row[0] for row in preferred])
    return _shown(connection, code)


def put_terms(
    connection: Connection, actor: Actor, code: str, sku: str, terms: TermIn
) -> dict[str, Any]:
    """Set what the supplier ``code`` asks for a SKU, as :func:`set_terms`; return the supplier."""
    set_terms(connection, actor, code, sku, terms)
    return _shown(connection, code)


def set_terms(connection: Connection, actor: Actor, code: str, sku: str, terms: TermIn) -> None:
    """Set what the supplier ``code`` asks for a SKU (its code).

    Where the SKU then has another preferred supplier, the days of those who wait for it move.

    Raises:
        NotFound: there is no such supplier or SKU.
        ValidationFailed: the currency is unknown, or the cost has too many decimal places.
    """
    actor.require(PURCHASING_WRITE)
    cost, faults = cost_of(terms)
    if faults:
        raise ValidationFailed("The terms have bad fields.", faults)
    supplier_id = _id(connection, code)
    # Two that want to be preferred meet at the SKU's row; its key is left to those who order it.
    clause = for_update(connection).replace("FOR UPDATE", "FOR NO KEY UPDATE")
    row = execute(
        connection, f"SELECT id FROM skus WHERE code = :sku {clause}", {"sku": sku}
    ).fetchone()
    if row is None:
        raise NotFound(_NO_SKU.format(sku))
    before = _preferred(connection, row[0])
    parameters = {
        "supplier_id": supplier_id,
        "sku_id": row[0],
        **terms.model_dump(exclude={"unit_cost", "is_preferred"}),
        "cost": cost,
        "preferred": terms.is_preferred,
        **_stamp(connection, actor),
    }
    if terms.is_preferred:
        execute(
            connection,
            "UPDATE supplier_terms SET is_preferred = false, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            " WHERE sku_id = :sku_id AND supplier_id <> :supplier_id AND is_preferred",
            parameters,
        )
    others = "SELECT 1 FROM supplier_terms WHERE sku_id = :sku_id AND is_preferred"
    execute(
        connection,
        "INSERT INTO supplier_terms (supplier_id, sku_id, currency, unit_cost_minor, moq,"
        " pack_multiple, is_preferred, version, changed_by, changed_at)"
        " VALUES (:supplier_id, :sku_id, :currency, :cost, :moq, :pack_multiple,"
        f" coalesce(CAST(:preferred AS boolean), NOT EXISTS ({others})), 1, :actor, :now)"
        " ON CONFLICT (sku_id, supplier_id) DO UPDATE SET currency = excluded.currency,"
        " unit_cost_minor = excluded.unit_cost_minor, moq = excluded.moq,"
        " pack_multiple = excluded.pack_multiple,"
        " is_preferred = coalesce(CAST(:preferred AS boolean), supplier_terms.is_preferred),"
        " version = supplier_terms.version + 1, changed_by = excluded.changed_by,"
        " changed_at = excluded.changed_at",
        parameters,
    )
    if _preferred(connection, row[0]) != before:
        promises.update_lead_times(connection, actor, [row[0]])


def cost_of(terms: TermIn) -> tuple[int, list[FieldError]]:
    """Return what a unit costs in minor units, and what is wrong with it or its currency."""
    minor, faults = in_minor(terms.currency, {"unit_cost": terms.unit_cost})
    return minor["unit_cost"], faults


def unknown(connection: Connection, code: str | None, sku: str | None) -> list[FieldError]:
    """Return which of a supplier and a SKU (codes) there is not; None is not looked for."""
    named = (("supplier", "suppliers", code, _NO_SUPPLIER), ("sku", "skus", sku, _NO_SKU))
    return [
        FieldError(field, "unknown", message.format(given))
        for field, table, given, message in named
        if given is not None
        and execute(
            connection, f"SELECT id FROM {table} WHERE code = :code", {"code": given}
        ).fetchone()
        is None
    ]


def _preferred(connection: Connection, sku_id: int) -> int | None:
    row = execute(
        connection,
        "SELECT supplier_id FROM supplier_terms WHERE sku_id = :sku AND is_preferred",
        {"sku": sku_id},
    ).fetchone()
    return None if row is None else int(row[0])


def get(connection: Connection, actor: Actor, code: str) -> dict[str, Any]:
    """Return a supplier with its terms.

    Raises:
        NotFound: there is no such supplier.
    """
    actor.require(PURCHASING_READ)
    return _shown(connection, code)


def _shown(connection: Connection, code: str) -> dict[str, Any]:
    supplier_id = _id(connection, code)
    head = (
        connection.execute(
            sa.text(
                "SELECT code, name, email, lead_time_days, review_days, version FROM suppliers"
                " WHERE id = :id"
            ),
            {"id": supplier_id},
        )
        .mappings()
        .one()
    )
    terms = connection.execute(
        sa.text(
            "SELECT k.code AS sku, k.name, t.currency, t.unit_cost_minor, t.moq, t.pack_multiple,"
            " t.is_preferred FROM supplier_terms AS t JOIN skus AS k ON k.id = t.sku_id"
            " WHERE t.supplier_id = :id ORDER BY k.code"
        ),
        {"id": supplier_id},
    ).mappings()
    return {
        **head,
        "terms": [
            {
                **{name: row[name] for name in ("sku", "name", "currency", "moq", "pack_multiple")},
                "unit_cost": to_text(row["unit_cost_minor"], row["currency"]),
                "is_preferred": bool(row["is_preferred"]),
            }
            for row in terms
        ],
    }


def listing(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return all suppliers, without their terms, by code."""
    actor.require(PURCHASING_READ)
    rows = connection.execute(
        sa.text(
            "SELECT code, name, email, lead_time_days, review_days, version FROM suppliers"
            " ORDER BY code"
        )
    ).mappings()
    return [dict(row) for row in rows]


def _id(connection: Connection, code: str) -> int:
    row = execute(
        connection, "SELECT id FROM suppliers WHERE code = :code", {"code": code}
    ).fetchone()
    if row is None:
        raise NotFound(_NO_SUPPLIER.format(code))
    return int(row[0])


def _stamp(connection: Connection, actor: Actor) -> dict[str, Any]:
    return {"actor": actor.name, "now": as_time(connection, clock.now())}
