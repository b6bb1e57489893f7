"""Writes a captured order: the same steps on both databases, in one transaction.

SQLite takes the steps one after another from here. PostgreSQL takes all of them in one call of a
function that :func:`install` makes of them, so that one round trip writes the order and commits it,
and the locks of the levels, taken by the last step, are held for no round trip at all.

A step reads its rows from a JSON parameter, binds ``:actor``, ``:now`` and what earlier steps
returned, and is left out where its parameter is NULL. A step that must touch all its rows and does
not has lost a race: everything is rolled back and planned again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy.engine import Connection

from oms_ops.database import LOST_RACE, Retry, as_json, execute, immediate, rowset
from oms_ops.stock import alerts, ledger, levels

#: Rows up to which PostgreSQL plans for a few, not for many, and SQLite binds each value.
_FEW = 12

_CUSTOMER = dict.fromkeys(("email", "name", "phone"), "text")
_CONTACT = dict.fromkeys(("name", "phone"), "text")
ORDER = {
    "channel": "text",
    "external_id": "text",
    "contact_name": "text",
    "contact_phone": "text",
    "warehouse_id": "bigint",
    "status": "text",
    "hold_reason": "text",
    "placed_at": "timestamptz",
    "promised_on": "date",
    "delivery_days": "bigint",
    "deliver_by": "date",
    "ship_name": "text",
    "ship_line1": "text",
    "ship_line2": "text",
    "ship_city": "text",
    "ship_region": "text",
    "ship_postal_code": "text",
    "ship_country": "text",
    "ship_phone": "text",
    "ship_latitude": "double precision",
    "ship_longitude": "double precision",
    "currency": "text",
    "base_currency": "text",
    "exchange_rate": "text",
    "gross_minor": "bigint",
    "discount_minor": "bigint",
    "shipping_minor": "bigint",
    "shipping_tax_minor": "bigint",
    "tax_minor": "bigint",
    "tax_included": "boolean",
    "rounding_minor": "bigint",
    "total_minor": "bigint",
    "allow_backorder": "boolean",
    "allow_split": "boolean",
    "ship_complete": "boolean",
    "note": "text",
    "rules_id": "bigint",
    "routing": "json",
    "tracking_token": "text",
}
LINE = {
    "line_no": "bigint",
    "sku_id": "bigint",
    "quantity": "bigint",
    "unit_price_minor": "bigint",
    "price_source": "text",
    "unit_cost_minor": "bigint",
    "gross_minor": "bigint",
    "discount_minor": "bigint",
    "rounding_minor": "bigint",
    "net_minor": "bigint",
    "tax_rate_ppm": "bigint",
    "tax_minor": "bigint",
    "allocated": "bigint",
    "backordered": "bigint",
    "promised_on": "date",
}
_SHARE = dict.fromkeys(("warehouse_id", "line_no", "quantity"), "bigint")
_PAYMENT = {
    "gateway": "text",
    "method": "text",
    "currency": "text",
    "amount_minor": "bigint",
    "due_on": "date",
}
_MESSAGE = {"recipient": "text", "payload": "json"}
_USE = dict.fromkeys(("discount_id", "amount_minor"), "bigint")
_HOLD = {"id": "bigint", "quantity": "bigint"}
_ANSWER = {"scope": "text", "key": "text", "request_hash": "text", "response": "json"}
_CLAIM = dict.fromkeys(("warehouse_id", "sku_id", "quantity"), "bigint")

#: The databases for which SQL is written, as far as that asks a connection.
_SQLITE, _POSTGRESQL = (
    cast("Connection", SimpleNamespace(dialect=SimpleNamespace(name=name)))
    for name in ("sqlite", "postgresql")
)

#: The JSON parameters, in the order of the function's arguments.
SETS = {
    "customer": _CUSTOMER,
    "contact": _CONTACT,
    "head": ORDER,
    "lines": LINE,
    "shares": _SHARE,
    "payment": _PAYMENT,
    "message": _MESSAGE,
    "uses": _USE,
    "holds": _HOLD,
    "answer": _ANSWER,
    "claims": _CLAIM,
}
_VALUES = {"customer_id": "bigint", "keep": "bigint", "low_email": "text", "actor": "text",
           "now": "timestamptz"}  # fmt: skip

_NEW = "version, changed_by, changed_at"
_STAMP = "1, :actor, :now"


@dataclass(frozen=True, slots=True)
class Step:
    """A statement over the rows of the parameter ``rows``, written ``{rows}`` in it.

    ``gives`` names what its one row returns, for the steps after it. ``complete`` tells that it
    must touch as many rows as it was given.
    """

    rows: str
    sql: str
    gives: tuple[str, ...] = ()
    complete: bool = False


def _columns(columns: Mapping[str, str]) -> str:
    return ", ".join(columns)


STEPS = (
    # The customer of a first order; a concurrent first order fails here and is planned again.
    Step(
        "customer",
        f"INSERT INTO customers ({_columns(_CUSTOMER)}, created_at, {_NEW})"
        f" SELECT {_columns(_CUSTOMER)}, :now, {_STAMP} FROM {{rows}} RETURNING id",
        gives=("customer_id",),
    ),
    # A known one who says another name or phone than before.
    Step(
        "contact",
        "UPDATE customers AS c SET name = r.name, phone = r.phone, version = c.version + 1,"
        " changed_by = :actor, changed_at = :now FROM {rows} WHERE c.id = :customer_id",
    ),
    Step(
        "head",
        f"INSERT INTO orders (customer_id, {_columns(ORDER)}, {_NEW})"
        f" SELECT :customer_id, {_columns(ORDER)}, {_STAMP} FROM {{rows}} RETURNING id, number",
        gives=("order_id", "number"),
    ),
    Step(
        "lines",
        f"INSERT INTO order_lines (order_id, {_columns(LINE)}, shipped, cancelled, returned,"
        f" {_NEW}) SELECT :order_id, {_columns(LINE)}, 0, 0, 0, {_STAMP} FROM {{rows}}",
    ),
    # One shipment per warehouse; its lines are the allocation.
    Step(
        "shares",
        f"INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, {_NEW})"
        f" SELECT :order_id, r.warehouse_id, 'allocated', :now, {_STAMP}"
        " FROM {rows} GROUP BY r.warehouse_id ORDER BY r.warehouse_id",
    ),
    Step(
        "shares",
        "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
        " SELECT s.id, l.id, l.sku_id, r.quantity, :actor FROM {rows}"
        " JOIN shipments AS s ON s.order_id = :order_id AND s.warehouse_id = r.warehouse_id"
        " JOIN order_lines AS l ON l.order_id = :order_id AND l.line_no = r.line_no",
    ),
    Step(
        "payment",
        f"INSERT INTO payments (order_id, {_columns(_PAYMENT)}, created_at, {_NEW})"
        f" SELECT :order_id, {_columns(_PAYMENT)}, :now, {_STAMP} FROM {{rows}}",
    ),
    Step(
        "message",
        "INSERT INTO outbox_messages (kind, recipient, payload, created_at, attempts)"
        " SELECT 'order.confirmed', r.recipient, {numbered:r.payload:order}, :now, 0 FROM {rows}",
    ),
    Step(
        "answer",
        "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        " SELECT r.scope, r.key, r.request_hash, {numbered:r.response:number}, :now FROM {rows}",
    ),
    # From here on rows are locked that others want: codes first, then the levels.
    Step(
        "uses",
        "UPDATE discounts AS d SET used = d.used + 1, version = d.version + 1,"
        " changed_by = :actor, changed_at = :now"
        " FROM {rows} WHERE d.id = r.discount_id"
        " AND (d.use_limit IS NULL OR d.used < d.use_limit)",
        complete=True,
    ),
    Step(
        "uses",
        f"INSERT INTO discount_uses (discount_id, order_id, amount_minor, used_at, {_NEW})"
        f" SELECT r.discount_id, :order_id, r.amount_minor, :now, {_STAMP} FROM {{rows}}",
    ),
    Step(
        "holds",
        # As many units as were seen: the basket may have changed since.
        "DELETE FROM basket_holds WHERE (id, quantity) IN (SELECT r.id, r.quantity FROM {rows})",
        complete=True,
    ),
)


def claim_guard() -> str:
    """Return what a claim needs: the units are free, beyond what the channel must leave.

    A claim on no more than the order's basket held takes nothing from anybody.
    """
    return ledger.guard("CASE WHEN d.quantity > 0 THEN :keep ELSE 0 END")


def write(
    connection: Connection,
    sets: Mapping[str, Any],
    values: Mapping[str, Any],
    around: AbstractContextManager[None] | None = None,
) -> str:
    """Write an order and commit it; return its number.

    ``sets`` has the names of :data:`SETS`; each is a list of rows, or None to leave its steps out.
    The connection is one of :func:`oms_ops.database.autocommit`. What goes ``around`` the order, if
    anything does, is in its transaction.

    Raises:
        Retry: somebody else was first to the stock, a code's last use or the basket.
        IntegrityError: the key, the external id or the customer came in meanwhile.
    """
    if connection.dialect.name == "sqlite":
        # Whatever can be done before the writer's turn is.
        bound = _bound(sets, values)
        with immediate(connection), around or nullcontext():
            return _write_stepwise(connection, sets, bound)
    arguments = {name: as_json(rows) if rows else None for name, rows in sets.items()}
    function = f"oms_write_order_{'few' if len(sets['lines']) <= _FEW else 'many'}"
    statement, parameters = f"SELECT {function}({_typed()})", {**arguments, **values}
    if around is None:
        return str(execute(connection, statement, parameters).fetchone()[0])
    with immediate(connection), around:
        return str(execute(connection, statement, parameters).fetchone()[0])


@cache
def _typed() -> str:
    sets = [f"CAST(:{name} AS jsonb)" for name in SETS]
    return ", ".join(sets + [f"CAST(:{name} AS {kind})" for name, kind in _VALUES.items()])


def _bound(sets: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return SQLite's parameters: each value of a few rows, JSON of many."""
    bound = dict(values)
    for name, rows in sets.items():
        if not rows:
            continue
        if len(rows) > _FEW:
            bound[name] = as_json(rows)
            continue
        for row, columns in zip(rows, _parameters(name, len(rows)), strict=True):
            for column, parameter, is_json in columns:
                value = row[column]
                bound[parameter] = as_json(value) if is_json else value
    return bound


