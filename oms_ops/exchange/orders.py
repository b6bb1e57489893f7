"""Import orders from a file: one row a line, grouped to orders by channel and external id.

What belongs to the order may stand in all of its rows or in its first alone.

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
from oms_ops.database import reading
from oms_ops.exchange import runs, seen
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import ORDER_REJECTED, Fate, Report
from oms_ops.exchange.seen import Taken
from oms_ops.exchange.values import RowFault, Spec, fields_of, minor_of
from oms_ops.money import EXPONENTS
from oms_ops.orders import bulk
from oms_ops.rules import store

if TYPE_CHECKING:
    import polars as pl

KIND = "orders"
#: Orders in one transaction: long enough to be fast, short enough to let others write.
BATCH = 1_000
#: The channel of orders that name none.
CHANNEL = "import"
#: A row that says something else of its order than the first; what the first says is looked at.
INCONSISTENT = "inconsistent"
_KEY = ("ref", "channel", "external_id")
_NO_CODES = "is not taken from files: state its amount as the lines' discount"

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
    "expected_total": Spec("money"),
    "tax_included": Spec("flag"),
    "payment_method": Spec(),
    "allow_backorder": Spec("flag"),
    "note": Spec("note"),
    "discount_code": Spec(refused=_NO_CODES),
}
_LINE_FIELDS = {
    "sku": Spec(required=True),
    "quantity": Spec("units", required=True),
    "unit_price": Spec("money"),
    "expected_unit_price": Spec("money"),
    "discount": Spec("money"),
    "tax": Spec("money"),
    "amount": Spec("money"),
}
FIELDS = {**_ORDER_FIELDS, **_LINE_FIELDS}
_MONEY = [name for name, spec in FIELDS.items() if spec.kind == "money"]


def import_orders(engine: Engine, actor: Actor, table: Table, mapping: Mapping) -> Report:
    """Import the orders of a file; see the module."""
    actor.require(ORDERS_WRITE)
    with reading(engine) as connection:
        base = store.current(connection).rules.base_currency
    rows, faults = _rows(table, mapping, base)
    import_id = runs.begin(engine, actor, KIND, table)
    amounts = runs.amounts_of(rows, "stated_e4")
    bad = {fault.row_no for fault in faults}
    for batch in _batches(rows, bad):
        _take(engine, actor, import_id, table, batch, faults, amounts)
    return runs.finish(engine, import_id)


def _rows(
    table: Table, mapping: Mapping, base_currency: str
) -> tuple[pl.DataFrame, list[RowFault]]:
    """Return the typed rows, each with all that its order says, and all that is wrong in them."""
    import polars as pl

    frame, faults = fields_of(table, mapping, FIELDS)
    frame = _grouped(frame.with_columns(pl.col("currency").str.to_uppercase()))
    faults += _inconsistent(frame)
    frame = frame.with_columns(
        *(pl.col(name).drop_nulls().first().over("ref") for name in _ORDER_FIELDS)
    ).with_columns(pl.col("currency").fill_null(base_currency))
    unknown = ~pl.col("currency").is_in(list(EXPONENTS))
    faults += [
        RowFault(row, "currency", "unknown_currency", f"{currency!r} is not accepted")
        for row, currency in frame.filter(unknown & (pl.col(ROW) == pl.col("ref")))
        .select(ROW, "currency")
        .iter_rows()
    ]
    minor = {f"{name}_minor": minor_of(pl.col(name), pl.col("currency")) for name in _MONEY}
    frame = frame.with_columns(
        **minor,
        stated_e4=pl.coalesce("amount", pl.col("quantity") * pl.col("unit_price"))
        - pl.col("discount").fill_null(0),
    )
    for name in _MONEY:
        inexact = ~unknown & pl.col(name).is_not_null() & pl.col(f"{name}_minor").is_null()
        if name in _ORDER_FIELDS:
            inexact &= pl.col(ROW) == pl.col("ref")
        faults += [
            RowFault(row, name, "too_many_decimals", "is not exact in the order's currency")
            for row in frame.filter(inexact)[ROW]
        ]
    return frame, faults


def _grouped(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each row its channel and, as ``ref``, the first row of its order."""
    import polars as pl

    channel = pl.col("channel")
    named = channel.forward_fill().over("external_id")
    named = pl.when(pl.col("external_id").is_null()).then(channel).otherwise(named)
    frame = frame.with_columns(channel=named)
    # Rows before the first that names a channel belong to it too.
    ahead = channel.backward_fill().over("external_id")
    ahead = pl.when(pl.col("external_id").is_null()).then(channel).otherwise(ahead)
    frame = frame.with_columns(channel=ahead.fill_null(CHANNEL))
    first = pl.col(ROW).min().over("channel", "external_id")
    return frame.with_columns(
        ref=pl.when(pl.col("external_id").is_null()).then(pl.col(ROW)).otherwise(first)
    )


