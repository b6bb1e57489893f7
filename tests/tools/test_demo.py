"""``make demo SERVE=0``, whole, on a small slice: real load, real pipeline, real snapshot."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from oms_ops.database import make_engine, reading
from oms_ops.demo import source
from oms_ops.settings import settings
from tools import demo

pytestmark = pytest.mark.skipif(not source.available(), reason="the extra 'demo' is not installed")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take two weeks of sixty goods, and do not serve."""
    monkeypatch.setattr(source, "WEEKS", 2)
    monkeypatch.setattr(source, "ASSORTMENT", 60)
    monkeypatch.setenv("SERVE", "0")
    monkeypatch.delenv("DBT_THREADS", raising=False)


def _changes() -> int:
    engine = make_engine(settings().url)
    with reading(engine) as connection:
        newest = connection.scalar(sa.text("SELECT max(seq) FROM change_log"))
    engine.dispose()
    return int(newest or 0)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_second_run_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    first = capfd.readouterr().out
    for said in ("SKUs to reorder", "net sales", "stock value", "published in", "seconds"):
        assert said in first
    changes, current = _changes(), (settings().published / "current.duckdb").resolve()
    assert changes > 0

    assert demo.main() == 0
    second = capfd.readouterr().out
    assert "loaded already" in second
    assert "unchanged in" in second
    assert _changes() == changes
    assert (settings().published / "current.duckdb").resolve() == current
    # But for times, what it says is the same.
    assert _figures(second) == _figures(first)


def _figures(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("  ") and "seconds" not in line]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_pipeline_that_publishes_nothing_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # The process of the pipeline ends before it is told to go.
    monkeypatch.setattr(demo.sys, "executable", "/bin/false")
    assert demo.main() == 1
    assert "published nothing" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 3, 6])
def test_a_pipeline_that_gets_ready_ends_at_once_and_in_silence(seconds: float) -> None:
    home = settings().home
    home.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.warm_pipeline"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    if seconds > 1:  # Before that Python itself is starting, and says so.
        assert said == b""
    assert process.returncode != 0
    assert not (home / "published").exists()
