"""The columns that the tables of the feed have, and those that this release declares."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.feed.entities import ENTITIES, SECRET_COLUMNS

#: Entity -> column -> kind of its values: integer, number, text, boolean, moment, date or json.
Shape = dict[str, dict[str, str]]

_KINDS = (
    ("moment", r"timestamp.*|varchar\(27\)"),
    ("integer", r"(small|big)?int(eger)?"),
    ("number", r"float.*|real|double.*|numeric.*|decimal.*"),
    ("boolean", r"bool(ean)?"),
    ("date", r"date"),
    ("json", r"jsonb?"),
    ("text", r"text|(var)?char.*|character.*"),
)


def kind_of(type_name: str) -> str:
    """Return the kind of a type as the database or SQLAlchemy calls it, else its own name."""
    name = type_name.lower()
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, name)), name)


def actual(connection: Connection) -> Shape:
    """Return the columns that the feed's tables have now, without those that it must not carry."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    return {
        entity: {
            column["name"]: kind_of(column["type"].compile(connection.dialect))
            for column in inspector.get_columns(entity)
            if column["name"] not in SECRET_COLUMNS.get(entity, ())
        }
        for entity in ENTITIES
        if entity in there
    }


def declared(connection: Connection, metadata: sa.MetaData) -> Shape:
    """Return the columns that this release's ``metadata`` declares for the same tables."""
    return {
        entity: {
            column.name: kind_of(column.type.compile(connection.dialect))
            for column in metadata.tables[entity].columns
            if column.name not in SECRET_COLUMNS.get(entity, ())
        }
        for entity in ENTITIES
    }
