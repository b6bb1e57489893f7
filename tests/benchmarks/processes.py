"""Whole processes that are measured: wall time, and the most memory that each held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """What a process took: wall time, and the most memory that it held."""

    seconds: float
    gigabytes: float


def process(home: Path, url: str, *module: str) -> Run:
    """Run a module of the house to its end, in a process of its own; it must succeed."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("OMS_")}
    with tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=_ROOT,
            env={**settings, "OMS_HOME": str(home), "OMS_DATABASE_URL": url},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        run = waited(child, start)
        if child.returncode:
            printed.seek(0)
            raise RuntimeError(f"{' '.join(module)}: {printed.read().decode()[-3000:]}")
    return run


def waited(child: subprocess.Popen[bytes], start: float) -> Run:
    """Wait for a process that began at ``start``; return what it took."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts the most memory in kilobytes.
    return Run(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9)
