"""API keys: made once, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import KEYS_WRITE, PERMISSIONS, ROLES, SYSTEM, Actor, is_reserved
from oms_ops.access.tables import ApiKey
from oms_ops.database import autocommit, execute, read_time
from oms_ops.errors import Conflict, FieldError, NotFound, Unauthorised, ValidationFailed

LONGEST_NAME = 100


def create(
    connection: Connection,
    role: str,
    name: str,
    *,
    lifetime: timedelta | None = None,
    scopes: Collection[str] | None = None,
    by: Actor = SYSTEM,
) -> str:
    """Create a key for ``role``; return it. It cannot be read again.

    A name is used once: it stands on every change that the key makes. It is printable, does not
    begin with a slash, is none that the house itself writes on changes, and is stripped.
    ``scopes`` narrow the role to some of its permissions, or to none.
    ``by`` is who makes it: the shop itself, where nobody is named.

    Raises:
        Forbidden: ``by`` may not make keys.
        ValidationFailed: the name is none or reserved, the role is unknown, or lacks a scope.
        Conflict: there is a key of that name.
    """
    by.require(KEYS_WRITE)
    name = name.strip()
    errors = []
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name.startswith("/"):
        message = f"1 to {LONGEST_NAME} printable characters, the first of them no slash"
        errors.append(FieldError("name", "invalid", message))
    if is_reserved(name):
        message = f"{name!r} is what the house itself writes on changes"
        errors.append(FieldError("name", "reserved", message))
    if role not in ROLES:
        message = f"one of {', '.join(sorted(ROLES))}"
        errors.append(FieldError("role", "unknown_role", message))
    for scope in scopes or ():
        if scope not in PERMISSIONS:
            message = f"{scope!r} is none of {', '.join(sorted(PERMISSIONS))}"
            errors.append(FieldError("scopes", "unknown_scope", message))
        elif role in ROLES and scope not in ROLES[role]:
            errors.append(FieldError("scopes", "beyond_role", f"{role} has no {scope}"))
    if errors:
        raise ValidationFailed("The key has bad fields.", errors)
    if connection.scalar(sa.select(ApiKey.id).where(ApiKey.name == name)) is not None:
        raise Conflict(f"There is a key named {name!r} already.")
    key = f"oms_{secrets.token_urlsafe(32)}"
    now = clock.now()
    connection.execute(
        sa.insert(ApiKey).values(
            name=name,
            role=role,
            scopes=None if scopes is None else sorted(set(scopes)),
            key_hash=_hash(key),
            created_at=now,
            created_by=by.name,
            expires_at=None if lifetime is None else now + lifetime,
        )
    )
    return key


def authenticate(engine: Engine, key: str) -> Actor:
    """Return who holds ``key``.

    Raises:
        Unauthorised: the key is unknown, revoked or expired (the answer does not say which).
    """
    with autocommit(engine) as connection:
        row = execute(
            connection,
            "SELECT name, role, scopes, expires_at, revoked_at FROM api_keys"
            " WHERE key_hash = :hash",
            {"hash": _hash(key)},
        ).fetchone()
    if row is None or row[4] is not None or _over(read_time(row[3])):
        raise Unauthorised("No valid API key was given.")
    scopes = json.loads(row[2]) if isinstance(row[2], str) else row[2]
    return Actor(row[0], row[1], None if scopes is None else frozenset(scopes))


def listing(connection: Connection, by: Actor = SYSTEM) -> list[dict[str, Any]]:
    """Return every key without its secret: name, role, scopes, when it ends, who made it."""
    by.require(KEYS_WRITE)
    rows = connection.execute(
        sa.select(
            ApiKey.name,
            ApiKey.role,
            ApiKey.scopes,
            ApiKey.created_at,
            ApiKey.created_by,
            ApiKey.expires_at,
            ApiKey.revoked_at,
            ApiKey.revoked_by,
        ).order_by(ApiKey.id)
    )
    return [dict(row) for row in rows.mappings()]


def revoke(connection: Connection, name: str, by: Actor = SYSTEM) -> None:
    """End a key at once; its name stays taken.

    Raises:
        Forbidden: ``by`` may not revoke keys.
        NotFound: there is no key of that name that is not revoked.
    """
    by.require(KEYS_WRITE)
    ended = connection.execute(
        sa.update(ApiKey)
        .where(ApiKey.name == name, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now(), revoked_by=by.name)
    ).rowcount
    if not ended:
        raise NotFound(f"There is no key named {name!r} to revoke.")


def _over(expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= clock.now()


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
