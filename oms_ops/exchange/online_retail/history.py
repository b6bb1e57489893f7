"""Import the file, a day in a transaction: what came in, what went out, what came back.

A day that was imported before changes nothing; a load that was cut off goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_WRITE, RETURNS_WRITE, STOCK_WRITE, Actor
from oms_ops.database import Retry, run
from oms_ops.errors import OutOfStock
from oms_ops.exchange import runs, seen
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.online_retail import foundation, returned, sales, source
from oms_ops.exchange.online_retail.foundation import moment
from oms_ops.exchange.online_retail.source import REFUSALS, History
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import ORDER_REJECTED, Fate, Report
from oms_ops.exchange.seen import Taken
from oms_ops.exchange.values import RowFault
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move

if TYPE_CHECKING:
    import polars as pl

KIND = "online-retail"
#: What it needs beyond making orders.
NEEDS = (STOCK_WRITE, RETURNS_WRITE)
#: The keys of rows that are no part of an order.
ROWS = f"{KIND}/rows"

Progress = Callable[[int, int], None]


def import_history(
    engine: Engine, actor: Actor, table: Table, own: Mapping, progress: Progress | None = None
) -> tuple[History, Report, int]:
    """Import the file; return its rows, the report, and the id of the run in the journal."""
    for permission in (ORDERS_WRITE, *NEEDS):
        actor.require(permission)
    history = source.read(table, source.mapping(own))
    import_id = runs.begin(engine, actor, KIND, table)
    run(engine, lambda connection: _prepare(connection, actor, history))
    days = history.rows.sort("day", ROW).partition_by("day", as_dict=True, maintain_order=True)
    for number, ((day,), rows) in enumerate(days.items(), 1):
        seen.settle(
            engine,
            lambda c, d=day, r=rows: _Day(c, actor, import_id, history, d, r).take(),  # type: ignore[misc]
        )
        if progress:
            progress(number, len(days))
    return history, runs.finish(engine, import_id), import_id


def _prepare(connection: Connection, actor: Actor, history: History) -> None:
    """Lay the foundation for what is not imported yet."""
    import polars as pl

    rows = history.rows.filter(pl.col("plan") != "reject")
    orders = pl.col("plan").is_in(["sale", "shipping"])
    invoices = rows.filter(orders).select("invoice").unique()["invoice"].to_list()
    keys = rows.filter(~orders)["key"].to_list()
    known = seen.known(connection, enumerate((sales.CHANNEL, invoice) for invoice in invoices))
    rows = rows.filter(~(orders & pl.col("invoice").is_in([invoices[ref] for ref in known])))
    known = seen.known(connection, enumerate((ROWS, key) for key in keys))
    rows = rows.filter(~pl.col("key").is_in([keys[ref] for ref in known]))
    if not rows.is_empty():
        foundation.lay(connection, actor, rows)


class _Day:
    """The rows of one day of the shop (None: those whose moment cannot be read)."""

    def __init__(
        self,
        connection: Connection,
        actor: Actor,
        import_id: int,
        history: History,
        day: date | None,
        rows: pl.DataFrame,
    ) -> None:
        self.connection = connection
        self.actor = actor
        self.import_id = import_id
        self.history = history
        self.day = day
        self.rows = rows
        self.fates: list[Fate] = []
        self.refused: list[RowFault] = []

    def take(self) -> None:
        """Make what the rows say, and write the fate of each."""
        self._refuse()
        if self.day is not None:
            fresh = self._fresh()
            self._at(8, lambda: self._adjust(fresh, inbound=True))
            self._at(sales.SHIPPED, self._sell)
            self._at(22, lambda: self._adjust(fresh, inbound=False))
            self._at(23, lambda: self._take_back(fresh))
            self._charge(fresh)
            self._remember()
        amounts = runs.amounts_of(self.rows, "amount")
        rejected = runs.rejections(self.history.table, self.refused, amounts)
        runs.record(self.connection, self.import_id, [*self.fates, *rejected])

    def _at(self, hour: int, step: Callable[[], None]) -> None:
        assert self.day is not None  # noqa: S101 - asked for by the caller
        with clock.at(moment(self.day, hour)):
            step()

    def _plan(self, *plans: str) -> pl.DataFrame:
        import polars as pl

        return self.rows.filter(pl.col("plan").is_in(plans))

    def _refuse(self) -> None:
        """Name what is wrong with the rows that the source refused."""
        bad = set()
        for fault in self.history.faults:
            bad.add(fault.row_no)
        mine = set(self.rows[ROW])
        self.refused = [fault for fault in self.history.faults if fault.row_no in mine]
        for row, reason in self._plan("reject").select(ROW, "reason").iter_rows():
            if row not in bad:
                message = REFUSALS.get(reason, "another row of this invoice is bad")
                self.refused.append(RowFault(row, "", reason or ORDER_REJECTED, message))

    def _fresh(self) -> pl.DataFrame:
        """Return the rows beside orders that are new; those taken before are ``repeated``."""
        import polars as pl

        rows = self._plan("adjustment", "return", "credit", "charge")
        keys = dict(rows.select(ROW, "key").iter_rows())
        known = seen.known(self.connection, ((row, (ROWS, key)) for row, key in keys.items()))
        amounts = runs.amounts_of(rows, "amount")
        self.fates += [
            Fate(row, "repeated", None, None, one.document or None, amounts.get(row))
            for row, one in known.items()
        ]
        return rows.filter(~pl.col(ROW).is_in(list(known)))

    def _remember(self) -> None:
        """Keep the keys of the rows beside orders that were taken."""
        beside = ("adjustment", "return", "credit", "charge")
        keys = dict(self._plan(*beside).select(ROW, "key").iter_rows())
        seen.remember(
            self.connection,
            (
                (ROWS, keys[fate.row_no], Taken("", fate.document or ""))
                for fate in self.fates
                if fate.row_no in keys and fate.fate != "repeated"
            ),
        )

    def _sell(self) -> None:
        assert self.day is not None  # noqa: S101 - asked for by the caller
        rows = self._plan("sale", "shipping")
        fates, refused = sales.take(self.connection, self.actor, rows, self.day)
        self.fates += fates
        self._note(refused)

    def _take_back(self, fresh: pl.DataFrame) -> None:
        import polars as pl

        rows = fresh.filter(pl.col("plan") == "return").rows(named=True)
        fates, refused = returned.take(self.connection, self.actor, rows)
        self.fates += fates
        self._note(refused)
        rows = fresh.filter(pl.col("plan") == "credit").rows(named=True)
        self.fates += returned.credit(self.connection, self.actor, rows)

    def _note(self, refused: list[tuple[int, str, str]]) -> None:
        self.refused += [RowFault(row, "", code, message) for row, code, message in refused]

    def _charge(self, fresh: pl.DataFrame) -> None:
        """Keep what is neither goods nor a part of an order: the journal is its only place."""
        import polars as pl

        rows = fresh.filter(pl.col("plan") == "charge")
        contents = runs.held(self.history.table, rows[ROW].to_list())
        for row in rows.rows(named=True):
            self.fates.append(
                Fate(row[ROW], "charge", row["reason"], row["description"], None, row["amount"],
                     contents[row[ROW]])
            )  # fmt: skip

    def _adjust(self, fresh: pl.DataFrame, *, inbound: bool) -> None:
        """Post the clerk's corrections with the note as their reason."""
        import polars as pl

        reason = "stock_in" if inbound else "stock_out"
        rows = fresh.filter(pl.col("reason") == reason).rows(named=True)
        if not rows:
            return
        site, skus, left = self._stock()
        moves = []
        for row in rows:
            units, sku_id = abs(row["quantity"]), skus[row["code"]]
            if not inbound and left.get(sku_id, 0) < units:
                message = f"{left.get(sku_id, 0)} units are there"
                self.refused.append(RowFault(row[ROW], "quantity", "out_of_stock", message))
                continue
            left[sku_id] = left.get(sku_id, 0) - (0 if inbound else units)
            note = row["description"] or "no note"
            reference = f"{row['invoice']}: {note}"
            moves.append(Move(site, sku_id, units, "adjustment", inbound, "adjustment", reference))
            self.fates.append(
                Fate(row[ROW], "adjustment", reason, note, row["invoice"], row["amount"])
            )
        post = ledger.receive if inbound else ledger.take_out
        try:
            post(self.connection, self.actor, moves)
        except OutOfStock as error:
            raise Retry("stock moved between the plan and the claim") from error

    def _stock(self) -> tuple[int, dict[str, int], dict[int, int]]:
        """Return the warehouse, the SKUs by code, and what is available of each."""
        rows = self.connection.execute(
            sa.text(
                "SELECT w.id AS site, k.code, k.id, coalesce(l.on_hand - l.allocated, 0) AS units"
                " FROM warehouses AS w CROSS JOIN skus AS k LEFT JOIN stock_levels AS l"
                " ON l.sku_id = k.id AND l.warehouse_id = w.id WHERE w.code = :code"
            ),
            {"code": foundation.WAREHOUSE},
        ).all()
        return rows[0].site, {r.code: r.id for r in rows}, {r.id: r.units for r in rows}
