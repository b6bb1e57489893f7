"""Promises 3, 4 and 7 hold after every step, whatever the steps are, on both databases.

Random commands go to the services and to a shop in plain Python (:mod:`tests.oms_ops.machine`).
After each the two agree on where every unit is, what every order costs and is owed, and whether the
command was refused; the promises are asked of the database; and the change log, replayed, gives its
tables. ``MACHINE_RUN=long`` runs it for minutes instead of seconds, with other commands each time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from oms_ops.database import make_engine
from tests.conftest import administer, named
from tests.oms_ops.machine.goods import Goods
from tests.oms_ops.machine.sales import Sales


class Machine(Sales, Goods):
    """All of the shop's commands."""


#: Read by another name than the shop's settings, which the tests are kept from.
LONG = os.environ.get("MACHINE_RUN") == "long"
#: A database of its own costs PostgreSQL as much as thirty commands.
EXAMPLES = {"sqlite": 300, "postgres": 300} if LONG else {"sqlite": 40, "postgres": 14}
PROFILE = settings(
    stateful_step_count=60,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=LONG,
    phases=[Phase.generate] + ([Phase.shrink] if LONG else []),
)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Machine]:
    """Return what begins a machine on a database of its own."""
    numbers = iter(range(1_000_000))
    if kind == "sqlite":
        template = request.getfixturevalue("sqlite_template")

        def begin() -> Machine:
            path = tmp_path / f"{next(numbers)}.db"
            shutil.copyfile(template, path)
            return Machine(make_engine(f"sqlite:///{path}"), path.unlink)

    else:
        server = request.getfixturevalue("postgres_server")
        template = request.getfixturevalue("postgres_template")

        def begin() -> Machine:
            name = f"machine_{next(numbers)}"
            administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
            drop = f"DROP DATABASE {name} WITH (FORCE)"
            return Machine(make_engine(named(server, name)), lambda: administer(server, drop))

    return begin


def test_whatever_is_done_the_books_agree(kind: str, fresh: Callable[[], Machine]) -> None:
    run_state_machine_as_test(fresh, settings=settings(PROFILE, max_examples=EXAMPLES[kind]))
