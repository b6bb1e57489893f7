"""The demo's supervisor: it says when children answer, tells of their deaths, and leaves none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.supervisor import ChildFailed, Service, Supervisor, end

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60

#: Serves files at a port after it wrote its own id, and that of a child of its own, to a file.
CHILD = """
import os, signal, subprocess, sys, time
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
port, file, manner = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if manner == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(file + ".tmp", "w") as out:
    out.write(f"{os.getpid()} {own.pid}")
os.replace(file + ".tmp", file)
if manner == "failing":
    print("it cannot work")
    own.kill()
    sys.exit(3)
class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", port), partial(Handler, directory=os.path.dirname(file))).serve_forever()
"""

#: Supervises the services that its arguments name, as the demo does.
PARENT = """
import sys
from pathlib import Path
from tests.tools.test_demo_supervisor import service
from tools.supervisor import Supervisor
folder = Path(sys.argv[1])
with Supervisor(folder / "logs", folder, grace_seconds=2) as supervisor:
    for number, manner in enumerate(sys.argv[2:]):
        supervisor.start(service(folder, f"{number}-{manner}", manner))
    for answering in supervisor.answering(60):
        print("up", answering.name, flush=True)
    print("all up", flush=True)
    asked = supervisor.watch(lambda text: print("told", text, flush=True))
sys.exit(0 if asked else 1)
"""


def service(folder: Path, name: str, manner: str) -> Service:
    """Return a stand-in that answers on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", CHILD, str(port), str(folder / f"{name}.pids"), manner]
    address = f"http://127.0.0.1:{port}"
    return Service(name, command, address, f"{address}/")


def _pids(folder: Path) -> list[int]:
    return [int(pid) for file in folder.glob("*.pids") for pid in file.read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def _supervise(folder: Path, *manners: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), *manners],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _read_until(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdout is not None
    read = ""
    while line not in read:
        more = process.stdout.readline()
        assert more, f"ended before {line!r}: {read}"
        read += more
    return read


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_child_and_what_it_started(tmp_path: Path, number: int) -> None:
    parent = _supervise(tmp_path, "willing", "willing")
    _read_until(parent, "all up")
    pids = _pids(tmp_path)
    assert len(pids) == 4
    assert all(map(_alive, pids))
    parent.send_signal(number)
    assert parent.wait(PATIENCE_SECONDS) == 0
    _until(lambda: not any(map(_alive, pids)), "all had ended")


def test_a_child_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    parent = _supervise(tmp_path, "stubborn")
    _read_until(parent, "all up")
    asked = time.monotonic()
    parent.send_signal(signal.SIGINT)
    assert parent.wait(PATIENCE_SECONDS) == 0
    assert time.monotonic() - asked >= 1.9
    _until(lambda: not any(map(_alive, _pids(tmp_path))), "all had ended")


def test_a_second_signal_ends_the_grace(tmp_path: Path) -> None:
    began = time.monotonic()
    with Supervisor(tmp_path / "logs", tmp_path, grace_seconds=120) as supervisor:
        supervisor.start(service(tmp_path, "child", "stubborn"))
        assert [up.name for up in supervisor.answering(PATIENCE_SECONDS)] == ["child"]
        child = _pids(tmp_path)[0]
        os.kill(os.getpid(), signal.SIGINT)
        _until(lambda: supervisor.stopped, "the signal was noted")
        # The next one comes when the supervisor waits for the child's end.
        again = subprocess.Popen(["sh", "-c", f"sleep 1; kill -INT {os.getpid()}"])
    again.wait()
    assert not _alive(child)
    assert time.monotonic() - began < 100


def test_a_child_that_dies_is_told_with_its_last_words_and_the_others_stay(tmp_path: Path) -> None:
    parent = _supervise(tmp_path, "willing", "willing")
    _read_until(parent, "all up")
    first, second = (int((tmp_path / f"{n}-willing.pids").read_text().split()[0]) for n in (0, 1))
    os.kill(first, signal.SIGKILL)
    assert "0-willing was ended by SIGKILL" in _read_until(parent, "told")
    assert _alive(second)
    os.kill(second, signal.SIGKILL)
    assert "1-willing was ended by SIGKILL" in _read_until(parent, "told 1")
    assert parent.wait(PATIENCE_SECONDS) == 1
    _until(lambda: not any(map(_alive, _pids(tmp_path))), "their own children had ended")


def test_a_child_that_cannot_start_ends_the_wait_with_the_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(ChildFailed, match=r"child ended with 3\n.*it cannot work"),
        Supervisor(tmp_path / "logs", tmp_path) as supervisor,
    ):
        supervisor.start(service(tmp_path, "child", "failing"))
        list(supervisor.answering(PATIENCE_SECONDS))


def test_a_child_that_never_answers_ends_the_wait(tmp_path: Path) -> None:
    silent = Service("silent", ["sleep", "600"], "-", "http://127.0.0.1:9/")
    with (
        pytest.raises(ChildFailed, match="silent did not answer"),
        Supervisor(tmp_path / "logs", tmp_path) as supervisor,
    ):
        supervisor.start(silent)
        list(supervisor.answering(0.3))


def test_a_pipeline_that_is_interrupted_may_close_its_run(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    print('ready', flush=True); time.sleep(600)\n"
        f"except KeyboardInterrupt:\n    open({str(said)!r}, 'w').write('closed')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    end([process], 30, first=signal.SIGINT)
    assert said.read_text() == "closed"
    assert process.returncode is not None
