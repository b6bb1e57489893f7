"""Clients as processes of their own that place orders in turns: a round of one side, then the next.

Turns, because whatever else the machine does then slows all sides alike. Processes, because threads
would share Python's lock and measure that instead.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from tests.benchmarks import databases

#: Places one order, given it and its idempotency key.
Place = Callable[[dict[str, Any], str], Any]
#: Makes, in the client's process, what places orders: by the name of the side.
Prepare = Callable[..., Mapping[str, Place]]

#: A side, and whether all its orders want one SKU.
Case = tuple[str, bool]


@dataclass(slots=True)
class Measured:
    """Orders per second of each round, and the seconds that each of its orders took."""

    rates: list[float] = field(default_factory=list)
    latencies: list[list[float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median round's orders per second."""
        return statistics.median(self.rates)

    def quantiles(self, share: float) -> list[float]:
        """Return per round the seconds within which so many of its orders were done."""
        return [sorted(took)[min(len(took) - 1, int(len(took) * share))] for took in self.latencies]

    def quantile(self, share: float) -> float:
        """Return the median round's quantile."""
        return statistics.median(self.quantiles(share))

    def ratios(self, other: Measured) -> list[float]:
        """Return how many times as fast as the other side each round was."""
        return [a / b for a, b in zip(self.rates, other.rates, strict=True)]


def in_turns(
    prepare: Prepare,
    arguments: tuple[Any, ...],
    cases: Sequence[Case],
    *,
    clients: int,
    rounds: int,
    seconds: float,
) -> dict[Case, Measured]:
    """Measure the cases, a round of each after a round of the others; a round takes ``seconds``."""
    measured = {case: Measured() for case in cases}
    with _started(prepare, arguments, cases, clients) as pipes:
        for number in range(rounds):
            for case in cases if number % 2 == 0 else cases[::-1]:
                start = time.time() + 0.05
                for pipe in pipes:
                    pipe.send((case, start, seconds))
                done = [pipe.recv() for pipe in pipes]
                measured[case].rates.append(sum(len(took) / elapsed for took, elapsed in done))
                measured[case].latencies.append([each for took, _ in done for each in took])
    return measured


@contextmanager
def _started(
    prepare: Prepare, arguments: tuple[Any, ...], cases: Sequence[Case], clients: int
) -> Iterator[list[Any]]:
    """Start the clients and wait until each has warmed up; end them after the block."""
    # One process imports everything once; each client is a fresh fork of it.
    context = multiprocessing.get_context("forkserver")
    preload = ("capture", "over_http", "money")
    context.set_forkserver_preload([f"tests.benchmarks.{name}" for name in preload])
    pipes: list[Any] = []
    processes = []
    for seed in range(clients):
        here, there = context.Pipe()
        task = (prepare, arguments, cases, seed, there)
        process = context.Process(target=_client, args=task, daemon=True)
        process.start()
        # Or a client that died would leave the other end open, and us waiting.
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        for pipe in pipes:
            pipe.recv()
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _client(
    prepare: Prepare,
    arguments: tuple[Any, ...],
    cases: Sequence[Case],
    seed: int,
    pipe: Connection,
) -> None:
    """Be one client: connect afresh, warm up, then run the rounds that are asked for."""
    draw = random.Random(seed)
    sides = prepare(*arguments)
    for side in dict.fromkeys(side for side, _ in cases):
        # Past the point from which the driver sends prepared statements.
        for _ in range(12):
            sides[side](databases.submission(draw), uuid.uuid4().hex)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        (side, hot), start, seconds = task
        pipe.send(_round(sides[side], draw, hot, start, seconds))


def _round(
    place: Place, draw: random.Random, hot: bool, start: float, seconds: float
) -> tuple[list[float], float]:
    """Place orders from the moment ``start`` on; return what each took, and all together."""
    time.sleep(max(0.0, start - time.time()))
    begun = time.perf_counter()
    took: list[float] = []
    while not took or time.perf_counter() < begun + seconds:
        order, key = databases.submission(draw, hot=hot), uuid.uuid4().hex
        before = time.perf_counter()
        place(order, key)
        took.append(time.perf_counter() - before)
    return took, time.perf_counter() - begun
