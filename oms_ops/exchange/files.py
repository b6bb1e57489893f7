"""Import a file of some kind: the one entry for the command line and the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import Engine

from oms_ops.access.actor import Actor
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import orders, reader, shopify_file
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import Table
from oms_ops.exchange.runs import Report

#: Takes the rows of a table by a mapping of its columns.
TableImporter = Callable[[Engine, Actor, Table, Mapping], Report]

#: The kinds of files with columns.
TABLES: dict[str, TableImporter] = {
    orders.KIND: orders.import_orders,
}
#: Every kind of file that :func:`import_bytes` takes.
KINDS = (*TABLES, shopify_file.KIND)


def import_file(
    engine: Engine, actor: Actor, kind: str, path: Path, mapping: Mapping | None = None
) -> Report:
    """Import a file; the good rows are taken, the bad ones are in the report.

    Raises:
        ValidationFailed: the kind is unknown, the file cannot be read, or the mapping does not fit.
        Forbidden: the role may not write what the file holds.
    """
    content = reader.content_of(path)
    return import_bytes(engine, actor, kind, content, path.name, mapping or Mapping())


def import_bytes(
    engine: Engine, actor: Actor, kind: str, content: bytes, name: str, mapping: Mapping
) -> Report:
    """Import the bytes of a file called ``name``; as :func:`import_file`."""
    if kind == shopify_file.KIND:
        return shopify_file.import_shopify(engine, actor, name, content)
    if kind not in TABLES:
        known = ", ".join(KINDS)
        raise ValidationFailed(
            "There is no such import.", [FieldError("kind", "unknown_kind", f"one of {known}")]
        )
    return TABLES[kind](engine, actor, reader.parse(content, name, mapping.format), mapping)
