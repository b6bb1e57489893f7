"""The whole machine, and how it is set going on databases of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy.engine import Engine

from oms_ops.database import make_engine
from tests.conftest import administer, copy_database, named
from tests.oms_ops.machine.base import units
from tests.oms_ops.machine.buying import Buying
from tests.oms_ops.machine.model import Order
from tests.oms_ops.machine.sales import submissions
from tests.oms_ops.machine.selling import Submission
from tests.oms_ops.machine.waves import Waves
from tests.proofs import LONG

M = TypeVar("M")
#: What makes a machine of an engine and of what is to be done when it is over.
Make = Callable[[Engine, Callable[[], object]], M]


class Machine(Waves, Buying):
    """All of the shop's commands, and some that belong together: chance seldom finds those."""

    @rule(wanted=submissions, quantity=units, scrap=st.booleans())
    def sells_ships_and_takes_back(self, wanted: Submission, quantity: int, scrap: bool) -> None:
        known = set(self.model.orders)
        self.sell(replace(wanted, pays=True))
        for order_id in self.model.orders.keys() - known:
            each = self.collect(self.model.orders[order_id])
            for no, line in each.lines.items():
                if line.kept > 1:
                    self.drop(self.model.orders[order_id], no, 1)
            for parcel in self.model.orders[order_id].unpicked:
                self.ship_whole(self.model.orders[order_id], parcel)
            each = self.model.orders[order_id]
            for no, line in each.lines.items():
                if line.shipped:
                    back = min(quantity, line.shipped)
                    self.take_back(self.model.orders[order_id], no, back, scrap=scrap, paid=True)

    def waiting(self) -> list[tuple[Order, str]]:
        return [
            (each, line.sku)
            for each in self.live()
            if each.status == "open"
            for line in each.lines.values()
            if line.backordered
        ]

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), quantity=units)
    def finds_what_a_held_order_waits_for(self, data: Any, quantity: int) -> None:
        each, sku = data.draw(st.sampled_from(self.waiting()))
        self.hold_or_release(each)
        self.find(each.home, f"{each.home}-STORAGE", sku, quantity)
        self.hold_or_release(self.model.orders[each.id])


PROFILE = settings(
    stateful_step_count=60,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=LONG,
    phases=[Phase.generate] + ([Phase.shrink] if LONG else []),
)


def on_fresh_databases(
    make: Make[M], kind: str, request: pytest.FixtureRequest, folder: Path
) -> Callable[[], M]:
    """Return what begins a machine on a laid-out database of its own, SQLite's in ``folder``."""
    numbers = iter(range(1_000_000))
    if kind == "sqlite":
        template = request.getfixturevalue("sqlite_template")

        def begin() -> M:
            path = folder / f"{next(numbers)}.db"
            shutil.copyfile(template, path)
            return make(make_engine(f"sqlite:///{path}"), path.unlink)

    else:
        server = request.getfixturevalue("postgres_server")
        template = request.getfixturevalue("postgres_template")

        def begin() -> M:
            name = f"machine_{next(numbers)}"
            copy_database(server, template, name)
            drop = f"DROP DATABASE {name} WITH (FORCE)"
            return make(make_engine(named(server, name)), lambda: administer(server, drop))

    return begin
