"""Capture one order: look, plan, write.

The look is one statement, the plan (validation, prices, routing) is pure, and the write is one
transaction (:mod:`oms_ops.orders.writing`). So nothing is locked while thinking: PostgreSQL is
asked twice in all, and on SQLite the one writer's turn holds nothing but the writing. The level
rows are locked by the last statement before the commit, a guarded UPDATE that either finds the
stock that the plan counted on or changes nothing; then everything is rolled back and planned again
on fresh levels. So two buyers of the last unit never both get it.
"""

from __future__ import annotations

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
from oms_ops.access.actor import ORDERS_WRITE, PRICES_OVERRIDE, Actor
from oms_ops.database import Retry, as_time, autocommit, retryable
from oms_ops.errors import Conflict, FieldError, OutOfStock, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import deadlines, holding, intake, overrides, promises, sites, views, writing
from oms_ops.orders.idempotency import caller_scope, digest, first_answer
from oms_ops.orders.look import Seen, look
from oms_ops.orders.pricing import (
    Priced,
    PricedLine,
    catalogue_errors,
    objections,
    price,
    quantity_errors,
)
from oms_ops.orders.routing import Destination, Routing, available_words, route
from oms_ops.orders.submission import Submission, read
from oms_ops.orders.supply import Waiting
from oms_ops.orders.tenders import gateway_faults, terms_of
from oms_ops.settings import settings

_ATTEMPTS = 50


def capture(
    engine: Engine,
    actor: Actor,
    payload: Any,
    *,
    idempotency_key: str | None = None,
    key_scope: str | None = None,
    compared: Any = None,
) -> dict[str, Any]:
    """Capture the order in ``payload`` and return it as :func:`oms_ops.orders.views.render` does.

    A repeat with the same key and body returns the first answer, a concurrent one too. A key is its
    caller's own, or that of the ``key_scope``. ``compared`` is what a repeat has to say again,
    where that is not all of the body.

    Raises:
        ValidationFailed: with every bad field.
        KeyReused: the key came before with another body.
        Forbidden: a price is stated that the actor may not state.
        OutOfStock: a line cannot be filled and ``allow_backorder`` is false.
        Conflict: the channel already submitted this ``external_id``.
    """
    actor.require(ORDERS_WRITE)
    submission = read(payload)
    key = _Key(
        key_scope or caller_scope(actor.name),
        idempotency_key,
        digest(payload if compared is None else compared),
    )
    collisions = 0
    for attempt in range(_ATTEMPTS):
        try:
            with autocommit(engine) as connection:
                return _capture(connection, actor, submission, key)
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
    submission = read(payload)
    with autocommit(engine) as connection:
        now = clock.now()
        seen = _look(connection, submission, _Key("", None, ""), now)
        return _answer(_plan(connection, actor, submission, seen, now))


@dataclass(frozen=True, slots=True)
class _Key:
    """An idempotency key, if one was given, with its scope and the digest of the body."""

    scope: str
    key: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """An order as it is going to be written."""

    order: intake.OrderIn
    priced: Priced
    routing: Routing
    head: dict[str, Any]
    lines: list[dict[str, Any]]
    behind: set[promises.Pair]


def _capture(
    connection: Connection, actor: Actor, submission: Submission, key: _Key
) -> dict[str, Any]:
    now = clock.now()
    seen = _look(connection, submission, key, now)
    if seen.first is not None:
        return first_answer(*seen.first, key.digest)
    _refuse_duplicate(submission.order, seen)
    plan = _plan(connection, actor, submission, seen, now)
    answer = _answer(plan)
    sets = _sets(connection, key, seen, plan, answer, now)
    rules = seen.rules.rules
    around = promises.making_way(connection, actor, rules.routing, plan.behind)
    answer["number"] = writing.write(
        connection,
        sets,
        {
            "customer_id": seen.customer_id,
            "keep": rules.reserve_of(plan.order.channel),
            "low_email": rules.alerts.low_stock_email,
            "actor": actor.name,
            "now": as_time(connection, now),
        },
        around if plan.behind else None,
    )
    # Several lines from one warehouse are one shipment.
    sites.opened(connection.engine, {share[0] for share in plan.routing.allocations})
    return answer


