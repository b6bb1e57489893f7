"""A whole shop on free ports: API and dashboards as processes, Chromium as the user."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from oms_ops.database import make_engine
from oms_ops.setup import init
from tests.dashboards import operations, snapshot
from tests.dashboards.shop import trade

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
START_SECONDS = 90
#: A test machine may be busy with other tests; what is slow is not wrong here.
PATIENCE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Served:
    """Addresses of the running shop, its state, and a merchandiser's key."""

    home: Path
    api: str
    dashboards: str
    key: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.2)
    pytest.fail(f"{url} did not answer:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start the API and the dashboards over a shop of their own."""
    home = tmp_path_factory.mktemp("shop")
    url = f"sqlite:///{home / 'oms.db'}"
    engine = make_engine(url)
    init(engine)
    shop = trade(snapshot.yesterday())
    operations.lay(engine, shop)
    key = operations.key(engine, "merchandiser", "mary")
    snapshot.publish(home, shop=shop, cursor=operations.cursor(engine))
    engine.dispose()

    api_port, page_port = _free_port(), _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OMS_")},
        "OMS_HOME": str(home), "OMS_DATABASE_URL": url, "OMS_API_KEY": key,
    }  # fmt: skip
    api = [sys.executable, "-m", "oms_ops", "serve", "--port", str(api_port)]
    pages = [
        sys.executable, "-m", "dashboards", "--server.headless=true",
        "--server.address=127.0.0.1", f"--server.port={page_port}", "--server.fileWatcherType=none",
    ]  # fmt: skip
    answer = Served(home, f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{page_port}", key)
    api_log, page_log = home / "api.log", home / "dashboards.log"
    with _process(api, environment, api_log), _process(pages, environment, page_log):
        _await(f"{answer.api}/healthz", api_log)
        _await(f"{answer.dashboards}/_stcore/health", page_log)
        yield answer


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip when there is none."""
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Open a window at a common size; any request that leaves this machine is an error."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 1400}, timezone_id="America/New_York"
    )
    outside: list[str] = []
    opened = context.new_page()
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((served.dashboards, "data:", "blob:"))
            else outside.append(request.url)
        ),
    )
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield opened
    context.close()
    assert not outside, f"the page asked others: {outside}"
