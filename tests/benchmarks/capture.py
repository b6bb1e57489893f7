"""Single-order capture per second, in turns with the same order written by hand."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
import uuid
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from oms_ops.access.actor import Actor
from oms_ops.database import make_engine, reading
from oms_ops.orders.capture import capture
from tests.benchmarks import databases
from tests.benchmarks.handwritten import ACTOR, Handwritten
from tests.benchmarks.report import NAMES, Figure, milliseconds, rate

SIDES = ("ours", "hand")


def measure(dialect: str, *, preload: int, rounds: int, seconds: float) -> list[Figure]:
    """Measure 1 and 8 clients, ``preload`` lines being there; a round a side takes ``seconds``."""
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        databases.fill(engine, 2, preload // 2)
        figures = [_clients(url, dialect, clients, rounds, seconds) for clients in (1, 8)]
        _check(engine)
        engine.dispose()
    return figures


def _clients(url: str, dialect: str, clients: int, rounds: int, seconds: float) -> Figure:
    # One process imports everything once; each client is a fresh fork of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.benchmarks.capture"])
    pipes: list[Any] = []
    processes = []
    for seed in range(clients):
        here, there = context.Pipe()
        process = context.Process(target=_client, args=(url, seed, there), daemon=True)
        process.start()
        # Or a client that died would leave the other end open, and us waiting.
        there.close()
        pipes.append(here)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    latencies: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            start = time.time() + 0.05
            for pipe in pipes:
                pipe.send((side, start, seconds))
            took = [pipe.recv() for pipe in pipes]
            rates[side].append(sum(len(each) for each in took) / seconds)
            latencies[side] += [latency for each in took for latency in each]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join(10)
    ratios = [ours / hand for ours, hand in zip(rates["ours"], rates["hand"], strict=True)]
    note = ", ".join(
        f"{side} p50 {milliseconds(_quantile(latencies[side], 0.5))}"
        f" p99 {milliseconds(_quantile(latencies[side], 0.99))} ms"
        for side in SIDES
    )
    return Figure(
        "Capture, orders/s",
        f"{NAMES[dialect]}, {clients} client{'s' if clients > 1 else ''}",
        rate(statistics.median(rates["ours"])),
        rate(statistics.median(rates["hand"])),
        f"{statistics.median(ratios):.2f}",
        note,
    )


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _client(url: str, seed: int, pipe: Connection) -> None:
    """Be one client: connect afresh, warm up, then run the rounds that are asked for."""
    draw = random.Random(seed)
    engine = make_engine(url, pool_size=1)
    actor = Actor(ACTOR, "clerk")
    hand = Handwritten(url)
    sides: dict[str, Callable[[dict[str, Any], str], Any]] = {
        "ours": lambda order, key: capture(engine, actor, order, idempotency_key=key),
        "hand": lambda order, key: hand.place(order, key, key + key),
    }
    for place in sides.values():
        # Past the point from which the driver sends prepared statements.
        for _ in range(10):
            place(databases.submission(draw), uuid.uuid4().hex)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        side, start, seconds = task
        pipe.send(_round(sides[side], draw, start, seconds))
    engine.dispose()


def _round(
    place: Callable[[dict[str, Any], str], Any], draw: random.Random, start: float, seconds: float
) -> list[float]:
    """Place orders from the moment ``start`` on; return the latencies of those done in time."""
    time.sleep(max(0.0, start - time.time()))
    end = start + seconds
    took = []
    while time.time() < end:
        order, key = databases.submission(draw), uuid.uuid4().hex
        before = time.perf_counter()
        place(order, key)
        took.append(time.perf_counter() - before)
    return took


def _check(engine: Any) -> None:
    """Both sides must have left the same rows per order, or they were not the same work."""
    with reading(engine) as connection:
        (orders,) = connection.exec_driver_sql(
            "SELECT count(*) FROM orders WHERE channel = 'web'"
        ).one()
        rows = connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM order_lines AS l WHERE l.order_id = o.id),"
            " (SELECT count(*) FROM shipments AS s JOIN shipment_lines AS sl"
            "  ON sl.shipment_id = s.id WHERE s.order_id = o.id),"
            " (SELECT count(*) FROM payments AS p WHERE p.order_id = o.id)"
            " FROM orders AS o WHERE o.channel = 'web'"
        ).all()
        (messages,) = connection.exec_driver_sql("SELECT count(*) FROM outbox_messages").one()
        (keys,) = connection.exec_driver_sql("SELECT count(*) FROM idempotency_keys").one()
    assert {tuple(row) for row in rows} == {(3, 3, 1)}
    assert orders == messages == keys
