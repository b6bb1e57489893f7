"""A served API that can be killed, and clients that do not give up: they ask again until answered.

Every submission has an idempotency key, and its order carries the key as its note: so what was
acknowledged can be found, and counted, whatever happened to the server in between.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops.access import keys
from oms_ops.database import make_engine, reading, run
from oms_ops.reconcile import reconcile
from tests.oms_ops.machine.replica import Replica
from tests.oms_ops.shop import Shop, order

_PATIENCE_SECONDS = 90
#: Orders that were acknowledged before a run says anything.
_ENOUGH = 20
#: Seconds that a client waits before it asks again.
_PAUSE = 0.05


class Api:
    """``oms serve`` over one database, in a process of its own."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        engine = make_engine(url)
        shop = Shop(engine)
        for number in range(1, 5):
            shop.stock(f"SKU-{number}", 400)
            shop.stock(f"SKU-{number}", 100, "NYC")
        self.key = run(engine, lambda c: keys.create(c, "admin", "load"))
        engine.dispose()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, and wait until it answers."""
        environment = {**os.environ, "OMS_HOME": str(self.home), "OMS_DATABASE_URL": self.url}
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oms_ops", "serve", "--port", str(self.port)],
                env=environment, stdout=log, stderr=log, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.address}/healthz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(self.log)

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def log(self) -> str:
        return (self.home / "api.log").read_text()


class Clients:
    """Threads that sell, pick, pack, ship and cancel until they are told to end.

    ``acknowledged`` has each order's number by its key; ``answers`` counts statuses, 0 for no
    answer; ``faults`` keeps what no caller may see.
    """

    def __init__(self, api: Api, threads: int = 6) -> None:
        self.api = api
        #: Before each of their keys.
        self.name = uuid.uuid4().hex[:8]
        self.acknowledged: dict[str, str] = {}
        self.submitted: set[str] = set()
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(threads)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # On a slow machine they are given the time for enough of them to tell something.
        until = time.monotonic() + _PATIENCE_SECONDS
        while kind is None and len(self.acknowledged) <= _ENOUGH and time.monotonic() < until:
            time.sleep(_PAUSE)
        self._end.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _work(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self.api.key}"}
        dice = random.Random(number)
        with httpx.Client(base_url=self.api.address, headers=headers, timeout=10) as client:
            count = 0
            while not self._end.is_set():
                count += 1
                self._order(client, f"{self.name}-{number}-{count}", dice)

    def _order(self, client: httpx.Client, key: str, dice: random.Random) -> None:
        """Sell something, and take it further."""
        skus = dice.sample([f"SKU-{n}" for n in range(1, 5)], 2)
        body = order(*((sku, dice.randint(1, 3)) for sku in skus), note=key, allow_backorder=True)
        self.submitted.add(key)
        made = self._ask(client, "POST", "/v1/orders", json=body, headers={"Idempotency-Key": key})
        number = made["number"]
        first = self.acknowledged.setdefault(key, number)
        if first != number:
            self.faults.append(f"{key} is {first} and {number}")
        what = dice.random()
        if what < 0.3:
            self._ask(client, "POST", f"/v1/orders/{number}/cancel", json={"reason": "no more"})
        elif what < 0.7:
            shipments = self._ask(client, "GET", f"/v1/orders/{number}/shipments")["data"]
            for step in ("pick", "pack", "ship"):
                for shipment in shipments:
                    self._ask(client, "POST", f"/v1/shipments/{shipment['id']}/{step}")

    def _ask(self, client: httpx.Client, method: str, path: str, **how: Any) -> Any:
        """Ask until there is an answer that is not about the database being away."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                answer = client.request(method, path, **how)
            except httpx.TransportError:
                self.answers[0] += 1
                time.sleep(_PAUSE)
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 503 and answer.headers.get("Retry-After"):
                time.sleep(_PAUSE)
                continue
            # A step that was done, although its answer was lost, is refused the second time.
            if answer.status_code not in (200, 201, 409):
                self.faults.append(f"{method} {path}: {answer.status_code} {answer.text}")
            return answer.json()
        raise AssertionError(f"{method} {path}: no answer in {_PATIENCE_SECONDS} s")


def check(api: Api, clients: Clients) -> None:
    """Every order that was acknowledged is there once, no other twice, and the books agree."""
    assert clients.faults == []
    assert len(clients.acknowledged) > _ENOUGH, clients.answers
    done = subprocess.run(
        [sys.executable, "-m", "oms_ops", "reconcile"],
        env={**os.environ, "OMS_HOME": str(api.home), "OMS_DATABASE_URL": api.url},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    engine = make_engine(api.url)
    assert [finding for finding in reconcile(engine) if finding.count] == []
    stored = _numbers(engine, clients.name)
    assert {key: numbers for key, numbers in stored.items() if len(numbers) > 1} == {}
    assert {key: stored.get(key) for key in clients.acknowledged} == {
        key: [number] for key, number in clients.acknowledged.items()
    }
    assert stored.keys() <= clients.submitted
    replica = Replica()
    assert replica.differences(engine) == {}
    assert replica.gaps() == []
    engine.dispose()


def _numbers(engine: Engine, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    ours = sa.text("SELECT note, number FROM orders WHERE note LIKE :ours")
    with reading(engine) as connection:
        for key, number in connection.execute(ours, {"ours": f"{name}-%"}):
            found.setdefault(key, []).append(number)
    return found
