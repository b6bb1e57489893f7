"""The order of the tests: each is there once, and what takes long begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.order import SECONDS, arranged


def item(name: str, *fixtures: str, **parameters: str) -> Any:
    callspec = SimpleNamespace(params=parameters)
    return SimpleNamespace(nodeid=name, fixturenames=fixtures, callspec=callspec)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 3, 1000])
def test_every_test_is_there_once_and_each_worker_begins_with_long_ones(
    workers: int, count: int
) -> None:
    short = [item(f"tests/test_short.py::{number}") for number in range(count)]
    modules = [item(f"{module}::one") for module in SECONDS if module.endswith(".py")]
    worlds = [
        item(f"tests/pipelines/test_{kind}.py::{number}", "world", _world=kind)
        for kind in ("sqlite", "postgres")
        for number in range(4)
    ]
    items = [*short, *worlds[::2], *modules, *worlds[1::2]]
    found = arranged(items, workers)
    assert sorted(each.nodeid for each in found) == sorted(each.nodeid for each in items)
    if count == 1000:
        starts = [0]
        for left in range(workers, 1, -1):
            starts.append(starts[-1] + (len(items) - starts[-1]) // left)
        assert not [n for n in starts if "short" in found[n].nodeid]
        # A world is made once: its tests follow one another.
        for kind in ("sqlite", "postgres"):
            places = [n for n, each in enumerate(found) if f"_{kind}.py" in each.nodeid]
            assert places[-1] - places[0] == 3
