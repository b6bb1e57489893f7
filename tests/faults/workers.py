"""Several workers at once, each a process of its own, as in production."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops.database import make_engine
from oms_ops.orders import collecting
from oms_ops.payments import operations
from tests.faults.processes import forked, without_main

forked.set_forkserver_preload([__name__])

_PATIENCE_SECONDS = 60
#: Turns of each worker; in each it goes on until it finds nothing that is due.
_TURNS = 3


def _work(url: str, environment: dict[str, str], lease: int | None, together: Any) -> None:
    os.environ.update(environment)
    if lease is not None:
        operations._LEASE = lease
    engine = make_engine(url)
    together.wait(_PATIENCE_SECONDS)
    for _ in range(_TURNS):
        collecting.hear(engine)
        collecting.perform(engine, batch=5)


def work_together(engine: Engine, workers: int, *, lease: int | None = None) -> None:
    """Let workers go on at once until nothing is due; ``lease`` is in seconds, if not the usual."""
    url = engine.url.render_as_string(hide_password=False)
    environment = {name: value for name, value in os.environ.items() if name.startswith("OMS_")}
    together = forked.Barrier(workers)
    started = [
        forked.Process(target=_work, args=(url, environment, lease, together))
        for _ in range(workers)
    ]
    with without_main():
        for each in started:
            each.start()
    for each in started:
        each.join(_PATIENCE_SECONDS)
    assert [each.exitcode for each in started] == [0] * workers
