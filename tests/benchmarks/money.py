"""Captures through the fake gateway, webhooks over HTTP, and folds; each beside one by hand."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import execute, make_engine, reading, run
from oms_ops.orders import collecting
from oms_ops.orders.capture import capture as capture_order
from oms_ops.payments import commands as payments
from oms_ops.payments import messages, operations
from oms_ops.payments.gateways.fake import Fake
from oms_ops.payments.gateways.registry import gateway
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from tests.benchmarks import clients, databases, report
from tests.benchmarks.clients import Place
from tests.benchmarks.money_by_hand import MoneyByHand
from tests.benchmarks.over_http import serving
from tests.benchmarks.report import NAMES, Figure

_ADMIN = Actor("benchmark", "admin")
#: Milliseconds that the gateway takes to answer.
ANSWERS = (0, 20)
#: Manual captures: nothing but what is asked for is captured.
_RULES = {"payments": {"gateways": {"card": "fake"}, "capture": "manual"}}
#: Minor units of each capture: every payment has room for thousands.
_PART = 1


def measure(dialect: str, *, preload: int, rounds: int, seconds: float, crowd: int) -> list[Figure]:
    """Measure with ``crowd`` clients; a round takes ``seconds``."""
    figures = []
    with (
        databases.fresh(dialect) as url,
        TemporaryDirectory(prefix="oms-bench-fake-") as home,
        _playing(home, 0),
    ):
        engine = make_engine(url)
        paid = _authorised(engine, max(crowd, preload // 12))
        databases.analyse(engine)
        for answer in ANSWERS:
            measured = clients.in_turns(
                captures,
                (url, home, answer, paid, crowd),
                [("ours", False), ("hand", False)],
                clients=crowd,
                rounds=rounds,
                seconds=seconds,
            )
            case = f"Captures, {NAMES[dialect]}, {report.clients(crowd)}, {answer} ms"
            ours, hand = (measured[side, False] for side in ("ours", "hand"))
            figures.append(report.compared("payments", case, ours, "hand", hand, None))
        figures.append(_intake(url, home, dialect, rounds, seconds, crowd))
        figures.append(_folds(engine, url, dialect, rounds, max(10, preload // 20)))
        wrong = [finding for finding in reconcile(engine) if finding.count]
        if wrong:
            raise AssertionError(wrong)
        engine.dispose()
    return figures


@contextmanager
def _playing(home: str, milliseconds: int) -> Iterator[None]:
    """Let this process open the fake gateway over books in a folder, for the block."""
    before = dict(os.environ)
    _play(home, milliseconds)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        gateway.cache_clear()


def _play(home: str, milliseconds: int) -> None:
    os.environ.update(_settings(home, milliseconds))
    gateway.cache_clear()


def _settings(home: str, milliseconds: int) -> dict[str, str]:
    return {
        "OMS_FAKE_ENABLED": "1",
        "OMS_FAKE_FILE": str(Path(home) / "fake.db"),
        "OMS_FAKE_MILLISECONDS": str(milliseconds),
    }


def _authorised(engine: Engine, count: int) -> list[int]:
    """Return payments of orders that the gateway holds the money of."""
    run(engine, lambda c: store.publish(c, _ADMIN, _RULES))
    draw = random.Random(1)
    for _ in range(count):
        order = {**databases.submission(draw), "payment": {"method": "card"}}
        capture_order(engine, _ADMIN, order, idempotency_key=uuid.uuid4().hex)
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT id FROM payments WHERE gateway = 'fake'")
        ids = [row[0] for row in rows]
    run(engine, lambda c: [operations.authorise(c, _ADMIN, i, token="tok") for i in ids])
    collecting.perform(engine)
    return ids


def captures(
    url: str, home: str, milliseconds: int, paid: Sequence[int], crowd: int
) -> Mapping[str, Place]:
    """Return what captures a part of one payment after the other, on each side."""
    _play(home, milliseconds)
    fake = gateway("fake")
    assert isinstance(fake, Fake)
    engine = make_engine(url, pool_size=2)
    hand = MoneyByHand(url, "hand")
    mine = itertools.cycle(paid[_slot(home) % crowd :: crowd])

    def ours(_: dict[str, Any], __: str) -> None:
        payment_id = next(mine)
        run(engine, lambda c: payments.capture(c, _ADMIN, [payment_id], _PART))
        if collecting.perform(engine, payment_ids=[payment_id]) != 1:
            raise AssertionError("the capture was not settled")

    return {"ours": ours, "hand": lambda _, __: hand.capture(fake, next(mine), _PART)}


def _slot(home: str) -> int:
    """Return a number that no other client has, so that each has payments of its own."""
    for number in itertools.count():
        try:
            (Path(home) / f"client-{number}").mkdir()
        except FileExistsError:
            continue
        return number
    raise AssertionError("unreachable")


def _intake(url: str, home: str, dialect: str, rounds: int, seconds: float, crowd: int) -> Figure:
    settings = _settings(home, 0)
    with ExitStack() as stack:
        ports = {
            side: stack.enter_context(serving(module, url, 1, settings))
            for side, module in {
                "ours": ("oms_ops", "serve"),
                "bare": ("tests.benchmarks.bare_intake",),
            }.items()
        }
        measured = clients.in_turns(
            posts,
            (ports, home),
            [(side, False) for side in ports],
            clients=crowd,
            rounds=rounds,
            seconds=seconds,
        )
    case = f"Webhooks over HTTP, {NAMES[dialect]}, {report.clients(crowd)}"
    ours, bare = measured["ours", False], measured["bare", False]
    return report.compared("payments", case, ours, "bare", bare, None)


def posts(ports: Mapping[str, int], home: str) -> Mapping[str, Place]:
    """Return what sends a new signed message to each server, over connections that are kept."""
    _play(home, 0)
    fake = gateway("fake")
    assert isinstance(fake, Fake)

    def post_to(port: int) -> Place:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def post(_: dict[str, Any], key: str) -> None:
            headers, body = fake.signed(key, _event("ping", "nobody", key))
            for attempt in (1, 2):
                try:
                    connection.request("POST", "/v1/webhooks/fake", body, headers)
                    answer = connection.getresponse()
                    break
                except (http.client.HTTPException, OSError):
                    # The server closed it while the other had its turn.
                    connection.close()
                    if attempt == 2:
                        raise
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {content[:500]!r}")

        return post

    return {side: post_to(port) for side, port in ports.items()}


def _event(kind: str, payment: str, reference: str) -> bytes:
    return json.dumps(
        {"at": clock.now().isoformat(), "kind": kind, "payment": payment, "key": None,
         "reference": reference, "target": None, "amount": _PART, "currency": "USD"}
    ).encode()  # fmt: skip


def _folds(engine: Engine, url: str, dialect: str, rounds: int, count: int) -> Figure:
    """Fold the news of so many captures in each round, made at the gateway itself."""
    collecting.hear(engine)
    hand = MoneyByHand(url, "hand")
    sides: dict[str, Callable[[], int]] = {
        "ours": lambda: collecting.hear(engine),
        "hand": hand.fold,
    }
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, fold in sides.items():
            _send(engine, count)
            start = time.perf_counter()
            folded = fold()
            took = time.perf_counter() - start
            if folded != count:
                raise AssertionError(f"{side} folded {folded} of {count}")
            if number:  # the first one warms up
                rates[side].append(count / took)
    with reading(engine) as connection:
        applied = connection.exec_driver_sql(
            "SELECT count(*) FROM gateway_messages WHERE status = 'applied'"
        ).scalar_one()
    if applied != 2 * count * (rounds + 1):
        raise AssertionError(f"{applied} messages were applied")
    ours, other = (sorted(rates[side])[len(rates[side]) // 2] for side in sides)
    return Figure(
        "payments",
        f"Folds, {NAMES[dialect]}, {count} messages",
        f"{report.rate(ours)}/s",
        f"hand {report.rate(other)}/s",
        [mine / theirs for mine, theirs in zip(rates["ours"], rates["hand"], strict=True)],
    )


def _send(engine: Engine, count: int) -> None:
    """Let the gateway send the news of captures that nobody here asked for."""
    fake = gateway("fake")
    assert isinstance(fake, Fake)
    with reading(engine) as connection:
        rows = execute(
            connection,
            "SELECT gateway_reference FROM payments WHERE gateway = 'fake' ORDER BY id",
            {},
        )
        known = itertools.cycle([row[0] for row in rows.fetchall()])
    for _ in range(count):
        key = uuid.uuid4().hex
        headers, body = fake.signed(key, _event("captured", next(known), f"fc-{key}"))
        messages.receive(engine, "fake", headers, body)
