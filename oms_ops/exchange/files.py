"""Import a file of some kind: the one entry for the command line and the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import Engine

from oms_ops.access.actor import Actor
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import orders, reader
from oms_ops.exchange.mapping import Mapping
from oms_ops.exchange.reader import Table
from oms_ops.exchange.runs import Report

Importer = Callable[[Engine, Actor, Table, Mapping], Report]

#: The kinds of files with a column mapping, and what takes them.
KINDS: dict[str, Importer] = {
    orders.KIND: orders.import_orders,
}


def import_file(
    engine: Engine, actor: Actor, kind: str, path: Path, mapping: Mapping | None = None
) -> Report:
    """Import a CSV or Parquet file; the good rows are taken, the bad ones are in the report.

    Raises:
        ValidationFailed: the kind is unknown, the file cannot be read, or the mapping does not fit.
        Forbidden: the role may not write what the file holds.
    """
    mapping = mapping or Mapping()
    return _importer(kind)(engine, actor, reader.read(path, mapping.format), mapping)


def import_bytes(
    engine: Engine, actor: Actor, kind: str, content: bytes, name: str, mapping: Mapping
) -> Report:
    """Import the bytes of a file called ``name``; as :func:`import_file`."""
    return _importer(kind)(engine, actor, reader.parse(content, name, mapping.format), mapping)


def _importer(kind: str) -> Importer:
    try:
        return KINDS[kind]
    except KeyError:
        known = ", ".join(KINDS)
        raise ValidationFailed(
            "There is no such import.", [FieldError("kind", "unknown_kind", f"one of {known}")]
        ) from None