def _look(connection: Connection, submission: Submission, key: _Key, now: datetime) -> Seen:
    codes = sorted({sku for _, sku in submission.named_lines})
    return look(connection, submission.legible, (key.scope, key.key), codes, now)


def _refuse_duplicate(order: intake.OrderIn | None, seen: Seen) -> None:
    """Refuse an order that is here already, whatever has become of its goods since."""
    if order is not None and seen.captured_as is not None:
        raise Conflict(
            f"Channel {order.channel!r} already submitted order {order.external_id!r}"
            f" as {seen.captured_as}.",
            [FieldError("external_id", "duplicate", f"captured as {seen.captured_as}")],
        )


def _plan(
    connection: Connection, actor: Actor, submission: Submission, seen: Seen, now: datetime
) -> _Plan:
    """Validate, price and route; refuse with everything that is wrong."""
    faults = [*submission.errors, *_faults(submission, seen)]
    priced, objected = _priced(submission, seen)
    order = submission.order
    if priced is None or order is None or faults or objected:
        raise ValidationFailed("The order has bad fields.", faults + objected)
    rules = seen.rules.rules
    _refuse_overrides(actor, order, priced, seen)
    routing = route_order(order, priced, seen)
    if any(routing.backordered) and not order.allow_backorder:
        raise out_of_stock(priced.lines, routing, rules.reserve_of(order.channel))
    promised, behind = _promised(connection, order, priced, routing, seen, now)
    hold = holding.reason(
        connection, rules, order, priced.totals.total, seen.customer_id, unpaid=seen.unpaid
    )
    lines = _lines(priced, routing, promised)
    head = _head(order, priced, routing, seen, now)
    head["status"], head["hold_reason"] = ("on_hold", hold) if hold else ("open", None)
    head["promised_on"] = promises.whole(
        line["promised_on"] for line in lines if line["backordered"]
    )
    to = order.ship_to
    days = deadlines.delivery_days(rules, order.channel, to.country, to.region)
    waits = any(line["backordered"] for line in lines)
    head["delivery_days"] = days
    head["deliver_by"] = deadlines.deliver_by(
        days, head["placed_at"], head["promised_on"], unknown=waits and not head["promised_on"]
    )
    return _Plan(order, priced, routing, head, lines, behind)


def _faults(submission: Submission, seen: Seen) -> list[FieldError]:
    """Return what the catalogue and the rules object to, and what the database does not know."""
    order = submission.legible
    channel = order.channel if order is not None and submission.has("channel") else None
    faults = catalogue_errors(submission.named_lines, seen.known, channel)
    if order is None:
        return faults
    faults += submission.relabelled(quantity_errors(order, seen.known))
    if order.warehouse and order.warehouse not in {site.code for site in seen.sites}:
        message = f"no warehouse {order.warehouse!r}"
        faults.append(FieldError("warehouse", "unknown_warehouse", message))
    if (channels := seen.rules.rules.channels) and channel and channel not in channels:
        message = f"one of {', '.join(sorted(channels))}"
        faults.append(FieldError("channel", "unknown_channel", message))
    if order.payment is not None:
        method = order.payment.method
        faults += gateway_faults(method, seen.rules.rules, "payment.method")
    unknown = [
        FieldError(f"discount_codes[{index}]", "unknown_discount", f"{code} is not valid now")
        for index, code in enumerate(order.discount_codes)
        if code not in seen.discounts
    ]
    return faults + submission.relabelled(unknown)


def _priced(submission: Submission, seen: Seen) -> tuple[Priced | None, list[FieldError]]:
    """Price what can be priced; return all of it or None, and every objection."""
    order = submission.legible
    if order is None or not submission.has("currency"):
        return None, []
    rules, group = seen.rules.rules, seen.customer_group
    codes = [seen.discounts.get(code) for code in order.discount_codes]
    discounts = [terms for terms in codes if terms is not None]
    if (
        submission.prices_whole
        and len(discounts) == len(codes)
        and all(line.sku in seen.known for line in order.lines)
    ):
        priced, faults = price(order, seen.known, rules, discounts, group)
        return priced, submission.relabelled(faults)
    lines = set(range(len(order.lines))) - submission.marred if submission.prices_lines else set()
    if not submission.prices_lines:
        # Whose group it is cannot be told.
        codes = [terms if terms and terms.customer_group is None else None for terms in codes]
    faults = objections(order, seen.known, rules, codes, group, lines)
    return None, submission.relabelled(faults)


