"""Do something once under a key of the caller's: a repeat gets the first answer.

The key is written with its answer, in the transaction of what is done: a crash leaves neither, and
two at once meet at the primary key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.database import Retry, as_json, as_time, execute
from oms_ops.errors import FieldError, KeyReused


def once(
    connection: Connection,
    scope: str,
    key: str | None,
    request: Any,
    work: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return what ``work`` does, or what it answered under the same key before.

    Raises:
        KeyReused: the key was used with another request.
    """
    if key is None:
        return work()
    digest = hashlib.sha256(
        json.dumps(request, sort_keys=True, separators=(",", ":"), default=str).encode()
    ).hexdigest()
    name = {"scope": scope, "key": key}
    claimed = execute(
        connection,
        "INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        " VALUES (:scope, :key, :digest, '{}', :now) ON CONFLICT DO NOTHING RETURNING key",
        {**name, "digest": digest, "now": as_time(connection, clock.now())},
    ).fetchone()
    if claimed is None:
        return _first(connection, name, digest)
    answer = work()
    execute(
        connection,
        "UPDATE idempotency_keys SET response = :answer WHERE scope = :scope AND key = :key",
        {**name, "answer": as_json(answer)},
    )
    return answer


def _first(connection: Connection, name: dict[str, Any], digest: str) -> dict[str, Any]:
    row = execute(
        connection,
        "SELECT request_hash, response FROM idempotency_keys WHERE scope = :scope AND key = :key",
        name,
    ).fetchone()
    if row is None:
        # Who had it was rolled back.
        raise Retry("an idempotency key was given up")
    if row[0] != digest:
        raise KeyReused(
            "This idempotency key was used before with another body.",
            [FieldError("Idempotency-Key", "reused", "belongs to another submission")],
        )
    first: dict[str, Any] = json.loads(row[1]) if isinstance(row[1], str) else row[1]
    return first
