"""Capture one order: validate, price, route, allocate and write it in one transaction.

The level rows are locked by the last statement before the commit: everything before it reads
without locks, and the guarded UPDATE then either finds the stock that the plan counted on or
changes nothing. In that case the whole transaction is rolled back and planned again on fresh
levels. So two buyers of the last unit never both get it, and nobody holds a lock while thinking.

PostgreSQL is asked four times in all, each time by a pipeline of statements that do not wait for
one another's answers: look, insert the order, write what belongs to it, commit.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_rows, as_time, execute, pipelined, rowset, run
from oms_ops.errors import Conflict, FieldError, KeyReused, OutOfStock, ValidationFailed
from oms_ops.notifications import outbox
from oms_ops.orders import intake, views
from oms_ops.orders.pricing import PricedLine, SkuTerms, Totals, catalogue_errors, price
from oms_ops.orders.routing import Routing, Site, route
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


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the database knows of a submission before anything is written."""

    first: tuple[str, Any] | None
    known: dict[str, SkuTerms]
    levels: dict[tuple[int, int], int]
    sites: list[Site]
    customer_id: int | None
    captured_as: str | None


def _capture(
    connection: Connection,
    actor: Actor,
    payload: Any,
    order: intake.OrderIn | None,
    errors: Sequence[FieldError],
    key: str | None,
    digest: str,
) -> dict[str, Any]:
    wanted = intake.lines_of(payload)
    seen = _look(connection, actor, order, key, sorted({sku for _, sku in wanted}))
    if seen.first is not None:
        return _first_answer(*seen.first, digest)
    faults = [*errors, *_catalogue_faults(payload, order, wanted, seen)]
    if order is None or faults:
        raise ValidationFailed("The order has bad fields.", faults)
    priced, totals, faults = price(order, seen.known)
    if faults:
        raise ValidationFailed("The order has bad fields.", faults)
    if not seen.sites:
        raise Conflict("There is no active warehouse.")
    routing = route(
        [(line.sku.id, line.quantity) for line in priced],
        seen.levels,
        seen.sites,
        region=order.ship_to.region,
        country=order.ship_to.country,
        allow_split=order.allow_split,
        override=order.warehouse,
    )
    if any(routing.backordered) and not order.allow_backorder:
        raise _out_of_stock(priced, routing)
    if seen.captured_as is not None:
        raise Conflict(
            f"Channel {order.channel!r} already submitted order {order.external_id!r}"
            f" as {seen.captured_as}.",
            [FieldError("external_id", "duplicate", f"captured as {seen.captured_as}")],
        )
    now = clock.now()
    stamp = {"actor": actor.name, "now": as_time(connection, now)}
    customer_id = seen.customer_id or _insert_guest(connection, order, stamp)
    row = _insert_order(connection, order, totals, routing, customer_id, now, stamp)
    lines = _lines(priced, routing)
    answer = views.render(
        row,
        lines,
        captured=0,
        refunded=0,
        voided=0,
        delivered=False,
        public_url=settings().public_url,
    )
    with pipelined(connection):
        _insert_lines(connection, row["id"], lines, stamp)
        _insert_shipments(connection, row["id"], routing, stamp)
        # Nothing is to be paid for an order that costs nothing.
        if order.payment is not None and totals.total > 0:
            payments.expect(
                connection, actor, row["id"], order.payment.method, order.currency, totals.total
            )
        outbox.post(connection, "order.confirmed", order.customer.email, _message(answer))
        if key is not None:
            _keep_answer(connection, key, digest, answer, stamp)
        claims = routing.claims([line.sku.id for line in priced])
        claimed = ledger.allocate(connection, actor, claims)
    if not claimed:
        raise Retry("stock moved between the plan and the claim")
    return answer


def _catalogue_faults(
    payload: Any, order: intake.OrderIn | None, wanted: list[tuple[int, str]], seen: _Seen
) -> list[FieldError]:
    currency = payload.get("currency") if isinstance(payload, dict) else None
    faults = catalogue_errors(wanted, seen.known, currency)
    if order and order.warehouse and order.warehouse not in {site.code for site in seen.sites}:
        faults.append(
            FieldError("warehouse", "unknown_warehouse", f"no warehouse {order.warehouse!r}")
        )
    return faults


