"""Import a file of some kind: the one entry for the command line and the API.

:data:`KINDS` is the one list of what can be imported, by whom ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy.engine import Engine

from oms_ops.access.actor import ORDERS_WRITE, Actor
from oms_ops.database import reading
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import orders, reader, runs, shopify_file, stock_counts, supplier_prices
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.online_retail import history, reconciliation, source
from oms_ops.exchange.runs import Report
from oms_ops.rules import store

#: Told how far an import is: (done, in all).
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class File:
    """What was sent: its name, its bytes, and how it is to be read."""

    name: str
    content: bytes
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: how it is taken, and how a report of its rejected rows is written.

    One that ``founds`` a shop may be imported into a database that is still to be made. ``needs``
    are the permissions for what it writes.
    """

    take: Callable[[Engine, Actor, File, Progress | None], Report]
    write_report: Callable[[Report, Any], None] = runs.write_report
    media_type: str = "text/csv"
    founds: bool = False
    needs: tuple[str, ...] = (ORDERS_WRITE,)


def _take_orders(engine: Engine, actor: Actor, file: File, _: Progress | None) -> Report:
    table = reader.parse(file.content, file.name, file.mapping.format)
    return orders.import_orders(engine, actor, table, file.mapping)


def _take_shopify(engine: Engine, actor: Actor, file: File, _: Progress | None) -> Report:
    if file.mapping != Mapping():
        message = "Shopify's JSON has its own fields: neither a mapping nor a channel applies"
        raise ValidationFailed(
            "The file is not imported.", [FieldError("mapping", "not_applicable", message)]
        )
    return shopify_file.import_shopify(engine, actor, file.name, file.content)


def _take_prices(engine: Engine, actor: Actor, file: File, _: Progress | None) -> Report:
    table = reader.parse(file.content, file.name, file.mapping.format)
    with reading(engine) as connection:
        base = store.current(connection).rules.base_currency
    return supplier_prices.import_prices(engine, actor, table, file.mapping, base)


def _take_counts(engine: Engine, actor: Actor, file: File, _: Progress | None) -> Report:
    table = reader.parse(file.content, file.name, file.mapping.format)
    return stock_counts.import_counts(engine, actor, table, file.mapping)


def _take_history(engine: Engine, actor: Actor, file: File, progress: Progress | None) -> Report:
    table = reader.parse(file.content, file.name, source.mapping(file.mapping).format)
    read, done, import_id = history.import_history(engine, actor, table, file.mapping, progress)
    return replace(done, reconciliation=reconciliation.reconcile(engine, read, import_id))


#: Every kind of file that can be imported.
KINDS: dict[str, Kind] = {
    orders.KIND: Kind(_take_orders),
    shopify_file.KIND: Kind(_take_shopify, shopify_file.write_report, "application/x-ndjson"),
    history.KIND: Kind(_take_history, founds=True, needs=(ORDERS_WRITE, *history.NEEDS)),
    supplier_prices.KIND: Kind(_take_prices, needs=(supplier_prices.NEEDS,)),
    stock_counts.KIND: Kind(_take_counts, needs=(stock_counts.NEEDS,)),
}


def kind_of(name: str) -> Kind:
    """Return a kind of file; raise ValidationFailed where there is none of that name."""
    if name not in KINDS:
        known = ", ".join(KINDS)
        raise ValidationFailed(
            "There is no such import.", [FieldError("kind", "unknown_kind", f"one of {known}")]
        )
    return KINDS[name]


def permitted(actor: Actor, name: str) -> Kind:
    """Return a kind of file for who may import it; before that, nothing is said of what there is.

    Raises:
        Forbidden: the role may not write what such a file holds.
        ValidationFailed: there is no such kind.
    """
    if not any(actor.permits(each) for kind in KINDS.values() for each in kind.needs):
        actor.require(ORDERS_WRITE)
    kind = kind_of(name)
    for permission in kind.needs:
        actor.require(permission)
    return kind


def import_file(
    engine: Engine,
    actor: Actor,
    kind: str,
    path: Path,
    mapping: Mapping | None = None,
    progress: Progress | None = None,
) -> Report:
    """Import a file; the good rows are taken, the bad ones are in the report.

    Raises:
        ValidationFailed: the kind is unknown, the file cannot be read, or the mapping does not fit.
        Forbidden: the role may not write what the file holds.
    """
    permitted(actor, kind)
    content = reader.content_of(path)
    return import_bytes(engine, actor, kind, content, path.name, mapping or Mapping(), progress)


def import_bytes(
    engine: Engine,
    actor: Actor,
    kind: str,
    content: bytes,
    name: str,
    mapping: Mapping,
    progress: Progress | None = None,
) -> Report:
    """Import the bytes of a file called ``name``; as :func:`import_file`."""
    return permitted(actor, kind).take(engine, actor, File(name, content, mapping), progress)


def media_type(done: Report) -> str:
    """Return the media type of the report of an import's rejected rows."""
    return KINDS[done.kind].media_type


def write_report(done: Report, out: Any) -> None:
    """Write the rejected rows, with the reason of each, in the form that can be imported again."""
    KINDS[done.kind].write_report(done, out)


def save_report(done: Report, path: Path) -> None:
    """Write the rejected rows to a file; see :func:`write_report`."""
    with path.open("w", encoding="utf-8", newline="") as out:
        write_report(done, out)
