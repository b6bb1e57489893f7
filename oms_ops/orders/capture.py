"""Capture one order: look, plan, write.

The look is one statement, the plan (validation, prices, routing) is pure, and the write is one
transaction (:mod:`oms_ops.orders.writing`). So nothing is locked while thinking: PostgreSQL is
asked twice in all, and on SQLite the one writer's turn holds nothing but the writing. The level
rows are locked by the last statement before the commit, a guarded UPDATE that either finds the
stock that the plan counted on or changes nothing; then everything is rolled back and planned again
on fresh levels. So two buyers of the last unit never both get it.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import Retry, as_time, autocommit, retryable
from oms_ops.errors import Conflict, FieldError, KeyReused, OutOfStock, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import holding, intake, promises, sites, views, writing
from oms_ops.orders.look import Seen, look
from oms_ops.orders.pricing import (
    Priced,
    PricedLine,
    catalogue_errors,
    price,
    quantity_errors,
)
from oms_ops.orders.routing import Destination, Routing, route
from oms_ops.orders.tenders import terms_of
from oms_ops.settings import settings

_ATTEMPTS = 50


def capture(
    engine: Engine,
    actor: Actor,
    payload: Any,
    *,
    idempotency_key: str | None = None,
    key_scope: str | None = None,
) -> dict[str, Any]:
    """Capture the order in ``payload`` and return it as :func:`oms_ops.orders.views.render` does.

    A repeat with the same key and body returns the first answer, a concurrent one too. A key is its
    caller's own, or that of the ``key_scope``.

    Raises:
        ValidationFailed: with every bad field.
        KeyReused: the key came before with another body.
        OutOfStock: a line cannot be filled and ``allow_backorder`` is false.
        Conflict: the channel already submitted this ``external_id``.
    """
    actor.require(ORDERS_WRITE)
    order, errors = intake.parse(payload)
    submission = _Submission(
        payload, order, errors, idempotency_key, key_scope or actor.name, _digest(payload)
    )
    collisions = 0
    for attempt in range(_ATTEMPTS):
        try:
            with autocommit(engine) as connection:
                return _capture(connection, actor, submission)
        except IntegrityError as error:
            # Somebody committed the same key, external id or guest between our look and our
            # write; the next look finds what they wrote.
            collisions += 1
            if collisions == 3 or not _unique_violation(error):
                raise
        except (Retry, DBAPIError) as error:
            if attempt == _ATTEMPTS - 1 or not retryable(error):
                raise
        time.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 6)))  # noqa: S311 - jitter
    raise AssertionError("unreachable")


def quote(engine: Engine, actor: Actor, payload: Any) -> dict[str, Any]:
    """Return what capturing ``payload`` would answer now, without a number; nothing is written.

    Raises:
        ValidationFailed, OutOfStock: as :func:`capture` does.
    """
    actor.require(ORDERS_WRITE)
    order, errors = intake.parse(payload)
    submission = _Submission(payload, order, errors, None, "", "")
    with autocommit(engine) as connection:
        now = clock.now()
        seen = _look(connection, actor, submission, now)
        plan = _plan(connection, submission, seen, now)
        return _answer(plan)


@dataclass(frozen=True, slots=True)
class _Submission:
    """What was submitted, and what is wrong with it already."""

    payload: Any
    order: intake.OrderIn | None
    errors: Sequence[FieldError]
    key: str | None
    key_scope: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """An order as it is going to be written."""

    order: intake.OrderIn
    priced: Priced
    routing: Routing
    head: dict[str, Any]
    lines: list[dict[str, Any]]


def _capture(connection: Connection, actor: Actor, submission: _Submission) -> dict[str, Any]:
    now = clock.now()
    seen = _look(connection, actor, submission, now)
    if seen.first is not None:
        return _first_answer(*seen.first, submission.digest)
    plan = _plan(connection, submission, seen, now)
    order = plan.order
    if seen.captured_as is not None:
        raise Conflict(
            f"Channel {order.channel!r} already submitted order {order.external_id!r}"
            f" as {seen.captured_as}.",
            [FieldError("external_id", "duplicate", f"captured as {seen.captured_as}")],
        )
    answer = _answer(plan)
    sets = _sets(connection, submission, seen, plan, answer, now)
    rules = seen.rules.rules
    answer["number"] = writing.write(
        connection,
        sets,
        {
            "customer_id": seen.customer_id,
            "keep": _reserve(seen, order.channel),
            "low_email": rules.alerts.low_stock_email,
            "actor": actor.name,
            "now": as_time(connection, now),
        },
    )
    # Several lines from one warehouse are one shipment.
    sites.opened(connection.engine, {share[0] for share in plan.routing.allocations})
    return answer


def _look(connection: Connection, actor: Actor, submission: _Submission, now: datetime) -> Seen:
    codes = sorted({sku for _, sku in intake.lines_of(submission.payload)})
    return look(connection, submission.order, (submission.key_scope, submission.key), codes, now)


def _plan(connection: Connection, submission: _Submission, seen: Seen, now: datetime) -> _Plan:
    """Validate, price and route; refuse with everything that is wrong."""
    order = submission.order
    faults = [*submission.errors, *_faults(submission, seen)]
    if order is None or faults:
        raise ValidationFailed("The order has bad fields.", faults)
    rules = seen.rules.rules
    discounts = [seen.discounts[code] for code in order.discount_codes]
    priced, faults = price(order, seen.known, rules, discounts, seen.customer_group)
    if priced is None:
        raise ValidationFailed("The order has bad fields.", faults)
    routing = route_order(order, priced, seen)
    if any(routing.backordered) and not order.allow_backorder:
        raise out_of_stock(priced.lines, routing)
    promised = _promised(connection, priced, routing)
    hold = holding.reason(
        connection, rules, order, priced.totals.total, seen.customer_id, unpaid=seen.unpaid
    )
    lines = _lines(priced, routing, promised)
    head = _head(order, priced, routing, seen, now)
    head["status"], head["hold_reason"] = ("on_hold", hold) if hold else ("open", None)
    dates = [line["promised_on"] for line in lines if line["promised_on"]]
    head["promised_on"] = max(dates, default=None)
    return _Plan(order, priced, routing, head, lines)


def _faults(submission: _Submission, seen: Seen) -> list[FieldError]:
    """Return what the catalogue and the rules object to, and what the database does not know."""
    payload, order = submission.payload, submission.order
    channel = payload.get("channel", "web") if isinstance(payload, dict) else None
    faults = catalogue_errors(intake.lines_of(payload), seen.known, channel)
    if order is None:
        return faults
    if not faults:
        faults = quantity_errors(order, seen.known)
    if order.warehouse and order.warehouse not in {site.code for site in seen.sites}:
        message = f"no warehouse {order.warehouse!r}"
        faults.append(FieldError("warehouse", "unknown_warehouse", message))
    if (channels := seen.rules.rules.channels) and order.channel not in channels:
        message = f"one of {', '.join(sorted(channels))}"
        faults.append(FieldError("channel", "unknown_channel", message))
    for index, code in enumerate(order.discount_codes):
        if code not in seen.discounts:
            message = f"{code} is no code that is valid now"
            faults.append(FieldError(f"discount_codes[{index}]", "unknown_discount", message))
    return faults


def _reserve(seen: Seen, channel: str) -> int:
    rule = seen.rules.rules.channels.get(channel)
    return rule.reserve_units if rule else 0


def route_order(order: intake.OrderIn, priced: Priced, seen: Seen) -> Routing:
    """Decide which warehouses ship the priced lines, less what the channel must leave."""
    if not seen.sites:
        raise Conflict("There is no active warehouse.")
    levels = seen.levels
    if reserve := _reserve(seen, order.channel):
        levels = {pair: max(0, units - reserve) for pair, units in levels.items()}
    rules, to = seen.rules.rules.routing, order.ship_to
    return route(
        [(line.sku.id, line.quantity) for line in priced.lines],
        levels,
        seen.sites,
        Destination(to.country, to.region, to.latitude, to.longitude),
        rules,
        allow_split=order.allow_split,
        override=order.warehouse,
    )


def _promised(connection: Connection, priced: Priced, routing: Routing) -> list[date | None]:
    """Return per line the day on which what is backordered should come, None for the others."""
    short = [index for index, units in enumerate(routing.backordered) if units]
    days: list[date | None] = [None] * len(priced.lines)
    if short:
        waiting = [
            (routing.home.id, priced.lines[index].sku.id, routing.backordered[index])
            for index in short
        ]
        for index, day in zip(short, promises.promise(connection, waiting), strict=True):
            days[index] = day
    return days


def _head(
    order: intake.OrderIn, priced: Priced, routing: Routing, seen: Seen, now: datetime
) -> dict[str, Any]:
    rules, totals = seen.rules.rules, priced.totals
    return {
        "number": "",
        "email": order.customer.email,
        "warehouse": routing.home.code,
        "channel": order.channel,
        "external_id": order.external_id,
        "warehouse_id": routing.home.id,
        "placed_at": order.placed_at or now,
        **{f"ship_{key}": value for key, value in order.ship_to},
        "currency": order.currency,
        "base_currency": rules.base_currency,
        "exchange_rate": str(rules.rate_of(order.currency)),
        "gross_minor": totals.gross,
        "discount_minor": totals.discount,
        "shipping_minor": totals.shipping,
        "shipping_tax_minor": totals.shipping_tax,
        "tax_minor": totals.tax,
        "tax_included": totals.tax_included,
        "rounding_minor": totals.rounding,
        "total_minor": totals.total,
        "cancelled_minor": 0,
        "allow_backorder": order.allow_backorder,
        "allow_split": order.allow_split,
        "ship_complete": order.ship_complete,
        "note": order.note,
        "rules_id": seen.rules.id,
        "routing": routing.reason,
        "tracking_token": secrets.token_urlsafe(24),
        "version": 1,
    }


def _lines(
    priced: Priced, routing: Routing, promised: Sequence[date | None]
) -> list[dict[str, Any]]:
    return [
        {
            "line_no": index + 1,
            "sku_id": line.sku.id,
            "sku": line.sku.code,
            "name": line.sku.name,
            "quantity": line.quantity,
            "unit_price_minor": line.unit_price_minor,
            "price_source": line.price_source,
            "unit_cost_minor": line.sku.unit_cost_minor,
            "gross_minor": line.gross_minor,
            "discount_minor": line.discount_minor,
            "rounding_minor": line.rounding_minor,
            "net_minor": line.net_minor,
            "tax_rate_ppm": line.tax_rate_ppm,
            "tax_minor": line.tax_minor,
            "allocated": line.quantity - short,
            "backordered": short,
            "shipped": 0,
            "cancelled": 0,
            "cancelled_minor": 0,
            "returned": 0,
            "promised_on": day,
        }
        for index, (line, short, day) in enumerate(
            zip(priced.lines, routing.backordered, promised, strict=True)
        )
    ]


def _answer(plan: _Plan) -> dict[str, Any]:
    return views.render(
        plan.head,
        plan.lines,
        paid=views.NOTHING_PAID,
        delivered=False,
        public_url=settings().public_url,
    )


def _sets(
    connection: Connection,
    submission: _Submission,
    seen: Seen,
    plan: _Plan,
    answer: dict[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return what is to be written, as :func:`oms_ops.orders.writing.write` takes it."""
    order, totals = plan.order, plan.priced.totals
    customer = order.customer
    placed = plan.head["placed_at"]
    head = {name: plan.head[name] for name in writing.ORDER}
    head["placed_at"] = now_text(connection, placed)
    head["promised_on"] = _iso(head["promised_on"])
    return {
        "customer": None if seen.customer_id else [customer.model_dump()],
        "head": [head],
        "lines": [
            {
                **{name: line[name] for name in writing.LINE},
                "promised_on": _iso(line["promised_on"]),
            }
            for line in plan.lines
        ],
        "shares": [
            {"warehouse_id": warehouse_id, "line_no": index + 1, "quantity": units}
            for warehouse_id, index, units in plan.routing.allocations
        ],
        # Nothing is to be paid for an order that costs nothing.
        "payment": [
            {
                **terms_of(order.payment.method, seen.rules.rules, placed),
                "currency": order.currency,
                "amount_minor": totals.total,
            }
        ]
        if order.payment is not None and totals.total > 0
        else None,
        "message": [
            {
                "recipient": customer.email,
                "payload": {
                    "total": to_text(totals.total, order.currency),
                    "currency": order.currency,
                },
            }
        ],
        "uses": [
            {"discount_id": discount_id, "amount_minor": amount}
            for discount_id, amount in sorted(plan.priced.code_amounts.items())
        ],
        "holds": [{"id": hold.id, "quantity": hold.quantity} for hold in seen.holds],
        "answer": [
            {
                "scope": submission.key_scope,
                "key": submission.key,
                "request_hash": submission.digest,
                "response": answer,
            }
        ]
        if submission.key is not None
        else None,
        "claims": _claims(plan, seen),
    }


