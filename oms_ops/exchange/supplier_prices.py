"""Import a supplier's price list: a row a SKU, what he asks for it and in which quantities.

A row is taken or rejected by itself; one that says what is known already is ``repeated``. What a
row does not say stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.database import execute, run
from oms_ops.errors import NotFound, OmsError
from oms_ops.exchange import runs
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.values import E4, RowFault, Spec, by_row, fields_of
from oms_ops.money import to_minor
from oms_ops.purchasing import suppliers
from oms_ops.purchasing.suppliers import TermIn

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
            refused = [fault for row in batch for fault in bad.get(row[ROW], ())]
            fates = []
            for row in batch:
                if row[ROW] in bad:
                    continue
                outcome = list(_take(connection, actor, row, base_currency))
                refused += [each for each in outcome if isinstance(each, RowFault)]
                fates += [each for each in outcome if isinstance(each, Fate)]
            runs.record(connection, import_id, runs.rejections(table, refused, {}))
            runs.record(connection, import_id, fates)

        run(engine, work)
    return runs.finish(engine, import_id)


def _take(
    connection: Connection, actor: Actor, row: dict[str, Any], base_currency: str
) -> Iterator[RowFault | Fate]:
    """Set the terms of one row; yield its fate, or all that is wrong with it."""
    number, code, sku = row[ROW], row["supplier"], row["sku"]
    known = _known(connection, code, sku)
    given = {name: row[name] for name in ("moq", "pack_multiple") if row[name] is not None}
    before = {"moq": known[2], "pack_multiple": known[3]} if known else {}
    currency = (row["currency"] or (known[0] if known else base_currency)).upper()
    try:
        terms = TermIn(
            currency=currency,
            unit_cost=Decimal(row["unit_cost"]).scaleb(-E4),
            is_preferred=row["is_preferred"],
            **(before | given),
        )
        if (
            known
            and _as_known(terms) == tuple(known[:4])
            and (terms.is_preferred is None or terms.is_preferred == bool(known[4]))
        ):
            yield Fate(number, "repeated", document=sku)
            return
        suppliers.set_terms(connection, actor, code, sku, terms)
        yield Fate(number, "record", document=sku)
    except NotFound as error:
        yield RowFault(number, "sku" if "SKU" in str(error) else "supplier", "unknown", str(error))
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            field = ".".join(map(str, fault["loc"]))
            yield RowFault(number, field, fault["type"], fault["msg"])
    except OmsError as error:
        for each in error.errors:
            yield RowFault(number, each.field, each.code, each.message)


def _as_known(terms: TermIn) -> tuple[str, int, int, int] | None:
    try:
        cost = to_minor(terms.unit_cost, terms.currency)
    except ValueError:
        return None
    return terms.currency, cost, terms.moq, terms.pack_multiple


def _known(connection: Connection, code: str, sku: str) -> Any:
    return execute(
        connection,
        "SELECT t.currency, t.unit_cost_minor, t.moq, t.pack_multiple, t.is_preferred"
        " FROM supplier_terms AS t JOIN suppliers AS s ON s.id = t.supplier_id"
        " JOIN skus AS k ON k.id = t.sku_id WHERE s.code = :code AND k.code = :sku",
        {"code": code, "sku": sku},
    ).fetchone()