def _digest(payload: Any) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _unique_violation(error: IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig)


def _look(
    connection: Connection,
    actor: Actor,
    order: intake.OrderIn | None,
    key: str | None,
    codes: list[str],
) -> _Seen:
    """Read all that the decision needs: the key, SKUs with their levels, sites and customer."""
    with pipelined(connection):
        catalogue = execute(
            connection,
            "SELECT s.id, s.code, s.name, s.is_active, s.currency, s.price_minor,"
            " coalesce(t.unit_cost_minor, 0), l.warehouse_id, l.on_hand - l.allocated"
            f" FROM ({rowset(connection, 'codes', {'code': 'text'}, count=len(codes))}) AS c"
            " JOIN skus AS s ON s.code = c.code"
            " LEFT JOIN supplier_terms AS t ON t.sku_id = s.id AND t.is_preferred"
            " LEFT JOIN stock_levels AS l ON l.sku_id = s.id",
            {"codes": as_rows({"code": code} for code in codes)},
        )
        sites = execute(
            connection,
            "SELECT id, code, region, country, rank FROM warehouses WHERE is_active",
            {},
        )
        people = execute(
            connection,
            "SELECT (SELECT id FROM customers WHERE email = :email),"
            " (SELECT number FROM orders WHERE channel = :channel AND external_id = :external_id)",
            {
                "email": order.customer.email if order else None,
                "channel": order.channel if order else None,
                "external_id": order.external_id if order else None,
            },
        )
        # The key after the external id: a concurrent repeat of this very submission that the one
        # look saw, the other must see too, or a repeat would be refused as a duplicate.
        first = execute(
            connection,
            "SELECT request_hash, response FROM idempotency_keys"
            " WHERE scope = :actor AND key = :key",
            {"actor": actor.name, "key": key},
        )
        known: dict[str, SkuTerms] = {}
        levels: dict[tuple[int, int], int] = {}
        found = first.fetchone()
        for *terms, warehouse_id, available in catalogue:
            sku = SkuTerms(*terms)
            known[sku.code] = sku
            if warehouse_id is not None:
                levels[warehouse_id, sku.id] = available
        return _Seen(found, known, levels, [Site(*row) for row in sites], *people.fetchone())


def _first_answer(request_hash: str, response: Any, digest: str) -> dict[str, Any]:
    if request_hash != digest:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another submission")],
        )
    answer: dict[str, Any] = json.loads(response) if isinstance(response, str) else response
    return answer


def _keep_answer(
    connection: Connection, key: str, digest: str, answer: dict[str, Any], stamp: dict[str, Any]
) -> None:
    execute(
        connection,
        "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        " VALUES (:actor, :key, :digest, :answer, :now)",
        {"key": key, "digest": digest, "answer": json.dumps(answer), **stamp},
    )


def _message(answer: dict[str, Any]) -> dict[str, Any]:
    total = answer["totals"]["total"]
    return {"order": answer["number"], "total": total, "currency": answer["currency"]}


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


def _insert_guest(connection: Connection, order: intake.OrderIn, stamp: dict[str, Any]) -> int:
    """Create the customer on the first order; the row is the guest of every later one."""
    row = execute(
        connection,
        "INSERT INTO customers (email, name, phone, created_at, changed_by, changed_at)"
        " VALUES (:email, :name, :phone, :now, :actor, :now) RETURNING id",
        {**order.customer.model_dump(), **stamp},
    ).fetchone()
    return int(row[0])


_ORDER_COLUMNS = (
    "channel, external_id, customer_id, warehouse_id, status, placed_at, ship_name, ship_line1,"
    " ship_line2, ship_city, ship_region, ship_postal_code, ship_country, currency, gross_minor,"
    " discount_minor, shipping_minor, tax_minor, rounding_minor, total_minor, allow_backorder,"
    " allow_split, routing, tracking_token"
)
_INSERT_ORDER = (
    f"INSERT INTO orders ({_ORDER_COLUMNS}, version, changed_by, changed_at) VALUES ("
    + ", ".join(f":{name}" for name in _ORDER_COLUMNS.split(", "))
    + ", 1, :actor, :now) RETURNING id, number"
)


