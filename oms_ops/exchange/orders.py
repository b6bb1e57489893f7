"""Import orders from a file: one row a line, grouped to orders by channel and external id.

An order is taken whole or not at all. What is taken is remembered by its content under the
channel's own key, in the transaction that captures it: the same order again is ``repeated``,
another content under the same external id is refused (``differs``). So a file can be mended and
imported again, or two imports run at once, and no order is made twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.exchange import runs, seen
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import ORDER_REJECTED, Fate, Report
from oms_ops.exchange.seen import Taken
from oms_ops.exchange.values import RowFault, Spec, fields_of, minor_of
from oms_ops.orders import bulk

if TYPE_CHECKING:
    import polars as pl

KIND = "orders"
#: Orders in one transaction: long enough to be fast, short enough to let others write.
BATCH = 1_000
_KEY = ("ref", "channel", "external_id")

_ORDER_FIELDS = {
    "external_id": Spec(required=True),
    "channel": Spec(),
    "currency": Spec(),
    "email": Spec(),
    "customer_name": Spec(),
    "customer_phone": Spec(),
    "customer_external_id": Spec(),
    "placed_at": Spec("time"),
    "warehouse": Spec(),
    "ship_name": Spec(),
    "ship_line1": Spec(),
    "ship_line2": Spec(),
    "ship_city": Spec(),
    "ship_region": Spec(),
    "ship_postal_code": Spec(),
    "ship_country": Spec(),
    "ship_phone": Spec(),
    "shipping": Spec("money"),
    "shipping_tax": Spec("money"),
    "tax_included": Spec("flag"),
    "payment_method": Spec(),
    "allow_backorder": Spec("flag"),
    "note": Spec("note"),
}
_LINE_FIELDS = {
    "sku": Spec(required=True),
    "quantity": Spec("units", required=True),
    "unit_price": Spec("money"),
    "discount": Spec("money"),
    "tax": Spec("money"),
    "amount": Spec("money"),
}
FIELDS = {**_ORDER_FIELDS, **_LINE_FIELDS}
_MONEY = [name for name, spec in FIELDS.items() if spec.kind == "money"]


def import_orders(engine: Engine, actor: Actor, table: Table, mapping: Mapping) -> Report:
    """Import the orders of a file; see the module."""
    actor.require(ORDERS_WRITE)
    rows, faults = _rows(table, mapping)
    import_id = runs.begin(engine, actor, KIND, table)
    amounts = runs.amounts_of(rows, "stated_e4")
    bad = {fault.row_no for fault in faults}
    for batch in _batches(rows, bad):
        _take(engine, actor, import_id, table, batch, faults, amounts)
    return runs.finish(engine, import_id)


def _rows(table: Table, mapping: Mapping) -> tuple[pl.DataFrame, list[RowFault]]:
    """Return the typed rows, each with the number of its order, and all that is wrong in them."""
    import polars as pl

    frame, faults = fields_of(table, mapping, FIELDS)
    frame = frame.with_columns(
        pl.col("channel").fill_null("import"), pl.col("currency").str.to_uppercase()
    )
    minor = {f"{name}_minor": minor_of(pl.col(name), pl.col("currency")) for name in _MONEY}
    frame = frame.with_columns(
        **minor,
        stated_e4=pl.coalesce("amount", pl.col("quantity") * pl.col("unit_price"))
        - pl.col("discount").fill_null(0),
    )
    for name in _MONEY:
        inexact = frame.filter(pl.col(name).is_not_null() & pl.col(f"{name}_minor").is_null())
        faults += [
            RowFault(row, name, "too_many_decimals", "is not exact in the order's currency")
            for row in inexact[ROW]
        ]
    key = pl.struct("channel", "external_id")
    frame = frame.with_columns(
        ref=pl.when(pl.col("external_id").is_not_null())
        .then(pl.col(ROW).min().over(key))
        .otherwise(pl.col(ROW))
    )
    return frame, faults + _inconsistent(frame)


def _inconsistent(frame: pl.DataFrame) -> list[RowFault]:
    """Find rows that say of their order something else than a row before."""
    import polars as pl

    faults = []
    for name in _ORDER_FIELDS:
        first = pl.col(name).drop_nulls().first().over("ref")
        other = frame.filter(pl.col(name).is_not_null() & (pl.col(name) != first))
        faults += [
            RowFault(row, name, "inconsistent", "is not that of the order's first row")
            for row in other[ROW]
        ]
    return faults


def _batches(rows: pl.DataFrame, bad: set[int]) -> Iterator[tuple[pl.DataFrame, set[int]]]:
    """Cut the rows into batches of whole orders; name the orders that have a bad row."""
    import polars as pl

    doomed = set(rows.filter(pl.col(ROW).is_in(sorted(bad)))["ref"])
    refs = rows["ref"].unique().sort().to_list()
    for start in range(0, len(refs), BATCH):
        chosen = refs[start : start + BATCH]
        yield rows.filter(pl.col("ref").is_in(chosen)), doomed & set(chosen)


def _take(
    engine: Engine,
    actor: Actor,
    import_id: int,
    table: Table,
    batch: tuple[pl.DataFrame, set[int]],
    faults: list[RowFault],
    amounts: dict[int, int],
) -> None:
    """Capture the good orders of a batch and write what became of all its rows."""
    rows, doomed = batch
    heads, lines = _frames(rows)
    digests = _digests(rows)
    keys = {ref: (channel, key) for ref, channel, key in heads.select(*_KEY).iter_rows()}

    def work(connection: Connection) -> None:
        known = seen.known(connection, keys.items())
        again = {ref for ref in known if known[ref].digest == digests[ref]}
        others = set(known) - again
        fresh = ~heads["ref"].is_in(sorted({*known, *doomed}))
        result = bulk.capture_many(connection, actor, heads.filter(fresh), lines, live=True)
        seen.retry_taken(connection, keys, result.rejected)
        seen.remember(
            connection,
            ((*keys[ref], Taken(digests[ref], number)) for ref, number in result.numbers.items()),
        )
        refused = [
            *(f for f in faults if f.row_no in row_refs),
            *_differing(heads, others - doomed),
            *_refused(result.rejected, rows),
        ]
        spoiled = {row_refs[f.row_no] for f in refused} | others
        named = {f.row_no for f in refused}
        refused += [
            RowFault(row, "", ORDER_REJECTED, "another row of this order is bad")
            for row, ref in row_refs.items()
            if ref in spoiled and row not in named
        ]
        runs.record(connection, import_id, runs.rejections(table, refused, amounts))
        taken = {**{ref: ("order", number) for ref, number in result.numbers.items()},
                 **{ref: ("repeated", known[ref].document) for ref in again - spoiled}}  # fmt: skip
        runs.record(
            connection,
            import_id,
            (
                Fate(row, taken[ref][0], None, None, taken[ref][1], amounts.get(row))
                for row, ref in row_refs.items()
                if ref in taken
            ),
        )

    row_refs: dict[int, int] = dict(rows.select(ROW, "ref").iter_rows())
    seen.settle(engine, work)


def _frames(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the frames that bulk capture takes."""
    import polars as pl

    names = [*(n for n in _ORDER_FIELDS if n not in _MONEY), "shipping_minor", "shipping_tax_minor"]
    heads = rows.group_by("ref", maintain_order=True).agg(
        pl.col(name).drop_nulls().first() for name in names
    )
    lines = rows.select(
        "ref",
        ROW,
        "sku",
        "quantity",
        "unit_price_minor",
        pl.col("discount_minor").fill_null(0),
        "tax_minor",
        line_no=pl.col("ref").cum_count().over("ref").cast(pl.Int64),
        rounding_minor=(
            pl.col("amount_minor") - pl.col("quantity") * pl.col("unit_price_minor")
        ).fill_null(0),
    )
    return heads.with_columns(
        pl.col("placed_at").fill_null(clock.now()),
        pl.col("allow_backorder").fill_null(False),
    ), lines


def _digests(rows: pl.DataFrame) -> dict[int, str]:
    """Return a digest of what each order says, however the file wrote it."""
    import polars as pl

    said = rows.select("ref", text=pl.struct(list(FIELDS)).struct.json_encode())
    grouped = said.group_by("ref", maintain_order=True).agg(pl.col("text").str.join("\n"))
    return {ref: seen.digest(text) for ref, text in grouped.iter_rows()}


def _differing(heads: pl.DataFrame, refs: set[int]) -> list[RowFault]:
    message = "was imported before with another content; it is not changed"
    return [RowFault(ref, "external_id", "differs", message) for ref in sorted(refs)]


def _refused(rejected: list[bulk.Rejected], rows: pl.DataFrame) -> list[RowFault]:
    """Put what capture refused on the rows it is about: a line's fault on its own row."""
    lines: dict[int, list[int]] = dict(rows.group_by("ref").agg(ROW).iter_rows())
    faults = []
    for order in rejected:
        for error in order.errors:
            row, name = lines[order.ref][0], error.field
            if name.startswith("lines["):
                index, _, name = name.removeprefix("lines[").partition("].")
                row = lines[order.ref][int(index)]
            faults.append(RowFault(row, name, error.code, error.message))
    return faults
