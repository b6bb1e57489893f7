"""Which worker begins with what, so that no long test is left for the end and none is set up twice.

``--dist worksteal`` gives each worker a slice of the list, and to whoever is done the end of
another's. What takes long stands at the heads of the slices therefore, shared out evenly; tests
that share something dear stay together.
"""

from __future__ import annotations

from itertools import islice

import pytest

#: What takes long, by a fixture or by a module (or folder): its seconds alone, in all. Only their
#: proportions matter.
SECONDS = {
    "sqlite_world": 350,
    "postgres_world": 20,
    "served": 25,
    "tests/benchmarks/test_benchmarks_run.py": 50,
    "tests/dbt/test_feed_horizon.py": 18,
    "tests/dbt/test_increments_equal_rebuild.py": 38,
    "tests/dbt/test_money.py": 16,
    "tests/dbt/test_staging.py": 25,
    "tests/dbt/test_unit_tests.py": 25,
    "tests/faults/test_killed_api.py": 30,
    "tests/faults/test_killed_payments.py": 15,
    "tests/oms_ops/payments/test_claims.py": 10,
    "tests/oms_ops/payments/test_fault_matrix.py": 10,
    "tests/oms_ops/test_bulk.py": 7,
    "tests/oms_ops/test_demo.py": 30,
    "tests/oms_ops/test_machine.py": 65,
    "tests/oms_ops/test_online_retail.py": 10,
    "tests/pipelines/test_definitions.py": 7,
    "tests/pipelines/test_horizon.py": 22,
    "tests/pipelines/test_six_writers.py": 2,
    "tests/tools/test_demo.py": 28,
}

#: Builds with dbt, which each process has to parse and load first.
TOGETHER = "tests/dbt/"


def arranged(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the tests in the order in which they are cut into equal slices, one a worker."""
    long: dict[str, list[pytest.Item]] = {}
    short: list[pytest.Item] = []
    for item in items:
        key = _key(item)
        (short if key is None else long.setdefault(key, [])).append(item)
    groups: dict[str, list[str]] = {}
    for key in long:
        groups.setdefault(TOGETHER if key.startswith(TOGETHER) else key, []).append(key)
    heads: list[list[str]] = [[] for _ in range(workers)]
    for keys in sorted(groups.values(), key=_seconds, reverse=True):
        min(heads, key=_seconds).extend(keys)
    found: list[pytest.Item] = []
    rest = iter(short)
    for number, head in enumerate(heads):
        slice_ = [item for key in head for item in long[key]]
        # As many as the scheduler will give: a part of what is left.
        size = (len(items) - len(found)) // (workers - number)
        found += [*slice_, *islice(rest, max(0, size - len(slice_)))]
    return [*found, *rest]


def _seconds(keys: list[str]) -> int:
    return sum(SECONDS[key] for key in keys)


def _key(item: pytest.Item) -> str | None:
    """Return what makes a test long, None when nothing does."""
    module = item.nodeid.partition("::")[0]
    # A world is a parameter where a test takes both.
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    names = {f"{parameters.get('_world')}_world", *getattr(item, "fixturenames", ()), module}
    return next((key for key in SECONDS if key in names), None)
