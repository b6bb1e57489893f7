"""Import what was counted: a row a SKU in a place. Each warehouse's rows become one count.

The count waits for approval like any other, by somebody else than who imports it. A row is entered
or rejected by itself; the rows of a file that comes again are ``repeated``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import run
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import runs
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.values import RowFault, Spec, by_row, fields_of
from oms_ops.stock import counts
from oms_ops.stock.counts import Counted
from oms_ops.stock.names import Names

KIND = "stock-counts"
#: The permission for what such a file writes.
NEEDS = STOCK_WRITE

FIELDS = {
    "warehouse": Spec(required=True),
    "location": Spec(required=True),
    "sku": Spec(required=True),
    "units": Spec("units", required=True),
}
_LINE = re.compile(r"lines\[(\d+)\](?:\.(\w+))?")


def import_counts(engine: Engine, actor: Actor, table: Table, mapping: Mapping) -> Report:
    """Import a file of counts; see the module."""
    actor.require(NEEDS)
    frame, faults = fields_of(table, mapping, FIELDS)
    bad = by_row(faults)
    import_id = runs.begin(engine, actor, KIND, table)
    rows = list(frame.iter_rows(named=True))
    for warehouse in dict.fromkeys(row["warehouse"] for row in rows):
        mine = [row for row in rows if row["warehouse"] == warehouse]

        def work(
            connection: Connection,
            warehouse: str | None = warehouse,
            mine: list[dict[str, Any]] = mine,
        ) -> None:
            before = _taken_before(connection, import_id)
            taken = [row for row in mine if row[ROW] in before]
            fates = [Fate(row[ROW], "repeated", document=before[row[ROW]]) for row in taken]
            new = [row for row in mine if row[ROW] not in before]
            refused = [fault for row in new for fault in bad.get(row[ROW], ())]
            refused += _faults(connection, warehouse, new, refused)
            wrong = {fault.row_no for fault in refused}
            good = [row for row in new if row[ROW] not in wrong]
            twice = _twice(taken, good)
            refused += twice.values()
            good = [row for row in good if row[ROW] not in twice]
            if warehouse is not None:
                entered, objected = _enter(connection, actor, warehouse, good, table.file_name)
                fates += entered
                refused += objected
            runs.record(connection, import_id, fates)
            runs.record(connection, import_id, runs.rejections(table, refused, {}))

        run(engine, work)
    return runs.finish(engine, import_id)


def _faults(
    connection: Connection,
    warehouse: str | None,
    rows: list[dict[str, Any]],
    unread: list[RowFault],
) -> list[RowFault]:
    """Return what is wrong with what the rows of a warehouse name, also where ``unread`` is."""
    # Where the cells of a row are not those of its columns, they say nothing.
    torn = {fault.row_no for fault in unread if not fault.field}
    read = [row for row in rows if row[ROW] not in torn]
    names = Names(connection, "The count")

    def given(field: str) -> Iterator[tuple[str, Any]]:
        return (
            (f"lines[{i}].{field}", row[field])
            for i, row in enumerate(read)
            if row[field] is not None
        )

    known = names.warehouses(given("warehouse"))
    names.skus(given("sku"))
    if warehouse in known:
        names.places(given("location"), known[warehouse], counts.KINDS)
    for field, units in given("units"):
        names.units(field, units, least=0)
    return [_fault(read, each) for each in names.errors]


def _twice(taken: list[dict[str, Any]], good: list[dict[str, Any]]) -> dict[int, RowFault]:
    """Return which good rows name what another has counted, also one that was taken before."""
    rows = taken + good
    faults = [_fault(rows, each) for each in counts.duplicates([_counted(row) for row in rows])]
    return {fault.row_no: fault for fault in faults}


def _counted(row: dict[str, Any]) -> Counted:
    return Counted(row["location"], row["sku"], row["units"])


def _enter(
    connection: Connection, actor: Actor, warehouse: str, rows: list[dict[str, Any]], name: str
) -> tuple[list[Fate], list[RowFault]]:
    """Open a count of the places and SKUs of the rows, and enter those that it takes."""
    refused: list[RowFault] = []
    while rows:
        lines = [_counted(row) for row in rows]
        try:
            with connection.begin_nested():
                number = _count(connection, actor, warehouse, lines, name)
        except ValidationFailed as error:
            found = [_fault(rows, each) for each in error.errors]
            refused += found
            named = {fault.row_no for fault in found}
            rows = [row for row in rows if row[ROW] not in named]
        else:
            return [Fate(row[ROW], "record", document=number) for row in rows], refused
    return [], refused


def _count(
    connection: Connection, actor: Actor, warehouse: str, lines: list[Counted], name: str
) -> str:
    places = list(dict.fromkeys(line.location for line in lines))
    skus = list(dict.fromkeys(line.sku for line in lines))
    number = counts.open_count(
        connection, actor, warehouse, locations=places, skus=skus, reason=f"file {name}"
    )
    counts.enter(connection, actor, number, lines)
    return number


def _fault(rows: list[dict[str, Any]], error: FieldError) -> RowFault:
    match = _LINE.fullmatch(error.field)
    assert match is not None  # noqa: S101 - all else was looked up in this transaction
    return RowFault(rows[int(match[1])][ROW], match[2] or "", error.code, error.message)


def _taken_before(connection: Connection, import_id: int) -> dict[int, str]:
    """Return the rows that an earlier import of the same file has entered, with their counts."""
    found = connection.execute(
        sa.text(
            "SELECT r.row_no, r.document FROM imports AS n JOIN imports AS i"
            " ON i.kind = n.kind AND i.file_sha256 = n.file_sha256 AND i.id <> n.id"
            " JOIN import_rows AS r ON r.import_id = i.id AND r.fate = 'record'"
            " WHERE n.id = :id"
        ),
        {"id": import_id},
    )
    return {row.row_no: row.document for row in found}
