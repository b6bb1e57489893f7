"""Orders through the real server: ``oms serve`` as it is started by default, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oms_ops.access import keys
from oms_ops.database import make_engine, run
from tests.benchmarks import clients, databases, every_rule
from tests.benchmarks.clients import Place
from tests.benchmarks.report import NAMES, Figure, milliseconds, rate, spread

_ROOT = Path(__file__).parents[2]
_CASES = (("http", False),)
#: Seconds within which 99 of 100 orders are answered when 8 clients order at once.
TARGET = 0.025


def measure(
    dialect: str, *, preload: int, rounds: int, seconds: float, crowds: Sequence[int]
) -> list[Figure]:
    """Measure each number of clients that keep their connections; a round takes ``seconds``."""
    figures = []
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        databases.fill(engine, 2, preload // 2)
        every_rule.publish(engine)
        databases.analyse(engine)
        key = run(engine, lambda connection: keys.create(connection, "clerk", "benchmark"))
        engine.dispose()
        with TemporaryDirectory(prefix="oms-bench-") as home, serving(url, Path(home)) as port:
            for crowd in crowds:
                measured = clients.in_turns(
                    places, (port, key), _CASES, clients=crowd, rounds=rounds, seconds=seconds
                )["http", False]
                figures.append(
                    Figure(
                        "HTTP, orders/s",
                        f"{NAMES[dialect]}, {crowd} client{'s' if crowd > 1 else ''}",
                        rate(measured.rate),
                        f"p99 under {milliseconds(TARGET)} ms",
                        f"{TARGET / measured.quantile(0.99):.2f}",
                        spread(measured),
                    )
                )
    return figures


@contextmanager
def serving(url: str, home: Path) -> Iterator[int]:
    """Serve the API on a free port of this machine for the block; ``home`` gets its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
    log = home / "serve.log"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "oms_ops", "serve", "--port", str(port)],
            cwd=_ROOT,
            env={**settings, "OMS_HOME": str(home), "OMS_DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(server, port, log)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-2000:]}")


def places(port: int, key: str) -> Mapping[str, Place]:
    """Return what places an order over a connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    fixed = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def place(order: dict[str, Any], idempotency_key: str) -> Any:
        headers = {**fixed, "Idempotency-Key": idempotency_key}
        connection.request("POST", "/v1/orders", json.dumps(order), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {body[:500]!r}")
        return json.loads(body)

    return {"http": place}
