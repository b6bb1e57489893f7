from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def localstripe() -> Iterator[str]:
    """Start one localstripe for all tests; return its URL."""
    script = Path(__file__).with_name("localstripe_server.py")
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "localstripe did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
