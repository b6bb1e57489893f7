"""Capture one order: validate, price, route, allocate and write it in one transaction.

The level rows are locked by the last statement before the commit: everything before it reads
without locks, and the guarded UPDATE then either finds the stock that the plan counted on or
changes nothing. In that case the whole transaction is rolled back and planned again on fresh
levels. So two buyers of the last unit never both get it, and nobody holds a lock while thinking.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_rows, as_time, rowset, run
from oms_ops.errors import Conflict, FieldError, KeyReused, OutOfStock, ValidationFailed
from oms_ops.notifications import outbox
from oms_ops.orders import intake, views
from oms_ops.orders.pricing import PricedLine, SkuTerms, Totals, catalogue_errors, price
from oms_ops.orders.routing import Routing, Site, route
from oms_ops.orders.tables import IdempotencyKey, Order
from oms_ops.payments import commands as payments
from oms_ops.settings import settings
from oms_ops.stock import ledger


def capture(
    engine: Engine, actor: Actor, payload: Any, *, idempotency_key: str | None = None
) -> dict[str, Any]:
    """Capture the order in ``payload`` and return it as :func:`oms_ops.orders.views.render` does.

    A repeat with the same key and body returns the first answer, a concurrent one too.

    Raises:
        ValidationFailed: with every bad field.
        KeyReused: the key came before with another body.
        OutOfStock: a line cannot be filled and ``allow_backorder`` is false.
        Conflict: the channel already submitted this ``external_id``.
    """
    actor.require(ORDERS_WRITE)
    order, errors = intake.parse(payload)
    digest = _digest(payload)

    def work(connection: Connection) -> dict[str, Any]:
        return _capture(connection, actor, payload, order, errors, idempotency_key, digest)

    for attempt in range(3):
        try:
            return run(engine, work, attempts=50)
        except IntegrityError as error:
            # Somebody committed the same key, external id or guest between our look and our
            # write; the next look finds what they wrote.
            if attempt == 2 or not _unique_violation(error):
                raise
    raise AssertionError("unreachable")


def _capture(
    connection: Connection,
    actor: Actor,
    payload: Any,
    order: intake.OrderIn | None,
    errors: Sequence[FieldError],
    key: str | None,
    digest: str,
) -> dict[str, Any]:
    if key is not None:
        answer = _first_answer(connection, actor, key, digest)
        if answer is not None:
            return answer
    wanted = intake.lines_of(payload)
    currency = payload.get("currency") if isinstance(payload, dict) else None
    known, levels = _catalogue(connection, sorted({sku for _, sku in wanted}))
    faults = [*errors, *catalogue_errors(wanted, known, currency)]
    sites = _sites(connection)
    if order and order.warehouse and order.warehouse not in {site.code for site in sites}:
        faults.append(
            FieldError("warehouse", "unknown_warehouse", f"no warehouse {order.warehouse!r}")
        )
    if order is None or faults:
        raise ValidationFailed("The order has bad fields.", faults)
    priced, totals, faults = price(order, known)
    if faults:
        raise ValidationFailed("The order has bad fields.", faults)
    if not sites:
        raise Conflict("There is no active warehouse.")
    routing = route(
        [(line.sku.id, line.quantity) for line in priced],
        levels,
        sites,
        region=order.ship_to.region,
        country=order.ship_to.country,
        allow_split=order.allow_split,
        override=order.warehouse,
    )
    if any(routing.backordered) and not order.allow_backorder:
        raise _out_of_stock(priced, routing)
    answer = _write(connection, actor, order, priced, totals, routing)
    if key is not None:
        connection.execute(
            sa.insert(IdempotencyKey).values(
                scope=actor.name,
                key=key,
                request_hash=digest,
                response=answer,
                created_at=clock.now(),
            )
        )
    if not ledger.allocate(connection, actor, routing.claims([line.sku.id for line in priced])):
        raise Retry("stock moved between the plan and the claim")
    return answer


def _digest(payload: Any) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _unique_violation(error: IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig)


def _first_answer(
    connection: Connection, actor: Actor, key: str, digest: str
) -> dict[str, Any] | None:
    row = connection.execute(
        sa.select(IdempotencyKey.request_hash, IdempotencyKey.response).where(
            IdempotencyKey.scope == actor.name, IdempotencyKey.key == key
        )
    ).one_or_none()
    if row is None:
        return None
    if row.request_hash != digest:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another submission")],
        )
    answer: dict[str, Any] = row.response
    return answer


def _catalogue(
    connection: Connection, codes: list[str]
) -> tuple[dict[str, SkuTerms], dict[tuple[int, int], int]]:
    """Read the SKUs of ``codes`` and the units available per (warehouse, SKU), in one query."""
    rows = connection.execute(
        sa.text(
            "SELECT s.id, s.code, s.name, s.is_active, s.currency, s.price_minor,"  # noqa: S608
            " coalesce(t.unit_cost_minor, 0) AS unit_cost_minor,"
            " l.warehouse_id, l.on_hand - l.allocated AS available"
            f" FROM ({rowset(connection, 'codes', {'code': 'text'})}) AS c"
            " JOIN skus AS s ON s.code = c.code"
            " LEFT JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred"
            " LEFT JOIN stock_levels AS l ON l.sku_id = s.id"
        ),
        {"codes": as_rows({"code": code} for code in codes)},
    )
    known: dict[str, SkuTerms] = {}
    levels: dict[tuple[int, int], int] = {}
    for row in rows:
        known[row.code] = SkuTerms(
            row.id,
            row.code,
            row.name,
            bool(row.is_active),
            row.currency,
            row.price_minor,
            row.unit_cost_minor,
        )
        if row.warehouse_id is not None:
            levels[row.warehouse_id, row.id] = row.available
    return known, levels


def _sites(connection: Connection) -> list[Site]:
    rows = connection.execute(
        sa.text("SELECT id, code, region, country, rank FROM warehouses WHERE is_active")
    )
    return [Site(*row) for row in rows]


def _out_of_stock(priced: Sequence[PricedLine], routing: Routing) -> OutOfStock:
    return OutOfStock(
        "Some lines cannot be filled from stock and backorders are not allowed.",
        [
            FieldError(
                f"lines[{index}].quantity",
                "out_of_stock",
                f"{line.sku.code}: {line.quantity - short} of {line.quantity} available",
            )
            for index, (line, short) in enumerate(zip(priced, routing.backordered, strict=True))
            if short
        ],
    )


def _write(
    connection: Connection,
    actor: Actor,
    order: intake.OrderIn,
    priced: Sequence[PricedLine],
    totals: Totals,
    routing: Routing,
) -> dict[str, Any]:
    now = clock.now()
    customer_id = _customer(connection, actor, order, now)
    row = _insert_order(connection, actor, order, totals, routing, customer_id, now)
    lines = _insert_lines(connection, actor, row["id"], priced, routing, now)
    _insert_shipments(connection, actor, row["id"], lines, routing, now)
    if order.payment is not None:
        payments.create(
            connection, actor, row["id"], order.payment.method, order.currency, totals.total
        )
    answer = views.render(
        row,
        lines,
        captured=0,
        refunded=0,
        voided=0,
        delivered=False,
        public_url=settings().public_url,
    )
    outbox.post(
        connection,
        "order.confirmed",
        order.customer.email,
        {"order": row["number"], "total": answer["totals"]["total"], "currency": order.currency},
    )
    return answer


def _customer(
    connection: Connection, actor: Actor, order: intake.OrderIn, now: datetime
) -> int:
    """Return the customer's id, creating a guest on the first order; refuse a repeated order."""
    customer = order.customer
    found = connection.execute(
        sa.text(
            "SELECT (SELECT id FROM customers WHERE email = :email) AS customer_id,"
            " (SELECT number FROM orders WHERE channel = :channel AND external_id = :external_id)"
            " AS number"
        ),
        {
            "email": customer.email,
            "channel": order.channel,
            "external_id": order.external_id,
        },
    ).one()
    if found.number is not None:
        raise Conflict(
            f"Channel {order.channel!r} already submitted order {order.external_id!r}"
            f" as {found.number}.",
            [FieldError("external_id", "duplicate", f"captured as {found.number}")],
        )
    if found.customer_id is not None:
        return int(found.customer_id)
    created = connection.execute(
        sa.text(
            "INSERT INTO customers (email, name, phone, created_at, changed_by, changed_at)"
            " VALUES (:email, :name, :phone, :now, :actor, :now) RETURNING id"
        ),
        {**customer.model_dump(), "now": as_time(connection, now), "actor": actor.name},
    ).scalar_one()
    return int(created)


