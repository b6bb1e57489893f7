"""Promises 3, 4 and 7 hold after every step, whatever the steps are, on both databases.

Random commands go to the services and to a shop in plain Python (:mod:`tests.oms_ops.machine`).
After each the two agree on where every unit is, what every order costs and is owed, and whether the
command was refused; the promises are asked of the database; and the change log, replayed, gives its
tables. Planted faults show that it would notice. ``MACHINE_RUN=long`` runs it for minutes instead
of seconds, with other commands each time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from oms_ops.database import make_engine
from oms_ops.fulfilment import shortages
from oms_ops.orders import backorders, drafts, shipments, tenders
from oms_ops.purchasing import states
from oms_ops.stock import ledger
from tests.conftest import administer, copy_database, named
from tests.oms_ops.machine.base import units
from tests.oms_ops.machine.buying import Buying
from tests.oms_ops.machine.model import Order
from tests.oms_ops.machine.sales import submissions
from tests.oms_ops.machine.selling import Submission
from tests.oms_ops.machine.waves import Waves
from tests.oms_ops.shop import ADMIN


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


#: Read by another name than the shop's settings, which the tests are kept from.
LONG = os.environ.get("MACHINE_RUN") == "long"
#: A database of its own costs PostgreSQL as much as thirty commands.
EXAMPLES = {"sqlite": 300, "postgres": 300} if LONG else {"sqlite": 20, "postgres": 6}
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
            copy_database(server, template, name)
            drop = f"DROP DATABASE {name} WITH (FORCE)"
            return Machine(make_engine(named(server, name)), lambda: administer(server, drop))

    return begin


def test_whatever_is_done_the_books_agree(kind: str, fresh: Callable[[], Machine]) -> None:
    run_state_machine_as_test(fresh, settings=settings(PROFILE, max_examples=EXAMPLES[kind]))


# --- Planted faults: a machine that finds none of them proves nothing ----------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def cancelled_units_stay_promised(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger, "release", lambda *_: None)


def what_waits_is_not_filled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backorders, "fill", lambda *_, **__: 0)


def a_wave_does_not_keep_its_parcels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shipments, "UNPICKED", "s.status = 'allocated'")


def what_was_not_found_stays_on_the_books(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shortages, "set_aside", lambda c, actor, moves, _: ledger.move(c, actor, moves))


def a_supplier_s_order_is_given_up_twice(patch: pytest.MonkeyPatch) -> None:
    needs, leaves = states.TRANSITIONS["cancel"]
    patch.setitem(states.TRANSITIONS, "cancel", ((*needs, "cancelled"), leaves))


def a_discarded_draft_is_placed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drafts, "_begin", lambda c, number: drafts.get(c, ADMIN, number)
                  | {"status": "open", "key": None})  # fmt: skip


def refunds_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tenders, "settle", lambda *_: None)


@pytest.mark.parametrize(
    "plant",
    [
        cancelled_units_stay_promised,
        what_waits_is_not_filled,
        a_wave_does_not_keep_its_parcels,
        what_was_not_found_stays_on_the_books,
        a_supplier_s_order_is_given_up_twice,
        a_discarded_draft_is_placed,
        refunds_are_forgotten,
    ],
    ids=lambda plant: plant.__name__,
)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_planted_fault_is_found(
    plant: Plant, fresh: Callable[[], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite alone: the faults are in the services, which are the same on both."""
    plant(monkeypatch)
    # The two disagree, or only one of them refuses.
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(
            fresh, settings=settings(PROFILE, max_examples=EXAMPLES["sqlite"], print_blob=False)
        )