def _inconsistent(frame: pl.DataFrame) -> list[RowFault]:
    """Find rows that say of their order something else than a row before."""
    import polars as pl

    faults = []
    for name in _ORDER_FIELDS:
        first = pl.col(name).drop_nulls().first().over("ref")
        other = frame.filter(pl.col(name).is_not_null() & (pl.col(name) != first))
        faults += [
            RowFault(row, name, INCONSISTENT, "is not that of the order's first row")
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
        # What is refused already is looked at too, so that one report names all that is wrong.
        fresh = ~heads["ref"].is_in(sorted(known))
        result = bulk.capture_many(
            connection, actor, heads.filter(fresh), lines, live=True, refused=doomed
        )
        seen.retry_taken(connection, keys, result.rejected)
        seen.remember(
            connection,
            ((*keys[ref], Taken(digests[ref], number)) for ref, number in result.numbers.items()),
        )
        mine = [fault for fault in faults if fault.row_no in row_refs]
        refused = [
            *mine,
            *_differing(heads, others - doomed),
            *_refused(result.rejected, rows, mine),
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

    names = [f"{name}_minor" if name in _MONEY else name for name in _ORDER_FIELDS]
    heads = rows.filter(pl.col(ROW) == pl.col("ref")).select("ref", *names)
    lines = rows.select(
        "ref",
        ROW,
        "sku",
        "quantity",
        "unit_price_minor",
        "expected_unit_price_minor",
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

    said = rows.select(
        "ref",
        # What is not said leaves no trace, so that a field which is new changes no digest.
        text=pl.concat_str(
            [pl.when(pl.col(name).is_not_null()).then(pl.struct(name).struct.json_encode())
             for name in FIELDS],
            ignore_nulls=True,
        ),
    )  # fmt: skip
    grouped = said.group_by("ref", maintain_order=True).agg(pl.col("text").str.join("\n"))
    return {ref: seen.digest(text) for ref, text in grouped.iter_rows()}


def _differing(heads: pl.DataFrame, refs: set[int]) -> list[RowFault]:
    message = "was imported before with another content; it is not changed"
    return [RowFault(ref, "external_id", "differs", message) for ref in sorted(refs)]


def _refused(
    rejected: list[bulk.Rejected], rows: pl.DataFrame, told: list[RowFault]
) -> list[RowFault]:
    """Put what capture refused on the rows it is about: a line's fault on its own row.

    What the file was ``told`` of a field is not told again: its value never got to capture.
    """
    lines: dict[int, list[int]] = dict(rows.group_by("ref").agg(ROW).iter_rows())
    ref_of: dict[int, int] = dict(rows.select(ROW, "ref").iter_rows())
    known = {
        (f.row_no if f.field in _LINE_FIELDS else ref_of[f.row_no], f.field)
        for f in told
        if f.code != INCONSISTENT
    }
    faults = []
    for order in rejected:
        for error in order.errors:
            row, name = lines[order.ref][0], error.field
            if name.startswith("lines["):
                index, _, name = name.removeprefix("lines[").partition("].")
                row = lines[order.ref][int(index)]
            if (row, name) not in known:
                faults.append(RowFault(row, name, error.code, error.message))
    return faults
