"""Capture many orders at once, set by set: history loads and large imports.

A batch ends as its orders captured one by one (:mod:`oms_ops.orders.capture`) in the order of
``placed_at``: the same refusals and codes, prices, taxes, charges, expected prices and totals, hold
rules, channel reserves, promised days, routes and claims on stock, under the same guards and
constraints. It is staged in two temporary tables and every step is one statement over all of it.

What differs, and why:

- A batch has no baskets, discount codes, discounts of an order, percentages or splits, and every
  order has a channel and an external id. Order by order is the way to those.
- A blank text is a missing one, and an order may have any number of lines: files are like that.
- An order that is wrong is told all at once, also what a single capture tells only when the rest is
  right (a duplicate, what pricing objects to). Fields are the frame's (``ship_city``).
- The reason of a route that the caller chose is ``given``; other sites are not compared.
- Only a ``live`` batch tells the customers, obeys the hold rules, says what known customers are
  called now and refuses orders of the future: history's customers were told long ago, nobody has
  to look at its orders, and a day's history may be captured before the day is over.
- An actor who may not state prices (:mod:`oms_ops.orders.overrides`) has those orders refused that
  do, each by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.errors import FieldError
from oms_ops.orders import bulk_claim, bulk_routing, bulk_shape, bulk_terms, bulk_writing
from oms_ops.orders.bulk_rules import customer_faults, database_faults
from oms_ops.orders.staging import (
    LINE_ASKS,
    LINE_DEFAULTS,
    ORDER_ASKS,
    ORDER_DEFAULTS,
    complete,
    staged,
)
from oms_ops.rules import store
from oms_ops.rules.store import Version

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Rejected:
    """An order that was not captured, with every bad field."""

    ref: int
    external_id: str
    errors: list[FieldError]


@dataclass(slots=True)
class BulkResult:
    """What became of a batch: orders and lines written, and the orders refused.

    ``numbers`` holds the order number of each ``ref`` that was written.
    """

    orders: int = 0
    lines: int = 0
    numbers: dict[int, str] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


def capture_many(
    connection: Connection,
    actor: Actor,
    orders: pl.DataFrame,
    lines: pl.DataFrame,
    *,
    live: bool = False,
    refused: Collection[int] = (),
) -> BulkResult:
    """Capture a batch; good orders are written, each bad one is named in the result.

    ``orders`` has the columns of :mod:`oms_ops.orders.staging`, one row per order, ``ref`` unique
    in the batch and ``external_id`` given; ``lines`` likewise. Stock goes to the orders in the
    order of ``placed_at``; what is short is backordered, or the order refused if it does not allow
    that. Orders (``ref``) that the caller has ``refused`` are looked at like the others, but not
    written.
    """
    actor.require(ORDERS_WRITE)
    version = store.current(connection)
    orders, lines = bulk_shape.tidy(
        complete(orders, ORDER_DEFAULTS, ORDER_ASKS), complete(lines, LINE_DEFAULTS, LINE_ASKS)
    )
    orders, faults = bulk_shape.with_contacts(_with_rules(orders, version))
    # Lines of no order in the batch are nobody's to refuse or to write.
    lines = lines.join(orders.select("ref"), on="ref", how="semi", maintain_order="left")
    faults += bulk_shape.faults(orders, lines, sorted(version.rules.channels), live=live)
    settled = bulk_terms.settle(connection, actor, orders, lines, version, faults, refused)
    with staged(connection, settled.orders, settled.lines):
        _stage_ids(connection)
        faults += settled.faults + database_faults(connection)
        bad = {*refused, *(ref for ref, _ in faults)}
        if settled.unpriced - bad:
            raise RuntimeError("an order that could not be priced is not refused")
        bulk_claim.drop(connection, bad)
        mistaken = customer_faults(connection)
        bulk_claim.drop(connection, {ref for ref, _ in mistaken})
        faults += mistaken
        bulk_routing.give_homes(connection, version.rules.routing)
        faults += bulk_claim.claim(connection)
        result = BulkResult(*bulk_writing.write(connection, actor, version, live=live))
    names = dict(orders.select("ref", "external_id").iter_rows())
    by_ref: dict[int, dict[tuple[str, str], FieldError]] = {}
    for ref, fault in faults:
        # What pricing objects to, the batch's own rules may have found too.
        by_ref.setdefault(ref, {}).setdefault((fault.field, fault.code), fault)
    result.rejected = [
        Rejected(ref, str(names[ref]), list(found.values()))
        for ref, found in sorted(by_ref.items())
    ]
    return result


def _with_rules(orders: pl.DataFrame, version: Version) -> pl.DataFrame:
    """Add what the shop's rules say of each order's currency and channel."""
    import polars as pl

    rates = {
        currency: None if (rate := version.rules.rate_of(currency)) is None else str(rate)
        for currency in orders["currency"].drop_nulls().unique().to_list()
    }
    reserves = {code: rule.reserve_units for code, rule in version.rules.channels.items()}
    return orders.with_columns(
        exchange_rate=pl.col("currency").replace_strict(rates, default=None, return_dtype=pl.String)
        if rates
        else pl.lit(None, pl.String),
        reserve=pl.col("channel").replace_strict(reserves, default=0, return_dtype=pl.Int64)
        if reserves
        else pl.lit(0, pl.Int64),
        cash_rounding_minor=pl.lit(0, pl.Int64),
        tax_included=pl.col("tax_included").fill_null(version.rules.prices_include_tax),
        routing=pl.lit(bulk_routing.GIVEN),
        warehouse=pl.col("warehouse").cast(pl.String),
    )


def _run(connection: Connection, statement: str, **parameters: Any) -> Any:
    return connection.execute(sa.text(statement), parameters)


def _stage_ids(connection: Connection) -> None:
    """Look up warehouses and SKUs once."""
    _run(
        connection,
        "UPDATE bulk_orders SET warehouse_id = w.id FROM warehouses AS w"
        " WHERE w.code = bulk_orders.warehouse AND w.is_active",
    )
    _run(
        connection,
        "UPDATE bulk_lines SET sku_id = k.id, unit_cost_minor = coalesce(t.unit_cost_minor, 0),"
        " price_source = coalesce(bulk_lines.price_source, 'caller')"
        " FROM skus AS k LEFT JOIN supplier_terms AS t ON t.sku_id = k.id AND t.is_preferred"
        " WHERE k.code = bulk_lines.sku",
    )