@cache
def _parameters(name: str, count: int) -> list[list[tuple[str, str, bool]]]:
    """Return per row of a set its columns, each with its parameter and whether it is JSON."""
    columns = SETS[name]
    return [
        [(column, f"{name}_{place}_{column}", kind == "json") for column, kind in columns.items()]
        for place in range(count)
    ]


def _write_stepwise(connection: Connection, sets: Mapping[str, Any], bound: dict[str, Any]) -> str:
    for step in STEPS:
        rows = sets[step.rows]
        if not rows:
            continue
        cursor = execute(connection, _sqlite_text(step, min(len(rows), _FEW + 1)), bound)
        if step.gives:
            bound |= zip(step.gives, cursor.fetchone(), strict=True)
        elif step.complete and cursor.rowcount != len(rows):
            raise Retry(f"another order was first: {step.rows}")
    if claims := sets["claims"]:
        wanted = _sqlite_rows("claims", min(len(claims), _FEW + 1))
        claimed = levels.update_from(
            connection, wanted, ledger.ALLOCATION, claim_guard(), bound, drops=True
        )
        if claimed != len(claims):
            raise Retry("stock moved between the plan and the claim")
    return str(bound["number"])


@cache
def _sqlite_text(step: Step, count: int) -> str:
    source = f"({_sqlite_rows(step.rows, count)}) AS r"
    return _with_numbers(step.sql.replace("{rows}", source), sqlite=True)


