"""What one capture costs with a thousand, and with a million, orders in the database.

The databases of all sizes are there at once and are asked in turns, over fresh connections, by one
client in this process: so they differ in their size and in nothing else.
"""

from __future__ import annotations

import random
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url

from oms_ops.access.actor import Actor
from oms_ops.database import make_engine
from oms_ops.orders.capture import capture
from tests.benchmarks import databases, every_rule, laying
from tests.benchmarks.clients import Measured
from tests.benchmarks.report import NAMES, Aim, Figure, milliseconds

_ACTOR = Actor("ours", "clerk")
#: As many times as long as with the fewest orders.
FLAT = Aim(most=1.2)


def measure(
    dialect: str, *, sizes: Sequence[int], rounds: int, orders: int, say: laying.Say
) -> list[Figure]:
    """Capture ``orders`` orders a round and size, after a round of warming up; smallest first."""
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        every_rule.publish(engine)
        engine.dispose()
        with ExitStack() as stack:
            shops = []
            for place, size in enumerate(sizes):
                say(f"scale on {dialect}: laying {size:,} orders")
                # The next size grows from a copy of this one, the last needs none.
                laying.lay(url, size)
                last = place == len(sizes) - 1
                shops.append(_Shop(size, url if last else stack.enter_context(_copy(url, size))))
            say(f"scale on {dialect}: measuring")
            for number in range(rounds + 1):
                for shop in shops if number % 2 == 0 else shops[::-1]:
                    shop.round(orders, count=number > 0)
            figures = [_figure(dialect, shop, shops[0]) for shop in shops]
            for shop in shops:
                shop.engine.dispose()
    return figures


@dataclass(slots=True)
class _Shop:
    """A database with so many orders, and what captures in it took."""

    size: int
    url: str
    engine: Engine = field(init=False)
    draw: random.Random = field(init=False)
    took: Measured = field(default_factory=Measured)

    def __post_init__(self) -> None:
        self.engine = make_engine(self.url, pool_size=1)
        self.draw = random.Random(0)

    def round(self, orders: int, *, count: bool) -> None:
        """Capture some orders; keep what they took if it is to ``count``."""
        took = []
        for _ in range(orders):
            order = databases.submission(self.draw, customers=laying.customers(self.size))
            key = uuid.uuid4().hex
            before = time.perf_counter()
            capture(self.engine, _ACTOR, order, idempotency_key=key)
            took.append(time.perf_counter() - before)
        if count:
            self.took.latencies.append(took)


def _figure(dialect: str, shop: _Shop, smallest: _Shop) -> Figure:
    medians, base = shop.took.quantiles(0.5), smallest.took.quantiles(0.5)
    first = shop is smallest
    return Figure(
        "scale",
        f"{NAMES[dialect]}, {shop.size:,} orders",
        f"{milliseconds(shop.took.quantile(0.5), 2)} ms",
        "" if first else f"{smallest.size:,} orders",
        [] if first else [a / b for a, b in zip(medians, base, strict=True)],
        None if first else FLAT,
        f"p99 {milliseconds(shop.took.quantile(0.99))} ms, {laying.megabytes(shop.engine):,} MB",
    )


@contextmanager
def _copy(url: str, size: int) -> Iterator[str]:
    """Give the URL of a copy of a database that nobody is connected to, for the block."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        copy = path.with_name(f"oms-{size}.db")
        shutil.copyfile(path, copy)
        yield f"sqlite:///{copy}"
        return
    name = f"{parsed.database}_{size}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE {parsed.database}")
    yield parsed.set(database=name).render_as_string(hide_password=False)


def _administer(url: str, statement: str) -> None:
    parsed = make_url(url).set(database="template1")
    engine = make_engine(parsed.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
