"""Holds the tables that the feed carries against what this release knows of them.

A column that the release does not know flows through: it is in the lake's payloads anyway, and the
staging model gets it under its name. One that is gone or holds something else stops the run before
anything is built: a warehouse that goes on with empty columns is wrong without a word.
"""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy.engine import Engine

from oms_ops.database import reading
from oms_ops.feed import shape
from oms_ops.feed.shape import Shape
from oms_ops.schema import metadata
from pipelines.lib.files import replace_text

#: Beside the lake's files: the columns of the shop's own that have flowed.
NOTED = "own_columns.json"

#: The warehouse's type for a kind of column.
TYPES = {
    "integer": "bigint",
    "number": "double",
    "text": "varchar",
    "json": "varchar",
    "boolean": "boolean",
    "moment": "timestamptz",
    "date": "date",
}


def compare(engine: Engine, folder: Path) -> tuple[list[str], Shape]:
    """Return what is wrong with the tables, a line a column, and the columns of the shop's own.

    A column of the shop's own that has flowed before must stay, too.
    """
    with reading(engine) as connection:
        now, release = shape.actual(connection), shape.declared(connection, metadata)
    own = {
        entity: {name: kind for name, kind in columns.items() if name not in release[entity]}
        for entity, columns in now.items()
    }
    wanted = {entity: known(folder).get(entity, {}) | release[entity] for entity in release}
    return _faults(now, wanted), {entity: columns for entity, columns in own.items() if columns}


def _faults(now: Shape, wanted: Shape) -> list[str]:
    faults = []
    for entity, columns in wanted.items():
        if entity not in now:
            faults.append(f"the table {entity} is gone")
            continue
        for name, kind in columns.items():
            found = now[entity].get(name)
            if found is None:
                faults.append(f"{entity}.{name} ({kind}) is gone")
            elif found != kind:
                faults.append(f"{entity}.{name} was {kind} and is {found}")
    return faults


def known(folder: Path) -> Shape:
    """Return the columns of the shop's own that have flowed."""
    path = folder / NOTED
    found: Shape = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def note(folder: Path, own: Shape) -> None:
    """Remember which columns of the shop's own have flowed."""
    if own != known(folder):
        replace_text(folder / NOTED, json.dumps(own, indent=1, sort_keys=True))


def staged(folder: Path) -> dict[str, dict[str, str]]:
    """Return the columns of the shop's own with the warehouse's types; odd ones only land."""
    return {
        entity: {name: TYPES[kind] for name, kind in columns.items() if kind in TYPES}
        for entity, columns in known(folder).items()
    }
