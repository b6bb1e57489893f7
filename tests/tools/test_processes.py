"""The supervisor ends all it started: on Ctrl-C, on a child's death, and the stubborn ones too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import processes
from tools.processes import Program

#: A child that ignores SIGTERM and has a child of its own, which writes down its pid.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""

SUPERVISOR = """
import sys
from pathlib import Path
from tools import processes
from tools.processes import Program
port = processes.free_port(18000)
server = Program("web", [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
                 {}, f"http://127.0.0.1:{port}/", Path(sys.argv[1]))
with processes.running([server]) as started:
    for program in processes.wait_until_up([server], started):
        print("up", started[0].pid, flush=True)
    processes.watch([server], started)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]


def gone(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pid)


def test_ctrl_c_ends_the_servers(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path / "web.log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert supervisor.stdout is not None
    word, pid = supervisor.stdout.readline().split()
    assert (word, alive(int(pid))) == ("up", True)
    supervisor.send_signal(signal.SIGINT)
    supervisor.wait(15)
    assert gone(int(pid))


def test_a_program_that_will_not_end_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    log = tmp_path / "stubborn.log"
    program = Program("stubborn", [sys.executable, "-c", STUBBORN], {}, "http://127.0.0.1:9/", log)
    with processes.running([program]) as started:
        while not log.read_text().strip():
            time.sleep(0.05)
        child = int(log.read_text())
        assert alive(child)
    assert gone(started[0].pid)
    assert gone(child)


def test_a_program_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no disk left'); sys.exit(3)"]
    program = Program("web", command, {}, "http://127.0.0.1:9/", tmp_path / "web.log")
    with (
        processes.running([program]) as started,
        pytest.raises(processes.Died, match=r"(?s)web ended with status 3.*no disk left"),
    ):
        list(processes.wait_until_up([program], started, 20))


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert processes.free_port(port) != port
