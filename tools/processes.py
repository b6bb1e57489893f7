"""Starts programs side by side and ends them together: on Ctrl-C, on SIGTERM, or when one dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a program has to end after SIGTERM, before it is killed.
GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """A server to run: ``command`` with ``environment`` added, its output into ``log``.

    It is up when ``url`` answers with any status below 500.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    url: str
    log: Path


class Died(RuntimeError):
    """A program ended by itself."""


def free_port(first: int) -> int:
    """Return the first port from ``first`` on that nobody listens on, on 127.0.0.1."""
    for port in range(first, first + 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError(f"no free port from {first} on")


@contextlib.contextmanager
def running(programs: Sequence[Program]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run ``programs`` for the length of the block, each in a process group of its own."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            program.log.parent.mkdir(parents=True, exist_ok=True)
            with program.log.open("wb") as log:
                started.append(
                    subprocess.Popen(  # noqa: S603 - our own commands
                        program.command,
                        env={**os.environ, **program.environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C reaches the supervisor alone, which then ends them in order.
                        start_new_session=True,
                    )
                )
        yield started
    finally:
        end(started)


def end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask every group to end, wait, and kill what is left of it."""
    for process in started:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        # A server's own children may outlive it: the whole group goes.
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def wait_until_up(
    programs: Sequence[Program],
    started: Sequence[subprocess.Popen[bytes]],
    seconds: float = 90.0,
) -> Iterator[Program]:
    """Yield each program once it answers.

    Raises:
        Died: one ended before it answered; its last lines are in the message.
        TimeoutError: one did not answer in time.
    """
    waiting = list(zip(programs, started, strict=True))
    deadline = time.monotonic() + seconds
    while waiting:
        for pair in list(waiting):
            program, process = pair
            _check(program, process)
            if _answers(program.url):
                waiting.remove(pair)
                yield program
        if waiting and time.monotonic() > deadline:
            names = ", ".join(program.name for program, _ in waiting)
            raise TimeoutError(f"no answer from {names} within {seconds:.0f} s")
        time.sleep(0.2)


def watch(programs: Sequence[Program], started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return never: raise Died when a program ends by itself."""
    while True:
        for program, process in zip(programs, started, strict=True):
            _check(program, process)
        time.sleep(0.5)


def _check(program: Program, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        return
    lines = program.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    told = "\n  ".join(lines)
    raise Died(f"{program.name} ended with status {process.returncode}:\n  {told}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status < 500)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
