"""Import a file of Shopify's orders: a row of the journal for each order."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import retryable, run, unavailable
from oms_ops.errors import OmsError
from oms_ops.exchange import runs, shopify
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.shopify_json import documents
from oms_ops.exchange.shopify_order import amount_of
from oms_ops.exchange.values import E4

KIND = "shopify"
#: Where an order of the report says why it was rejected; Shopify has no such field.
_WHY = "oms_import"

_log = logging.getLogger(__name__)


def import_shopify(engine: Engine, actor: Actor, file_name: str, content: bytes) -> Report:
    """Capture the orders of a file one by one; see :mod:`oms_ops.exchange.shopify`.

    Whatever is wrong with one order is its own fate: the others are taken, and the run ends.
    """
    import polars as pl

    actor.require(ORDERS_WRITE)
    orders = documents(content)
    frame = pl.DataFrame({ROW: range(1, len(orders) + 1)})
    table = Table(file_name, hashlib.sha256(content).hexdigest(), (), frame)
    import_id = runs.begin(engine, actor, KIND, table)
    for number, document in enumerate(orders, 1):
        fate = _taken(engine, actor, number, document)
        run(engine, lambda c, f=fate: runs.record(c, import_id, [f]))  # type: ignore[misc]
    return runs.finish(engine, import_id)


def _taken(engine: Engine, actor: Actor, row: int, document: Any) -> Fate:
    amount = _amount(document)
    try:
        taken = shopify.take(engine, actor, document)
    except OmsError as error:
        first = error.errors[0].code if error.errors else error.code
        return Fate(row, "rejected", first, str(error), None, amount, document)
    except Exception as error:
        # With the database away the next order would fare no better.
        if retryable(error) or unavailable(error):
            raise
        _log.exception("order %d of the file could not be read", row)
        message = f"could not be read ({type(error).__name__})"
        return Fate(row, "rejected", runs.UNREADABLE, message, None, amount, document)
    fate = "repeated" if taken.repeated else "order"
    return Fate(row, fate, None, taken.note, taken.number, amount)


def write_report(done: Report, out: Any) -> None:
    """Write the rejected orders as JSON lines, each with its reason under ``oms_import``.

    Once an order is mended, here or in Shopify, the file can be imported as it is.
    """
    for bad in done.rejected:
        document = bad.content
        if isinstance(document, dict):
            why = {"row": bad.row_no, "code": bad.reason, "reason": bad.message}
            document = {_WHY: why, **{k: v for k, v in document.items() if k != _WHY}}
        out.write(json.dumps(document) + "\n")


def _amount(document: Any) -> int | None:
    amount = amount_of(document.get("total_price")) if isinstance(document, dict) else None
    return None if amount is None else int(amount.scaleb(E4))
