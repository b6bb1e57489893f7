"""Import what was counted: a row a SKU in a place. Each warehouse's rows become one count.

The count waits for approval like any other, by somebody else than who imports it. A row is entered
or rejected by itself; the rows of a file that comes again are ``repeated``.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import STOCK_WRITE, Actor
from oms_ops.database import run
from oms_ops.errors import OmsError, ValidationFailed
from oms_ops.exchange import runs
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.values import RowFault, Spec, by_row, fields_of
from oms_ops.stock import counts
from oms_ops.stock.counts import Counted

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

    def refuse(connection: Connection) -> None:
        runs.record(connection, import_id, runs.rejections(table, faults, {}))

    run(engine, refuse)
    good = [row for row in rows if row[ROW] not in bad]
    for warehouse in dict.fromkeys(row["warehouse"] for row in good):
        mine = [row for row in good if row["warehouse"] == warehouse]

        def work(
            connection: Connection, warehouse: str = warehouse, mine: list[dict[str, Any]] = mine
        ) -> None:
            before = _taken_before(connection, import_id)
            fates = [
                Fate(row[ROW], "repeated", document=before[row[ROW]])
                for row in mine
                if row[ROW] in before
            ]
            new = [row for row in mine if row[ROW] not in before]
            entered, refused = _enter(connection, actor, warehouse, new, table.file_name)
            runs.record(connection, import_id, [*fates, *entered])
            runs.record(connection, import_id, runs.rejections(table, refused, {}))

        run(engine, work)
    return runs.finish(engine, import_id)


def _enter(
    connection: Connection, actor: Actor, warehouse: str, rows: list[dict[str, Any]], name: str
) -> tuple[list[Fate], list[RowFault]]:
    """Open a count of the places and SKUs of the rows that are good, and enter them."""
    refused: list[RowFault] = []
    while rows:
        lines = [Counted(row["location"], row["sku"], row["units"]) for row in rows]
        try:
            with connection.begin_nested():
                number = _count(connection, actor, warehouse, lines, name)
        except ValidationFailed as error:
            found = [_fault(rows, each.field, each.code, each.message) for each in error.errors]
            if not all(found):
                # It is about the warehouse, so about every row of it.
                message = str(error)
                return [], refused + [RowFault(r[ROW], "warehouse", "unknown", message)
                                      for r in rows]  # fmt: skip
            refused += [fault for fault in found if fault]
            named = {fault.row_no for fault in refused}
            rows = [row for row in rows if row[ROW] not in named]
        except OmsError as error:
            return [], refused + [RowFault(r[ROW], "", error.code, str(error)) for r in rows]
        else:
            return [Fate(row[ROW], "record", document=number) for row in rows], refused
    return [], refused


def _count(
    connection: Connection, actor: Actor, warehouse: str, lines: list[Counted], name: str
) -> str:
    places = list(dict.fromkeys(line.location for line in lines))
    skus = list(dict.fromkeys(line.sku for line in lines))
    try:
        number = counts.open_count(
            connection, actor, warehouse, locations=places, skus=skus, reason=f"file {name}"
        )
    except ValidationFailed as error:
        raise ValidationFailed(error.message, _on_lines(error, lines, places, skus)) from None
    counts.enter(connection, actor, number, lines)
    return number


def _on_lines(
    error: ValidationFailed, lines: list[Counted], places: list[str], skus: list[str]
) -> list[Any]:
    """Say of the lines what was said of the places and SKUs that they name."""
    found = []
    for each in error.errors:
        match = re.fullmatch(r"(locations|skus)\[(\d+)\]", each.field)
        if match is None:
            return error.errors
        is_place = match[1] == "locations"
        wrong = (places if is_place else skus)[int(match[2])]
        found += [
            type(each)(f"lines[{i}].{'location' if is_place else 'sku'}", each.code, each.message)
            for i, line in enumerate(lines)
            if (line.location if is_place else line.sku) == wrong
        ]
    return found


def _fault(rows: list[dict[str, Any]], field: str, code: str, message: str) -> RowFault | None:
    match = _LINE.fullmatch(field)
    if match is None:
        return None
    return RowFault(rows[int(match[1])][ROW], match[2] or "", code, message)


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