def _refuse_overrides(actor: Actor, order: intake.OrderIn, priced: Priced, seen: Seen) -> None:
    if actor.permits(PRICES_OVERRIDE):
        return
    discounts = [seen.discounts[code] for code in order.discount_codes]
    faults = overrides.overridden(
        order, priced, seen.known, seen.rules.rules, discounts, seen.customer_group
    )
    if faults:
        raise overrides.refusal(actor, faults)


def route_order(order: intake.OrderIn, priced: Priced, seen: Seen) -> Routing:
    """Decide which warehouses ship the priced lines, less what the channel must leave.

    What the order's basket holds is its own already: nothing of it is to be left.
    """
    if not seen.sites:
        raise Conflict(sites.NONE)
    levels = seen.levels
    if reserve := seen.rules.rules.reserve_of(order.channel):
        levels = {pair: max(0, units - reserve) for pair, units in levels.items()}
    if seen.holds:
        levels = dict(levels)
        for hold in seen.holds:
            pair = (hold.warehouse_id, hold.sku_id)
            levels[pair] = levels.get(pair, 0) + hold.quantity
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


def _promised(
    connection: Connection,
    order: intake.OrderIn,
    priced: Priced,
    routing: Routing,
    seen: Seen,
    now: datetime,
) -> tuple[list[date | None], set[promises.Pair]]:
    """Return per line the day on which what is backordered should come, None for the others.

    Besides, the pairs for which younger orders wait already.
    """
    short = [index for index, units in enumerate(routing.backordered) if units]
    days: list[date | None] = [None] * len(priced.lines)
    if not short:
        return days, set()
    sources = frozenset(share[0] for share in routing.allocations)
    waiting = [
        Waiting(
            home_id=routing.home.id,
            sku_id=priced.lines[index].sku.id,
            units=routing.backordered[index],
            placed_at=order.placed_at or now,
            splits=order.allow_split,
            place=(order.ship_to.country, order.ship_to.region),
            sources=sources,
        )
        for index in short
    ]
    promise = promises.promise(connection, seen.rules.rules.routing, waiting)
    for index, day in zip(short, promise.days, strict=True):
        days[index] = day
    return days, promise.behind


def _head(
    order: intake.OrderIn, priced: Priced, routing: Routing, seen: Seen, now: datetime
) -> dict[str, Any]:
    rules, totals = seen.rules.rules, priced.totals
    return {
        "number": "",
        "email": order.customer.email,
        "contact_name": order.customer.name,
        "contact_phone": order.customer.phone,
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
        # What was held left its channel's reserve before: a what-if has to know.
        "routing": {**routing.reason, "from_basket": True} if seen.holds else routing.reason,
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
    key: _Key,
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
    head |= {name: _iso(head[name]) for name in ("promised_on", "deliver_by")}
    return {
        "customer": None if seen.customer else [customer.model_dump()],
        "contact": _contact(customer, seen),
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
                    **views.waiting(answer),
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
                "scope": key.scope,
                "key": key.key,
                "request_hash": key.digest,
                "response": answer,
            }
        ]
        if key.key is not None
        else None,
        "claims": _claims(plan, seen),
    }


def _contact(customer: intake.CustomerIn, seen: Seen) -> list[dict[str, Any]] | None:
    """Return what is new of a known customer: the name, and the phone where one is given."""
    known = seen.customer
    if known is None:
        return None
    phone = customer.phone or known.phone
    if (customer.name, phone) == (known.name, known.phone):
        return None
    return [{"name": customer.name, "phone": phone}]


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


def _unique_violation(error: IntegrityError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig)


def out_of_stock(priced: Sequence[PricedLine], routing: Routing, reserve: int) -> OutOfStock:
    """Return the refusal that names every line which cannot be filled.

    ``reserve`` is what the channel must leave in each warehouse.
    """
    return OutOfStock(
        "Some lines cannot be filled from stock and backorders are not allowed.",
        [
            FieldError(
                f"lines[{index}].quantity",
                "out_of_stock",
                f"{line.sku.code}: "
                + available_words(line.quantity - short, line.quantity, reserve),
            )
            for index, (line, short) in enumerate(zip(priced, routing.backordered, strict=True))
            if short
        ],
    )