@cache
def _sqlite_rows(name: str, count: int) -> str:
    """Return SQL for the rows of a set: of JSON, SQLite reads all for each value that it takes."""
    if count > _FEW:
        return rowset(_SQLITE, name, SETS[name])
    return " UNION ALL ".join(
        f"SELECT {', '.join(f':{parameter} AS {column}' for column, parameter, _ in row)}"
        for row in _parameters(name, count)
    )


def _with_numbers(text: str, *, sqlite: bool) -> str:
    """Write out ``{numbered:column:name}``: a JSON column with the order's number as ``name``."""

    def put(match: re.Match[str]) -> str:
        column, name = match.groups()
        if sqlite:
            return f"json_set({column}, '$.{name}', :number)"
        return f"CAST(jsonb_set(CAST({column} AS jsonb), '{{{name}}}', to_jsonb(:number)) AS json)"

    return re.sub(r"\{numbered:([a-z_.]+):([a-z_]+)\}", put, text)


def install(connection: Connection) -> None:
    """Create or replace PostgreSQL's functions; SQLite needs none."""
    if connection.dialect.name == "sqlite":
        return
    for name, count in (("few", _FEW), ("many", None)):
        connection.exec_driver_sql(_function(name, count).replace("%", "%%"))


def _function(name: str, count: int | None) -> str:
    arguments = [f"p_{each} jsonb" for each in SETS]
    arguments += [f"p_{each} {kind}" for each, kind in _VALUES.items()]
    body = "\n".join(_body(count))
    return f"""
CREATE OR REPLACE FUNCTION oms_write_order_{name}({", ".join(arguments)}) RETURNS text
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_customer_id bigint := p_customer_id;
    v_order_id bigint;
    v_number text;
    v_low jsonb;
    touched bigint;
BEGIN
{body}
    RETURN v_number;
END $$"""


