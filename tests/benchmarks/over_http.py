"""Orders through the real server, ``oms serve``, asked over HTTP; beside it a bare one."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oms_ops.access import keys
from oms_ops.database import make_engine, run
from tests.benchmarks import clients, databases, every_rule, report
from tests.benchmarks.clients import Measured, Place
from tests.benchmarks.report import NAMES, Aim, Figure, milliseconds
from tests.benchmarks.server_call import ServerCall

_ROOT = Path(__file__).parents[2]
#: Seconds within which 99 of 100 orders are answered when 8 clients order at once.
TARGET = 0.025
#: Seconds for which a connection is used again; the server closes it after five.
_KEPT = 3.0
_WITHIN = Aim(most=1.0)
_CROWD = 8


def measure(
    dialect: str,
    *,
    preload: int,
    rounds: int,
    seconds: float,
    crowds: Sequence[int],
    workers: Sequence[int],
) -> list[Figure]:
    """Measure each number of clients and of ``workers``; a round takes ``seconds``."""
    figures = []
    with databases.fresh(dialect) as url, ExitStack() as stack:
        engine = make_engine(url)
        databases.fill(engine, 2, preload // 2)
        every_rule.publish(engine)
        if dialect == "postgresql":
            ServerCall.install(engine)
        databases.analyse(engine)
        key = run(engine, lambda connection: keys.create(connection, "clerk", "benchmark"))
        engine.dispose()
        ports = {
            f"{side} {count}": stack.enter_context(serving(module, url, count))
            for side, module in _SERVERS.items()
            for count in workers
        }
        cases = [(server, hot) for hot in (False, True) for server in ports]
        for crowd in crowds:
            measured = clients.in_turns(
                places, (ports, key), cases, clients=crowd, rounds=rounds, seconds=seconds
            )
            for count in workers:
                name = f"{NAMES[dialect]}, {report.clients(crowd)}, {count} worker"
                name += "s" if count > 1 else ""
                for hot in (False, True):
                    ours, bare = (measured[f"{side} {count}", hot] for side in _SERVERS)
                    case = f"{name}, {'hot SKU' if hot else 'uniform'}"
                    figures += _figures(case, crowd, ours, bare)
    return figures


#: What each side's server runs as: ``python -m``, with a port and workers after it.
_SERVERS = {"ours": ("oms_ops", "serve"), "bare": ("tests.benchmarks.bare_server",)}


def _figures(case: str, crowd: int, ours: Measured, bare: Measured) -> list[Figure]:
    figures = [report.compared("http", case, ours, "bare", bare, None)]
    if crowd == _CROWD:
        p99 = f"p99 {milliseconds(ours.quantile(0.99))} ms"
        ratios = [each / TARGET for each in ours.quantiles(0.99)]
        beside = f"{milliseconds(TARGET, 0)} ms"
        figures.append(Figure("http", case, p99, beside, ratios, _WITHIN))
    return figures


@contextmanager
def serving(
    module: Sequence[str], url: str, workers: int, given: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Serve on a free port of this machine for the block, with the ``given`` settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
    asked = ["--port", str(port), "--workers", str(workers)]
    with TemporaryDirectory(prefix="oms-bench-") as home:
        log = Path(home) / "serve.log"
        with log.open("w", encoding="utf-8") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", *module, *asked],
                cwd=_ROOT,
                env={**settings, "OMS_HOME": home, "OMS_DATABASE_URL": url, **(given or {})},
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


def places(ports: Mapping[str, int], key: str) -> Mapping[str, Place]:
    """Return what places an order with each server, over connections that are kept."""
    fixed = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def place_on(port: int) -> Place:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        used_at = 0.0

        def place(order: dict[str, Any], idempotency_key: str) -> Any:
            nonlocal used_at
            if time.monotonic() - used_at > _KEPT:
                # While the others had their turn; it then opens by itself.
                connection.close()
            headers = {**fixed, "Idempotency-Key": idempotency_key}
            connection.request("POST", "/v1/orders", json.dumps(order), headers)
            answer = connection.getresponse()
            body = answer.read()
            used_at = time.monotonic()
            if answer.status != 201:
                raise RuntimeError(f"{answer.status}: {body[:500]!r}")
            return json.loads(body)

        return place

    return {server: place_on(port) for server, port in ports.items()}
