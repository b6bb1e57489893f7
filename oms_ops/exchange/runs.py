"""The journal of imports: what each run made of each row of its file, and the report of the bad.

Every row of the file gets exactly one fate, in the transaction that makes what the fate says.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ORDERS_READ, Actor
from oms_ops.database import as_time, read_time, reading, run
from oms_ops.errors import NotFound
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.tables import FATES, Import
from oms_ops.exchange.values import E4, REPORT_COLUMNS, RowFault
from oms_ops.orders.staging import load

if TYPE_CHECKING:
    import polars as pl

    from oms_ops.exchange.online_retail.reconciliation import Reconciliation

#: A row of a refused order that is not bad itself.
ORDER_REJECTED = "order_rejected"
#: What nobody foresaw is wrong with it.
UNREADABLE = "unreadable"
#: Where a rejected row keeps the cells that it had beyond the header's columns.
SURPLUS = REPORT_COLUMNS[-1]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one row; ``document`` is the number of what it is a part of.

    ``amount_e4`` is its money in ten-thousandths of a major unit, as the file states it.
    """

    row_no: int
    fate: str
    reason: str | None = None
    message: str | None = None
    document: str | None = None
    amount_e4: int | None = None
    content: Any = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a finished import did; ``counts`` holds the rows of every fate.

    ``reconciliation`` is the file's money against ours, where the kind of import proves it.
    """

    number: str
    kind: str
    file_name: str
    rows: int
    counts: dict[str, int] = field(default_factory=dict)
    rejected: tuple[Fate, ...] = ()
    reconciliation: Reconciliation | None = None

    @property
    def complete(self) -> bool:
        """Tell whether every row has its one fate, and the money agrees."""
        proven = self.reconciliation is None or self.reconciliation.holds
        return proven and sum(self.counts.values()) == self.rows


def begin(engine: Engine, actor: Actor, kind: str, table: Table) -> int:
    """Enter a run in the journal; return its id."""

    def work(connection: Connection) -> int:
        values = {
            "kind": kind,
            "file_name": table.file_name,
            "file_sha256": table.sha256,
            "rows": table.frame.height,
            "counts": {},
            "started_at": clock.now(),
            "changed_by": actor.name,
        }
        made = connection.execute(sa.insert(Import).values(**values).returning(Import.id))
        return int(made.scalar_one())

    return run(engine, work)


def record(connection: Connection, import_id: int, fates: Iterable[Fate]) -> None:
    """Write what became of some rows, in the transaction that made it so."""
    columns = ("import_id", "row_no", "fate", "reason", "message", "document", "amount_e4",
               "content")  # fmt: skip
    rows = [
        (import_id, f.row_no, f.fate, f.reason, _storable(f.message), f.document, f.amount_e4,
         None if f.content is None else json.dumps(f.content, default=str))
        for f in fates
    ]  # fmt: skip
    load(connection, "import_rows", columns, rows)


def _storable(text: str | None) -> str | None:
    """Return a text that may quote what it refuses, without what no database keeps."""
    return text and text.encode("utf-8", "replace").decode().replace("\x00", "?")


def rejections(table: Table, faults: Iterable[RowFault], amounts: dict[int, int]) -> list[Fate]:
    """Return the fate of rows that are refused: all that is wrong, and what the row held."""
    found: dict[int, list[RowFault]] = {}
    for fault in faults:
        found.setdefault(fault.row_no, []).append(fault)
    contents = held(table, list(found))
    return [
        Fate(
            row,
            "rejected",
            faults_of[0].code,
            "; ".join(f"{f.field}: {f.message}" if f.field else f.message for f in faults_of),
            None,
            amounts.get(row),
            contents[row],
        )
        for row, faults_of in sorted(found.items())
    ]


def held(table: Table, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what rows of the file held, as its own columns, and what they had beyond these."""
    import polars as pl

    chosen = table.frame.filter(pl.col(ROW).is_in(rows))
    found = {row.pop(ROW): row for row in chosen.iter_rows(named=True)}
    for row in found.keys() & table.surplus.keys():
        found[row][SURPLUS] = table.surplus[row]
    return found


def finish(engine: Engine, import_id: int) -> Report:
    """Close a run and return its report."""

    def work(connection: Connection) -> None:
        counts = _counts(connection, import_id)
        connection.execute(
            sa.text("UPDATE imports SET counts = :counts, finished_at = :now WHERE id = :id"),
            {
                "counts": json.dumps(counts),
                "now": as_time(connection, clock.now()),
                "id": import_id,
            },
        )

    run(engine, work)
    with reading(engine) as connection:
        return report(connection, import_id)


def _counts(connection: Connection, import_id: int) -> dict[str, int]:
    rows = connection.execute(
        sa.text(
            "SELECT fate, count(*) AS rows FROM import_rows WHERE import_id = :id GROUP BY fate"
        ),
        {"id": import_id},
    )
    found: dict[str, int] = {row.fate: row.rows for row in rows}
    return {fate: found[fate] for fate in FATES if fate in found}


