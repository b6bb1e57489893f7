"""Import a file of Shopify's orders: a row of the journal for each order."""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import run
from oms_ops.errors import OmsError
from oms_ops.exchange import runs, shopify
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.runs import Fate, Report
from oms_ops.exchange.values import E4

KIND = "shopify"


def import_shopify(engine: Engine, actor: Actor, file_name: str, content: bytes) -> Report:
    """Capture the orders of a file one by one; see :mod:`oms_ops.exchange.shopify`."""
    import polars as pl

    actor.require(ORDERS_WRITE)
    orders = shopify.documents(content)
    frame = pl.DataFrame({ROW: range(1, len(orders) + 1)})
    table = Table(file_name, hashlib.sha256(content).hexdigest(), (), frame)
    import_id = runs.begin(engine, actor, KIND, table)
    for number, document in enumerate(orders, 1):
        fate = _taken(engine, number, document)
        run(engine, lambda c, f=fate: _record(c, import_id, f))  # type: ignore[misc]
    return runs.finish(engine, import_id)


def _record(connection: Connection, import_id: int, fate: Fate) -> None:
    runs.record(connection, import_id, [fate])


def _taken(engine: Engine, row: int, document: Any) -> Fate:
    amount = _amount(document)
    before = shopify.number_of(engine, document) if isinstance(document, dict) else None
    try:
        number = shopify.take(engine, document)
    except OmsError as error:
        first = error.errors[0].code if error.errors else error.code
        return Fate(row, "rejected", first, str(error), None, amount, _held(document))
    return Fate(row, "repeated" if before else "order", None, None, number, amount)


def _held(document: Any) -> dict[str, Any]:
    names = ("id", "name", "email", "created_at", "currency", "total_price")
    known = document if isinstance(document, dict) else {}
    return {name: known.get(name) for name in names}


def _amount(document: Any) -> int | None:
    try:
        return int(Decimal(document["total_price"]).scaleb(E4))
    except (InvalidOperation, ValueError, TypeError, KeyError):
        return None