def _insert_order(
    connection: Connection,
    actor: Actor,
    order: intake.OrderIn,
    totals: Totals,
    routing: Routing,
    customer_id: int,
    now: datetime,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "channel": order.channel,
        "external_id": order.external_id,
        "customer_id": customer_id,
        "warehouse_id": routing.home.id,
        "status": "open",
        "placed_at": now,
        "promised_on": None,
        **{f"ship_{key}": value for key, value in order.ship_to.model_dump().items()},
        "currency": order.currency,
        "gross_minor": totals.gross,
        "discount_minor": totals.discount,
        "shipping_minor": totals.shipping,
        "tax_minor": 0,
        "rounding_minor": 0,
        "total_minor": totals.total,
        "allow_backorder": order.allow_backorder,
        "allow_split": order.allow_split,
        "routing": routing.reason,
        "tracking_token": secrets.token_urlsafe(24),
    }
    stamp = {"version": 1, "changed_by": actor.name, "changed_at": now}
    stored = connection.execute(
        sa.insert(Order).values(**row, **stamp).returning(Order.id, Order.number)
    ).one()
    extra = {"email": order.customer.email, "warehouse": routing.home.code}
    return {**row, "id": stored.id, "number": stored.number, **extra}


_LINE_COLUMNS = {
    "line_no": "bigint",
    "sku_id": "bigint",
    "quantity": "bigint",
    "unit_price_minor": "bigint",
    "unit_cost_minor": "bigint",
    "gross_minor": "bigint",
    "discount_minor": "bigint",
    "net_minor": "bigint",
    "allocated": "bigint",
    "backordered": "bigint",
}


