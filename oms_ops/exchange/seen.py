"""What earlier imports took: the digest of its content under the key of its source.

The memory is that of idempotency keys: written in the transaction that takes the thing, unique, so
that two imports at once meet there and the later one finds what the earlier one took.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from oms_ops import clock
from oms_ops.database import Retry, as_rows, as_time, rowset, run
from oms_ops.exchange import runs
from oms_ops.orders.bulk import Rejected
from oms_ops.orders.staging import load

_KEY = {"ref": "bigint", "scope": "text", "key": "text"}


@dataclass(frozen=True, slots=True)
class Taken:
    """The digest of what was taken, and the number of the document that it became."""

    digest: str
    document: str


def scope(source: str) -> str:
    """Return the scope of the keys of a source: a channel, a kind of file."""
    return f"import:{source}"


def digest(text: str) -> str:
    """Return the digest of a content."""
    return hashlib.sha256(text.encode()).hexdigest()


def known(
    connection: Connection, wanted: Iterable[tuple[int, tuple[str, str]]]
) -> dict[int, Taken]:
    """Return what was taken of ``wanted`` (ref, (source, key)) before, by ref."""
    rows = connection.execute(
        sa.text(
            "SELECT r.ref, k.request_hash, k.response"
            f" FROM ({rowset(connection, 'rows', _KEY)}) AS r"
            " JOIN idempotency_keys AS k ON k.scope = r.scope AND k.key = r.key"
        ),
        {
            "rows": as_rows(
                {"ref": ref, "scope": scope(source), "key": key} for ref, (source, key) in wanted
            )
        },
    )
    return {r.ref: Taken(r.request_hash, runs.document(r.response)["number"]) for r in rows}


def remember(connection: Connection, taken: Iterable[tuple[str, str, Taken]]) -> None:
    """Keep (source, key, what was taken); the key of a source is taken once."""
    now = as_time(connection, clock.now())
    load(
        connection,
        "idempotency_keys",
        ("scope", "key", "request_hash", "response", "created_at"),
        [
            (scope(source), key, one.digest, json.dumps({"number": one.document}), now)
            for source, key, one in taken
        ],
    )


def retry_taken(
    connection: Connection, keys: Mapping[int, tuple[str, str]], rejected: Iterable[Rejected]
) -> None:
    """Raise Retry when another import took an order between our look and its refusal."""
    twice = [
        (order.ref, keys[order.ref])
        for order in rejected
        if any(error.code == "duplicate" for error in order.errors)
    ]
    if twice and known(connection, twice):
        raise Retry("another import took one of these orders meanwhile")


def settle(engine: Engine, work: Callable[[Connection], None]) -> None:
    """Run ``work`` in a transaction; again when somebody took the same thing meanwhile."""
    for attempt in range(3):
        try:
            run(engine, work, attempts=50)
        except IntegrityError as error:
            unique = getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig)
            if attempt == 2 or not unique:
                raise
        else:
            return