def _claims(plan: _Plan, seen: Seen) -> list[dict[str, int]]:
    """Return a row a level: what the order takes, less what its basket gives back."""
    units: dict[tuple[int, int], int] = {}
    for claim in plan.routing.claims([line.sku.id for line in plan.priced.lines]):
        pair = (claim.sku_id, claim.warehouse_id)
        units[pair] = units.get(pair, 0) + claim.quantity
    for hold in seen.holds:
        pair = (hold.sku_id, hold.warehouse_id)
        units[pair] = units.get(pair, 0) - hold.quantity
    return [
        {"warehouse_id": warehouse_id, "sku_id": sku_id, "quantity": quantity}
        for (sku_id, warehouse_id), quantity in sorted(units.items())
    ]


def now_text(connection: Connection, moment: datetime) -> str:
    """Return a moment as the databases read it from JSON."""
    stored = as_time(connection, moment)
    return stored if isinstance(stored, str) else stored.isoformat()


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _digest(payload: Any) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _unique_violation(error: IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig)


def _first_answer(request_hash: str, response: Any, digest: str) -> dict[str, Any]:
    if request_hash != digest:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another submission")],
        )
    answer: dict[str, Any] = json.loads(response) if isinstance(response, str) else response
    return answer


def out_of_stock(priced: Sequence[PricedLine], routing: Routing) -> OutOfStock:
    """Return the refusal that names every line which cannot be filled."""
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
