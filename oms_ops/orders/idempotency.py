"""One submission, one effect: the answer to a key is kept in the transaction of what it answers.

A crash leaves neither key nor effect. Two at once meet at the table's primary key: the second waits
for the first and gets its answer. :mod:`oms_ops.orders.capture` does the same inside its one write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_json, as_time, execute
from oms_ops.errors import FieldError, KeyReused


def caller_scope(name: str) -> str:
    """Return the scope of a caller's own keys; no scope of the house's own begins like it."""
    return f"key:{name}"


def once(
    connection: Connection,
    actor: Actor,
    key: str | None,
    request: Any,
    work: Callable[[], dict[str, Any]],
    *,
    kept: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what ``work`` answers, or for a key that came before its first answer.

    ``request`` is everything that makes a repeat the same: what is asked for, of which thing, and
    the body. A key is its caller's own, whatever he uses it for. Without one, ``work`` is done.
    ``kept`` returns the answer as it is remembered: without what is told only once.

    Raises:
        KeyReused: the key came before with another request.
    """
    if key is None:
        return work()
    asked, scope = digest(request), caller_scope(actor.name)
    # Claimed before anything is done: a second one waits here, and not half way through the work.
    if not _claim(connection, scope, key, asked):
        row = execute(
            connection,
            "SELECT request_hash, response FROM idempotency_keys"
            " WHERE scope = :scope AND key = :key",
            {"scope": scope, "key": key},
        ).fetchone()
        if row is None:
            raise Retry("whoever had the key has given it up")
        return first_answer(row[0], row[1], asked)
    answer = work()
    keep(connection, actor, key, kept(answer) if kept else answer)
    # As a repeat will read it: dates and numbers are JSON's.
    plain: dict[str, Any] = json.loads(as_json(answer))
    return plain


def keep(connection: Connection, actor: Actor, key: str, answer: dict[str, Any]) -> None:
    """Remember another answer for a key: what became of it after it was first answered."""
    execute(
        connection,
        "UPDATE idempotency_keys SET response = :response WHERE scope = :scope AND key = :key",
        {"scope": caller_scope(actor.name), "key": key, "response": as_json(answer)},
    )


def retell(connection: Connection, scope: str, key: str, asked: str) -> None:
    """Have a key mean the request with the digest ``asked`` from now on; its answer stays."""
    execute(
        connection,
        "UPDATE idempotency_keys SET request_hash = :asked WHERE scope = :scope AND key = :key",
        {"scope": scope, "key": key, "asked": asked},
    )


def spend(connection: Connection, scope: str, key: str) -> bool:
    """Take a key so that nobody can submit anything under it any more; False if somebody has."""
    return _claim(connection, scope, key, "spent")


def _claim(connection: Connection, scope: str, key: str, asked: str) -> bool:
    claimed = execute(
        connection,
        "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        " VALUES (:scope, :key, :asked, '{}', :now) ON CONFLICT (scope, key) DO NOTHING"
        " RETURNING key",
        {"scope": scope, "key": key, "asked": asked, "now": as_time(connection, clock.now())},
    ).fetchall()
    return bool(claimed)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def digest(request: Any) -> str:
    """Return what tells one request from another, however its JSON is written."""
    return hashlib.sha256(_CANONICAL.encode(request).encode()).hexdigest()


def first_answer(request_hash: str, response: Any, asked: str) -> dict[str, Any]:
    """Return the answer that a key has, to a request with the digest ``asked``.

    Raises:
        KeyReused: it belongs to another request.
    """
    if request_hash != asked:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another submission")],
        )
    answer: dict[str, Any] = json.loads(response) if isinstance(response, str) else response
    return answer
