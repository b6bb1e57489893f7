"""A request that would double when it is repeated is done once under its Idempotency-Key.

The key is claimed in the transaction that does the work, so two at once meet at the row: the later
one waits, and gets the first answer. A crash leaves neither the key nor the work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_json, as_time, execute, run
from oms_ops.errors import FieldError, KeyReused

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]

Answer = dict[str, Any]


def once(
    engine: Engine,
    actor: Actor,
    key: str | None,
    request: tuple[str, Mapping[str, Any]],
    work: Callable[[Connection], Answer],
    *,
    finish: Callable[[Answer], Answer] | None = None,
    kept: Callable[[Answer], Answer] | None = None,
) -> Answer:
    """Do ``work`` in a transaction and return its answer, or the first answer of the same key.

    ``request`` is what was asked: the route with its path, and the body. ``finish`` is what follows
    the commit (asking gateways, say) and may improve the answer. ``kept`` returns the answer as it
    is remembered: without what is told only once.

    Raises:
        KeyReused: the key came before with another body.
    """
    route, body = request
    scope = f"api:{actor.name}:{route}"
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()

    def claimed(connection: Connection) -> tuple[bool, Answer]:
        if key is None:
            return True, work(connection)
        first = _first(connection, scope, key, digest)
        if first is not None:
            return False, first
        answer = work(connection)
        _keep(connection, scope, key, kept(answer) if kept else answer)
        return True, answer

    is_new, answer = run(engine, claimed)
    if not is_new or finish is None:
        return answer
    answer = finish(answer)
    if key is not None:
        remembered = kept(answer) if kept else answer
        run(engine, lambda connection: _keep(connection, scope, key, remembered))
    return answer


def _first(connection: Connection, scope: str, key: str, digest: str) -> Answer | None:
    """Claim the key, waiting for whoever is at it; return the first answer if there is one."""
    claimed = execute(
        connection,
        "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        " VALUES (:scope, :key, :hash, '{}', :now) ON CONFLICT (scope, key) DO NOTHING",
        {
            "scope": scope,
            "key": key,
            "hash": digest,
            "now": as_time(connection, clock.now()),
        },
    ).rowcount
    if claimed:
        return None
    request_hash, response = execute(
        connection,
        "SELECT request_hash, response FROM idempotency_keys WHERE scope = :scope AND key = :key",
        {"scope": scope, "key": key},
    ).fetchone()
    if request_hash != digest:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another request")],
        )
    answer: Answer = json.loads(response) if isinstance(response, str) else response
    return answer


def _keep(connection: Connection, scope: str, key: str, answer: Answer) -> None:
    execute(
        connection,
        "UPDATE idempotency_keys SET response = :response WHERE scope = :scope AND key = :key",
        {"scope": scope, "key": key, "response": as_json(answer)},
    )
