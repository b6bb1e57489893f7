"""Publish the rules and read those in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import RULES_READ, RULES_WRITE, Actor
from oms_ops.database import as_time, execute, read_time
from oms_ops.errors import FieldError, NotFound, ValidationFailed
from oms_ops.rules.document import Rules
from oms_ops.settings import settings
from oms_ops.shapes import field_error, path_of, storable

#: Selects the id of the version in force; part of every look at the database that needs rules.
NEWEST_SQL = "SELECT max(id) FROM shop_rules"

#: What a document is called that came by itself, as a file does.
_WHOLE = "rules"


@dataclass(frozen=True, slots=True)
class Version:
    """The rules and which version they are; ``id`` is None while none was ever published."""

    id: int | None
    rules: Rules


def show(connection: Connection, actor: Actor) -> Version:
    """Return the rules in force to somebody who may look at them."""
    actor.require(RULES_READ)
    return current(connection)


def current(connection: Connection) -> Version:
    """Return the rules in force, for the services that follow them."""
    row = execute(connection, NEWEST_SQL, {}).fetchone()
    return version(connection, row[0])


def version(connection: Connection, version_id: int | None) -> Version:
    """Return one version of the rules; versions never change, so each is read once per process.

    Raises:
        NotFound: there is no such version.
    """
    if version_id is None:
        return _default(settings().currency)
    known = _cache.setdefault(connection.engine, {})
    cached = known.get(version_id)
    if cached is None:
        row = execute(
            connection, "SELECT document FROM shop_rules WHERE id = :id", {"id": version_id}
        ).fetchone()
        if row is None:
            raise NotFound(f"There are no rules of version {version_id}.")
        document = json.loads(row[0]) if isinstance(row[0], str) else row[0]
        cached = Version(version_id, Rules.model_validate(document))
        known[version_id] = cached
    return cached


_cache: WeakKeyDictionary[Engine, dict[int, Version]] = WeakKeyDictionary()


def expected(engine: Engine) -> Version:
    """Return the newest version that this process has read: what is in force, most likely."""
    known = _cache.get(engine)
    return known[max(known)] if known else _default(settings().currency)


@lru_cache(maxsize=8)
def _default(currency: str) -> Version:
    return Version(None, Rules(base_currency=currency))


def parse(document: Any, where: str = "") -> Rules:
    """Return the rules that a document states, which was sent as the field ``where``.

    Raises:
        ValidationFailed: with every bad field.
    """
    faults = list(_unstorable(document, (where,) if where else ()))
    try:
        rules = Rules.model_validate(document)
    except ValidationError as error:
        faults += [
            field_error(fault, where or ("" if fault["loc"] else _WHOLE))
            for fault in error.errors(include_url=False)
        ]
    if faults:
        raise ValidationFailed("The rules have bad fields.", faults)
    return rules


def _unstorable(value: Any, place: tuple[Any, ...]) -> Iterator[FieldError]:
    """Find the texts in a document that PostgreSQL cannot hold; names are texts too."""
    if isinstance(value, str):
        try:
            storable(value)
        except ValueError as error:
            yield FieldError(path_of(place) or _WHOLE, "not_storable", str(error))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _unstorable(name, place)
            yield from _unstorable(each, (*place, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _unstorable(each, (*place, index))


def publish(
    connection: Connection, actor: Actor, document: Any, note: str = "", *, where: str = ""
) -> int:
    """Put a document in force from the next transaction on; return its version.

    ``where`` is the field that it was sent as.

    Raises:
        ValidationFailed: with every bad field; the rules in force then stay.
    """
    actor.require(RULES_WRITE)
    rules = parse(document, where)
    row = execute(
        connection,
        "INSERT INTO shop_rules (document, note, created_at, changed_by)"
        " VALUES (:document, :note, :now, :actor) RETURNING id",
        {
            "document": rules.model_dump_json(),
            "note": note,
            "now": as_time(connection, clock.now()),
            "actor": actor.name,
        },
    ).fetchone()
    return int(row[0])


def history(connection: Connection, actor: Actor, *, limit: int = 50) -> list[dict[str, Any]]:
    """Return the published versions, newest first: id, note, who and when."""
    actor.require(RULES_READ)
    rows = execute(
        connection,
        "SELECT id, note, created_at, changed_by FROM shop_rules ORDER BY id DESC LIMIT :limit",
        {"limit": limit},
    )
    names = ("id", "note", "created_at", "changed_by")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for entry in found:
        moment = read_time(entry["created_at"])
        entry["created_at"] = moment.isoformat() if moment else None
    return found
