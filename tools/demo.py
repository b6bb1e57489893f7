"""``make demo``: database, real orders, one pipeline run, a summary; then all of it is served.

Everything is done once: a second run finds each stage's work done and goes on. ``SERVE=0`` in the
environment ends after the summary.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tools.supervisor import ChildFailed, Service, Supervisor, end, signals_interrupt

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy.engine import Engine

ROOT = Path(__file__).parents[1]
#: A cold machine reads a gigabyte of packages before the slowest of the services answers.
START_SECONDS = 180


class StageFailed(RuntimeError):
    """A stage could not do its work; it has said why."""


class Demo:
    """One run of the demo on the shop below ``OMS_HOME``."""

    def __init__(self) -> None:
        from rich.console import Console

        from oms_ops.database import make_engine
        from oms_ops.settings import settings

        self.home = settings().home
        self.snapshot = settings().published / "current.duckdb"
        self.console: Console = Console(highlight=False, soft_wrap=True)
        self.engine: Engine = make_engine(settings().url)
        self.seconds: dict[str, float] = {}
        self.notes: dict[str, str] = {}

    def line(self, name: str, seconds: float, note: str = "") -> None:
        """Print a finished stage."""
        self.console.print(f"{name:<26}{seconds:7.1f} s   {note}", markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of the block and print it, with the note that the block leaves."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.line(name, self.seconds[name], self.notes.get(name, ""))

    # --- the stages ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Create what is not there yet, up to a published snapshot.

        Raises:
            StageFailed: the pipeline published nothing.
        """
        pipeline = None if self.snapshot.exists() else _pipeline("tools.warm_pipeline")
        try:
            with self.stage("database"):
                self._create()
            with self.stage("orders"):
                self._load()
            with self.stage("pipeline"):
                pipeline = pipeline or _pipeline("pipelines.run")
                _run(pipeline)
        except KeyboardInterrupt:
            self.console.print("\nending; once more ends it at once")
            raise
        finally:
            if pipeline is not None:
                # As Ctrl-C would: Dagster then closes the run instead of leaving it open.
                end([pipeline], 10, first=signal.SIGINT)

    def _create(self) -> None:
        from oms_ops.setup import init

        init(self.engine)
        self.notes["database"] = self.engine.url.render_as_string(hide_password=True)

    def _load(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

        from oms_ops.demo.load import load

        parts = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        bars = Progress(
            *parts, console=self.console, transient=True, disable=not self.console.is_terminal
        )
        with bars:
            task = bars.add_task("orders, day by day", total=None)
            done = load(
                self.engine,
                progress=lambda day, days: bars.update(task, completed=day, total=days),
            )
        self.notes["orders"] = (
            f"{done.orders:,} orders with {done.lines:,} lines over {done.days} days"
            if done.days
            else "loaded already"
        )

    def summarise(self) -> None:
        """Print the figures of the snapshot and where the time went."""
        from tools import summary

        rows = summary.read(self.snapshot).rows()
        times = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
        rows.append(("seconds", f"{times}; {sum(self.seconds.values()):.1f} in all"))
        self.console.print()
        for label, figure in rows:
            self.console.print(f"  {label:<18}{figure}", markup=False)
        self.console.print()

    # --- serving ------------------------------------------------------------------------------

    def serve(self) -> int:
        """Serve until a signal comes or nothing is left to serve; return the exit code."""
        from pipelines.lib.files import Busy, exclusive
        from tools import services

        told = self.home / "addresses.txt"
        try:
            with exclusive(self.home / "serving.lock", wait_seconds=0):
                served = services.plan(self.home, services.keys(self.engine, self.home))
                with Supervisor(self.home / "logs", ROOT) as supervisor:
                    for service in served.in_order():
                        supervisor.start(service)
                    for service in self._waiting(supervisor):
                        self.console.print(f"  {service.name:<18}{service.address}", markup=False)
                    if not supervisor.stopped:
                        told.write_text("\n".join(s.address for s in served.in_order()), "utf-8")
                        self.console.print(f"\n  {served.example()}\n", markup=False)
                        self.console.print(
                            f"  Keys are in {self.home / 'keys.json'}.", markup=False
                        )
                        self.console.print("  Ctrl-C ends all of it.\n")
                    asked = supervisor.watch(lambda text: self.console.print(text, markup=False))
                    self.console.print("ending")
                self.console.print("ended")
                return 0 if asked else 1
        except Busy:
            self.console.print("This shop is served already:")
            self.console.print(told.read_text("utf-8") if told.exists() else "", markup=False)
            return 0

    def _waiting(self, supervisor: Supervisor) -> Iterator[Service]:
        """Yield services as they answer, behind a sign of life."""
        with self.console.status("starting dashboards, API and Dagster"):
            yield from supervisor.answering(START_SECONDS)


def _pipeline(module: str) -> subprocess.Popen[bytes]:
    """Start a pipeline run, out of the terminal's reach: the demo ends it in its own way."""
    return subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True
    )


def _run(pipeline: subprocess.Popen[bytes]) -> None:
    """Tell a pipeline that waits to go; wait for its end."""
    assert pipeline.stdin is not None  # noqa: S101 - it was started with one
    with suppress(BrokenPipeError):
        pipeline.stdin.write(b"go\n")
        pipeline.stdin.close()
    while pipeline.poll() is None:
        # Not wait(): a signal that another thread of this process takes would not end it.
        time.sleep(0.05)
    if pipeline.returncode:
        raise StageFailed("The pipeline published nothing; what failed stands above.")


def _since_make() -> float | None:
    """Return the seconds since make began, which has made the environment before it came here."""
    started = os.environ.get("DEMO_STARTED", "")
    return time.time() - float(started) if started.isdigit() else None


def main() -> int:
    """Run the demo; return the exit code."""
    waited = _since_make()
    from oms_ops.errors import OmsError
    from oms_ops.settings import settings

    settings().home.mkdir(parents=True, exist_ok=True)
    os.environ["OMS_HOME"] = str(settings().home)
    demo = Demo()
    if waited is not None and waited >= 2:
        demo.seconds["environment"] = waited
        demo.line("environment", waited, "from the lock")
    try:
        with signals_interrupt():
            demo.prepare()
            demo.summarise()
        return demo.serve() if os.environ.get("SERVE", "1") != "0" else 0
    except KeyboardInterrupt:
        print("\ninterrupted; the next run goes on from here", file=sys.stderr)
        return 130
    except (StageFailed, ChildFailed, OmsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
