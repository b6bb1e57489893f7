"""Work with money in a process of its own that dies, as by a power cut, between two given steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops.database import make_engine, run
from oms_ops.orders import collecting
from oms_ops.payments import commands as payments
from oms_ops.payments import messages
from oms_ops.payments.commands import RefundRequest
from tests.faults.processes import forked, without_main
from tests.oms_ops.shop import CLERK

#: A server that has imported everything forks the children: each is there in some milliseconds.
forked.set_forkserver_preload([__name__])

_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Point:
    """A place between two steps: before or after the ``count``-th call of a function of a module.

    What is called inside a transaction dies with it uncommitted.
    """

    module: str
    name: str
    when: str = "after"
    count: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.module}.{self.name} ({self.count})"

    def arm(self) -> None:
        """Let this process die there."""
        path = f"oms_ops.{self.module}"
        holder: Any
        if self.module.rpartition(".")[2][0].isupper():
            path, _, kind = path.rpartition(".")
            holder = getattr(import_module(path), kind)
        else:
            holder = import_module(path)
        really = getattr(holder, self.name)
        left = self.count

        def dies(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = really(*given, **named)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(holder, self.name, dies)


def capture(engine: Engine, payment_id: int, amount: int) -> None:
    run(engine, lambda c: payments.capture(c, CLERK, [payment_id], amount))
    collecting.perform(engine)


def refund(engine: Engine, payment_id: int, amount: int) -> None:
    request = RefundRequest(payment_id, amount, "killed")
    run(engine, lambda c: payments.refund(c, CLERK, [request]))
    collecting.perform(engine)


def receive(engine: Engine, headers: dict[str, str], body: bytes) -> None:
    messages.receive(engine, "fake", headers, body)


def hear(engine: Engine) -> None:
    collecting.hear(engine)


def _child(
    url: str, environment: dict[str, str], point: Point, work: Callable[..., None], given: Any
) -> None:
    os.environ.update(environment)
    engine = make_engine(url)
    point.arm()
    work(engine, *given)


def killed(engine: Engine, point: Point, work: Callable[..., None], *given: Any) -> None:
    """Do the work in a process that has to die at the point."""
    url = engine.url.render_as_string(hide_password=False)
    environment = {name: value for name, value in os.environ.items() if name.startswith("OMS_")}
    child = forked.Process(target=_child, args=(url, environment, point, work, given))
    with without_main():
        child.start()
    child.join(_PATIENCE_SECONDS)
    assert child.exitcode == -signal.SIGKILL, f"{point} was not reached: {child.exitcode}"