_VARIABLES = ("customer_id", "order_id", "number", "low")


def _body(count: int | None) -> Iterator[str]:
    for step in STEPS:
        source = f"({rowset(_POSTGRESQL, step.rows, SETS[step.rows], count=count)}) AS r"
        statement = _with_numbers(step.sql.replace("{rows}", source), sqlite=False)
        statement = _in_function(statement)
        into = f" INTO {', '.join(f'v_{name}' for name in step.gives)}" if step.gives else ""
        yield f"IF p_{step.rows} IS NOT NULL THEN {statement}{into};"
        if step.complete:
            yield f"GET DIAGNOSTICS touched = ROW_COUNT; {_unless_all(step.rows)}"
        yield "END IF;"
    wanted = rowset(_POSTGRESQL, "claims", _CLAIM, count=count)
    claim = levels.update_sql(_POSTGRESQL, wanted, ledger.ALLOCATION, claim_guard(), drops=True)
    yield (
        f"IF p_claims IS NOT NULL THEN WITH changed AS ({_in_function(claim)})"
        " SELECT count(*), jsonb_agg(low) FILTER (WHERE low IS NOT NULL) INTO touched, v_low"
        f" FROM changed; {_unless_all('claims')} END IF;"
    )
    raised = "; ".join(_in_function(each) for each in alerts.statements(_POSTGRESQL, wanted))
    yield f"IF v_low IS NOT NULL THEN {raised}; END IF;"


def _unless_all(rows: str) -> str:
    return (
        f"IF touched <> jsonb_array_length(p_{rows}) THEN"
        f" RAISE EXCEPTION 'another order was first: {rows}' USING ERRCODE = '{LOST_RACE}'; END IF;"
    )


def _in_function(statement: str) -> str:
    """Write ``:name`` as the function's variable or argument of that name."""

    def named(match: re.Match[str]) -> str:
        name = match[1]
        return f"v_{name}" if name in _VARIABLES else f"p_{name}"

    return re.sub(r"(?<!:):([a-z_][a-z_0-9]*)", named, statement)
