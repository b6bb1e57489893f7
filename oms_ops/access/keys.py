"""API keys: made once, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.access.actor import ROLES, Actor
from oms_ops.access.tables import ApiKey
from oms_ops.database import reading
from oms_ops.errors import Conflict, FieldError, Unauthorised, ValidationFailed


def create(
    connection: Connection, role: str, name: str, *, lifetime: timedelta | None = None
) -> str:
    """Create a key for ``role``; return it. It cannot be read again.

    A name is used once: it stands on every change that the key makes.

    Raises:
        ValidationFailed: the role is unknown.
        Conflict: there is a key of that name.
    """
    if role not in ROLES:
        raise ValidationFailed(
            "The key has bad fields.",
            [FieldError("role", "unknown_role", f"one of {', '.join(sorted(ROLES))}")],
        )
    if connection.scalar(sa.select(ApiKey.id).where(ApiKey.name == name)) is not None:
        raise Conflict(f"There is a key named {name!r} already.")
    key = f"oms_{secrets.token_urlsafe(32)}"
    now = clock.now()
    connection.execute(
        sa.insert(ApiKey).values(
            name=name,
            role=role,
            key_hash=_hash(key),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
    )
    return key


def authenticate(engine: Engine, key: str) -> Actor:
    """Return who holds ``key``.

    Raises:
        Unauthorised: the key is unknown, revoked or expired (the answer does not say which).
    """
    with reading(engine) as connection:
        row = connection.execute(
            sa.select(ApiKey.name, ApiKey.role, ApiKey.expires_at, ApiKey.revoked_at).where(
                ApiKey.key_hash == _hash(key)
            )
        ).one_or_none()
    if row is None or row.revoked_at is not None or _over(row.expires_at):
        raise Unauthorised("No valid API key was given.")
    return Actor(row.name, row.role)


def _over(expires_at: datetime | None) -> bool:
    return expires_at is not None and expires_at <= clock.now()


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
