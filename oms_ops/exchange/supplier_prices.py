"""Import a supplier's price list: a row a SKU, what he asks for it and in which quantities.

A row is taken or rejected by itself; one that says what is known already is ``repeated``. What a
row does not say stays as it is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import execute, run
from oms_ops.errors import ValidationFailed
from oms_ops.exchange import runs
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.values import E4, RowFault, Spec, by_row, fields_of
from oms_ops.purchasing import suppliers
from oms_ops.purchasing.suppliers import TermIn
from oms_ops.shapes import parsed

KIND = "supplier-prices"
#: The permission for what such a file writes.
NEEDS = PURCHASING_WRITE
#: Rows in one transaction: short enough to let others write.
BATCH = 200

FIELDS = {
    "supplier": Spec(required=True),
    "sku": Spec(required=True),
    "unit_cost": Spec("money", required=True),
    "currency": Spec(),
    "moq": Spec("units"),
    "pack_multiple": Spec("units"),
    "is_preferred": Spec("flag"),
}
#: What a bad field is taken for while the others are looked at.
_STAND_INS = {"unit_cost": Decimal(0)}


def import_prices(
    engine: Engine, actor: Actor, table: Table, mapping: Mapping, base_currency: str
) -> Report:
    """Import a price list; see the module."""
    actor.require(NEEDS)
    frame, faults = fields_of(table, mapping, FIELDS)
    bad = by_row(faults)
    import_id = runs.begin(engine, actor, KIND, table)
    rows = list(frame.iter_rows(named=True))
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]

        def work(connection: Connection, batch: list[dict[str, Any]] = batch) -> None:
            refused: list[RowFault] = []
            fates: list[Fate] = []
            for row in batch:
                outcome = _take(connection, actor, row, bad.get(row[ROW], []), base_currency)
                if isinstance(outcome, Fate):
                    fates.append(outcome)
                else:
                    refused += outcome
            runs.record(connection, import_id, runs.rejections(table, refused, {}))
            runs.record(connection, import_id, fates)

        run(engine, work)
    return runs.finish(engine, import_id)


def _take(
    connection: Connection,
    actor: Actor,
    row: dict[str, Any],
    unread: list[RowFault],
    base_currency: str,
) -> Fate | list[RowFault]:
    """Set the terms of one row; return its fate, or all that is wrong with it.

    ``unread`` is what of it could not be read: the rest of it is looked at all the same.
    """
    number, code, sku = row[ROW], row["supplier"], row["sku"]
    if any(not fault.field for fault in unread):
        # Its cells may stand in the wrong columns.
        return unread
    known = _known(connection, code, sku)
    given = {name: row[name] for name in ("moq", "pack_multiple") if row[name] is not None}
    before = {"moq": known[2], "pack_multiple": known[3]} if known else {}
    stated = {
        "currency": (row["currency"] or (known[0] if known else base_currency)).upper(),
        "unit_cost": Decimal(row["unit_cost"] or 0).scaleb(-E4),
        "is_preferred": row["is_preferred"],
        **(before | given),
    }
    faults = suppliers.unknown(connection, code, sku)
    try:
        terms = parsed(TermIn, stated, "The row")
    except ValidationFailed as error:
        wrong = {fault.field for fault in error.errors}
        readable = {name: value for name, value in stated.items() if name not in wrong}
        terms = TermIn.model_validate(_STAND_INS | readable)
        faults += error.errors
    cost, of_money = suppliers.cost_of(terms)
    faults += of_money
    if faults or unread:
        return unread + [RowFault(number, f.field, f.code, f.message) for f in faults]
    if (
        known
        and (terms.currency, cost, terms.moq, terms.pack_multiple) == tuple(known[:4])
        and (terms.is_preferred is None or terms.is_preferred == bool(known[4]))
    ):
        return Fate(number, "repeated", document=sku)
    suppliers.set_terms(connection, actor, code, sku, terms)
    return Fate(number, "record", document=sku)


def _known(connection: Connection, code: str | None, sku: str | None) -> Any:
    return execute(
        connection,
        "SELECT t.currency, t.unit_cost_minor, t.moq, t.pack_multiple, t.is_preferred"
        " FROM supplier_terms AS t JOIN suppliers AS s ON s.id = t.supplier_id"
        " JOIN skus AS k ON k.id = t.sku_id WHERE s.code = :code AND k.code = :sku",
        {"code": code, "sku": sku},
    ).fetchone()