def _insert_lines(
    connection: Connection,
    actor: Actor,
    order_id: int,
    priced: Sequence[PricedLine],
    routing: Routing,
    now: datetime,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "line_no": index + 1,
            "sku_id": line.sku.id,
            "quantity": line.quantity,
            "unit_price_minor": line.unit_price_minor,
            "unit_cost_minor": line.sku.unit_cost_minor,
            "gross_minor": line.gross_minor,
            "discount_minor": line.discount_minor,
            "net_minor": line.net_minor,
            "allocated": line.quantity - short,
            "backordered": short,
        }
        for index, (line, short) in enumerate(zip(priced, routing.backordered, strict=True))
    ]
    names = ", ".join(_LINE_COLUMNS)
    stored = connection.execute(
        sa.text(
            f"INSERT INTO order_lines (order_id, {names}, tax_minor, shipped, cancelled, returned,"  # noqa: S608
            " version, changed_by, changed_at)"
            f" SELECT :order_id, {names}, 0, 0, 0, 0, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', _LINE_COLUMNS)}) AS r RETURNING line_no, id"
        ),
        {
            "order_id": order_id,
            "rows": as_rows(rows),
            "actor": actor.name,
            "now": as_time(connection, now),
        },
    )
    ids = {row.line_no: row.id for row in stored}
    extra = {"shipped": 0, "cancelled": 0, "returned": 0}
    return [
        {**row, "id": ids[row["line_no"]], "sku": line.sku.code, "name": line.sku.name, **extra}
        for row, line in zip(rows, priced, strict=True)
    ]


def _insert_shipments(
    connection: Connection,
    actor: Actor,
    order_id: int,
    lines: Sequence[dict[str, Any]],
    routing: Routing,
    now: datetime,
) -> None:
    """Write one shipment per warehouse; its lines are the allocation."""
    warehouses = sorted({warehouse_id for warehouse_id, *_ in routing.allocations})
    if not warehouses:
        return
    stamp = {"actor": actor.name, "now": as_time(connection, now)}
    stored = connection.execute(
        sa.text(
            "INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version,"  # noqa: S608
            " changed_by, changed_at)"
            " SELECT :order_id, id, 'allocated', :now, 1, :actor, :now"
            f" FROM ({rowset(connection, 'rows', {'id': 'bigint'})}) AS r RETURNING warehouse_id, id"
        ),
        {"order_id": order_id, "rows": as_rows({"id": w} for w in warehouses), **stamp},
    )
    shipments = {row.warehouse_id: row.id for row in stored}
    rows = (
        {
            "shipment_id": shipments[warehouse_id],
            "order_line_id": lines[index]["id"],
            "sku_id": lines[index]["sku_id"],
            "quantity": units,
        }
        for warehouse_id, index, units in routing.allocations
    )
    columns = dict.fromkeys(("shipment_id", "order_line_id", "sku_id", "quantity"), "bigint")
    connection.execute(
        sa.text(
            "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"  # noqa: S608
            " SELECT shipment_id, order_line_id, sku_id, quantity, :actor"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
        ),
        {"rows": as_rows(rows), "actor": actor.name},
    )
