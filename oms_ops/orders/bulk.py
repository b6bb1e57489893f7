"""Capture many orders at once, set by set: history loads and large imports.

The rules are those of :mod:`oms_ops.orders.capture`: the same validation, the same first-come
first-served claim on stock, the same guards and constraints in the database. What differs is the
unit of work: a batch is staged in two temporary tables and every step is one statement over all
of it. An order is not split over warehouses. History's customers were told long ago, and nobody
has to look at its orders: only a ``live`` batch tells the customers and obeys the hold rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.errors import FieldError
from oms_ops.orders import bulk_terms, bulk_writing
from oms_ops.orders.bulk_rules import (
    Fault,
    database_faults,
    shape_faults,
    short_faults,
    with_phones,
)
from oms_ops.orders.staging import LINE_DEFAULTS, ORDER_DEFAULTS, complete, staged
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
) -> BulkResult:
    """Capture a batch; good orders are written, each bad one is named in the result.

    ``orders`` has the columns of :mod:`oms_ops.orders.staging`, one row per order, ``ref`` unique
    in the batch and ``external_id`` given; ``lines`` likewise. Stock goes to the orders in the
    order of ``placed_at``; what is short is backordered, or the order refused if it does not allow
    that.
    """
    actor.require(ORDERS_WRITE)
    version = store.current(connection)
    orders, faults = with_phones(_with_rules(complete(orders, ORDER_DEFAULTS), version))
    # Lines of no order in the batch are nobody's to refuse or to write.
    lines = complete(lines, LINE_DEFAULTS).join(orders.select("ref"), on="ref", how="semi")
    settled = bulk_terms.settle(connection, orders, lines, version)
    faults += settled.faults + shape_faults(settled.orders, version.rules)
    with staged(connection, settled.orders, settled.lines):
        _stage_ids(connection)
        faults += database_faults(connection)
        if settled.unpriced - {ref for ref, _ in faults}:
            raise RuntimeError("an order that could not be priced is not refused")
        _drop(connection, sorted({ref for ref, _ in faults}))
        faults += _claim(connection)
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


def _drop(connection: Connection, refs: list[int]) -> None:
    if refs:
        rows = [{"ref": ref} for ref in refs]
        connection.execute(sa.text("DELETE FROM bulk_orders WHERE ref = :ref"), rows)
        connection.execute(sa.text("DELETE FROM bulk_lines WHERE ref = :ref"), rows)


#: What each line gets when stock goes round in the order of the orders' moments.
_TAKE = """
UPDATE bulk_lines SET before = t.before,
    take = CASE WHEN t.available - t.before >= bulk_lines.quantity THEN bulk_lines.quantity
                WHEN t.available > t.before THEN t.available - t.before ELSE 0 END
FROM (
    SELECT l.ref, l.line_no, coalesce(v.on_hand - v.allocated, 0) - b.reserve AS available,
        sum(l.quantity) OVER (PARTITION BY b.warehouse_id, l.sku_id
                              ORDER BY b.placed_at, l.ref, l.line_no) - l.quantity AS before
    FROM bulk_lines AS l
    JOIN bulk_orders AS b ON b.ref = l.ref
    LEFT JOIN stock_levels AS v ON v.sku_id = l.sku_id AND v.warehouse_id = b.warehouse_id
) AS t
WHERE bulk_lines.ref = t.ref AND bulk_lines.line_no = t.line_no
"""

#: Short lines of orders that allow no backorder, where no other order to be refused stands before
#: in the same queue, whichever of its lines is short: what is refused frees all that it claimed,
#: so those behind it are looked at again in the next round.
_FIRST_SHORT = """
WITH doomed AS (
    SELECT DISTINCT l.ref FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref
    WHERE l.take < l.quantity AND NOT b.allow_backorder
), queue AS (
    SELECT l.ref, l.line_no, l.take, l.quantity, first_value(l.ref) OVER (
        PARTITION BY b.warehouse_id, l.sku_id ORDER BY l.before) AS first_ref
    FROM bulk_lines AS l
    JOIN doomed AS d ON d.ref = l.ref
    JOIN bulk_orders AS b ON b.ref = l.ref
)
SELECT ref, line_no, take, quantity FROM queue WHERE ref = first_ref AND take < quantity
"""


def _claim(connection: Connection) -> list[Fault]:
    """Decide what each line gets; refuse the orders that are short and may not wait."""
    faults: list[Fault] = []
    while True:
        _run(connection, _TAKE)
        short = _run(connection, _FIRST_SHORT).all()
        if not short:
            return faults
        faults += short_faults(short)
        _drop(connection, sorted({row.ref for row in short}))
