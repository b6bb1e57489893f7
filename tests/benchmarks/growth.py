"""What a run of the pipeline costs after a small and after a great history: time and memory.

Each size has a shop of its own, laid by sets (:mod:`tests.benchmarks.laying`) with the feed that
the triggers would have written. Runs are whole processes; the sizes take turns, and only the first
run of each builds everything.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from oms_ops import clock
from oms_ops.access.actor import SYSTEM
from oms_ops.database import make_engine
from oms_ops.feed.entities import ENTITIES
from oms_ops.orders.capture import capture
from tests.benchmarks import databases, laying
from tests.benchmarks.processes import Run, process
from tests.benchmarks.report import NAMES, Aim, Figure

#: Lines of an order that is laid.
_LINES = 3
#: As many times as long as after the smallest history.
FLAT = Aim(most=1.3)
#: What the first run of the greatest history may take, in gigabytes.
ROOM = 8


@dataclass(slots=True)
class _Shop:
    """A shop with so many lines of history, and what its runs took."""

    lines: int
    home: Path
    url: str
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    first: Run | None = None
    idle: list[Run] = field(default_factory=list)
    ticks: list[Run] = field(default_factory=list)

    def run(self) -> Run:
        """Run the pipeline in a process of its own."""
        return process(self.home, self.url, "pipelines.run")

    def sell(self, orders: int) -> None:
        """Capture orders, one by one, as a shop does."""
        engine = make_engine(self.url)
        people = laying.customers(self.lines // _LINES)
        for _ in range(orders):
            capture(engine, SYSTEM, databases.submission(self.draw, customers=people))
        engine.dispose()


def measure(
    dialect: str, *, sizes: Sequence[int], rounds: int, orders: int, say: laying.Say
) -> list[Figure]:
    """Lay histories of ``sizes`` lines, run the first time, then ``rounds`` ticks of each kind."""
    with ExitStack() as stack:
        shops = []
        for lines in sizes:
            say(f"growth on {dialect}: laying {lines:,} lines")
            # The shelves are full before the first order is placed.
            with clock.at(clock.now() - timedelta(days=laying.DAYS + 1)):
                url = stack.enter_context(databases.fresh(dialect))
            laying.lay(url, lines // _LINES, feed=ENTITIES)
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="oms-bench-home-"))
            shop = _Shop(lines, Path(name), url)
            say(f"growth on {dialect}: first run after {lines:,} lines")
            shop.first = shop.run()
            shops.append(shop)
        for number in range(rounds):
            say(f"growth on {dialect}: round {number + 1} of {rounds}")
            for shop in shops if number % 2 == 0 else shops[::-1]:
                shop.idle.append(shop.run())
                shop.sell(orders)
                shop.ticks.append(shop.run())
    return [figure for shop in shops for figure in _figures(dialect, shop, shops[0], orders)]


def _figures(dialect: str, shop: _Shop, smallest: _Shop, orders: int) -> list[Figure]:
    assert shop.first is not None
    assert smallest.first is not None
    name = f"{NAMES[dialect]}, {shop.lines:,} lines"
    first = Figure(
        "growth", f"{name}: first run", f"{shop.first.seconds:.1f} s", f"{ROOM} GB",
        [shop.first.gigabytes / ROOM], Aim(most=1.0),
        f"{shop.first.gigabytes:.2f} GB at most",
    )  # fmt: skip
    base = "" if shop is smallest else f"{smallest.lines:,} lines"
    found = [first]
    for case, mine, theirs in (
        ("no change", shop.idle, smallest.idle),
        (f"{orders:,} new orders", shop.ticks, smallest.ticks),
    ):
        middle = sorted(mine, key=lambda each: each.seconds)[len(mine) // 2]
        ratios = [a.seconds / b.seconds for a, b in zip(mine, theirs, strict=True)]
        found.append(
            Figure(
                "growth", f"{name}: {case}", f"{middle.seconds:.1f} s", base,
                ratios if base else [], FLAT if base else None,
                f"{middle.gigabytes:.2f} GB at most",
            )
        )  # fmt: skip
    return found