def show(connection: Connection, actor: Actor, number: str) -> Report:
    """Return the report of a run, finished or not.

    Raises:
        NotFound: there is no such import.
    """
    actor.require(ORDERS_READ)
    return report(connection, id_of(connection, number))


def report(connection: Connection, import_id: int) -> Report:
    """Return what :func:`show` does, to the service that ran it."""
    head = connection.execute(
        sa.text("SELECT number, kind, file_name, rows FROM imports WHERE id = :id"),
        {"id": import_id},
    ).one()
    rejected = connection.execute(
        sa.text(
            "SELECT row_no, reason, message, amount_e4, CAST(content AS text) AS content"
            " FROM import_rows"
            " WHERE import_id = :id AND fate = 'rejected' ORDER BY row_no"
        ),
        {"id": import_id},
    )
    bad = tuple(
        Fate(r.row_no, "rejected", r.reason, r.message, None, r.amount_e4, document(r.content))
        for r in rejected
    )
    counts = _counts(connection, import_id)
    return Report(head.number, head.kind, head.file_name, head.rows, counts, bad)


def document(value: Any) -> Any:
    """Return a JSON column that textual SQL selected: SQLite gives its text."""
    return json.loads(value) if isinstance(value, str) else value


def id_of(connection: Connection, number: str) -> int:
    """Return the id of a run; raise NotFound where there is none of that number."""
    found = connection.execute(
        sa.text("SELECT id FROM imports WHERE number = :number"), {"number": number}
    ).scalar()
    if found is None:
        raise NotFound(f"There is no import {number}.")
    return int(found)


def listing(connection: Connection, actor: Actor, *, limit: int, after: int = 0) -> dict[str, Any]:
    """Return a page of the imports, newest first; ``next`` is the cursor for ``after``."""
    actor.require(ORDERS_READ)
    found = connection.execute(
        sa.text(
            "SELECT id, number, kind, file_name, rows, counts, started_at, finished_at, changed_by"
            " FROM imports WHERE id < :before ORDER BY id DESC LIMIT :limit"
        ),
        {"before": after or 2**62, "limit": limit + 1},
    ).all()
    items = [
        {
            "number": r.number,
            "kind": r.kind,
            "file_name": r.file_name,
            "rows": r.rows,
            "counts": document(r.counts),
            "started_at": _iso(r.started_at),
            "finished_at": _iso(r.finished_at),
            "changed_by": r.changed_by,
        }
        for r in found[:limit]
    ]
    return {"data": items, "next": found[limit - 1].id if len(found) > limit else None}


def rows(
    connection: Connection,
    actor: Actor,
    number: str,
    *,
    fate: str | None,
    limit: int,
    after: int = 0,
) -> dict[str, Any]:
    """Return a page of a run's rows in their order, of one fate or of all.

    Raises:
        NotFound: there is no such import.
    """
    actor.require(ORDERS_READ)
    import_id = id_of(connection, number)
    found = connection.execute(
        sa.text(
            "SELECT row_no, fate, reason, message, document, amount_e4,"
            " CAST(content AS text) AS content FROM import_rows"
            " WHERE import_id = :id AND row_no > :after"
            + (" AND fate = :fate" if fate else "")
            + " ORDER BY row_no LIMIT :limit"
        ),
        {"id": import_id, "after": after, "limit": limit + 1} | ({"fate": fate} if fate else {}),
    ).all()
    items = [
        {
            "row": r.row_no,
            "fate": r.fate,
            "code": r.reason,
            "message": r.message,
            "document": r.document,
            "amount": None if r.amount_e4 is None else str(Decimal(r.amount_e4).scaleb(-E4)),
            "content": document(r.content),
        }
        for r in found[:limit]
    ]
    last = found[limit - 1].row_no if len(found) > limit else None
    return {"data": items, "next": last}


def _iso(value: Any) -> str | None:
    moment = read_time(value)
    return None if moment is None else moment.isoformat()


def write_report(done: Report, out: Any) -> None:
    """Write the rejected rows as CSV: why, then what the row held, ready to be mended.

    The file can be imported again as it is, once its rows are mended.
    """
    contents = [bad.content or {} for bad in done.rejected]
    names = dict.fromkeys(name for content in contents for name in content)
    # A report that is imported has columns of an earlier report: this one's take their place.
    own = [name for name in REPORT_COLUMNS if name != SURPLUS or SURPLUS in names]
    names = dict.fromkeys(name for name in names if name not in REPORT_COLUMNS)
    writer = csv.writer(out)
    writer.writerow([*own, *names])
    for bad, content in zip(done.rejected, contents, strict=True):
        why = (bad.row_no, bad.reason, bad.message, content.get(SURPLUS))
        writer.writerow([*why[: len(own)], *(content.get(name) for name in names)])


def amounts_of(frame: pl.DataFrame, column: str) -> dict[int, int]:
    """Return the money of each row where it is known."""
    return {row: amount for row, amount in frame.select(ROW, column).iter_rows() if amount}
