"""Rebuild equals increments, whatever happened in the shop and wherever the nights fell between.

The machine that drives the services at random (:mod:`tests.oms_ops.machine`) works through some
days; each night the pipeline takes in what is new. In the end a warehouse built at once from all of
the lake has the same marts, row by row. It takes minutes, and has other histories each time:
``make proofs``; what every change is tested with is :mod:`tests.dbt.test_increments_equal_rebuild`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.database import run
from oms_ops.fulfilment import arrivals
from pipelines.lib import landing
from tests.dbt.trade import moment
from tests.dbt.warehouse import build, differences, marts, rebuilt_marts
from tests.oms_ops.machine import handling
from tests.oms_ops.machine.agreement import agree
from tests.oms_ops.machine.seen import look
from tests.oms_ops.machine.whole import PROFILE, Machine, on_fresh_databases
from tests.proofs import only_at_length

#: Commands between two nights, and days from one to the next in turn.
A_DAY, DAYS = 25, (1, 3)

#: Each costs some four builds and one more from the start.
EXAMPLES = 20


class Days(Machine):
    """The machine's commands fall on days, and the pipeline runs between these."""

    #: Rows of each mart at the ends of all histories: what stays empty could not differ.
    rows: ClassVar[Counter[str]] = Counter()
    builds: ClassVar[int] = 0

    def __init__(self, engine: Engine, finish: Callable[[], object], home: Path) -> None:
        self.home, self.given = home, 0
        self.steps_of_days = itertools.cycle(DAYS)
        self.moment = moment("2026-03-01", 12)
        self.time = ExitStack()
        self.time.enter_context(clock.at(self.moment))
        super().__init__(engine, finish)

    def check(self) -> None:
        """Let the day go on; what else is to be true after a command is asked elsewhere."""
        # The model learns the numbers of documents from it.
        agree(self.model, look(self.engine))
        self.given += 1
        if self.given % A_DAY == 0:
            self.night()
        else:
            self.wait(timedelta(minutes=1))

    def wait(self, time: timedelta) -> None:
        """Let time go by: what comes first in the shop is what was placed first."""
        self.time.close()
        self.moment += time
        self.time.enter_context(clock.at(self.moment))

    def night(self) -> None:
        then = clock.now() + timedelta(hours=8)
        # By morning nobody holds goods in a basket any more, as the model has it.
        expire = lambda: run(self.engine, lambda c: arrivals.expire_baskets(c, then))  # noqa: E731
        self.step(handling.expire, 90, do=expire)
        self.take_in()
        self.wait(timedelta(days=next(self.steps_of_days)))

    def take_in(self) -> None:
        landing.land(self.engine, self.home / "lake" / "changes")
        build(self.home, self.today)
        Days.builds += 1

    @property
    def today(self) -> str:
        return self.moment.date().isoformat()

    def teardown(self) -> None:
        try:
            self.take_in()
            ours = marts(self.home)
            assert differences(ours, rebuilt_marts(self.home, self.today)) == {}
            Days.rows.update({name: rows.total() for name, rows in ours.items()})
        finally:
            self.time.close()
            self.engine.dispose()
            self.finish()


@only_at_length
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_increments_give_the_marts_that_a_rebuild_gives(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    Days.rows, Days.builds = Counter(), 0
    homes = (tmp_path / f"home-{number}" for number in itertools.count())
    begin = on_fresh_databases(
        lambda engine, finish: Days(engine, finish, next(homes)), kind, request, tmp_path
    )
    run_state_machine_as_test(begin, settings=settings(PROFILE, max_examples=EXAMPLES))
    print(f"{Days.builds} builds; rows at the ends: {dict(sorted(Days.rows.items()))}")
    assert Days.builds > EXAMPLES
    for mart in ("fct_orders", "fct_shipments", "fct_refunds", "fct_payments", "order_history"):
        assert Days.rows[mart] > 0, mart
