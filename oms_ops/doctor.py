"""Looks at an installation and says, check by check, whether it can work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from oms_ops.database import make_engine
from oms_ops.feed.entities import ENTITIES
from oms_ops.payments.gateways.registry import problem
from oms_ops.rules import store
from oms_ops.settings import settings
from oms_ops.setup import alembic_config


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


def examine() -> Iterator[Check]:
    """Yield the checks; the ones after an unreachable database are left out."""
    home = settings().home
    writable = os.access(home, os.W_OK) if home.exists() else os.access(home.parent, os.W_OK)
    yield Check("state folder", writable, str(home))
    engine = make_engine(settings().url)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        # To connect would create it.
        yield Check("database", False, f"{engine.url.database} is not there: run oms init")
        return
    shown = engine.url.render_as_string(hide_password=True)
    try:
        with engine.connect() as connection:
            yield Check("database", True, shown)
            have = MigrationContext.configure(connection).get_current_revision()
            script = ScriptDirectory.from_config(alembic_config(connection))
            want = script.get_current_head()
            yield Check("schema", have == want, f"at {have}, newest is {want}")
            if have is None:
                return
            missing = _untriggered(connection)
            detail = f"no trigger on {', '.join(missing)}" if missing else "every table is logged"
            yield Check("change feed", not missing, detail)
            if have == want:
                yield from _gateways(connection)
    except sa.exc.SQLAlchemyError as error:
        yield Check("database", False, f"{shown}: {type(error).__name__}")


def _gateways(connection: sa.Connection) -> Iterator[Check]:
    """Look at the payment gateways that the rules name."""
    methods: dict[str, list[str]] = {}
    for method, name in store.current(connection).rules.payments.gateways.items():
        methods.setdefault(name, []).append(method)
    for name, taken in sorted(methods.items()):
        why = problem(name)
        yield Check("payment gateway", why is None, f"{name}: {why or ', '.join(sorted(taken))}")


def _untriggered(connection: sa.Connection) -> list[str]:
    """Return the tables whose changes would not reach the feed."""
    if connection.dialect.name == "sqlite":
        query = (
            "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'oms_feed%'"
        )
    else:
        query = (
            "SELECT tgrelid::regclass::text FROM pg_trigger"
            " WHERE tgname = 'oms_feed' AND tgenabled <> 'D'"
        )
    logged: set[str] = set(connection.execute(sa.text(query)).scalars())
    return [entity for entity in ENTITIES if entity not in logged]