def _insert_order(
    connection: Connection,
    order: intake.OrderIn,
    totals: Totals,
    routing: Routing,
    customer_id: int,
    now: datetime,
    stamp: dict[str, Any],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "channel": order.channel,
        "external_id": order.external_id,
        "customer_id": customer_id,
        "warehouse_id": routing.home.id,
        "status": "open",
        "placed_at": now,
        "promised_on": None,
        **{f"ship_{key}": value for key, value in order.ship_to},
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
    stored = {"routing": json.dumps(routing.reason), "placed_at": stamp["now"]}
    order_id, number = execute(connection, _INSERT_ORDER, {**row, **stored, **stamp}).fetchone()
    extra = {"email": order.customer.email, "warehouse": routing.home.code}
    return {**row, "id": order_id, "number": number, **extra}


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


def _lines(priced: Sequence[PricedLine], routing: Routing) -> list[dict[str, Any]]:
    return [
        {
            "line_no": index + 1,
            "sku_id": line.sku.id,
            "sku": line.sku.code,
            "name": line.sku.name,
            "quantity": line.quantity,
            "unit_price_minor": line.unit_price_minor,
            "unit_cost_minor": line.sku.unit_cost_minor,
            "gross_minor": line.gross_minor,
            "discount_minor": line.discount_minor,
            "net_minor": line.net_minor,
            "allocated": line.quantity - short,
            "backordered": short,
            "shipped": 0,
            "cancelled": 0,
            "returned": 0,
        }
        for index, (line, short) in enumerate(zip(priced, routing.backordered, strict=True))
    ]


def _insert_lines(
    connection: Connection, order_id: int, lines: Sequence[dict[str, Any]], stamp: dict[str, Any]
) -> None:
    names = ", ".join(_LINE_COLUMNS)
    execute(
        connection,
        f"INSERT INTO order_lines (order_id, {names}, tax_minor, shipped, cancelled, returned,"
        " version, changed_by, changed_at)"
        f" SELECT :order_id, {names}, 0, 0, 0, 0, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', _LINE_COLUMNS, count=len(lines))}) AS r",
        {
            "order_id": order_id,
            "rows": as_rows({name: line[name] for name in _LINE_COLUMNS} for line in lines),
            **stamp,
        },
    )


_SHARE_COLUMNS = dict.fromkeys(("warehouse_id", "line_no", "quantity"), "bigint")


def _insert_shipments(
    connection: Connection, order_id: int, routing: Routing, stamp: dict[str, Any]
) -> None:
    """Write one shipment per warehouse; its lines are the allocation."""
    if not routing.allocations:
        return
    shares = [
        {"warehouse_id": warehouse_id, "line_no": index + 1, "quantity": units}
        for warehouse_id, index, units in routing.allocations
    ]
    parameters = {"order_id": order_id, "rows": as_rows(shares), **stamp}
    rows = f"({rowset(connection, 'rows', _SHARE_COLUMNS, count=len(shares))}) AS r"
    execute(
        connection,
        "INSERT INTO shipments (order_id, warehouse_id, status, allocated_at, version,"
        " changed_by, changed_at)"
        " SELECT :order_id, warehouse_id, 'allocated', :now, 1, :actor, :now"
        f" FROM {rows} GROUP BY warehouse_id ORDER BY warehouse_id",
        parameters,
    )
    execute(
        connection,
        "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
        f" SELECT s.id, l.id, l.sku_id, r.quantity, :actor FROM {rows}"
        " JOIN shipments AS s ON s.order_id = :order_id AND s.warehouse_id = r.warehouse_id"
        " JOIN order_lines AS l ON l.order_id = :order_id AND l.line_no = r.line_no",
        parameters,
    )
