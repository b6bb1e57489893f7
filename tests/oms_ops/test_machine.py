"""Promises 3, 4 and 7 hold after every step, whatever the steps are, on both databases.

Random commands go to the services and to a shop in plain Python (:mod:`tests.oms_ops.machine`).
After each the two agree on where every unit is, what every order costs and is owed, and whether the
command was refused; the promises are asked of the database; and the change log, replayed, gives its
tables. Planted faults show that it would notice. ``make proofs`` runs it for minutes instead of
seconds, with other commands each time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from oms_ops.fulfilment import shortages
from oms_ops.orders import backorders, drafts, shipments, tenders
from oms_ops.purchasing import states
from oms_ops.stock import ledger
from tests.oms_ops.machine.whole import PROFILE, Machine, on_fresh_databases
from tests.oms_ops.shop import ADMIN
from tests.proofs import LONG

#: A database of its own costs PostgreSQL as much as thirty commands.
EXAMPLES = {"sqlite": 300, "postgres": 300} if LONG else {"sqlite": 20, "postgres": 6}

#: A planted fault ends the search when it is found; none should be missed by chance.
SEARCHED = 300


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Machine]:
    """Return what begins a machine on a database of its own."""
    return on_fresh_databases(Machine, kind, request, tmp_path)


@pytest.mark.proof
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
                  | {"status": "open", "key": f"{number}/planted"})  # fmt: skip


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
            fresh, settings=settings(PROFILE, max_examples=SEARCHED, print_blob=False)
        )
