"""Runs child processes side by side: starts them, waits until they answer, ends them all.

Each child leads a session of its own, so that a Ctrl-C in the terminal reaches only the supervisor,
and ending a child ends what it started too. Nothing here knows what the children are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

#: Between two looks at the children; also the longest that a signal waits for its answer.
_LOOK_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildFailed(RuntimeError):
    """A child ended, or did not answer in time; the message holds the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Service:
    """A program that answers at ``address`` once ``health``, a URL, answers with success."""

    name: str
    command: Sequence[str]
    address: str
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Child:
    service: Service
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self, count: int = 12) -> str:
        """Return the end of what the child has written."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-count:])


class Supervisor:
    """Holds running services; used as a context, it ends every one of them at the end.

    Within the context SIGINT, SIGTERM and SIGHUP do not raise but ask for the end: see ``stopped``.
    A second signal while the children end kills them.
    """

    def __init__(self, logs: Path, folder: Path, *, grace_seconds: float = 10) -> None:
        self._logs = logs
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._children: list[_Child] = []
        self._signals = 0
        self._signalled = ExitStack()

    @property
    def stopped(self) -> bool:
        """Whether a signal asked for the end."""
        return self._signals > 0

    def __enter__(self) -> Supervisor:
        """Take over the signals."""
        self._signalled.enter_context(_handling(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        """End the children, the last one first; give the signals back."""
        end([child.process for child in reversed(self._children)], self._grace_seconds)
        self._signalled.close()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def start(self, service: Service) -> None:
        """Start ``service`` in the folder; what it prints goes to a log of its name."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{service.name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                service.command,
                cwd=self._folder,
                env={**os.environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(_Child(service, process, log))

    def answering(self, timeout_seconds: float) -> Iterator[Service]:
        """Yield the services as they begin to answer; return early when asked to stop.

        Raises:
            ChildFailed: one ended before it answered, or did not answer within the time.
        """
        waiting = list(self._children)
        deadline = time.monotonic() + timeout_seconds
        while waiting and not self.stopped:
            for child in list(waiting):
                if child.process.poll() is not None:
                    raise ChildFailed(f"{_ending(child)}\n{child.last_lines()}")
                if _answers(child.service.health):
                    waiting.remove(child)
                    yield child.service
            if waiting and time.monotonic() > deadline:
                child = waiting[0]
                raise ChildFailed(
                    f"{child.service.name} did not answer at {child.service.health} within"
                    f" {timeout_seconds:.0f} s; its log is {child.log}\n{child.last_lines()}"
                )
            time.sleep(_LOOK_SECONDS)

    def watch(self, tell: Callable[[str], None]) -> bool:
        """Wait for a signal; ``tell`` of each child that ends by itself meanwhile.

        Returns False when every child has ended and there is nothing left to wait for.
        """
        alive = list(self._children)
        while not self.stopped:
            for child in [child for child in alive if child.process.poll() is not None]:
                alive.remove(child)
                tell(f"{_ending(child)}; its log is {child.log}\n{child.last_lines()}")
            if not alive:
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def end(
    processes: Sequence[subprocess.Popen[bytes]],
    grace_seconds: float,
    *,
    first: signal.Signals = signal.SIGTERM,
) -> None:
    """End session leaders with all that they started: ask, wait, then kill what is left.

    ``first`` is what they are asked with. A signal to this process cuts the waiting short.
    """
    hurried: list[int] = []
    with _handling(lambda number, _frame: hurried.append(number)):
        for process in processes:
            if process.poll() is None:
                process.send_signal(first)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and not hurried:
            if all(process.poll() is not None for process in processes):
                break
            time.sleep(_LOOK_SECONDS / 2)
        for process in processes:
            # The group outlives its leader as long as anything in it lives.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: by KeyboardInterrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Let ``handler`` have the signals that ask for an end, for the length of the block."""
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _ending(child: _Child) -> str:
    status = child.process.returncode
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    return f"{child.service.name} {how}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - addresses are ours
            return bool(200 <= answer.status < 300)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
