"""Does what was imported add up? Rows by fate, and their money in the file against our tables.

Our side is read back from where the money lives: order lines, shipping, refunds, and, for what is
in no other table, the journal. Prices below the penny leave a remainder; it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import as_rows, reading, rowset
from oms_ops.exchange.online_retail.source import History, pennies
from oms_ops.exchange.reader import ROW

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Line:
    """Rows of one fate and reason; money in ten-thousandths of a pound.

    ``ours`` is what the tables named in ``kept_in`` hold, ``remainder`` what rounding to pence left
    of the rows' money.
    """

    fate: str
    reason: str
    rows: int
    file_e4: int
    ours_e4: int
    remainder_e4: int
    kept_in: str

    @property
    def holds(self) -> bool:
        """Tell whether the money of the file is ours, to the last remainder."""
        return self.file_e4 == self.ours_e4 + self.remainder_e4


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The whole file against the whole import."""

    rows: int
    file_e4: int
    lines: tuple[Line, ...]

    @property
    def holds(self) -> bool:
        """Tell whether every row has one fate, and each fate its money."""
        return (
            all(line.holds for line in self.lines)
            and sum(line.rows for line in self.lines) == self.rows
            and sum(line.file_e4 for line in self.lines) == self.file_e4
        )


def reconcile(engine: Engine, history: History, import_id: int) -> Reconciliation:
    """Compare the file's rows with what the run made of them, in one snapshot."""
    import polars as pl

    with reading(engine) as connection:
        journal = _journal(connection, import_id)
        joined = history.rows.select(ROW, "invoice", "amount").join(
            journal, on=ROW, how="full", coalesce=True
        )
        groups = joined.partition_by("fate", "reason", as_dict=True)
        order = {fate: place for place, fate in enumerate(_ORDER)}
        lines = [
            _line(connection, str(fate), str(reason), rows)
            for (fate, reason), rows in sorted(
                groups.items(), key=lambda g: (order.get(str(g[0][0]), 99), str(g[0][1]))
            )
        ]
    return Reconciliation(
        history.table.frame.height, int(history.rows.select(pl.col("amount").sum()).item()),
        tuple(lines),
    )  # fmt: skip


_ORDER = ("order", "charge", "return", "adjustment", "rejected", "repeated")


def _journal(connection: Connection, import_id: int) -> pl.DataFrame:
    import polars as pl

    rows = connection.execute(
        sa.text(
            "SELECT row_no, fate, CASE WHEN fate = 'repeated' THEN '' ELSE reason END, document,"
            " coalesce(amount_e4, 0) FROM import_rows WHERE import_id = :id"
        ),
        {"id": import_id},
    )
    schema = {ROW: pl.Int64, "fate": pl.String, "reason": pl.String, "document": pl.String,
              "journal_e4": pl.Int64}  # fmt: skip
    return pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")


def _line(connection: Connection, fate: str, reason: str, rows: pl.DataFrame) -> Line:
    import polars as pl

    file_e4 = int(rows.select(pl.col("amount").fill_null(0).sum()).item())
    source = _SOURCES.get((fate, reason)) or _SOURCES.get((fate, ""))
    documents = {
        number for text in rows["document"].drop_nulls().to_list() for number in text.split(" ")
    }
    if source is None or (fate == "charge" and not documents):
        kept = int(rows["journal_e4"].sum())
        return Line(fate, reason, len(rows), file_e4, kept, 0, "import_rows")
    kept_in, read = source
    if fate == "charge" and reason == "postage":
        # Postage without an order stands beside the orders' shipping.
        alone = rows.filter(pl.col("document").is_null())
        rest = int(alone["journal_e4"].sum())
    else:
        rest = 0
    ours = 100 * int(read(connection, documents, rows, reason) or 0) + rest
    return Line(fate, reason, len(rows), file_e4, ours, _remainder(rows), kept_in)


def _remainder(rows: pl.DataFrame) -> int:
    """Return what rounding each row to pence left; returns are rounded as the sales were."""
    import polars as pl

    amount = pl.col("amount").fill_null(0)
    rounded = pl.when(amount < 0).then(-pennies(-amount)).otherwise(pennies(amount))
    return int(rows.select((amount - 100 * rounded).sum()).item())


def _sum(connection: Connection, statement: str, values: Iterable[str]) -> int:
    listed = rowset(connection, "rows", {"value": "text"})
    found = connection.execute(
        sa.text(statement.format(values=f"SELECT value FROM ({listed}) AS r")),
        {"rows": as_rows({"value": value} for value in sorted(values))},
    )
    return int(found.scalar() or 0)


def _goods(connection: Connection, documents: set[str], _: Any, reason: str) -> int:
    sign = "=" if reason == "free_goods" else "<>"
    return _sum(
        connection,
        "SELECT sum(l.net_minor) FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
        f" WHERE l.gross_minor + l.rounding_minor {sign} 0 AND o.number IN ({{values}})",
        documents,
    )


def _shipping(connection: Connection, documents: set[str], *_: Any) -> int:
    return _sum(
        connection,
        "SELECT sum(shipping_minor) FROM orders WHERE number IN ({values})",
        documents,
    )


def _returned(connection: Connection, documents: set[str], *_: Any) -> int:
    return -_sum(
        connection,
        "SELECT sum(f.amount_minor) FROM refunds AS f JOIN returns AS r ON r.id = f.return_id"
        " WHERE r.number IN ({values})",
        documents,
    )


def _credited(connection: Connection, _: set[str], rows: pl.DataFrame, reason: str) -> int:
    return -_sum(
        connection,
        "SELECT sum(amount_minor) FROM refunds WHERE return_id IS NULL AND reason IN ({values})",
        {f"{reason} {invoice}" for invoice in rows["invoice"].drop_nulls()},
    )


#: Where the money of a fate and reason lives; what is not here lives in the journal.
_SOURCES: dict[tuple[str, str], tuple[str, Callable[..., int]]] = {
    ("order", ""): ("order_lines", _goods),
    ("charge", "postage"): ("orders.shipping", _shipping),
    ("charge", "postage_credit"): ("refunds", _credited),
    ("charge", "discount_credit"): ("refunds", _credited),
    ("return", ""): ("refunds", _returned),
}
