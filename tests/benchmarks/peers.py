"""The first load of order lines and the changes after it, beside dlt and beside DuckDB's scanner.

Each side is a process of its own: its seconds are those of the load, without imports, its memory
is all that the process held. The log holds the order lines alone, a change each, as dlt reads the
table alone; dlt appends the changed rows, which is less than to merge them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import Engine, make_url

from oms_ops import clock
from oms_ops.database import as_time, execute, make_engine, transaction
from tests.benchmarks import databases, ingest, laying
from tests.benchmarks.processes import waited
from tests.benchmarks.report import NAMES, Aim, Figure

_ROOT = Path(__file__).parents[2]
#: Where `make bench` puts what only the comparison needs.
PYTHON = _ROOT / ".venv-peers" / "bin" / "python"
_LINES = 3
FASTER = {"first load": Aim(least=1.0), "changes": Aim(least=3.0)}
LESS = Aim(most=1.0)

#: A first load is read by a process of its own, whose memory counts as well.
_LAND = """
import json, resource, sys, time
from pathlib import Path
from oms_ops.database import make_engine
from pipelines.lib import landing
engine = make_engine(sys.argv[1])
start = time.perf_counter()
done = landing.land(engine, Path(sys.argv[2]) / "changes")
took = time.perf_counter() - start
held = [resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"rows": done.rows, "seconds": took, "gigabytes": sum(held) * 1024 / 1e9}))
"""


@dataclass(slots=True)
class _Side:
    """What loads of one side took: seconds and gigabytes, a load each."""

    seconds: list[float] = field(default_factory=list)
    gigabytes: list[float] = field(default_factory=list)


def measure(
    dialect: str, *, lines: int, changes: int, rounds: int, say: laying.Say
) -> list[Figure]:
    """Load ``lines`` lines into fresh places, then ``changes`` changes; ``rounds`` times each."""
    with databases.fresh(dialect) as url, tempfile.TemporaryDirectory(prefix="oms-peers-") as name:
        say(f"peers on {dialect}: laying {lines:,} lines")
        laying.lay(url, lines // _LINES, feed=("order_lines",))
        engine = make_engine(url)
        _only(engine, "order_lines")
        figures = []
        for case in ("first load", "changes"):
            sides: dict[str, _Side] = {"ours": _Side(), "dlt": _Side(), "scanner": _Side()}
            for number in range(rounds + 1):
                say(f"peers on {dialect}: {case}, round {number} of {rounds}")
                # The changes come on top of the last of the first loads.
                folder = Path(name) / (f"{number}" if case == "first load" else f"{rounds}")
                after = ingest.last(engine) if case == "changes" else 0
                if case == "changes":
                    _touch(engine, changes, number)
                expected = changes if case == "changes" else lines // _LINES * _LINES
                for side in sides if number % 2 == 0 else reversed(sides):
                    _load(side, url, folder, after, expected, sides[side], count=number > 0)
            figures += _figures(dialect, case, expected, sides)
        engine.dispose()
    return figures


def _load(
    side: str, url: str, folder: Path, after: int, expected: int, kept: _Side, *, count: bool
) -> None:
    folder.mkdir(exist_ok=True)
    if side == "ours":
        command = [sys.executable, "-c", _LAND, url, str(folder)]
    elif side == "dlt":
        script = str(_ROOT / "tests" / "benchmarks" / "dlt_load.py")
        plain = make_url(url).set(drivername=make_url(url).get_backend_name())
        address = plain.render_as_string(hide_password=False)
        command = [str(PYTHON), script, address, str(folder), "order_lines"]
    else:
        command = ingest.scan(url, after, folder / f"scan-{after}.parquet")
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(command, cwd=_ROOT, stdout=printed, stderr=subprocess.STDOUT)
        run = waited(child, time.perf_counter())
        printed.seek(0)
        said = printed.read().decode()
    if child.returncode:
        raise RuntimeError(f"{side}: {said[-3000:]}")
    told = json.loads(said.splitlines()[-1])
    if told["rows"] != expected:
        raise AssertionError(f"{side} loaded {told['rows']} rows, there are {expected}")
    if count:
        kept.seconds.append(told["seconds"])
        kept.gigabytes.append(told.get("gigabytes", run.gigabytes))


def _figures(dialect: str, case: str, rows: int, sides: dict[str, _Side]) -> list[Figure]:
    ours, theirs, scanner = sides["ours"], sides["dlt"], sides["scanner"]
    name = f"{NAMES[dialect]}, {case} of {rows:,} lines"
    return [
        Figure(
            "peers", f"{name}: seconds", f"{_middle(ours.seconds):.2f} s",
            f"dlt {_middle(theirs.seconds):.2f} s",
            [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)], FASTER[case],
        ),
        Figure(
            "peers", f"{name}: seconds", f"{_middle(ours.seconds):.2f} s",
            f"scanner {_middle(scanner.seconds):.2f} s",
            [b / a for a, b in zip(ours.seconds, scanner.seconds, strict=True)],
        ),
        Figure(
            "peers", f"{name}: memory", f"{_middle(ours.gigabytes) * 1000:.0f} MB",
            f"dlt {_middle(theirs.gigabytes) * 1000:.0f} MB",
            [a / b for a, b in zip(ours.gigabytes, theirs.gigabytes, strict=True)], LESS,
            f"scanner {_middle(scanner.gigabytes) * 1000:.0f} MB",
        ),
    ]  # fmt: skip


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _only(engine: Engine, entity: str) -> None:
    """Leave the changes of one table in the log: those of the catalogue go."""
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"DELETE FROM change_log WHERE entity <> '{entity}'")


def _touch(engine: Engine, changes: int, number: int) -> None:
    """Change so many lines, other ones each time."""
    first = number * changes
    with transaction(engine) as connection:
        execute(
            connection,
            "UPDATE order_lines SET version = version + 1, changed_at = :now"
            " WHERE id > :first AND id <= :last",
            {
                "now": as_time(connection, clock.now()),
                "first": first,
                "last": first + changes,
            },
        )
